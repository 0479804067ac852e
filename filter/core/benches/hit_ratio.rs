//! Hit ratio of each eviction policy, in requests and in bytes, with exact LRU and the clairvoyant bound beside them, and the memory
//! an entry takes beyond its response.
//!
//! The policies run in the real store over the in-memory shared data, with two workers, ticks, and hits flushed late, as in
//! Envoy. Traces are made from a fixed seed: the same figures on every machine.

use filter_core::Millis;
use filter_core::shared_map::MemoryMap;
use filter_core::store::{Entry, Eviction, InvalidationLog, Limits, PurgeGeneration, Store, TRAILER_LEN};
use std::collections::{BTreeMap, BTreeSet, HashMap};

const REQUESTS: usize = 200_000;
const OBJECTS: usize = 40_000;
/// Virtual time between two requests, and between two ticks of a worker.
const STEP_MS: Millis = 2;
const TICK_MS: Millis = 200;
const START: Millis = 1_800_000_000_000;

/// Who asks for what: object numbers in order.
type Trace = Vec<u64>;

/// Hits of a run.
#[derive(Default)]
struct Score {
    requests: u64,
    bytes: u64,
    bytes_asked: u64,
    saved_ms: u64,
    /// How long each request waited for the origin; a hit does not.
    waits_ms: Vec<u64>,
}

impl Score {
    fn count(&mut self, object: u64, hit: bool) {
        let size = size_of_object(object) as u64;
        self.bytes_asked += size;
        if hit {
            self.requests += 1;
            self.bytes += size;
            self.saved_ms += fetch_ms(object);
        }
        self.waits_ms.push(if hit { 0 } else { fetch_ms(object) });
    }

    /// The 95th percentile of what requests waited, and their mean.
    fn waits(&self) -> (u64, u64) {
        let mut waits = self.waits_ms.clone();
        waits.sort_unstable();
        let p95 = waits.get(waits.len() * 95 / 100).copied().unwrap_or_default();
        (p95, waits.iter().sum::<u64>() / waits.len().max(1) as u64)
    }

    fn shown(&self, name: &str, cost: f64) -> String {
        let requests = 100.0 * self.requests as f64 / REQUESTS as f64;
        let bytes = 100.0 * self.bytes as f64 / self.bytes_asked.max(1) as f64;
        let saved = self.saved_ms as f64 / 1_000.0;
        let (p95, mean) = self.waits();
        format!(
            "    {name:<12} {requests:6.2} % of requests  {bytes:6.2} % of bytes   {saved:8.0} s of the origin saved   {mean:4} ms waited on average, p95 {p95:5} ms   {cost:5.2} calls per request\n"
        )
    }
}

/// What fills up: a number of entries, or bytes.
#[derive(Clone, Copy)]
enum Capacity {
    Entries(u64),
    Bytes(u64),
}

/// Memory beyond the response that the exact policies are charged, so that bytes compare like with like.
const CHARGE: u64 = 280;

impl Capacity {
    fn cost(self, object: u64) -> u64 {
        match self {
            Self::Entries(_) => 1,
            Self::Bytes(_) => size_of_object(object) as u64 + CHARGE,
        }
    }

    fn room(self) -> u64 {
        match self {
            Self::Entries(room) | Self::Bytes(room) => room,
        }
    }

    fn limits(self) -> Limits {
        match self {
            Self::Entries(entries) => Limits {
                entries: entries as u32,
                bytes: 1 << 32,
                object_bytes: 1 << 20,
            },
            Self::Bytes(bytes) => Limits {
                entries: 1_000_000,
                bytes,
                object_bytes: 1 << 20,
            },
        }
    }
}

fn main() {
    let traces = [
        ("zipf 0.9", zipf_trace(0.9)),
        ("zipf 0.7", zipf_trace(0.7)),
        ("scans mixed in", scan_trace()),
        ("shifting", shifting_trace()),
    ];
    // `cargo bench ... -- "zipf 0.9, 2000"` runs what contains these words.
    let wanted = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
        .unwrap_or_default();
    let scenarios: Vec<_> = traces.iter().flat_map(|(name, trace)| scenarios(name, trace)).collect();
    let wanted: Vec<_> = scenarios
        .iter()
        .filter(|scenario| scenario.title.contains(&wanted))
        .collect();
    // The workers of a scenario take turns in one thread; scenarios run side by side, and are printed in their order.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    for some in wanted.chunks(threads) {
        std::thread::scope(|scope| {
            let running: Vec<_> = some.iter().map(|scenario| scope.spawn(|| scenario.compare())).collect();
            for text in running.into_iter().filter_map(|thread| thread.join().ok()) {
                print!("{text}");
            }
        });
    }
    println!("memory per entry beyond the response");
    for entries in [1000, 10_000, 100_000] {
        overhead(entries);
    }
}

