//! Structured fields (RFC 9651) as far as targeted cache control needs them (RFC 9213 section 2.2).
