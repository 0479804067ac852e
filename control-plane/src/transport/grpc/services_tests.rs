use super::*;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use optimizer_proto::v1::{FilterMessage, RelayedCommand, TierGet, TierInvalidate, TierPut, TierRelease};
use prost::Message;
use std::collections::BTreeSet;
use tonic_health::pb::HealthCheckRequest;
use tonic_reflection::pb::{v1, v1alpha};

type Decodes = fn(&[u8]) -> bool;

fn decodes<M: Message + Default>(bytes: &[u8]) -> bool {
    M::decode(bytes).is_ok()
}

fn field(number: u64, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_varint(number << 3 | 2, &mut out);
    prost::encoding::encode_varint(content.len() as u64, &mut out);
    [out, content.to_vec()].concat()
}

/// The fields of a message, found at this path, that are messages: what is text or a list of numbers decodes, as a message it does not.
fn messages(decodes: Decodes, path: &[u64]) -> BTreeSet<u64> {
    let at = |number, content: &[u8]| {
        let innermost = field(number, content);
        let message = path
            .iter()
            .rev()
            .fold(innermost, |inner, number| field(*number, &inner));
        decodes(&message)
    };
    (1..=200)
        .filter(|number| at(*number, &[]) && !at(*number, &[7; 8]))
        .collect()
}

fn compare(decodes: Decodes, path: &mut Vec<u64>, shape: &'static Shape, seen: &mut Vec<&'static Shape>) {
    let known: BTreeSet<u64> = shape.0.iter().map(|(number, _)| *number).collect();
    assert_eq!(messages(decodes, path), known, "messages in the field {path:?}");
    for (number, inner) in shape.0 {
        // A message that is in itself, or without any, is looked at once at a place.
        if !seen.iter().any(|before| std::ptr::eq(*before, *inner)) {
            seen.push(inner);
            path.push(*number);
            compare(decodes, path, inner, seen);
            path.pop();
            seen.pop();
        }
    }
}

#[test]
fn every_message_within_a_message_is_known() {
    let all: [(&str, Decodes); 11] = [
        ("/optimizer.v1.ControlLink/Connect", decodes::<FilterMessage>),
        ("/optimizer.v1.CacheBackend/Get", decodes::<TierGet>),
        ("/optimizer.v1.CacheBackend/Put", decodes::<TierPut>),
        ("/optimizer.v1.CacheBackend/Release", decodes::<TierRelease>),
        ("/optimizer.v1.CacheBackend/Invalidate", decodes::<TierInvalidate>),
        ("/optimizer.v1.ReplicaLink/Relay", decodes::<RelayedCommand>),
        (
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
            decodes::<DiscoveryRequest>,
        ),
        (
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
            decodes::<DeltaDiscoveryRequest>,
        ),
        ("/grpc.health.v1.Health/Check", decodes::<HealthCheckRequest>),
        (
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            decodes::<v1::ServerReflectionRequest>,
        ),
        (
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            decodes::<v1alpha::ServerReflectionRequest>,
        ),
    ];
    for (path, decodes) in all {
        println!("{path}");
        let shape = Service::at(path).shape.unwrap();
        compare(decodes, &mut Vec::new(), shape, &mut vec![shape]);
    }
    assert_eq!(
        SERVICES.iter().filter(|service| service.shape.is_some()).count(),
        all.len()
    );
    assert_eq!(Service::at("/of/nobody").length, 0);
}
