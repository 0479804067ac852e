//! Names of everything in shared data. The map has no delete, so each set of names is bounded; ARCHITECTURE.md says what is under each.

/// The settings in force, as they were pushed.
pub const SETTINGS: &[u8] = b"ao1/settings";
/// Which VM speaks for the Envoy.
pub const LEASE: &[u8] = b"ao1/lease";
/// What this Envoy process is called.
pub const INSTANCE: &[u8] = b"ao1/instance";
/// What the control plane gave this process to show that it is the one it says it is.
pub const PROOF: &[u8] = b"ao1/proof";
/// The VMs that live.
pub const WORKERS: &[u8] = b"ao2/workers";
/// The report that waits for its acknowledgement.
pub const OUTBOX: &[u8] = b"ao1/outbox";
/// Number of the last report.
pub const SEQUENCE: &[u8] = b"ao1/sequence";
/// What Envoy does with requests after the filter, by cluster and route.
pub const FORWARDING: &[u8] = b"ao1/forwarding";
/// Record of what Envoy gives to requests of a cluster and route behind the filter: names of fields, and [`AUTHORITY`](crate::learned::AUTHORITY).
pub const GIVEN: &[u8] = b"ao1/given";
/// Record of the request fields by which responses of a route are selected (`Vary`, RFC 9110 section 12.5.5). Of a cold key nobody knows
/// that: requests that differ in such a field do not follow one another's fetch. A wrong guess costs a fetch, never a wrong response.
pub const VARIED: &[u8] = b"ao1/varied";
/// Record of what comes of following another's fetch on a route: [`IN_VAIN`](crate::learned::IN_VAIN), [`STORED`](crate::learned::STORED).
pub const SHARES: &[u8] = b"ao1/shares";
/// Record of the field lines that Envoy adds to a reply of the filter on a route: each a name, a NUL and a value.
pub const ADDED: &[u8] = b"ao1/added";
/// Routes that this Envoy has quarantined by itself.
pub const QUARANTINE: &[u8] = b"ao1/quarantine";
/// Record of what responses of a route say of queries (`No-Vary-Search`), as [`crate::cache::Variance::text`]. It is never empty again.
pub const SEARCHES: &[u8] = b"ao1/searches";
/// Top keys.
pub const TOP: &[u8] = b"ao1/top";
/// The secret under which credentials enter cache keys.
pub const KEY_SECRET: &[u8] = b"ao1/key-secret";
/// When the leader last knew that no purge is missing.
pub const IN_SYNC: &[u8] = b"ao1/vouched";
/// When the leader last heard of a control plane that had not sent all that was missed.
pub const CATCHING_UP: &[u8] = b"ao1/catching-up";
/// Totals of the store.
pub const LEDGER: &[u8] = b"ao/g";
/// Sets of `Vary` fields.
pub const VARY_SETS: &[u8] = b"ao/v";
/// The invalidation log.
pub const INVALIDATION_LOG: &[u8] = b"ao/p";
/// Number of the last purge.
pub const LAST_PURGE: &[u8] = b"ao/pv";

const HEX: &[u8; 16] = b"0123456789abcdef";

fn hex(value: u16, shift: u32) -> u8 {
    HEX.get(usize::from((value >> shift) & 0xf)).copied().unwrap_or(b'0')
}

/// A telemetry mailbox; below 10.
#[must_use]
pub fn mailbox(number: u8) -> [u8; 6] {
    [b'a', b'o', b'1', b'/', b'm', b'0' + number]
}

/// A record of flights.
#[must_use]
pub fn flight(record: u16) -> [u8; 6] {
    let [low, high] = record.to_le_bytes();
    [b'a', b'o', b'1', b'f', low, high]
}

/// A record of what is not taken from the shared tier for a moment.
#[must_use]
pub fn invalidated_in_tier(record: u16) -> [u8; 6] {
    let [low, high] = record.to_le_bytes();
    [b'a', b'o', b'1', b't', low, high]
}

/// A record of a breaker.
#[must_use]
pub fn breaker(place: u8) -> [u8; 5] {
    [b'a', b'o', b'1', b'b', place]
}

