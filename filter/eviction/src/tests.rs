use super::*;

/// A page in plain memory. Time is a count of steps.
#[derive(Debug, Default)]
struct Page {
    entries: Vec<Stored>,
    hand: usize,
    now: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Stored {
    name: char,
    marks: Marks,
    stored: u32,
    queued: u32,
    used: u32,
    hits: u16,
}

struct At(Stored, u32);

impl Entry for At {
    fn marks(&self) -> Marks {
        self.0.marks
    }

    fn idle(&self) -> u32 {
        self.1 - self.0.used
    }

    fn stored_age(&self) -> u32 {
        self.1 - self.0.stored
    }

    fn queued_age(&self) -> u32 {
        self.1 - self.0.queued
    }

    fn frequency(&self) -> u16 {
        self.0.hits
    }

    fn cost(&self) -> u8 {
        0
    }

    fn bytes(&self) -> u32 {
        1_000
    }
}

impl Queue for Page {
    fn entry(&self, index: usize) -> Option<impl Entry> {
        self.entries.get(index).map(|entry| At(*entry, self.now))
    }

    fn len(&self) -> usize {
        self.entries.len()
    }

    fn set_marks(&mut self, index: usize, marks: Marks) {
        self.entries[index].marks = marks;
    }

    fn requeue(&mut self, index: usize) {
        let mut entry = self.entries.remove(index);
        entry.queued = self.now;
        self.entries.push(entry);
    }

    fn hand(&self) -> usize {
        self.hand
    }

    fn set_hand(&mut self, index: usize) {
        self.hand = index;
    }
}

impl Page {
    /// Stores each name, one step apart, then hits the names of `used`.
    fn of(names: &str, used: &str) -> Self {
        let mut page = Self::default();
        for name in names.chars() {
            page.now += 1;
            let (stored, queued, used) = (page.now, page.now, page.now);
            page.entries.push(Stored {
                name,
                stored,
                queued,
                used,
                ..Stored::default()
            });
        }
        for name in used.chars() {
            page.now += 1;
            let entry = page.entries.iter_mut().find(|entry| entry.name == name).unwrap();
            (entry.marks, entry.used, entry.hits) = (entry.marks.after_hits(1), page.now, entry.hits + 1);
        }
        page
    }

    /// The names of those that go, one after the other.
    fn evict_all(mut self, policy: Policy, from_probation: bool) -> String {
        let mut gone = String::new();
        while let Some(index) = victim(policy, &mut self, from_probation) {
            self.now += 1;
            gone.push(self.entries.remove(index).name);
            self.hand -= usize::from(index < self.hand);
        }
        gone
    }
}

const POLICIES: [Policy; 6] = [
    Policy::S3Fifo,
    Policy::Sieve,
    Policy::Lru,
    Policy::Lfu,
    Policy::Fifo,
    Policy::Gdsf,
];

#[test]
fn each_policy_has_its_order() {
    let order = |policy| Page::of("abcd", "bba").evict_all(policy, true);
    assert_eq!(order(Policy::Fifo), "abcd");
    assert_eq!(order(Policy::Lru), "cdba");
    assert_eq!(order(Policy::Lfu), "cdab");
    assert_eq!(order(Policy::Gdsf), "cdab");
    assert_eq!(
        order(Policy::Sieve),
        "cdab",
        "the hand takes the marks of a and b and goes on"
    );
    assert_eq!(
        order(Policy::S3Fifo),
        "cdab",
        "a and b are promoted, in the order of the queue"
    );
}

#[test]
fn every_page_that_has_entries_has_a_rank_and_a_victim() {
    for policy in POLICIES {
        for from_probation in [false, true] {
            assert_eq!(rank(policy, &Page::default(), from_probation), None);
            assert_eq!(victim(policy, &mut Page::default(), from_probation), None);
            for used in ["", "a", "abc", "aaaaabbbbbccccc"] {
                let page = Page::of("abc", used);
                assert!(rank(policy, &page, from_probation).is_some(), "{policy:?}, {used}");
                assert_eq!(page.evict_all(policy, from_probation).len(), 3, "{policy:?}, {used}");
            }
        }
    }
}

#[test]
fn a_page_with_an_unused_entry_goes_before_one_whose_entries_were_used() {
    for policy in [Policy::S3Fifo, Policy::Sieve, Policy::Lru, Policy::Lfu, Policy::Gdsf] {
        let pages = [Page::of("abc", "abc"), Page::of("abcdef", "abc")];
        let ranks = pages.iter().map(|page| rank(policy, page, true));
        assert_eq!(sample::best_page(ranks), Some(1), "{policy:?}");
    }
}

#[test]
fn the_first_of_equal_pages_goes_and_an_empty_one_never() {
    assert_eq!(
        sample::best_page([None, Some(3), Some(7), Some(7)].into_iter()),
        Some(2)
    );
    assert_eq!(sample::best_page([None, None].into_iter()), None);
}

#[test]
fn the_main_queue_is_spared_while_newcomers_hold_more_than_their_share() {
    let mut page = Page::of("mn", "");
    page.entries[0].marks = Marks::of_new(true);
    assert_eq!(victim(Policy::S3Fifo, &mut page, true), Some(1));
    assert_eq!(victim(Policy::S3Fifo, &mut page, false), Some(0));
    assert!(from_probation(10, 100) && !from_probation(9, 100));
}

#[test]
fn only_newcomers_of_s3_fifo_leave_ghosts() {
    for policy in POLICIES {
        assert_eq!(leaves_ghost(policy, Marks::of_new(false)), policy == Policy::S3Fifo);
        assert!(!leaves_ghost(policy, Marks::of_new(true)));
    }
    assert_eq!((excess_ghosts(3, 5), excess_ghosts(7, 5)), (0, 2));
}

#[test]
fn marks_take_four_bits() {
    let marks = Marks::of_new(true).after_hits(u16::MAX);
    assert_eq!((marks.bits(), marks.recent_hits()), (Marks::MASK, 3));
    assert_eq!(Marks::from_bits(0xf0 | marks.bits()), marks);
    assert!(marks.is_main() && marks.is_visited() && !marks.unvisited().is_visited());
    assert_eq!(Marks::default().after_hits(2).promoted().recent_hits(), 0);
}

#[test]
fn one_more_hit_changes_nothing_once_a_policy_knows_enough() {
    let hot = Marks::default().after_hits(3);
    for policy in POLICIES {
        let knows_all = !matches!(policy, Policy::Lfu | Policy::Gdsf);
        assert_eq!(is_saturated(policy, hot, 0), knows_all, "{policy:?}");
        assert!(!is_saturated(policy, Marks::default(), 0));
    }
    assert!(!is_saturated(Policy::Lru, hot, 1));
}

#[test]
fn pages_are_sampled_until_there_are_enough_entries() {
    assert!(!sample::is_enough(1, 1_000) && sample::is_enough(2, 16));
    assert!(!sample::is_enough(15, 15) && sample::is_enough(16, 0));
}

#[test]
fn a_frequency_is_halved() {
    assert_eq!((aged(8, 0), aged(8, 1), aged(8, 40)), (8, 4, 0));
}
