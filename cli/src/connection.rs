//! Which control plane is meant, and with which credentials: from options, the environment and the configuration file.

use crate::contexts::{Context, Contexts, default_path};
use crate::failure::Failure;
use crate::options::{Global, duration};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where `make run` has it.
const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";
/// How long one request may take where nothing else is said.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest token, key or certificate file that is read, bytes.
const LARGEST: u64 = 1 << 20;

/// A control plane and how to reach it.
#[derive(Clone)]
pub struct Connection {
    /// URL without a slash at its end.
    pub server: String,
    /// Name of the context it is from.
    pub context: Option<String>,
    /// Where the token is from, for messages.
    pub token_source: Option<String>,
    /// The token.
    pub token: Option<String>,
    /// PEM of authorities to trust.
    pub ca: Option<Vec<u8>>,
    /// PEM of certificate and key.
    pub identity: Option<Vec<u8>>,
    /// How long one request may take.
    pub request_timeout: Duration,
}

/// Not the token, nor the key.
impl std::fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Connection")
            .field("server", &self.server)
            .field("context", &self.context)
            .field("token_source", &self.token_source)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Options win, then a context that is named, then the environment, then the current context. What the environment says is of one
    /// control plane: it is not mixed with a context that is named.
    ///
    /// # Errors
    /// A file cannot be read, a context is unknown, or a value is wrong.
    pub fn from(global: &Global) -> Result<Self, Failure> {
        let environment = Environment {
            ignored: global.context.is_some(),
        };
        let (name, context) = context_of(global, &environment)?;
        let server = global.server.clone().or_else(|| environment.text("API_OPTIMIZER_URL"));
        let server = server.or_else(|| context.as_ref().map(|context| context.server.clone()));
        let server = checked_server(server.as_deref().unwrap_or(DEFAULT_SERVER))?;
        // The files of a context are for its server alone: a token is not for another one.
        let context = context.filter(|context| context.server.trim_end_matches('/') == server);
        let name = name.filter(|_| context.is_some());
        let context = context.unwrap_or_default();
        let file = |option: &Option<PathBuf>, variable, of_context: &Option<PathBuf>| {
            let option = option.clone().or_else(|| environment.text(variable).map(PathBuf::from));
            option.or_else(|| of_context.clone())
        };
        let (token, token_source) = token_of(global, &environment, &context)?;
        let ca = file(&global.ca_file, "API_OPTIMIZER_CA_FILE", &context.ca_file);
        let certificate = file(
            &global.client_cert_file,
            "API_OPTIMIZER_CLIENT_CERT_FILE",
            &context.client_cert_file,
        );
        let key = file(
            &global.client_key_file,
            "API_OPTIMIZER_CLIENT_KEY_FILE",
            &context.client_key_file,
        );
        let of_context = context.request_timeout.as_deref().map(duration).transpose();
        let of_context =
            of_context.map_err(|error| Failure::usage(format!("request_timeout of the context: {error}")))?;
        Ok(Self {
            server,
            context: name,
            token_source,
            token,
            ca: ca.as_deref().map(read).transpose()?,
            identity: identity_of(certificate.as_deref(), key.as_deref())?,
            request_timeout: global.request_timeout.or(of_context).unwrap_or(REQUEST_TIMEOUT),
        })
    }

    /// Whether what is sent can be read on the way: plain HTTP to another machine.
    #[must_use]
    pub fn is_readable_on_the_way(&self) -> bool {
        let Some(rest) = self.server.strip_prefix("http://") else {
            return false;
        };
        !["127.", "localhost", "[::1]"].iter().any(|own| rest.starts_with(own))
    }
}

/// What the environment says, unless a context is named.
struct Environment {
    ignored: bool,
}

impl Environment {
    fn text(&self, name: &str) -> Option<String> {
        let text = std::env::var(name).ok().filter(|text| !text.trim().is_empty());
        text.filter(|_| !self.ignored)
    }
}

