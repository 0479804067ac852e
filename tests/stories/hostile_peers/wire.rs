//! Messages that are well formed and say anything: made of sound ones, field by field, without knowing what the fields mean
//! (Protocol Buffers, encoding). The same seed makes the same messages.

use crate::oracle::random::Random;

/// Deepest nesting that is looked into.
const DEPTH: usize = 6;
/// Longest message that is made: what the services take is less.
const LARGEST: usize = 400 << 10;

#[derive(Clone, Debug)]
enum Value {
    Number(u64),
    Eight([u8; 8]),
    Four([u8; 4]),
    Text(Vec<u8>),
    Bytes(Vec<u8>),
    Message(Vec<Field>),
}

#[derive(Clone, Debug)]
struct Field {
    number: u64,
    value: Value,
}

/// A message like `sound`, with some of its fields changed, left out, repeated, or new.
pub fn like(sound: &[u8], random: &mut Random) -> Vec<u8> {
    let mut fields = parse(sound, DEPTH).expect("a sound message");
    change(&mut fields, random);
    let mut out = Vec::new();
    write(&fields, &mut out);
    if out.len() > LARGEST { sound.to_vec() } else { out }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..70).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f).checked_shl(shift)?;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'b>(bytes: &mut &'b [u8], length: usize) -> Option<&'b [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn parse(mut bytes: &[u8], depth: usize) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let value = match tag & 7 {
            0 => Value::Number(varint(&mut bytes)?),
            1 => Value::Eight(take(&mut bytes, 8)?.try_into().ok()?),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                inner(take(&mut bytes, length)?, depth)
            }
            5 => Value::Four(take(&mut bytes, 4)?.try_into().ok()?),
            _ => return None,
        };
        let number = tag >> 3;
        if !(1..=1_000).contains(&number) {
            return None;
        }
        fields.push(Field { number, value });
    }
    Some(fields)
}

/// What a field with a length is, as far as can be told: text stays text.
fn inner(bytes: &[u8], depth: usize) -> Value {
    if bytes.iter().all(|byte| (0x20..0x7f).contains(byte)) {
        return Value::Text(bytes.to_vec());
    }
    match parse(bytes, depth.saturating_sub(1)) {
        Some(fields) if depth > 0 && !fields.is_empty() => Value::Message(fields),
        _ => Value::Bytes(bytes.to_vec()),
    }
}

fn change(fields: &mut Vec<Field>, random: &mut Random) {
    fields.retain(|_| !random.percent(4));
    for field in fields.iter_mut() {
        if random.percent(25) {
            field.value = changed(field.value.clone(), random);
        }
        if let Value::Message(inner) = &mut field.value {
            change(inner, random);
        }
    }
    // Few of them are repeated, some of those often: all together stay small enough to be taken. What is repeated may have been made of
    // repetitions itself.
    if let Some(copy) = fields.get(random.below(fields.len().max(1))).cloned()
        && random.percent(15)
    {
        let copies = random.pick(&[1, 1, 10, 70, 300]);
        if size(std::slice::from_ref(&copy)).saturating_mul(copies) <= LARGEST {
            fields.extend(std::iter::repeat_n(copy, copies));
        }
    }
    if random.percent(5) {
        fields.push(Field {
            number: 900,
            value: Value::Text(b"of a later version".to_vec()),
        });
    }
}

/// About as many bytes as the fields take.
fn size(fields: &[Field]) -> usize {
    let of = |field: &Field| match &field.value {
        Value::Number(_) | Value::Eight(_) | Value::Four(_) => 8,
        Value::Text(bytes) | Value::Bytes(bytes) => bytes.len(),
        Value::Message(fields) => size(fields),
    };
    fields.iter().map(|field| 4 + of(field)).sum()
}

fn changed(value: Value, random: &mut Random) -> Value {
    match value {
        Value::Number(now) => Value::Number(match random.below(4) {
            0 => now.wrapping_add(1),
            1 => now.wrapping_mul(random.next() % 1_000),
            2 => random.next(),
            _ => random.pick(&[
                0,
                1,
                127,
                255,
                1 << 31,
                u64::from(u32::MAX),
                1 << 63,
                u64::MAX - 1,
                u64::MAX,
            ]),
        }),
        Value::Eight(_) => Value::Eight(match random.below(3) {
            0 => random.next().to_le_bytes(),
            1 => random
                .pick(&[f64::NAN, f64::INFINITY, -0.0, f64::MAX, f64::MIN_POSITIVE, -1e300])
                .to_le_bytes(),
            _ => [0xff; 8],
        }),
        Value::Four(_) => Value::Four(random.next().to_le_bytes()[..4].try_into().unwrap()),
        Value::Text(now) => Value::Text(match random.below(8) {
            0 => Vec::new(),
            1 => now.repeat(random.pick(&[2, 40, 3_000])),
            2 => "\u{0}\u{1f}\u{202e}\u{fffd}\u{10ffff}".into(),
            3 => "\"}],{\"a\":[[[[%00%2e%2e/../..//\\\n".into(),
            4 => vec![b'x'; random.pick(&[65, 257, 9_000, 70_000])],
            5 => b"http://a:99999/?%".to_vec(),
            6 => random.next().to_string().into_bytes(),
            _ => now,
        }),
        Value::Bytes(now) => Value::Bytes(match random.below(3) {
            0 => Vec::new(),
            1 => now.into_iter().rev().collect(),
            _ => (0..random.pick(&[1, 33, 2_000, 70_000]))
                .map(|n| (n % 127) as u8)
                .collect(),
        }),
        Value::Message(now) => Value::Message(if random.percent(50) { Vec::new() } else { now }),
    }
}

fn put(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn write(fields: &[Field], out: &mut Vec<u8>) {
    for Field { number, value } in fields {
        let mut whole = |kind: u64, bytes: &[u8]| {
            put(number << 3 | kind, out);
            if kind == 2 {
                put(bytes.len() as u64, out);
            }
            out.extend_from_slice(bytes);
        };
        match value {
            Value::Number(value) => {
                let mut bytes = Vec::new();
                put(*value, &mut bytes);
                whole(0, &bytes);
            }
            Value::Eight(bytes) => whole(1, bytes),
            Value::Four(bytes) => whole(5, bytes),
            Value::Text(bytes) | Value::Bytes(bytes) => whole(2, bytes),
            Value::Message(fields) => {
                let mut bytes = Vec::new();
                write(fields, &mut bytes);
                whole(2, &bytes);
            }
        }
    }
}
