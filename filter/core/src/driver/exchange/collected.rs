//! The content of requests as it is collected, and what it comes to.

use crate::cache::ContentKey;
use crate::reason::Reason;
use std::cell::Cell;
use std::rc::Rc;

/// Content of waiting requests that one VM keeps, bytes.
const BUDGET: usize = 16 << 20;

/// What is known of a request's content.
#[derive(Debug, Default)]
pub(crate) enum Content {
    /// Nothing: it does not matter, or has not been asked for.
    #[default]
    Unasked,
    /// The request is no read, or cannot be told to be one.
    Refused(Reason),
    /// It is a read.
    Keyed(Rc<ContentKey>),
}

impl Content {
    pub(crate) fn key(&self) -> Option<Rc<ContentKey>> {
        match self {
            Self::Keyed(key) => Some(Rc::clone(key)),
            _ => None,
        }
    }

    /// Whether nothing speaks against its being a read but that the content was not seen as a whole. Where the operator has said that every
    /// content is a read, such a request makes nothing invalid either: else one that is too large or too slow would remove all others.
    pub(crate) fn is_unseen(&self) -> bool {
        use Reason::{ContentExpected, ContentSlow, ContentTooLarge, ContentTrailers, ContentUnseen, NoSpace};
        matches!(
            self,
            Self::Refused(ContentExpected | ContentSlow | ContentTooLarge | ContentTrailers | ContentUnseen | NoSpace)
        )
    }

    /// Why the content makes no key.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        match self {
            Self::Refused(reason) => Some(reason.as_str()),
            _ => None,
        }
    }
}

/// Bytes of content that all waiting requests of a VM have brought.
#[derive(Debug, Clone, Default)]
pub struct Collecting(Rc<Cell<usize>>);

/// The content of one request, as far as it has come.
#[derive(Debug)]
pub(crate) struct Collected {
    bytes: Vec<u8>,
    all: Collecting,
}

impl Collecting {
    /// Room for the content of one more request.
    pub(crate) fn begin(&self) -> Collected {
        Collected {
            bytes: Vec::new(),
            all: self.clone(),
        }
    }
}

impl Collected {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds a piece; false where there is no room for it.
    pub(crate) fn append(&mut self, piece: &[u8]) -> bool {
        let sum = self.all.0.get().saturating_add(piece.len());
        if sum > BUDGET {
            return false;
        }
        self.all.0.set(sum);
        self.bytes.extend_from_slice(piece);
        true
    }
}

impl Drop for Collected {
    fn drop(&mut self) {
        self.all.0.set(self.all.0.get().saturating_sub(self.bytes.len()));
    }
}
