//! Target URIs and origins (RFC 9110 sections 4.2 and 7.1, RFC 3986 sections 5 and 6).

/// A target URI by its parts, as a request carries them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// `:scheme`; anything but `https` counts as `http`.
    pub scheme: &'a [u8],
    /// `:authority` or `Host`.
    pub authority: &'a [u8],
    /// `:path`: path and query.
    pub path: &'a [u8],
}

/// A target URI resolved from a reference: normalised scheme and authority, path with query and without fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedTarget {
    /// `http` or `https`.
    pub scheme: &'static [u8],
    /// Normalised host and, unless the scheme's default, port.
    pub authority: Vec<u8>,
    /// Path and query.
    pub path: Vec<u8>,
}

impl ResolvedTarget {
    /// The parts, borrowed.
    #[must_use]
    pub fn as_target(&self) -> Target<'_> {
        Target {
            scheme: self.scheme,
            authority: &self.authority,
            path: &self.path,
        }
    }
}

/// Lower-case host without a trailing dot, without user information, without the scheme's default port.
#[must_use]
pub fn normalize_authority(scheme: &[u8], authority: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(authority.len());
    push_authority(&mut out, scheme, authority);
    out
}

/// Appends what [`normalize_authority`] gives.
pub fn push_authority(out: &mut Vec<u8>, scheme: &[u8], authority: &[u8]) {
    // Most are written in the normalised way already.
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    if authority.iter().all(plain) && !authority.ends_with(b".") {
        out.extend_from_slice(authority);
        return;
    }
    let authority = authority.rsplit(|byte| *byte == b'@').next().unwrap_or(authority);
    let default: &[u8] = if scheme.eq_ignore_ascii_case(b"https") {
        b":443"
    } else {
        b":80"
    };
    let authority = authority
        .strip_suffix(default)
        .or_else(|| authority.strip_suffix(b":"))
        .unwrap_or(authority);
    let host_end = if authority.ends_with(b"]") {
        authority.len()
    } else {
        authority
            .iter()
            .rposition(|byte| *byte == b':')
            .unwrap_or(authority.len())
    };
    let (host, port) = authority.split_at(host_end);
    let host = host.strip_suffix(b".").unwrap_or(host);
    out.extend(host.iter().map(u8::to_ascii_lowercase));
    out.extend_from_slice(port);
}

/// Resolves a reference (`Location`, `Content-Location`) against the target of the request. `None` when it is no HTTP URI.
#[must_use]
pub fn resolve(base: &Target<'_>, reference: &[u8]) -> Option<ResolvedTarget> {
    let reference = reference.split(|byte| *byte == b'#').next().unwrap_or_default();
    let own = |path: Vec<u8>| {
        Some(ResolvedTarget {
            scheme: known_scheme(base.scheme),
            authority: normalize_authority(base.scheme, base.authority),
            path: without_dots(&path),
        })
    };
    if let Some(rest) = reference.strip_prefix(b"//") {
        return absolute(base.scheme, rest);
    }
    if reference.starts_with(b"/") {
        return own(reference.to_vec());
    }
    if let Some(colon) = reference.iter().position(|byte| *byte == b':')
        && reference
            .get(..colon)
            .is_some_and(|scheme| !scheme.iter().any(|byte| matches!(byte, b'/' | b'?')))
    {
        let (scheme, rest) = reference.split_at(colon);
        if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
            return None;
        }
        return absolute(scheme, rest.strip_prefix(b"://")?);
    }
    let base_path = base.path.split(|byte| *byte == b'?').next().unwrap_or_default();
    if reference.is_empty() {
        return own(base.path.to_vec());
    }
    if reference.starts_with(b"?") {
        return own([base_path, reference].concat());
    }
    let directory = base_path
        .iter()
        .rposition(|byte| *byte == b'/')
        .and_then(|at| base_path.get(..=at))
        .unwrap_or(b"/");
    own([directory, reference].concat())
}

fn known_scheme(scheme: &[u8]) -> &'static [u8] {
    if scheme.eq_ignore_ascii_case(b"https") {
        b"https"
    } else {
        b"http"
    }
}

fn absolute(scheme: &[u8], rest: &[u8]) -> Option<ResolvedTarget> {
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() {
        return None;
    }
    let path = if path.starts_with(b"/") {
        path.to_vec()
    } else {
        [b"/", path].concat()
    };
    Some(ResolvedTarget {
        scheme: known_scheme(scheme),
        authority: normalize_authority(scheme, authority),
        path: without_dots(&path),
    })
}

/// RFC 3986 section 5.2.4, leaving the query as it is.
fn without_dots(path: &[u8]) -> Vec<u8> {
    let end = path.iter().position(|byte| *byte == b'?').unwrap_or(path.len());
    let (path, query) = path.split_at(end);
    let mut path_segments: Vec<&[u8]> = Vec::new();
    let segments: Vec<&[u8]> = path.split(|byte| *byte == b'/').skip(1).collect();
    let last = segments.len().saturating_sub(1);
    for (index, segment) in segments.into_iter().enumerate() {
        match segment {
            b"." | b".." => {
                if segment == b".." {
                    path_segments.pop();
                }
                if index == last {
                    path_segments.push(b"");
                }
            }
            other => path_segments.push(other),
        }
    }
    let mut out: Vec<u8> = Vec::with_capacity(path.len() + query.len());
    for segment in path_segments {
        out.push(b'/');
        out.extend_from_slice(segment);
    }
    if out.is_empty() {
        out.push(b'/');
    }
    out.extend_from_slice(query);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_normalised() {
        for (scheme, authority, expected) in [
            ("http", "A.Example:80", "a.example"),
            ("https", "a.example.:443", "a.example"),
            ("http", "a:443", "a:443"),
            ("http", "u:p@a", "a"),
            ("http", "[::1]:80", "[::1]"),
            ("http", "a:", "a"),
        ] {
            assert_eq!(
                normalize_authority(scheme.as_bytes(), authority.as_bytes()),
                expected.as_bytes(),
                "{authority}"
            );
        }
    }

    #[test]
    fn references_are_resolved() {
        let base = Target {
            scheme: b"http",
            authority: b"a",
            path: b"/b/c?d",
        };
        for (reference, expected) in [
            ("/x#f", Some("http a /x")),
            ("x", Some("http a /b/x")),
            ("../x?y", Some("http a /x?y")),
            ("?y", Some("http a /b/c?y")),
            ("", Some("http a /b/c?d")),
            ("//z/p", Some("http z /p")),
            ("https://Z:443", Some("https z /")),
            ("mailto:x", None),
            ("http://", None),
        ] {
            let found = resolve(&base, reference.as_bytes()).map(|found| {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                format!(
                    "{} {} {}",
                    text(found.scheme),
                    text(&found.authority),
                    text(&found.path)
                )
            });
            assert_eq!(found.as_deref(), expected, "{reference}");
        }
    }
}
