//! What a stored response is worth for the memory it takes: the order in which [`Policy::Gdsf`](crate::Policy::Gdsf) evicts.

/// Greatest cost class: 2^15 ms and more.
pub const MAX_COST: u8 = 15;

/// What a response cost to fetch, as a class: the power of two of milliseconds, rounded up; 0 for 1 ms and less, and where it is not known.
#[must_use]
#[inline]
pub fn cost(fetch_ms: u64) -> u8 {
    let class = fetch_ms
        .max(1)
        .checked_next_power_of_two()
        .map_or(63, u64::trailing_zeros);
    u8::try_from(class).unwrap_or(MAX_COST).min(MAX_COST)
}

/// The cost class of a stored response that was replaced by a newer one.
///
/// A validation is quicker than the fetch that would come after an eviction. So a lower cost is believed one class at a time.
#[must_use]
#[inline]
pub fn replaced_cost(old: u8, new: u8) -> u8 {
    new.max(old.saturating_sub(1))
}

/// What a response is worth, whose hits count half for each ten minutes without one: the least goes first.
///
/// After GreedyDual-Size-Frequency (Cherkasova, HPL-98-69R1, 1998): hits times cost by size, but with the square root of cost by size. With
/// the whole of it a slow response pushes out hundreds of quick ones; with the root nearly as much time is saved, and many more requests are hits.
#[must_use]
#[inline]
pub fn worth(hits: u16, cost: u8, bytes: u32) -> u64 {
    // 2^(cost / 2) in 1,024ths.
    let odd = cost.min(MAX_COST) & 1 == 1;
    let root = (if odd { 1_448_u64 } else { 1_024 }) << (cost.min(MAX_COST) / 2);
    (((u64::from(hits) + 1) * root) << 20) / u64::from(bytes.max(1)).isqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cost_is_a_power_of_two_of_milliseconds() {
        for (ms, class) in [
            (0, 0),
            (1, 0),
            (2, 1),
            (3, 2),
            (4, 2),
            (1_000, 10),
            (32_768, 15),
            (40_000, 15),
            (u64::MAX, 15),
        ] {
            assert_eq!(cost(ms), class, "{ms} ms");
        }
    }

    #[test]
    fn a_lower_cost_is_believed_one_class_at_a_time() {
        assert_eq!(
            (replaced_cost(9, 2), replaced_cost(2, 9), replaced_cost(0, 0)),
            (8, 9, 0)
        );
    }

    #[test]
    fn more_hits_a_slower_origin_and_fewer_bytes_are_worth_more() {
        let usual = worth(3, 6, 4_096);
        assert!(worth(4, 6, 4_096) > usual && worth(3, 7, 4_096) > usual && worth(3, 6, 4_000) > usual);
        // Four times the time is worth as much as a quarter of the bytes, and as twice the hits.
        assert_eq!(worth(3, 8, 4_096), worth(3, 6, 1_024));
        assert_eq!(worth(3, 8, 4_096), worth(7, 6, 4_096));
        assert!(worth(u16::MAX, MAX_COST, 0) > worth(u16::MAX, MAX_COST, u32::MAX));
    }
}