/// A trace, and what of it may be held.
struct Scenario<'a> {
    title: String,
    trace: &'a Trace,
    capacity: Capacity,
}

fn scenarios<'a>(name: &'a str, trace: &'a Trace) -> impl Iterator<Item = Scenario<'a>> {
    let by_entries = [100, 400, 2000, 8000].map(|n| (format!("{n} entries"), Capacity::Entries(n)));
    let by_bytes = ("8 MiB".to_owned(), Capacity::Bytes(8 << 20));
    by_entries
        .into_iter()
        .chain([by_bytes])
        .map(move |(size, capacity)| Scenario {
            title: format!("{name}, {size}"),
            trace,
            capacity,
        })
}

impl Scenario<'_> {
    /// Every policy's hits, line by line.
    fn compare(&self) -> String {
        let mut text = format!("{}\n", self.title);
        let mut show = |name: &str, score: Score, calls: f64| text.push_str(&score.shown(name, calls));
        show("clairvoyant", clairvoyant(self.trace, self.capacity), 0.0);
        show("exact LRU", exact_lru(self.trace, self.capacity), 0.0);
        for (name, policy) in [
            ("s3_fifo", Eviction::S3Fifo),
            ("sieve", Eviction::Sieve),
            ("lru", Eviction::Lru),
            ("lfu", Eviction::Lfu),
            ("fifo", Eviction::Fifo),
            ("gdsf", Eviction::Gdsf),
        ] {
            let (score, calls) = in_the_store(self.trace, self.capacity, policy);
            show(name, score, calls);
        }
        text
    }
}

fn in_the_store(trace: &Trace, capacity: Capacity, policy: Eviction) -> (Score, f64) {
    let map = MemoryMap::default();
    Store::seed(&map);
    let invalidation_log = InvalidationLog::default();
    let mut workers = [
        Store::new(capacity.limits(), policy),
        Store::new(capacity.limits(), policy),
    ];
    let mut random = Random(7);
    let mut score = Score::default();
    let before = map.reads() + map.writes();
    for (index, object) in trace.iter().enumerate() {
        let now = START + index as Millis * STEP_MS;
        if (index as Millis * STEP_MS).is_multiple_of(TICK_MS) {
            workers.iter_mut().for_each(|worker| worker.flush(&map, 64));
            workers[0].maintain(&map, &invalidation_log, 8, now);
        }
        let worker = &mut workers[random.below(2) as usize];
        let key = object.to_le_bytes();
        let found = worker.lookup(&map, &key, |_| 0, now);
        score.count(*object, found.is_some());
        match found {
            Some(found) => worker.touch(found.id, now),
            None => drop(store(worker, &map, *object, now)),
        }
    }
    (score, (map.reads() + map.writes() - before) as f64 / trace.len() as f64)
}

fn store(worker: &mut Store, map: &MemoryMap, object: u64, now: Millis) -> bool {
    let mut value = Vec::with_capacity(size_of_object(object) + TRAILER_LEN);
    value.resize(size_of_object(object), 0);
    let key = object.to_le_bytes();
    let usable_until_ms = START + 1_000_000_000;
    let entry = Entry {
        key: &key,
        vary: &[],
        usable_until_ms,
        fetch_ms: fetch_ms(object),
        purge_generation: PurgeGeneration::default(),
        value,
    };
    worker.insert(map, entry, |_| 0, now).is_ok()
}

fn exact_lru(trace: &Trace, capacity: Capacity) -> Score {
    let (mut score, mut used) = (Score::default(), 0);
    let mut last_use: HashMap<u64, usize> = HashMap::new();
    let mut order: BTreeMap<usize, u64> = BTreeMap::new();
    for (index, object) in trace.iter().enumerate() {
        let seen = last_use.insert(*object, index);
        score.count(*object, seen.is_some());
        match seen {
            Some(earlier) => drop(order.remove(&earlier)),
            None => used += capacity.cost(*object),
        }
        order.insert(index, *object);
        while used > capacity.room()
            && let Some((_, victim)) = order.pop_first()
        {
            last_use.remove(&victim);
            used -= capacity.cost(victim);
        }
    }
    score
}

