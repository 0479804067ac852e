//! Errors for people and programs: problem+json (RFC 9457). The only place where a refusal becomes a status.

use super::answers::Finding;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::HeaderName;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use control_domain::settings::change::ChangeError;
use control_domain::settings::history::Refused;
use control_domain::settings::shape::check_bytes;
use control_domain::settings::unique_names;
use optimizer_proto::settings::Violation;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use std::time::Duration;
use utoipa::ToSchema;

/// Code of a body that broke off.
const INCOMPLETE: &str = "body_incomplete";

/// An error answer.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    details: Box<ProblemDetails>,
    headers: Vec<(HeaderName, String)>,
}

/// What went wrong (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProblemDetails {
    /// URN made of the code.
    #[serde(rename = "type")]
    kind: String,
    /// What went wrong, for people.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What went wrong, for programs; stable.
    code: &'static str,
    /// What is wrong with which field, where fields are.
    #[serde(skip_serializing_if = "Option::is_none")]
    violations: Option<Vec<Finding>>,
    /// The revision that stands in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
}

/// A JSON body; what is wrong with it is told as a problem.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Sync + Send, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Raw(bytes) = Raw::from_request(request, state).await?;
        parse(&bytes).map(Self)
    }
}

/// Reads a JSON body, after a look at how large the document would be.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    check_bytes(body).map_err(|reason| Problem::too_large(&reason))?;
    unique_names::check(body).map_err(|error| Problem::malformed_json(&error))?;
    serde_json::from_slice(body).map_err(|error| Problem::malformed_json(&error))
}

/// The bytes of a body within the limit.
#[derive(Debug)]
pub(crate) struct Raw(pub(crate) Bytes);

impl<S: Sync + Send> FromRequest<S> for Raw {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        Bytes::from_request(request, state).await.map(Self).map_err(|refused| {
            if refused.status() == StatusCode::PAYLOAD_TOO_LARGE {
                Problem::new(refused.status(), "body_too_large", refused.body_text())
            } else {
                Problem::incomplete(&refused.body_text())
            }
        })
    }
}

/// Query parameters; unknown or unreadable ones are told as a problem.
#[derive(Debug)]
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Sync + Send, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(refused) => Err(Problem::new(StatusCode::BAD_REQUEST, "bad_query", refused.body_text())),
        }
    }
}

/// Parts of the path that a resource is named by; unreadable ones are told as a problem.
#[derive(Debug)]
pub(crate) struct Segments<T>(pub(crate) T);

