//! Requests that a web page makes an operator's browser send: none of them writes, and none reads by a name of the page's own.

use super::admission::Admission;
use super::problem::Problem;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use std::net::IpAddr;
use std::sync::Arc;

/// Lets a request pass that does not come from another site.
pub(super) async fn same_site(
    State(admission): State<Arc<Admission>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let headers = request.headers();
    // The authority of HTTP/2 is in the target (RFC 9113 section 8.3.1).
    let host = request.uri().authority().map(|authority| authority.as_str());
    let host = host
        .or_else(|| text(headers, header::HOST.as_str()))
        .unwrap_or_default();
    if admission.asks_nobody && !is_known(host, &admission.hosts) {
        let title = "The Host is not one of this control plane; name it in REST_HOSTS, or ask for credentials";
        return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "unknown_host", title));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        if is_foreign(headers, host) {
            let title = "A page of another site may not write here";
            return Err(Problem::new(StatusCode::FORBIDDEN, "foreign_origin", title));
        }
        if !takes(headers) {
            return Err(Problem::media_type());
        }
    }
    Ok(next.run(request).await)
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

/// Whether a name is of this machine or its cluster. Where nobody is asked for credentials, a page could have its own name lead here
/// (DNS rebinding).
fn is_known(host: &str, more: &[String]) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let local = [".localhost", ".svc", ".svc.cluster.local", ".internal", ".local"];
    address.parse::<IpAddr>().is_ok()
        // A name of one label is no public one.
        || !name.contains('.')
        || local.iter().any(|end| name.ends_with(end))
        || more.iter().any(|known| known.eq_ignore_ascii_case(&name))
}

/// Whether a browser says that the request comes from another site (Fetch Metadata; RFC 6454 section 7).
fn is_foreign(headers: &HeaderMap, host: &str) -> bool {
    let site = text(headers, "sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
    let origin = text(headers, "origin").is_some_and(|origin| {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        authority.is_none_or(|authority| !authority.eq_ignore_ascii_case(host))
    });
    site || origin
}

/// Whether the body is of a kind that a page cannot send without asking first. `curl -d` says that it is a form, and a browser that
/// does tells where it comes from.
fn takes(headers: &HeaderMap) -> bool {
    let browser = headers.contains_key("origin") || headers.keys().any(|name| name.as_str().starts_with("sec-fetch-"));
    let Some(kind) = text(headers, header::CONTENT_TYPE.as_str()) else {
        return true;
    };
    let kind = kind.split(';').next().unwrap_or(kind).trim().to_ascii_lowercase();
    match kind.as_str() {
        "application/json" | "application/wasm" | "application/octet-stream" | "application/gzip" => true,
        "application/x-www-form-urlencoded" => !browser,
        kind => kind.starts_with("application/") && kind.ends_with("+json"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_here_are_known() {
        let more = ["ops.example.com".to_owned()];
        for known in [
            "localhost",
            "localhost:8080",
            "127.0.0.1:8080",
            "[::1]:8080",
            "10.1.2.3",
            "api-optimizer:8080",
            "ops.example.com.:80",
            "api-optimizer.production.svc:8080",
            "api-optimizer.production.svc.cluster.local",
            "",
        ] {
            assert!(is_known(known, &more), "{known}");
        }
        for unknown in [
            "evil.example",
            "evil.example:8080",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "ops.example.com.evil.org",
        ] {
            assert!(!is_known(unknown, &more), "{unknown}");
        }
    }

    #[test]
    fn a_page_of_another_site_is_known_by_what_the_browser_says() {
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            pairs
                .iter()
                .map(|(name, value)| {
                    (
                        header::HeaderName::from_static(name),
                        header::HeaderValue::from_static(value),
                    )
                })
                .collect()
        };
        let host = "localhost:8080";
        for own in [
            &[][..],
            &[("origin", "http://localhost:8080"), ("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none")],
        ] {
            assert!(!is_foreign(&headers(own), host), "{own:?}");
        }
        for foreign in [
            &[("origin", "http://evil.example")][..],
            &[("origin", "null")],
            &[("origin", "http://localhost:8081")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("origin", "http://localhost:8080"), ("sec-fetch-site", "cross-site")],
        ] {
            assert!(is_foreign(&headers(foreign), host), "{foreign:?}");
        }
        let form = ("content-type", "application/x-www-form-urlencoded");
        assert!(takes(&headers(&[form])) && takes(&headers(&[])));
        assert!(!takes(&headers(&[form, ("origin", "http://localhost:8080")])));
        assert!(!takes(&headers(&[form, ("sec-fetch-mode", "no-cors")])));
        assert!(takes(&headers(&[(
            "content-type",
            "application/merge-patch+json; charset=utf-8"
        )])));
        for other in [
            "text/plain",
            "text/plain;x=application/json",
            "multipart/form-data; boundary=x",
            "image/png",
        ] {
            assert!(!takes(&headers(&[("content-type", other)])), "{other}");
        }
    }
}
