//! The board at `/`: a page for operators, its files in this binary.
//!
//! The page holds no data, so it asks for no token. What it shows it asks of the API, with the token that its user types in; the API
//! decides what that may do.

use super::problem::Problem;
use axum::Router;
use axum::extract::Path;
use axum::http::header::{self, HeaderName};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// A file of the page.
struct File {
    name: &'static str,
    /// Its media type.
    kind: &'static str,
    text: &'static str,
}

macro_rules! files {
    ($($name:literal: $kind:expr,)*) => {
        [$(File {
            name: $name,
            kind: $kind,
            text: include_str!(concat!("../../../board/", $name)),
        }),*]
    };
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The page itself is the first.
static FILES: [File; 18] = files! {
    "index.html": HTML,
    "board.css": CSS,
    "main.js": SCRIPT,
    "api.js": SCRIPT,
    "dom.js": SCRIPT,
    "overview.js": SCRIPT,
    "fleet.js": SCRIPT,
    "modules.js": SCRIPT,
    "operations.js": SCRIPT,
    "breakers.js": SCRIPT,
    "cache.js": SCRIPT,
    "findings.js": SCRIPT,
    "what_if.js": SCRIPT,
    "explain.js": SCRIPT,
    "purge.js": SCRIPT,
    "settings.js": SCRIPT,
    "experiments.js": SCRIPT,
    "alerts.js": SCRIPT,
};

/// What the page may load and whom it may ask: this control plane. No text in it can become a script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'";

/// What guards each file. A page of one version asks only a control plane of the same: nothing is kept.
fn guards() -> [(HeaderName, &'static str); 6] {
    [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ]
}

/// The routes of the page.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let [page, ..] = &FILES;
    Router::new()
        .route("/", get(|| async { answer(page) }))
        .route("/board/{name}", get(file))
}

async fn file(Path(name): Path<String>) -> Result<Response, Problem> {
    let found = FILES.iter().find(|file| file.name == name);
    found.map(answer).ok_or_else(Problem::not_found)
}

fn answer(file: &'static File) -> Response {
    (guards(), [(header::CONTENT_TYPE, file.kind)], file.text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, StatusCode};
    use std::collections::BTreeSet;
    use tower::ServiceExt;

    async fn asked(method: &str, path: &str) -> Response {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        routes::<()>().oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn each_file_is_served_with_its_kind_and_what_guards_it() {
        let files = FILES.iter().map(|file| (format!("/board/{}", file.name), file));
        for (path, file) in files.chain([("/".to_owned(), &FILES[0])]) {
            let response = asked("GET", &path).await;
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            assert_eq!(response.headers()[header::CONTENT_TYPE], file.kind, "{path}");
            for (name, value) in &guards() {
                assert_eq!(response.headers()[name], value, "{path}");
            }
            assert_eq!(to_bytes(response.into_body(), 1 << 20).await.unwrap(), file.text);
        }
        for directive in [
            "default-src 'none'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        ] {
            assert!(POLICY.contains(directive), "{directive}");
        }
        assert!(!POLICY.contains("unsafe") && !POLICY.contains('*'));
    }

    #[tokio::test]
    async fn nothing_else_is_served() {
        for path in ["/board/", "/board/none.js", "/board/..%2Findex.html", "/index.html"] {
            assert_eq!(asked("GET", path).await.status(), StatusCode::NOT_FOUND, "{path}");
        }
        assert_eq!(asked("POST", "/").await.status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    /// Names of files in quotes, after what introduces them.
    fn named(text: &str, before: &str) -> BTreeSet<String> {
        let parts = text.split(before).skip(1);
        parts.map(|part| part.split('"').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_page_is_made_of_these_files_and_needs_no_others() {
        let known: BTreeSet<&str> = FILES.iter().map(|file| file.name).collect();
        let mut wanted = BTreeSet::from(["index.html".to_owned()]);
        for file in &FILES {
            wanted.extend(named(file.text, "\"/board/"));
            wanted.extend(named(file.text, "from \"./"));
        }
        assert_eq!(wanted, known.iter().map(|name| (*name).to_owned()).collect());
    }

    #[test]
    fn no_text_becomes_markup_or_a_script() {
        for File { name, text, .. } in &FILES {
            for forbidden in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
                "localStorage",
                "javascript:",
                "<style",
                " style=",
                " onclick=",
                "srcdoc",
                "importScripts",
            ] {
                assert!(!text.contains(forbidden), "{name}: {forbidden}");
            }
            let elsewhere = text
                .replace("http://www.w3.org/2000/svg", "")
                .replace("http://api.example.com/", "");
            assert!(
                !elsewhere.contains("http://") && !elsewhere.contains("https://"),
                "{name}"
            );
            assert!(text.lines().count() <= 400, "{name} is long");
        }
        // A script of the page has a file of its own.
        let page = FILES[0].text;
        assert_eq!(
            page.matches("<script").count(),
            page.matches("<script type=\"module\" src=\"/board/").count()
        );
    }
}
