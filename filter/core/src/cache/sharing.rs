//! Who may share a stored response (RFC 9111 sections 3 and 7): with freshness that the origin did not give, nobody who sends
//! credentials; across origins (CORS), only those whom the origin answers alike.

use super::forwarded;
use super::stored_response::StoredView;
use crate::http::fields::{Fields, Line};

/// What becomes of a response with fields that change one client's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientState {
    /// It is not stored.
    #[default]
    Refuse,
    /// It is stored without these fields.
    Strip,
    /// It is stored with them.
    Share,
}

impl ClientState {
    /// The word of the settings.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Strip => "strip",
            Self::Share => "share",
        }
    }
}

/// What an operator decides about sharing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SharingPolicy {
    /// Freshness that the origin did not give also applies to requests with credentials.
    pub with_credentials: bool,
    /// Request fields that carry credentials, besides [`is_credential`] (lower-case names).
    pub credential_headers: Vec<Vec<u8>>,
    /// Request fields that the cache key tells apart (lower-case names).
    pub keyed: Vec<Vec<u8>>,
    /// Responses that set cookies.
    pub client_state: ClientState,
}

/// True for a request field that usually carries credentials or names the user: `Cookie`, the two of RFC 9110 section 11, those of API
/// keys and tokens, and those by which a proxy in front tells who the user is.
#[must_use]
pub fn is_credential(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 34] = [
        b"authorization",
        b"cookie",
        b"proxy-authorization",
        b"api-key",
        b"apikey",
        b"client-cert",
        b"client-cert-chain",
        b"dpop",
        b"ocp-apim-subscription-key",
        b"remote-user",
        b"signature",
        b"token",
        b"x-amzn-oidc-accesstoken",
        b"x-amzn-oidc-data",
        b"x-amzn-oidc-identity",
        b"x-auth-key",
        b"x-client-cert",
        b"x-consumer-custom-id",
        b"x-consumer-id",
        b"x-consumer-username",
        b"x-credential-identifier",
        b"x-forwarded-client-cert",
        b"x-forwarded-email",
        b"x-forwarded-user",
        b"x-functions-key",
        b"x-goog-authenticated-user-email",
        b"x-goog-authenticated-user-id",
        b"x-jwt-payload",
        b"x-ms-client-principal",
        b"x-ms-client-principal-id",
        b"x-session",
        b"x-user",
        b"x-user-id",
        b"x-webauth-user",
    ];
    const ENDINGS: [&[u8]; 14] = [
        b"-access-key",
        b"-api-key",
        b"-apikey",
        b"-assertion",
        b"-auth",
        b"-authorization",
        b"-jwt",
        b"-password",
        b"-remote-user",
        b"-request-email",
        b"-request-user",
        b"-secret",
        b"-session-id",
        b"-token",
    ];
    NAMES.contains(&name) || ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// True for a response field that changes one client's state: it is for the client that asked, and for no other.
#[must_use]
pub fn is_client_state(name: &[u8]) -> bool {
    name == b"set-cookie"
}

/// True for a response field that is for the client, or the proxy, that asked, even where the rest of the response is from the store.
#[must_use]
pub fn is_for_this_exchange(name: &[u8]) -> bool {
    is_client_state(name)
        || matches!(
            name,
            b"www-authenticate" | b"authentication-info" | b"x-envoy-immediate-health-check-fail" | b"x-envoy-degraded"
        )
}

/// Fields that name one request. An origin that repeats them speaks of that request alone.
const REQUEST_IDS: [&[u8]; 5] = [
    b"correlation-id",
    b"request-id",
    b"x-b3-traceid",
    b"x-correlation-id",
    b"x-request-id",
];

/// Fields by which exchanges are traced (Trace Context), in the names of a response.
const TRACES: [&[u8]; 3] = [b"traceparent", b"traceresponse", b"tracestate"];

/// True for a response field that names the trace of one exchange. Where Envoy traces, the origin repeats Envoy's name for it, not the client's.
#[must_use]
pub fn is_of_a_trace(name: &[u8]) -> bool {
    TRACES.contains(&name)
}

