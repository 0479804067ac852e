use super::*;

static LEAF: Shape = Shape(&[]);
static TREE: Shape = Shape(&[(1, &TREE), (2, &LEAF)]);

/// A field with this content, whose length is below 128.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(content.len()).unwrap()][..], content].concat()
}

fn long(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        out.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).unwrap());
    [out, content.to_vec()].concat()
}

/// Of a message that comes in pieces of every length.
fn counted(message: &[u8]) -> Result<usize, Fault> {
    let in_pieces = |piece: usize| {
        let mut parts = Parts::of(&TREE, message.len());
        message.chunks(piece).try_for_each(|bytes| parts.take(bytes))?;
        Ok(parts.count)
    };
    let whole = in_pieces(message.len().max(1));
    for piece in [1, 2, 3, 7] {
        assert_eq!(in_pieces(piece), whole, "in pieces of {piece}");
    }
    whole
}

#[test]
fn parts_of_parts_are_counted_and_those_of_bytes_are_not() {
    assert_eq!(counted(&[]), Ok(0));
    let inner = [field(1, &[]), field(4, b"text"), field(3, &field(1, &[]))].concat();
    assert_eq!(counted(&inner), Ok(3));
    assert_eq!(counted(&field(1, &inner)), Ok(4));
    assert_eq!(counted(&field(2, &inner)), Ok(4), "of the leaf too");
    assert_eq!(counted(&field(3, &inner)), Ok(1), "nothing but bytes");
    // Numbers of all kinds, and a group.
    let numbers = [
        &[0x20, 0x96, 0x01][..],
        &[0x29],
        &[7; 8],
        &[0x35],
        &[7; 4],
        &[0x3b, 0x20, 1, 0x3c],
    ]
    .concat();
    assert_eq!(counted(&numbers), Ok(0));
    assert_eq!(
        counted(&[numbers.clone(), field(1, &numbers), field(2, &[])].concat()),
        Ok(2)
    );
}

#[test]
fn what_the_decoder_would_refuse_is_malformed() {
    for message in [
        &[0x0f][..],
        &[0x0a, 2, 0],
        &[0x0a],
        &[0x0a, 2, 0x0a, 1],
        &[0x29, 1],
        &[0x12, 1, 0x29],
        &[0x12, 1, 0x80],
        &[0xff; 11],
        &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    ] {
        assert_eq!(counted(message), Err(Fault::Malformed), "{message:?}");
    }
    // What is looked into is bounded as well.
    let nested = |depth: usize| (1..depth).fold(Vec::new(), |inner, _| long(1, &inner));
    assert_eq!(counted(&nested(MAX_DEPTH)), Ok(MAX_DEPTH - 1));
    assert_eq!(counted(&nested(MAX_DEPTH + 1)), Err(Fault::Malformed));
}

#[test]
fn more_parts_than_a_message_may_have_are_refused() {
    for (number, unit) in [(1, field(2, &[])), (2, field(9, &[])), (1, field(1, &[]))] {
        let message = |count: usize| long(number, &unit.repeat(count - 1));
        assert_eq!(counted(&message(32_768)), Ok(32_768));
        assert_eq!(counted(&message(32_769)), Err(Fault::TooManyParts));
    }
}
