//! The numbers by which reasons not to use the cache for a route are kept in shared data.

use crate::reason::Reason;

/// What is kept in shared data, each with its number.
const KINDS: [(u8, Reason); 3] = [
    (1, Reason::RoutedAnew),
    (2, Reason::GuardBehind),
    (3, Reason::ChosenByMetadata),
];

/// The number by which a reason is kept.
pub(crate) fn number(reason: Reason) -> Option<u8> {
    let kind = KINDS.iter().find(|(_, kind)| *kind == reason);
    kind.map(|(number, _)| *number)
}

/// The reason that is kept by this number.
pub(crate) fn reason(number: u8) -> Option<Reason> {
    let kind = KINDS.iter().find(|(kind, _)| *kind == number);
    kind.map(|(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_can_be_read() {
        for (kept, known) in KINDS {
            assert_eq!((number(known), reason(kept)), (Some(kept), Some(known)));
        }
        assert_eq!((number(Reason::TooLarge), reason(0), reason(4)), (None, None, None));
    }
}
