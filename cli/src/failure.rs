//! What went wrong, in one sentence with what to do about it, and the exit code that scripts see.

use serde_json::Value;
use std::path::Path;

/// The answer is no: something is not sound, not complete, or differs.
pub const NO: u8 = 1;
/// The command line, a file or the configuration is wrong.
pub const USAGE: u8 = 2;
/// No answer from the control plane, or it cannot answer now.
pub const UNREACHABLE: u8 = 3;
/// The credentials are missing, unknown, or not enough.
pub const CREDENTIALS: u8 = 4;
/// The control plane has refused what was sent; nothing has changed.
pub const REFUSED: u8 = 5;
/// Somebody else was first, or something else is under way.
pub const CONFLICT: u8 = 6;
/// Cancelled with Ctrl-C.
pub const CANCELLED: u8 = 130;

/// How a command ended that did what it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, and the answer is yes.
    Yes,
    /// Done, and the answer is no, with this exit code.
    No(u8),
}

impl Outcome {
    /// Yes where `sound`, else no.
    #[must_use]
    pub fn of(sound: bool) -> Self {
        if sound { Self::Yes } else { Self::No(NO) }
    }
}

/// Why a command could not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A wrong argument, an unreadable file, a bad configuration.
    #[error("{0}")]
    Usage(String),
    /// The control plane did not answer, or says that it cannot now.
    #[error("{message}")]
    Unreachable {
        /// What was seen.
        message: String,
        /// What to do.
        advice: String,
    },
    /// 401 or 403.
    #[error("{message}")]
    Credentials {
        /// What the control plane answered.
        message: String,
        /// What to do.
        advice: String,
    },
    /// Any other refusal.
    #[error("{message}")]
    Refused {
        /// What the control plane answered.
        message: String,
        /// What is wrong with which field: path and message.
        violations: Vec<(String, String)>,
    },
    /// 409, 412 or 428.
    #[error("{message}")]
    Conflict {
        /// What the control plane answered.
        message: String,
        /// What to do.
        advice: String,
    },
    /// Any of these, with more to do about it.
    #[error("{cause}")]
    Advised {
        /// What went wrong.
        cause: Box<Failure>,
        /// What to do besides.
        advice: String,
    },
    /// Whoever reads standard output has gone (`| head`): no reason to complain.
    #[error("nobody reads")]
    NobodyReads,
}

impl Failure {
    /// A wrong argument or file.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// A file that cannot be read or written.
    #[must_use]
    pub fn file(path: &Path, error: &std::io::Error) -> Self {
        Self::Usage(format!("{}: {error}", path.display()))
    }

    /// The exit code.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Unreachable { .. } => UNREACHABLE,
            Self::Credentials { .. } => CREDENTIALS,
            Self::Refused { .. } => REFUSED,
            Self::Conflict { .. } => CONFLICT,
            Self::Advised { cause, .. } => cause.code(),
            Self::NobodyReads => 0,
        }
    }

    /// The same, with something to do besides.
    #[must_use]
    pub fn advised(self, advice: String) -> Self {
        Self::Advised {
            cause: Box::new(self),
            advice,
        }
    }

    /// What is wrong with which field: path and message.
    #[must_use]
    pub fn violations(&self) -> &[(String, String)] {
        match self {
            Self::Refused { violations, .. } => violations,
            Self::Advised { cause, .. } => cause.violations(),
            _ => &[],
        }
    }

    /// What to do about it, one sentence each; none where the complaint says it.
    #[must_use]
    pub fn advice(&self) -> Vec<&str> {
        match self {
            Self::Unreachable { advice, .. } | Self::Credentials { advice, .. } | Self::Conflict { advice, .. } => {
                vec![advice]
            }
            Self::Advised { cause, advice } => {
                let mut all = cause.advice();
                all.push(advice);
                all
            }
            _ => Vec::new(),
        }
    }

    /// What a refusal (RFC 9457) says. `status` is the answer's, `body` its document or null.
    #[must_use]
    pub fn of_answer(status: u16, body: &Value, server: &str) -> Self {
        let message = match body["title"].as_str() {
            Some(title) => title.to_owned(),
            None => format!("{server} answered with status {status} and no reason: is it a control plane?"),
        };
        let code = body["code"].as_str().unwrap_or_default();
        match status {
            401 => Self::Credentials {
                message,
                advice: "Name a file with a valid token: --token-file, API_OPTIMIZER_TOKEN_FILE, or the context's token_file; \
                         an expired or removed token has to be replaced by whoever keeps auth-tokens"
                    .to_owned(),
            },
            403 => Self::Credentials {
                message,
                advice: "Use a token with that role".to_owned(),
            },
            409 | 412 | 428 => Self::Conflict {
                advice: conflict_advice(status, code).to_owned(),
                message,
            },
            408 | 421 | 429 | 500.. => Self::Unreachable {
                message,
                advice: unable_advice(status).to_owned(),
            },
            _ => Self::Refused {
                message,
                violations: violations(body),
            },
        }
    }
}

fn conflict_advice(status: u16, code: &str) -> &'static str {
    match (status, code) {
        (412 | 428, _) => {
            "Nothing has changed: read the settings again (optimizer settings get), and repeat the change"
        }
        (_, code) if code.contains("canary") => "See what is on trial: optimizer settings canary",
        _ => "Nothing has changed; see optimizer check",
    }
}

fn unable_advice(status: u16) -> &'static str {
    match status {
        421 => "Use the name by which the control plane knows itself, or add this one to its REST_HOSTS",
        429 => "Try again in a second",
        _ => "Try again; optimizer check tells more",
    }
}

/// Path and message of each violation of a problem document.
#[must_use]
pub fn violations(body: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of = |violation: &Value| (text(&violation["path"]), text(&violation["message"]));
    body["violations"]
        .as_array()
        .map(|all| all.iter().map(of).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_status_has_its_exit_code() {
        let cases = [
            (400, REFUSED),
            (401, CREDENTIALS),
            (403, CREDENTIALS),
            (404, REFUSED),
            (409, CONFLICT),
            (412, CONFLICT),
            (413, REFUSED),
            (421, UNREACHABLE),
            (422, REFUSED),
            (428, CONFLICT),
            (429, UNREACHABLE),
            (500, UNREACHABLE),
            (503, UNREACHABLE),
            (504, UNREACHABLE),
        ];
        for (status, code) in cases {
            let failure = Failure::of_answer(status, &json!({"title": "no"}), "http://there");
            assert_eq!((status, failure.code()), (status, code));
            assert_eq!(failure.to_string(), "no");
        }
    }

    #[test]
    fn a_stranger_s_answer_is_no_refusal_in_words() {
        let failure = Failure::of_answer(404, &Value::Null, "http://there");
        assert!(failure.to_string().contains("is it a control plane?"));
    }

    #[test]
    fn every_violation_is_kept_with_its_path() {
        let body = json!({"title": "refused", "violations": [
            {"path": "/cache_size", "code": "out_of_range", "message": "given 0"},
            {"path": "/ttl", "code": "unknown", "message": "there is no such setting"},
        ]});
        let Failure::Refused { violations, .. } = Failure::of_answer(422, &body, "") else {
            panic!("not a refusal");
        };
        let paths: Vec<_> = violations.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["/cache_size", "/ttl"]);
    }
}