fn context_of(global: &Global, environment: &Environment) -> Result<(Option<String>, Option<Context>), Failure> {
    let named = global.context.clone();
    let named = named.or_else(|| environment.text("API_OPTIMIZER_CONTEXT"));
    let path = match (&global.config, default_path()) {
        (Some(path), _) => path.clone(),
        (None, Ok(path)) => path,
        // Without a home there is no file, which matters only where a context is asked for.
        (None, Err(failure)) => {
            return if named.is_some() {
                Err(failure)
            } else {
                Ok((None, None))
            };
        }
    };
    let contexts = Contexts::read(&path)?;
    match named.or_else(|| contexts.current.clone()) {
        Some(name) => {
            let context = contexts.named(&name)?.clone();
            Ok((Some(name), Some(context)))
        }
        None => Ok((None, None)),
    }
}

/// The token and where it is from.
fn token_of(
    global: &Global,
    environment: &Environment,
    context: &Context,
) -> Result<(Option<String>, Option<String>), Failure> {
    let named = global.token_file.clone();
    let named = named.or_else(|| environment.text("API_OPTIMIZER_TOKEN_FILE").map(PathBuf::from));
    if named.is_none()
        && let Some(token) = environment.text("API_OPTIMIZER_TOKEN")
    {
        let source = "API_OPTIMIZER_TOKEN".to_owned();
        return Ok((Some(checked_token(&token, &source)?), Some(source)));
    }
    let Some(file) = named.or_else(|| context.token_file.clone()) else {
        return Ok((None, None));
    };
    let source = file.display().to_string();
    let text = String::from_utf8(read(&file)?).map_err(|_| Failure::usage(format!("{source} is no text")))?;
    Ok((Some(checked_token(&text, &source)?), Some(source)))
}

/// A token as it may stand in a header; what it is is never told.
fn checked_token(text: &str, source: &str) -> Result<String, Failure> {
    let token = text.trim();
    if token.is_empty() {
        return Err(Failure::usage(format!("{source} is empty: it must hold the token")));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::usage(format!(
            "{source} holds more than one token: allowed is one line"
        )));
    }
    Ok(token.to_owned())
}

fn identity_of(certificate: Option<&Path>, key: Option<&Path>) -> Result<Option<Vec<u8>>, Failure> {
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let mut pem = read(certificate)?;
            pem.push(b'\n');
            pem.extend(read(key)?);
            Ok(Some(pem))
        }
        (None, None) => Ok(None),
        _ => Err(Failure::usage("A client certificate needs its key: name both files")),
    }
}

fn checked_server(server: &str) -> Result<String, Failure> {
    let url = reqwest::Url::parse(server)
        .map_err(|error| Failure::usage(format!("{server} is no URL ({error}): write http://host:port")))?;
    if !["http", "https"].contains(&url.scheme()) || url.host_str().is_none() {
        return Err(Failure::usage(format!(
            "{server}: write http://host:port or https://host:port"
        )));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // Not repeated: it would show the password.
        return Err(Failure::usage(
            "The URL holds credentials: put the token into a file instead",
        ));
    }
    Ok(server.trim_end_matches('/').to_owned())
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| Failure::file(path, &error))?;
    file.take(LARGEST)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::file(path, &error))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_with_a_password_is_refused_and_not_repeated() {
        let message = checked_server("http://ops:secret@there:8080").unwrap_err().to_string();
        assert!(!message.contains("secret"), "{message}");
        assert!(checked_server("there:8080").is_err());
        assert_eq!(checked_server("http://there:8080/").unwrap(), "http://there:8080");
    }

    #[test]
    fn a_token_is_one_line() {
        assert_eq!(checked_token("abc\n", "file").unwrap(), "abc");
        for wrong in ["", " \n", "a b", "a\nb"] {
            let message = checked_token(wrong, "file").unwrap_err().to_string();
            assert!(message.starts_with("file "), "{message}");
        }
    }

    #[test]
    fn plain_http_to_another_machine_is_readable_on_the_way() {
        let to = |server: &str| Connection {
            server: server.to_owned(),
            context: None,
            token_source: None,
            token: None,
            ca: None,
            identity: None,
            request_timeout: REQUEST_TIMEOUT,
        };
        assert!(to("http://api-optimizer:8080").is_readable_on_the_way());
        assert!(!to("http://127.0.0.1:8080").is_readable_on_the_way());
        assert!(!to("https://api-optimizer:8080").is_readable_on_the_way());
    }
}
