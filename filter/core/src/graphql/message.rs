//! The JSON object of a request. One member that is there twice, or that some server may take for another one, and nothing is read.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::collections::HashSet;
use std::fmt;

/// What a request says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    /// The document.
    pub(super) query: Option<String>,
    /// The operation of it that is asked for.
    pub(super) operation: Option<String>,
    /// The hash of a persisted document.
    pub(super) sha256: Option<String>,
}

/// Reads a request; `None` where it is none, or not beyond doubt.
pub(super) fn read(content: &[u8]) -> Option<Message> {
    let mut message = Message::default();
    let mut json = serde_json::Deserializer::from_slice(content);
    let whole = Part {
        role: Role::Message,
        message: &mut message,
    };
    // The parser bounds the depth.
    whole.deserialize(&mut json).ok()?;
    json.end().ok()?;
    Some(message)
}

/// What a value is in the message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Message,
    Query,
    Operation,
    Variables,
    Extensions,
    Persisted,
    Hash,
    /// Nobody looks into it here.
    Other,
}

impl Role {
    /// What a member is; `None` where it is not known, or might be another one for a server that minds no case.
    fn of_member(self, name: &str) -> Option<Self> {
        match (self, name) {
            (Self::Message, "query") => Some(Self::Query),
            (Self::Message, "operationName") => Some(Self::Operation),
            (Self::Message, "variables") => Some(Self::Variables),
            (Self::Message, "extensions") => Some(Self::Extensions),
            (Self::Extensions, "persistedQuery") => Some(Self::Persisted),
            // Letters that are the same but for their case are not all ASCII.
            (Self::Extensions, other) => {
                let apart = other.is_ascii() && !other.eq_ignore_ascii_case("persistedQuery");
                apart.then_some(Self::Other)
            }
            (Self::Persisted, "version") => Some(Self::Other),
            (Self::Persisted, "sha256Hash") => Some(Self::Hash),
            (Self::Variables | Self::Other, _) => Some(Self::Other),
            _ => None,
        }
    }
}

struct Part<'m> {
    role: Role,
    message: &'m mut Message,
}

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Part<'_> {
    fn plain<E: Error>(&self) -> Result<(), E> {
        if self.role == Role::Other {
            Ok(())
        } else {
            Err(E::custom("another type is expected"))
        }
    }
}

impl<'de> Visitor<'de> for Part<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a GraphQL request")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.plain()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.plain()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.plain()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.plain()
    }

    /// `null` is as good as absent.
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        if self.role == Role::Message {
            Err(E::custom("null"))
        } else {
            Ok(())
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let place = match self.role {
            Role::Query => &mut self.message.query,
            Role::Operation => &mut self.message.operation,
            Role::Hash => &mut self.message.sha256,
            _ => return self.plain(),
        };
        *place = Some(text.to_owned());
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.plain()?;
        let role = Role::Other;
        while items
            .next_element_seed(Part {
                role,
                message: &mut *self.message,
            })?
            .is_some()
        {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            let role = self
                .role
                .of_member(&name)
                .ok_or_else(|| A::Error::custom("an unknown member"))?;
            if !seen.insert(name) {
                return Err(A::Error::custom("a member twice"));
            }
            members.next_value_seed(Part {
                role,
                message: &mut *self.message,
            })?;
        }
        Ok(())
    }
}
