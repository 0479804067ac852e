//! The control plane's REST API.

use crate::connection::Connection;
use crate::failure::Failure;
use reqwest::Method;
use reqwest::blocking::{Body, RequestBuilder, Response};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, USER_AGENT};
use serde_json::Value;
use std::error::Error;
use std::io::Read;
use std::time::Duration;

/// Largest document that is read, bytes; a fleet of thousands is a few megabytes.
const LARGEST: u64 = 256 << 20;
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);

/// Asks one control plane.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::blocking::Client,
    server: String,
    request_timeout: Duration,
}

/// A complete answer with a status below 400.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The entity tag.
    pub etag: Option<String>,
    /// The document; null where there is none.
    pub document: Value,
}

/// A request in the making.
#[derive(Debug)]
pub struct Ask<'c> {
    client: &'c Client,
    builder: RequestBuilder,
    patience: Duration,
}

impl Client {
    /// For this control plane.
    ///
    /// # Errors
    /// A certificate or key is none.
    pub fn new(connection: &Connection) -> Result<Self, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("optimizer/", env!("CARGO_PKG_VERSION"))),
        );
        if let Some(token) = &connection.token {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| Failure::usage("The token cannot be sent in a header"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        // A redirect would take the token to another server.
        let mut builder = reqwest::blocking::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT.min(connection.request_timeout))
            .default_headers(headers);
        if let Some(pem) = &connection.ca {
            let all = reqwest::Certificate::from_pem_bundle(pem).unwrap_or_default();
            if all.is_empty() {
                return Err(Failure::usage("The CA file holds no certificate in PEM"));
            }
            for certificate in all {
                builder = builder.add_root_certificate(certificate);
            }
        }
        if let Some(pem) = &connection.identity {
            let identity = reqwest::Identity::from_pem(pem);
            builder = builder.identity(identity.map_err(|_| {
                Failure::usage("The client certificate or its key is not in PEM, or one of them is missing")
            })?);
        }
        let http = builder
            .build()
            .map_err(|error| Failure::usage(format!("TLS cannot be set up: {}", causes(&error))))?;
        Ok(Self {
            http,
            server: connection.server.clone(),
            request_timeout: connection.request_timeout,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The document at `path`.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub fn get(&self, path: &str) -> Result<Value, Failure> {
        Ok(self.ask(Method::GET, path).send()?.document)
    }

    /// A request to `path`, which is percent-encoded already.
    #[must_use]
    pub fn ask(&self, method: Method, path: &str) -> Ask<'_> {
        Ask {
            client: self,
            builder: self.http.request(method, format!("{}{path}", self.server)),
            patience: self.request_timeout,
        }
    }
}

impl Ask<'_> {
    /// With query parameters; those without a value are left out.
    #[must_use]
    pub fn query(mut self, parameters: &[(&str, Option<String>)]) -> Self {
        for (name, value) in parameters {
            if let Some(value) = value {
                self.builder = self.builder.query(&[(name, value)]);
            }
        }
        self
    }

    /// With a header, where there is a value.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.builder = self.builder.header(name, value);
        }
        self
    }

    /// With a document.
    #[must_use]
    pub fn document(self, document: &Value) -> Self {
        self.body("application/json", document.to_string())
    }

    /// With any content.
    #[must_use]
    pub fn body(mut self, kind: &'static str, body: impl Into<Body>) -> Self {
        self.builder = self.builder.header(CONTENT_TYPE, kind).body(body);
        self
    }

    /// Waits so much longer than a request usually may take, as the control plane itself waits for Envoys.
    #[must_use]
    pub fn patience(mut self, more: Duration) -> Self {
        self.patience += more;
        self
    }

    /// Asks, and reads the whole answer.
    ///
    /// # Errors
    /// No complete answer, a refusal, or an answer that is no JSON.
    pub fn send(self) -> Result<Answer, Failure> {
        let server = self.client.server.clone();
        let response = self.open()?;
        let status = response.status().as_u16();
        let etag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok());
        let etag = etag.map(str::to_owned);
        let text = read(response, &server)?;
        let document = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&text).map_err(|_| Failure::Unreachable {
                message: format!("{server} answered with something that is no JSON"),
                advice: "Is it the REST port of a control plane? An Envoy or a proxy may answer there".to_owned(),
            })?
        };
        Ok(Answer { status, etag, document })
    }

    /// Asks, and leaves the content to the caller.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub fn open(self) -> Result<Response, Failure> {
        let server = &self.client.server;
        let response = self
            .builder
            .timeout(self.patience)
            .send()
            .map_err(|error| no_answer(server, &error))?;
        let status = response.status().as_u16();
        if status < 300 {
            return Ok(response);
        }
        if status < 400 {
            return Err(Failure::Unreachable {
                message: format!("{server} answered with a redirect ({status})"),
                advice: "Name the control plane itself: redirects are not followed, the token would go with them"
                    .to_owned(),
            });
        }
        let text = read(response, server).unwrap_or_default();
        let body = serde_json::from_slice(&text).unwrap_or_default();
        Err(Failure::of_answer(status, &body, server))
    }
}

fn read(response: Response, server: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    response
        .take(LARGEST)
        .read_to_end(&mut bytes)
        .map_err(|error| broken_off(server, &error))?;
    Ok(bytes)
}

/// The answer began and did not end.
#[must_use]
pub fn broken_off(server: &str, error: &std::io::Error) -> Failure {
    Failure::Unreachable {
        message: format!("{server} broke off in the middle of its answer: {}", causes(error)),
        advice: "Try again; a longer --request-timeout helps where it was a time-out".to_owned(),
    }
}

fn no_answer(server: &str, error: &reqwest::Error) -> Failure {
    let causes = causes(error);
    let (message, advice) = if causes.contains("invalid peer certificate") || causes.contains("CertificateUnknown") {
        (
            format!("{server} is not trusted: {causes}"),
            "Name the authority of its certificate with --ca-file, and the server by a name that the certificate has",
        )
    } else if causes.contains("alert") || causes.contains("certificate required") {
        (
            format!("{server} refused the TLS connection: {causes}"),
            "It may ask for a client certificate: --client-cert-file and --client-key-file",
        )
    } else if causes.contains("InvalidContentType") || causes.contains("corrupt message") {
        (
            format!("{server} does not speak TLS"),
            "Write http:// in place of https://, or switch TLS on in the control plane",
        )
    } else if error.is_timeout() {
        (
            format!("{server} did not answer in time"),
            "Is it overloaded, or dropped by a firewall? --request-timeout waits longer",
        )
    } else if error.is_connect() {
        (
            format!("{server} cannot be reached: {causes}"),
            "Is the control plane running, and is it this address? --server or --context names another; \
             Envoys go on serving without it",
        )
    } else {
        (
            format!("{server} gave no complete answer: {causes}"),
            "Is it the REST port of a control plane, and http or https as it is configured?",
        )
    };
    Failure::Unreachable {
        message,
        advice: advice.to_owned(),
    }
}

/// The innermost cause says most.
fn causes(error: &dyn Error) -> String {
    let mut innermost: &dyn Error = error;
    for _ in 0..16 {
        match innermost.source() {
            Some(source) => innermost = source,
            None => break,
        }
    }
    innermost.to_string()
}