impl SharingPolicy {
    /// True when a request carries credentials that neither the key nor the response's selecting fields tell apart.
    #[must_use]
    pub fn is_credentialed(&self, request: &Fields<'_>, selects: impl Fn(&[u8]) -> bool) -> bool {
        let counts = |name: &[u8]| is_credential(name) || self.credential_headers.iter().any(|more| more == name);
        !self.with_credentials
            && request
                .iter()
                .any(|(name, _)| counts(name) && !self.keyed.iter().any(|keyed| keyed == name) && !selects(name))
    }

    /// True when the cache key tells a request's credentials apart by a field, as one in which a filter in front names the user.
    #[must_use]
    pub fn keys_credentials(&self, request: &Fields<'_>) -> bool {
        self.keyed
            .iter()
            .any(|keyed| request.has(keyed) && (is_credential(keyed) || self.credential_headers.contains(keyed)))
    }

    /// True for a line of a response that is not stored for others, nor merged into what is stored.
    #[must_use]
    pub fn leaves_out(&self, (name, value): Line<'_>, request: &Fields<'_>) -> bool {
        (is_client_state(name) && self.client_state != ClientState::Share)
            || is_of_a_trace(name)
            || (REQUEST_IDS.contains(&name) && request.all(name).any(|sent| sent == value))
    }

    /// Why a stored response that matches a request does not answer it all the same.
    #[must_use]
    pub fn withholds(&self, stored: &StoredView<'_>, request: &Fields<'_>) -> Option<Withheld> {
        let selects = |wanted: &[u8]| stored.selecting().any(|(name, _)| name == wanted);
        if stored.granted() && self.is_credentialed(request, selects) {
            return Some(Withheld::Credentials);
        }
        let foreign = !stored.for_any_origin() && request.has(ORIGIN) && !selects(ORIGIN);
        let allowed = |name: &[u8]| stored.get(name).is_some_and(|value| Some(value) == request.get(ORIGIN));
        (foreign && !allowed(ALLOW_ORIGIN)).then_some(Withheld::Origin)
    }
}

/// Why a stored response is not for this client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withheld {
    /// The request has credentials, and the origin gave no freshness.
    Credentials,
    /// The request has an `Origin`, and nothing is known about how the origin answers such requests.
    Origin,
}

const ORIGIN: &[u8] = b"origin";
const ALLOW_ORIGIN: &[u8] = b"access-control-allow-origin";

/// The value of a field by which a response allows some origins and not others (CORS protocol of the Fetch standard; Resource Timing).
fn allows_some(response: &Fields<'_>) -> bool {
    [ALLOW_ORIGIN, b"timing-allow-origin"]
        .iter()
        .any(|name| response.all(name).any(|value| value != b"*"))
}

/// True when a response is selected by `Origin` although its `Vary` may not say so: it allows some origins only.
#[must_use]
pub fn is_selected_by_origin(request: &Fields<'_>, response: &Fields<'_>) -> bool {
    request.has(ORIGIN) && allows_some(response)
}

/// True when a response is known to be the same for requests with and without `Origin`: it allows all origins, or it answers a request
/// with `Origin` and allows none.
#[must_use]
pub fn is_for_any_origin(request: &Fields<'_>, response: &Fields<'_>) -> bool {
    !allows_some(response) && (request.has(ORIGIN) || response.has(ALLOW_ORIGIN))
}

/// Why a request is neither answered from the store nor stored, whatever its method: it asks for another one, or says to which address it
/// is to be sent.
#[must_use]
pub fn bypass(request: &Fields<'_>) -> Option<&'static str> {
    if forwarded::overrides_method(request) {
        return Some("method-override");
    }
    // An Envoy with a cluster of its kind sends it wherever this says.
    if request.has(b"x-envoy-original-dst-host") {
        return Some("original-destination");
    }
    None
}

/// Why a GET or HEAD is neither: it has content, of which its key knows nothing.
#[must_use]
pub fn bypass_with_content(request: &Fields<'_>, content_follows: bool) -> Option<&'static str> {
    let length = request.get(b"content-length");
    let content = match length {
        Some(length) => length.iter().any(|digit| *digit != b'0'),
        None => content_follows,
    };
    (content || request.has(b"transfer-encoding")).then_some("request-content")
}