/// The version of breakers' records.
#[must_use]
pub fn breaker_version(number: u8) -> [u8; 5] {
    [b'a', b'o', b'1', b'B', number]
}

/// A record of a concurrency limit.
#[must_use]
pub fn limit(place: u8) -> [u8; 5] {
    [b'a', b'o', b'1', b'c', place]
}

/// A directory page of the store.
#[must_use]
pub fn page(page: u16) -> [u8; 8] {
    [
        b'a',
        b'o',
        b'/',
        b'i',
        hex(page, 12),
        hex(page, 8),
        hex(page, 4),
        hex(page, 0),
    ]
}

/// The version of directory pages.
#[must_use]
pub fn page_version(number: u16) -> [u8; 6] {
    [b'a', b'o', b'/', b'n', hex(number, 4), hex(number, 0)]
}

/// A slot of the store. Short enough for the string type of Envoy's C++ library to need no allocation.
#[must_use]
pub fn slot(number: u16, slot: u16) -> [u8; 12] {
    let [a, b, c, _, p3, p2, p1, p0] = page(number);
    [
        a,
        b,
        c,
        b's',
        p3,
        p2,
        p1,
        p0,
        hex(slot, 12),
        hex(slot, 8),
        hex(slot, 4),
        hex(slot, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Keys with a number, each by what comes before it.
    fn numbered() -> [(&'static str, Vec<u8>); 9] {
        [
            ("ao1/m", mailbox(7).to_vec()),
            ("ao1f", flight(0x1234).to_vec()),
            ("ao1t", invalidated_in_tier(0x1234).to_vec()),
            ("ao1b", breaker(200).to_vec()),
            ("ao1B", breaker_version(200).to_vec()),
            ("ao1c", limit(200).to_vec()),
            ("ao/i", page(0x123).to_vec()),
            ("ao/n", page_version(0x3f).to_vec()),
            ("ao/s", slot(0x12, 0xabc).to_vec()),
        ]
    }

    /// Names of this file, as it has them.
    fn named() -> BTreeSet<String> {
        let text = include_str!("keys.rs");
        let names = text.lines().filter(|line| line.starts_with("pub const "));
        names
            .filter_map(|line| line.split('"').nth(1))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn no_two_things_have_one_name() {
        let names = named();
        assert!(names.len() > 20 && names.contains("ao1/settings"), "{names:?}");
        let text = include_str!("keys.rs");
        let (constants, functions) = (text.matches("\npub const ").count(), text.matches("\npub fn ").count());
        assert_eq!((names.len(), numbered().len()), (constants, functions));
        for (prefix, key) in numbered() {
            assert!(key.starts_with(prefix.as_bytes()), "{prefix}");
            // Neither a name nor another set begins as this set does.
            let others = numbered().into_iter().filter(|(other, _)| *other != prefix);
            assert!(!names.iter().any(|name| name.starts_with(prefix)), "{prefix}");
            assert!(
                !others.into_iter().any(|(other, _)| other.starts_with(prefix)),
                "{prefix}"
            );
        }
        assert_eq!(&slot(0x12, 0xabc), b"ao/s00120abc");
        assert_eq!(&page_version(0x3f), b"ao/n3f");
    }

    #[test]
    fn the_table_of_the_documents_has_every_name() {
        let document = include_str!("../../../../ARCHITECTURE.md");
        let (_, table) = document.split_once("## State that workers share").unwrap();
        let (table, _) = table.split_once("\n## ").unwrap();
        let firsts: String = table
            .lines()
            .filter_map(|row| row.strip_prefix("| ")?.split_once(" | "))
            .map(|(key, rest)| format!("{key} {rest}\n"))
            .collect();
        for name in named() {
            assert!(firsts.contains(&format!("`{name}`")), "{name}");
        }
        for (prefix, _) in numbered() {
            assert!(
                firsts.contains(&format!("`{prefix}…`")) || firsts.contains(&format!("`{prefix}0`")),
                "{prefix}"
            );
        }
    }
}
