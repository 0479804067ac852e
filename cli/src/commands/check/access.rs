//! The way to the control plane: address, TLS, token, role, version.

use super::Findings;
use crate::commands::Session;
use crate::failure::Failure;
use reqwest::Method;
use serde_json::Value;

/// Whether it answers; without an answer there is nothing else to look at.
pub(super) fn reachable(session: &Session, findings: &mut Findings) -> bool {
    let server = session.client.server();
    let from = match &session.connection.context {
        Some(context) => format!(" (context {context})"),
        None => String::new(),
    };
    match session.client.get("/health/live") {
        Ok(_) => findings.ok("control plane", format!("{server}{from} answers")),
        // A probe that is closed is answered too.
        Err(Failure::Credentials { message, advice }) => {
            findings.fail("credentials", message, &advice);
            return false;
        }
        Err(failure) => {
            findings.failure("control plane", &failure);
            return false;
        }
    }
    match session.client.get("/health/ready") {
        Ok(_) => findings.ok("ready", "its settings are loaded"),
        Err(failure) => findings.fail("ready", failure.to_string(), "Read its log: it names what it waits for"),
    }
    true
}

/// Whether there is a token, whether it is accepted, and what it allows.
pub(super) fn credentials(session: &Session, health: &Value, findings: &mut Findings) {
    let guarded = health["settings_writes"] == "guarded";
    if !guarded {
        let text = "no token is asked for: whoever reaches the port may change everything";
        if session.connection.is_readable_on_the_way() {
            findings.warn(
                "credentials",
                text,
                "Set AUTH_TOKENS_FILE at the control plane (deploy/README.md)",
            );
        } else {
            findings.ok("credentials", text);
        }
    }
    if let Some(source) = &session.connection.token_source {
        if guarded {
            findings.ok(
                "credentials",
                format!("the token of {source} is accepted: {}", role(session)),
            );
        }
        if session.connection.is_readable_on_the_way() {
            let text = "the token travels without TLS";
            findings.warn(
                "TLS",
                text,
                "Use https:// (REST_TLS_CERT_FILE), or a network that nobody else reads",
            );
        }
    }
}

/// Asks for something that changes nothing and needs the highest role: the refusal names our own.
fn role(session: &Session) -> String {
    let answer = session
        .client
        .ask(Method::POST, "/cache/restore")
        .query(&[("dry_run", Some("true".to_owned()))])
        .body("application/json", "?")
        .send();
    match answer {
        Err(Failure::Credentials { message, .. }) => match message.rsplit_once(", ") {
            Some((_, own)) => own.to_owned(),
            None => message,
        },
        Err(Failure::Refused { .. } | Failure::Conflict { .. }) | Ok(_) => "it has the role admin".to_owned(),
        Err(failure) => format!("its role is not known ({failure})"),
    }
}

/// Whether control plane and command line are of one release.
pub(super) fn version(session: &Session, findings: &mut Findings) {
    const OWN: &str = env!("CARGO_PKG_VERSION");
    match session.client.get("/openapi.json") {
        Ok(description) => match description["info"]["version"].as_str() {
            Some(OWN) => findings.ok("version", format!("control plane {OWN}, as this program")),
            Some(other) => findings.warn(
                "version",
                format!("control plane {other}, this program {OWN}"),
                "Use the program of the control plane's release: other fields may be unknown to it",
            ),
            None => findings.warn("version", "the control plane does not tell its version", ""),
        },
        Err(failure) => findings.warn("version", failure.to_string(), &failure.advice().join(". ")),
    }
}
