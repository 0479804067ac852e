//! Growth with the fleet as a picture: one small panel for each figure, both axes from zero, so that linear looks linear.

use crate::measure::Seen;
use e2e::svg::text;
use std::fmt::Write;

const WIDTH: f64 = 860.0;
const PANEL: (f64, f64) = (420.0, 190.0);
const TOP: f64 = 64.0;
/// Within a panel: where the plot begins and ends.
const PLOT: (f64, f64, f64, f64) = (60.0, 34.0, 380.0, 150.0);
const COLORS: [&str; 2] = ["#0b6e99", "#d1793a"];

/// A line: its name and a value for each size of the fleet.
type Line = (&'static str, fn(&Seen) -> f64);

const PANELS: [(&str, &[Line]); 4] = [
    (
        "push to an Envoy, ms",
        &[("p50", |seen| seen.push.ms(0.5)), ("p99", |seen| seen.push.ms(0.99))],
    ),
    (
        "cores while the fleet reports",
        &[("cores", |seen| seen.steady.control_plane)],
    ),
    ("resident memory, MB", &[("MB", |seen| seen.resident_mb)]),
    (
        "REST reads, ms",
        &[("p50", |seen| seen.reads.ms(0.5)), ("p99", |seen| seen.reads.ms(0.99))],
    ),
];

/// The picture, with `caption` below its title.
pub(crate) fn svg(all: &[Seen], caption: &str) -> String {
    let height = TOP + 2.0 * PANEL.1;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\" \
         fill=\"#1f2933\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    text(
        &mut out,
        (20.0, 28.0),
        "The control plane by the number of Envoys",
        "font-size=\"18\"",
    );
    text(&mut out, (20.0, 48.0), caption, "fill=\"#52606d\" font-size=\"11\"");
    let corners = [
        (10.0, TOP),
        (10.0 + PANEL.0, TOP),
        (10.0, TOP + PANEL.1),
        (10.0 + PANEL.0, TOP + PANEL.1),
    ];
    for ((title, lines), corner) in PANELS.iter().zip(corners) {
        panel(&mut out, corner, title, lines, all);
    }
    out.push_str("</svg>\n");
    out
}

fn panel(out: &mut String, (x, y): (f64, f64), title: &str, lines: &[Line], all: &[Seen]) {
    let (left, top, right, bottom) = (x + PLOT.0, y + PLOT.1, x + PLOT.2, y + PLOT.3);
    text(out, (x + 10.0, y + 20.0), title, "font-weight=\"bold\"");
    let most = all.iter().map(|seen| seen.envoys as f64).fold(1.0, f64::max);
    let values = lines.iter().flat_map(|(_, value)| all.iter().map(value));
    let highest = values.fold(f64::MIN_POSITIVE, f64::max);
    let at = |envoys: f64, value: f64| {
        (
            left + (right - left) * envoys / most,
            bottom - (bottom - top) * value / highest,
        )
    };
    let _ = writeln!(
        out,
        "<path d=\"M{left:.1} {top:.1}V{bottom:.1}H{right:.1}\" fill=\"none\" stroke=\"#7b8794\"/>"
    );
    text(out, (left - 6.0, top + 4.0), &short(highest), "text-anchor=\"end\"");
    text(out, (left - 6.0, bottom), "0", "text-anchor=\"end\"");
    for seen in all {
        let (x, _) = at(seen.envoys as f64, 0.0);
        let label = seen.envoys.to_string();
        text(out, (x, bottom + 16.0), &label, "text-anchor=\"middle\"");
    }
    for ((name, value), color) in lines.iter().zip(COLORS) {
        let mut path = String::new();
        for seen in all {
            let (x, y) = at(seen.envoys as f64, value(seen));
            let _ = write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { 'M' } else { 'L' });
            let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{color}\"/>");
        }
        let _ = writeln!(
            out,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>"
        );
        if let Some(last) = all.last() {
            let (x, y) = at(last.envoys as f64, value(last));
            text(
                out,
                (x - 8.0, y - 8.0),
                name,
                &format!("fill=\"{color}\" text-anchor=\"end\""),
            );
        }
    }
}

/// Three digits at the most where there is a point.
fn short(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        1.0.. => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_measured_is_an_empty_picture() {
        assert!(svg(&[], "a < b").contains("a &lt; b"));
        assert_eq!([short(123.4), short(12.34), short(0.1234)], ["123", "12.3", "0.123"]);
    }
}
