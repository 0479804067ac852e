//! Counts the parts of a message as its bytes come, before any of it is decoded: an empty one of two bytes takes up hundreds when it is.
//!
//! A part is a field with a length: a text, bytes, a list of numbers, or a message, whose own parts count too (Protocol Buffers, encoding).

/// Parts of a message. A report of an Envoy has a few thousand at most, the first request of xDS as many extensions.
pub(crate) const MAX_PARTS: usize = 32_768;
/// Messages within one another. Those that the decoder would refuse.
const MAX_DEPTH: usize = 100;
/// Bytes of the longest number.
const VARINT: u32 = 10;

/// Which fields of a message are messages, and of what shape. What is in others is nothing but bytes.
#[derive(Debug)]
pub(super) struct Shape(pub(super) &'static [(u64, &'static Shape)]);

/// Why a message is not worth decoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It has more than [`MAX_PARTS`].
    TooManyParts,
    /// It cannot be decoded.
    Malformed,
}

/// What of a message comes next.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// Number and kind of a field.
    Key,
    Number,
    /// The length of the field of this number.
    Length(u64),
    /// So many bytes that are not looked at.
    Content(usize),
}

/// A message that comes.
#[derive(Debug)]
pub(super) struct Parts {
    /// The messages that have begun and not ended, the outermost first, and where each ends.
    open: Vec<(&'static Shape, usize)>,
    next: Next,
    /// The number that is being read: what has come of it, and how many bytes.
    varint: (u64, u32),
    at: usize,
    count: usize,
}

impl Parts {
    /// Of a message of this shape and length.
    pub(super) fn of(shape: &'static Shape, length: usize) -> Self {
        Self {
            open: vec![(shape, length)],
            next: Next::Key,
            varint: (0, 0),
            at: 0,
            count: 0,
        }
    }

    /// Follows the next bytes of the message.
    ///
    /// # Errors
    /// It has too many parts, or is none. Nothing more is to be taken of it.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        while let Some((&byte, rest)) = bytes.split_first() {
            let &(shape, end) = self.open.last().ok_or(Fault::Malformed)?;
            if let Next::Content(left) = self.next {
                let (passed, rest) = bytes.split_at(left.min(bytes.len()));
                self.at += passed.len();
                self.next = Next::Content(left - passed.len());
                bytes = rest;
            } else {
                self.at += 1;
                bytes = rest;
                if let Some(number) = self.number(byte)? {
                    self.read(number, shape, end)?;
                }
            }
            if matches!(self.next, Next::Content(0)) {
                self.next = Next::Key;
            }
            self.close()?;
        }
        Ok(())
    }

    /// Adds a byte to the number that is being read; the number once it is whole.
    fn number(&mut self, byte: u8) -> Result<Option<u64>, Fault> {
        let (value, read) = self.varint;
        let value = value | u64::from(byte & 0x7f) << (7 * read).min(63);
        if byte & 0x80 == 0 {
            self.varint = (0, 0);
            return Ok(Some(value));
        }
        self.varint = (value, read + 1);
        if self.varint.1 == VARINT {
            return Err(Fault::Malformed);
        }
        Ok(None)
    }

    /// Takes a number that is whole, in a message of this shape that ends there.
    fn read(&mut self, number: u64, shape: &'static Shape, end: usize) -> Result<(), Fault> {
        self.next = match self.next {
            Next::Key => match number & 7 {
                0 => Next::Number,
                1 => self.content(8, end)?,
                2 => Next::Length(number >> 3),
                // What is in a group is read like what is outside.
                3 | 4 => Next::Key,
                5 => self.content(4, end)?,
                _ => return Err(Fault::Malformed),
            },
            Next::Length(field) => {
                self.count += 1;
                if self.count > MAX_PARTS {
                    return Err(Fault::TooManyParts);
                }
                let content = self.content(number, end)?;
                match (content, shape.0.iter().find(|(known, _)| *known == field)) {
                    (Next::Content(length), Some((_, inner))) => {
                        if self.open.len() >= MAX_DEPTH {
                            return Err(Fault::Malformed);
                        }
                        self.open.push((inner, self.at + length));
                        Next::Key
                    }
                    (content, _) => content,
                }
            }
            Next::Number | Next::Content(_) => Next::Key,
        };
        Ok(())
    }

    /// So many bytes, which must end with the message that they are in.
    fn content(&self, length: u64, end: usize) -> Result<Next, Fault> {
        let left = end.checked_sub(self.at).ok_or(Fault::Malformed)?;
        let length = usize::try_from(length).ok().filter(|length| *length <= left);
        length.map(Next::Content).ok_or(Fault::Malformed)
    }

    /// Closes the messages that end here, which none does in the middle of a field.
    fn close(&mut self) -> Result<(), Fault> {
        while let Some((_, end)) = self.open.last()
            && self.at >= *end
        {
            if !matches!(self.next, Next::Key) || self.varint.1 > 0 {
                return Err(Fault::Malformed);
            }
            self.open.pop();
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "parts_tests.rs"]
mod tests;
