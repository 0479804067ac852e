//! What a wake-up between VMs says: the first byte of a queue's item, and what follows it.

/// A wake-up. An enumeration, so that no two share a byte and each is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Wake {
    /// New settings are in the cell; the leader's queue follows.
    Settings = b'S',
    /// A VM has taken the settings over.
    Adopted = b'A',
    /// Somebody purged; the leader's queue follows.
    InvalidationLog = b'P',
    /// A VM has taken a purge over.
    Purged = b'Q',
    /// A fetch others wait for has ended; the key's hash follows.
    Landed = b'L',
    /// Background work of this VM waits.
    Work = b'W',
    /// Some whose wait is over are left to be released.
    Ready = b'G',
    /// Questions or offers to the shared tier wait in this VM.
    Tier = b'T',
    /// Somebody waits for a place within a concurrency limit: give back what is not needed.
    Share = b'H',
    /// There may be places within a concurrency limit again.
    Place = b'C',
    /// A call of this VM is over, and other VMs wait for places.
    Free = b'E',
    /// Something happened that the control plane is to know at once.
    Report = b'R',
    /// More is known about how requests leave Envoy.
    Forwarding = b'F',
    /// A VM has started; the name of its module follows.
    Started = b'N',
}

impl Wake {
    const ALL: [Self; 14] = [
        Self::Settings,
        Self::Adopted,
        Self::InvalidationLog,
        Self::Purged,
        Self::Landed,
        Self::Work,
        Self::Ready,
        Self::Tier,
        Self::Share,
        Self::Place,
        Self::Free,
        Self::Report,
        Self::Forwarding,
        Self::Started,
    ];

    /// As sent.
    pub(crate) const fn byte(self) -> u8 {
        self as u8
    }

    /// What an item says; `None` for one of a filter of another version.
    pub(crate) fn read(item: &[u8]) -> Option<(Self, &[u8])> {
        let (first, rest) = item.split_first()?;
        let wake = Self::ALL.into_iter().find(|wake| wake.byte() == *first)?;
        Some((wake, rest))
    }
}
