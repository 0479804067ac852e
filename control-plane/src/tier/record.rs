//! What the tier keeps of a stored response.

use control_domain::purges::tier_order::Fence;
use optimizer_proto::v1::TierPut;

/// One stored response with what is needed to judge it.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Record {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
    #[prost(uint64, tag = "3")]
    fence_ms: u64,
    #[prost(uint64, tag = "4")]
    fence_sequence: u64,
    #[prost(string, tag = "5")]
    pub(super) host: String,
    #[prost(string, tag = "6")]
    pub(super) path: String,
    #[prost(string, repeated, tag = "7")]
    pub(super) tags: Vec<String>,
    /// By the tier's clock.
    #[prost(uint64, tag = "8")]
    pub(super) usable_until_ms: u64,
    /// The tier's clock against that of the Envoy that stored it.
    #[prost(sint64, tag = "9")]
    pub(super) ahead_ms: i64,
}

impl Record {
    /// Largest encoded record: key, value, and the parts of the key once more.
    pub(super) const MAX_BYTES: usize = super::MAX_VALUE + 2 * super::MAX_KEY + (64 << 10);

    pub(super) fn of(offer: TierPut, fence: Fence, usable_until_ms: u64, ahead_ms: i64) -> Self {
        Self {
            key: offer.key,
            value: offer.value,
            fence_ms: fence.ms,
            fence_sequence: fence.sequence,
            host: offer.host,
            path: offer.path,
            tags: offer.tags,
            usable_until_ms,
            ahead_ms,
        }
    }

    pub(super) fn fence(&self) -> Fence {
        Fence {
            ms: self.fence_ms,
            sequence: self.fence_sequence,
        }
    }
}

/// Names of selecting fields as they are kept; `None` for none.
pub(super) fn vary_text(names: &[Vec<u8>]) -> Option<Vec<u8>> {
    (!names.is_empty()).then(|| names.join(&b'\n'))
}

/// Reads them back; `None` when they cannot be field names.
pub(super) fn vary_names(text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let names: Vec<Vec<u8>> = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let token = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(byte);
    let sound = names.len() <= super::MAX_VARY
        && names
            .iter()
            .all(|name| !name.is_empty() && name.len() <= 256 && name.iter().all(token));
    sound.then_some(names)
}
