//! What the charts of the benchmarks have in common.

use std::fmt::Write;

/// Writes a text at a place; markup in `content` stays text.
pub fn text(out: &mut String, (x, y): (f64, f64), content: &str, attributes: &str) {
    let content = content.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{content}</text>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_a_text_stays_text() {
        let mut out = String::new();
        text(&mut out, (1.0, 2.0), "a <b> & c", "");
        assert_eq!(out, "<text x=\"1.0\" y=\"2.0\" >a &lt;b> &amp; c</text>\n");
    }
}
