//! gRPC server reflection, v1 and the v1alpha that older tools ask for: the services of this port, and the messages of ours.
//!
//! Of Envoy's own services only the names are told: their descriptions are Envoy's, and every tool can have them there.

use tonic_reflection::server::{Builder, v1, v1alpha};

/// Longest question: a name.
pub(crate) const MAX_QUESTION: usize = 4 << 10;
/// What the answers of a call take at most, bytes: one that is sent, one that waits and one that is made, each no longer than the description of a
/// file.
pub(crate) const ANSWERS: usize = 3 * MAX_FILE;
const MAX_FILE: usize = 32 << 10;

fn described<'a>(names: &[&'static str]) -> Builder<'a> {
    let builder = Builder::configure()
        .register_encoded_file_descriptor_set(optimizer_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    names
        .iter()
        .fold(builder, |builder, name| builder.with_service_name(*name))
}

type Error = tonic_reflection::server::Error;

/// Both versions, for the services of these names.
///
/// # Errors
/// A description cannot be read; those in the program can.
pub(super) fn services(
    names: &[&'static str],
) -> Result<
    (
        v1::ServerReflectionServer<impl v1::ServerReflection + use<>>,
        v1alpha::ServerReflectionServer<impl v1alpha::ServerReflection + use<>>,
    ),
    Error,
> {
    let v1 = described(names).build_v1()?.max_decoding_message_size(MAX_QUESTION);
    let alpha = described(names).build_v1alpha()?;
    Ok((v1, alpha.max_decoding_message_size(MAX_QUESTION)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;

    #[test]
    fn a_description_is_no_longer_than_is_reserved_for_it() {
        for set in [
            optimizer_proto::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ] {
            let files = prost_types::FileDescriptorSet::decode(set).unwrap().file;
            let longest = files.iter().map(prost::Message::encoded_len).max().unwrap();
            // A question comes back with its answer.
            assert!(longest + MAX_QUESTION + 64 <= MAX_FILE, "{longest}");
        }
    }
}