impl<S: Sync + Send, T: DeserializeOwned + Send> FromRequestParts<S> for Segments<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(refused) => Err(Problem::new(StatusCode::BAD_REQUEST, "bad_path", refused.body_text())),
        }
    }
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, title: impl Into<String>) -> Self {
        Self {
            status,
            details: Box::new(ProblemDetails {
                kind: format!("urn:api-optimizer:problem:{code}"),
                title: title.into(),
                status: status.as_u16(),
                code,
                violations: None,
                revision: None,
            }),
            headers: Vec::new(),
        }
    }

    /// What went wrong, for people.
    pub(crate) fn title(&self) -> &str {
        &self.details.title
    }

    /// The body broke off.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.details.code == INCOMPLETE
    }

    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is no such resource")
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "The resource does not take this method",
        )
    }

    /// A body that is no JSON, or JSON of another shape than asked for.
    pub(crate) fn malformed_json(reason: &serde_json::Error) -> Self {
        let (code, title) = match reason.classify() {
            Category::Data => ("invalid_body", "The body is refused; nothing has changed".to_owned()),
            _ => ("malformed_json", format!("The body is no JSON: {reason}")),
        };
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, title).finding("", reason.to_string())
    }

    /// A body within the limit that would make too large a document.
    pub(crate) fn too_large(reason: &impl std::fmt::Display) -> Self {
        let title = format!("The document is too large: {reason}");
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "document_too_large", title)
    }

    /// A body that broke off, or paused for too long.
    pub(crate) fn incomplete(reason: &impl std::fmt::Display) -> Self {
        let title = format!("The body did not arrive: {reason}");
        Self::new(StatusCode::REQUEST_TIMEOUT, INCOMPLETE, title)
    }

    pub(crate) fn media_type() -> Self {
        let takes = "application/json-patch+json, application/merge-patch+json or application/json";
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            format!("The body must be {takes}"),
        )
    }

    pub(crate) fn bad_query(name: &str, given: &str, allowed: &str) -> Self {
        let title = format!("{name}={given} is not allowed: {allowed}");
        Self::new(StatusCode::BAD_REQUEST, "bad_query", title)
    }

    /// A field of the body that is not allowed.
    pub(crate) fn invalid(path: &str, given: &str, allowed: &str) -> Self {
        let given: String = given.chars().take(64).collect();
        let message = format!("given \"{given}\", allowed is {allowed}");
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_body",
            "The body is refused; nothing has changed",
        )
        .finding(path, message)
    }

    /// Fields of the body that are not allowed.
    pub(crate) fn invalid_fields(found: Vec<Violation>) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_body",
            "The body is refused; nothing has changed",
        )
        .violations(found.into_iter().map(Finding::from).collect())
    }

    pub(crate) fn unauthorized(title: &str) -> Self {
        let mut problem = Self::new(StatusCode::UNAUTHORIZED, "unauthorized", title);
        problem
            .headers
            .push((header::WWW_AUTHENTICATE, "Bearer realm=\"api-optimizer\"".to_owned()));
        problem
    }

    /// The replicas cannot agree on anything at the moment.
    pub(crate) fn unavailable(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "replicas_unavailable", reason).retry_after(Duration::from_secs(1))
    }

    /// When to try again.
    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        self.headers.push((header::RETRY_AFTER, wait.as_secs().to_string()));
        self
    }

    /// The revision that stands in the way.
    fn revision(mut self, number: u64) -> Self {
        self.details.revision = Some(number);
        self
    }

    fn violations(mut self, found: Vec<Finding>) -> Self {
        self.details.violations = Some(found);
        self
    }

    fn finding(self, path: &str, message: String) -> Self {
        self.violations(vec![Finding {
            path: path.to_owned(),
            code: "malformed".to_owned(),
            message,
        }])
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let text = refused.to_string();
        match refused {
            Refused::Conflict { present, .. } => {
                Self::new(StatusCode::PRECONDITION_FAILED, "revision_conflict", text).revision(present)
            }
            Refused::Change(ChangeError::TooLarge(_) | ChangeError::TooManyOperations) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "document_too_large", text)
            }
            Refused::Change(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "patch_does_not_apply", text),
            Refused::CanaryUnderWay(number) => {
                Self::new(StatusCode::CONFLICT, "canary_under_way", text).revision(number)
            }
            Refused::OthersInForce(_) => Self::new(StatusCode::CONFLICT, "fleet_has_other_settings", text),
            Refused::NoCanary => Self::new(StatusCode::CONFLICT, "no_canary", text),
            Refused::NoEnvoy => Self::new(StatusCode::CONFLICT, "no_envoy", text),
            Refused::Unavailable(_) => Self::unavailable(text),
            Refused::UnknownRevision(_) => Self::new(StatusCode::NOT_FOUND, "unknown_revision", text),
            Refused::Violations(violations) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid_settings",
                "The settings are refused; nothing has changed",
            )
            .violations(violations.into_iter().map(Finding::from).collect()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.details).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn a_body_in_which_a_name_stands_twice_is_refused() {
        for (body, code) in [
            (r#"{"routes":[],"default_ttl":"5m"}"#, None),
            (r#"{"routes":[1],"routes":[]}"#, Some("invalid_body")),
            ("{", Some("malformed_json")),
        ] {
            let problem = parse::<Value>(body.as_bytes()).err();
            assert_eq!(problem.as_ref().map(|problem| problem.details.code), code, "{body}");
        }
    }
}