/// Belady: whoever is needed last goes, the newcomer included. Exact for equal sizes, close to the bound for unequal ones.
fn clairvoyant(trace: &Trace, capacity: Capacity) -> Score {
    let mut next_use = vec![usize::MAX; trace.len()];
    let mut later: HashMap<u64, usize> = HashMap::new();
    for (index, object) in trace.iter().enumerate().rev() {
        next_use[index] = later.insert(*object, index).unwrap_or(usize::MAX - *object as usize);
    }
    let (mut score, mut used) = (Score::default(), 0);
    let mut held: HashMap<u64, usize> = HashMap::new();
    let mut order: BTreeSet<(usize, u64)> = BTreeSet::new();
    for (index, object) in trace.iter().enumerate() {
        let seen = held.insert(*object, next_use[index]);
        score.count(*object, seen.is_some());
        match seen {
            Some(next) => drop(order.remove(&(next, *object))),
            None => used += capacity.cost(*object),
        }
        order.insert((next_use[index], *object));
        while used > capacity.room()
            && let Some((_, victim)) = order.pop_last()
        {
            held.remove(&victim);
            used -= capacity.cost(victim);
        }
    }
    score
}

/// Fills a store several times over and divides what is held beyond the responses.
fn overhead(entries: u32) {
    let map = MemoryMap::default();
    Store::seed(&map);
    let mut worker = Store::new(
        Limits {
            entries,
            bytes: 1 << 32,
            object_bytes: 1 << 20,
        },
        Eviction::default(),
    );
    let mut kept = 0;
    for object in 0..u64::from(entries) * 10 {
        store(&mut worker, &map, object, START + object);
    }
    let (mut cursor, mut bytes) = (Some(filter_core::store::Cursor::default()), 0);
    while let Some(at) = cursor {
        let (found, next) = worker.iterate(&map, at, 1000, &(0..=u16::MAX), START + 1000);
        kept += found.len();
        bytes += found.iter().map(|exported| exported.value.len()).sum::<usize>();
        cursor = next;
    }
    let usage = worker.usage(&map, START);
    let beyond = (usage.bytes as f64 - bytes as f64) / kept as f64;
    let idle = usage.residue_bytes as f64 / kept as f64;
    let rounding = bytes as f64 / 16.0 / kept as f64;
    println!(
        "    {entries} entries: {beyond:.0} B; of that {rounding:.0} B the allocator's rounding, {idle:.0} B idle keys and pages"
    );
}

/// Sizes between 200 B and 12 KB, most of them small, fixed for an object.
fn size_of_object(object: u64) -> usize {
    let mut random = Random(object.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    random.below(1 << 32);
    let doublings = random.below(4) + random.below(3);
    (200 << doublings) as usize
}

/// What a fetch takes, fixed for an object and whatever its size: 4 ms to 2 s, each doubling as likely as the next.
fn fetch_ms(object: u64) -> u64 {
    let mut random = Random(object.wrapping_mul(0xd6e8_feb8_6659_fd93) | 1);
    random.below(1 << 32);
    (4 << random.below(9)) + random.below(4)
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 20) % bound
    }
}

/// Ranks drawn with a probability that falls with a power of the rank.
struct Zipf {
    cumulated: Vec<f64>,
}

impl Zipf {
    fn new(exponent: f64) -> Self {
        let mut sum = 0.0;
        let weight = |rank: usize| (rank as f64 + 1.0).powf(-exponent);
        let cumulated = (0..OBJECTS).map(|rank| {
            sum += weight(rank);
            sum
        });
        Self {
            cumulated: cumulated.collect(),
        }
    }

    fn draw(&self, random: &mut Random) -> u64 {
        let total = self.cumulated.last().copied().unwrap_or(1.0);
        let at = random.below(1 << 40) as f64 / (1_u64 << 40) as f64 * total;
        self.cumulated.partition_point(|sum| *sum < at) as u64
    }
}

fn zipf_trace(exponent: f64) -> Trace {
    let (zipf, mut random) = (Zipf::new(exponent), Random(42));
    (0..REQUESTS).map(|_| zipf.draw(&mut random)).collect()
}

/// Every 20 000 requests a crawler comes by: for 8 000 requests two of three are for objects nobody asks for again.
fn scan_trace() -> Trace {
    let (zipf, mut random) = (Zipf::new(0.9), Random(43));
    let mut fresh = 1_000_000;
    let mut next = |index: usize| {
        if index % 20_000 < 8000 && !index.is_multiple_of(3) {
            fresh += 1;
            return fresh;
        }
        zipf.draw(&mut random)
    };
    (0..REQUESTS).map(&mut next).collect()
}

/// What is popular changes: every 25 000 requests an eighth of the ranks moves on to other objects.
fn shifting_trace() -> Trace {
    let (zipf, mut random) = (Zipf::new(0.9), Random(44));
    let mut object = |index: usize| {
        let rank = zipf.draw(&mut random);
        let moved = (index / 25_000) as u64 + 8 - rank % 8;
        rank + OBJECTS as u64 * (moved / 8)
    };
    (0..REQUESTS).map(&mut object).collect()
}
