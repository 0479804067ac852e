//! Health and reflection at the gRPC port as it is shipped.

use super::Running;
use super::ports_tests::running;
use std::path::Path;
use tokio_stream::StreamExt as _;
use tonic::codegen::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

const TOKEN: &str = "0123456789abcdef";

/// A control plane that asks for a token, written at this path.
async fn guarded(tokens: &Path) -> Running {
    std::fs::write(tokens, TOKEN).unwrap();
    running(&["--grpc-tokens-file", tokens.to_str().unwrap()]).await
}

async fn connect(ports: &Running) -> Channel {
    let address = format!("http://127.0.0.1:{}", ports.grpc_address.port());
    Endpoint::from_shared(address).unwrap().connect().await.unwrap()
}

/// Adds the token to a call.
fn known(mut request: Request<()>) -> Result<Request<()>, Status> {
    let value = format!("Bearer {TOKEN}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    Ok(request)
}

fn named(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

async fn state(channel: &Channel, service: &str) -> Result<ServingStatus, Code> {
    let answer = HealthClient::new(channel.clone()).check(named(service)).await;
    answer
        .map(|answer| answer.into_inner().status())
        .map_err(|status| status.code())
}

type Known = InterceptedService<Channel, fn(Request<()>) -> Result<Request<()>, Status>>;

async fn watch(channel: &Channel) -> Result<Streaming<HealthCheckResponse>, Status> {
    let mut client: HealthClient<Known> = HealthClient::with_interceptor(channel.clone(), known);
    client.watch(named("")).await.map(tonic::Response::into_inner)
}

/// Asks these questions and keeps on listening.
async fn reflect(
    channel: &Channel,
    questions: Vec<MessageRequest>,
) -> Result<Streaming<ServerReflectionResponse>, Status> {
    let mut client: ServerReflectionClient<Known> = ServerReflectionClient::with_interceptor(channel.clone(), known);
    let questions = questions.into_iter().map(|question| ServerReflectionRequest {
        message_request: Some(question),
        ..ServerReflectionRequest::default()
    });
    let requests = tokio_stream::iter(questions).chain(tokio_stream::pending());
    let answer = client.server_reflection_info(requests).await;
    answer.map(tonic::Response::into_inner)
}

#[tokio::test(start_paused = true)]
async fn without_a_token_a_check_is_answered_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let ports = guarded(&folder.path().join("tokens")).await;
    let channel = connect(&ports).await;
    assert_eq!(state(&channel, "").await, Ok(ServingStatus::Serving));
    for service in ["ControlLink", "CacheBackend"] {
        let known = format!("optimizer.v1.{service}");
        assert_eq!(state(&channel, &known).await, Ok(ServingStatus::Serving), "{known}");
    }
    // There is no other replica.
    let replicas = state(&channel, "optimizer.v1.ReplicaLink").await;
    assert_eq!(replicas, Ok(ServingStatus::NotServing));
    assert_eq!(state(&channel, "optimizer.v1.Nobody").await, Err(Code::NotFound));
    assert_eq!(state(&channel, &"x".repeat(300)).await, Err(Code::OutOfRange));
    let mut stranger = HealthClient::new(channel.clone());
    let refused = stranger.watch(named("")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let mut stranger = ServerReflectionClient::new(channel);
    let question = ServerReflectionRequest::default();
    let refused = stranger.server_reflection_info(tokio_stream::iter([question])).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test(start_paused = true)]
async fn who_watches_hears_of_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let ports = guarded(&folder.path().join("tokens")).await;
    let mut states = watch(&connect(&ports).await).await.unwrap();
    let first = states.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
    let stopping = tokio::spawn(async { ports.stop().await.map_err(|error| error.to_string()) });
    let last = states.message().await.unwrap().unwrap();
    assert_eq!(last.status(), ServingStatus::NotServing);
    let end = states.message().await.unwrap_err();
    assert_eq!(
        (end.code(), end.message()),
        (Code::Unavailable, "the control plane stops")
    );
    stopping.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn with_a_token_the_services_of_the_port_are_described() {
    let folder = tempfile::tempdir().unwrap();
    let ports = guarded(&folder.path().join("tokens")).await;
    let questions = vec![
        MessageRequest::ListServices(String::new()),
        MessageRequest::FileContainingSymbol("optimizer.v1.ControlLink".to_owned()),
    ];
    let mut answers = reflect(&connect(&ports).await, questions).await.unwrap();
    let mut next = async || answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = next().await else {
        panic!("no list");
    };
    let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    for service in [
        "optimizer.v1.ControlLink",
        "envoy.service.discovery.v3.AggregatedDiscoveryService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
    ] {
        assert!(names.iter().any(|name| name == service), "{names:?}");
    }
    let MessageResponse::FileDescriptorResponse(file) = next().await else {
        panic!("no description");
    };
    let text = String::from_utf8_lossy(&file.file_descriptor_proto[0]).into_owned();
    assert!(text.contains("ControlLink") && text.contains("Connect"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn questions_end_with_their_token_and_so_many_are_open_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    let ports = guarded(&tokens).await;
    let channel = connect(&ports).await;
    let mut open = Vec::new();
    let refused = loop {
        // A first question must come in time.
        match reflect(&channel, vec![MessageRequest::ListServices(String::new())]).await {
            Ok(answers) => open.push(answers),
            Err(refused) => break refused,
        }
        assert!(open.len() < 200);
    };
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    // 16 MB of answers for an address, 96 KB for each call.
    assert_eq!(open.len(), (16 << 20) / (96 << 10));
    std::fs::write(&tokens, "another-token-altogether").unwrap();
    for mut answers in open {
        let mut end = answers.message().await;
        while let Ok(Some(_)) = end {
            end = answers.message().await;
        }
        assert_eq!(end.unwrap_err().code(), Code::Unauthenticated);
    }
}
