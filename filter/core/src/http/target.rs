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
    let _ = scheme;
    authority.to_ascii_lowercase()
}

/// Resolves a reference (`Location`, `Content-Location`) against the target of the request. `None` when it is no HTTP URI.
#[must_use]
pub fn resolve(base: &Target<'_>, reference: &[u8]) -> Option<ResolvedTarget> {
    let _ = (base, reference);
    None
}
