//! The ratios as a picture: bars with a whisker from the lowest to the highest round.

use crate::cases::{
    DIRECT, FORWARDED, HIT, IDLE_DIRECT, IDLE_FORWARDED, MODULE, MODULE_FORWARDED, NATIVE, NGINX, PLAIN, VARNISH, key,
};
use crate::contenders::SIZES;
use crate::numbers::Spread;
use crate::results::Results;
use e2e::svg::text;
use std::fmt::Write;

const WIDTH: f64 = 860.0;
/// Where bars begin and end.
const LEFT: f64 = 220.0;
const RIGHT: f64 = 760.0;
const ROW: f64 = 24.0;
const TOP: f64 = 70.0;
/// A panel's title, and the room below it.
const HEAD: f64 = 44.0;

const OURS: &str = "#0b6e99";
const OTHERS: &str = "#b6bec6";

struct Bar {
    label: &'static str,
    ours: bool,
    ratio: Spread,
}

struct Panel {
    title: String,
    bars: Vec<Bar>,
}

/// The picture, with `caption` below its title.
pub(crate) fn svg(results: &Results, caption: &str) -> String {
    let panels = panels(results);
    let rows: f64 = panels.iter().map(|panel| count(&panel.bars) * ROW + HEAD).sum();
    let height = TOP + rows + 20.0;
    let highest = panels.iter().flat_map(|panel| &panel.bars).map(|bar| bar.ratio.highest);
    let scale = (RIGHT - LEFT) / highest.fold(1.2, f64::max);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\" \
         fill=\"#1f2933\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    text(
        &mut out,
        (20.0, 30.0),
        "CPU time per request as a ratio: shorter is cheaper",
        "font-size=\"18\"",
    );
    text(&mut out, (20.0, 50.0), caption, "fill=\"#52606d\" font-size=\"11\"");
    let mut y = TOP;
    for panel in &panels {
        draw(&mut out, panel, y, scale);
        y += count(&panel.bars) * ROW + HEAD;
    }
    out.push_str("</svg>\n");
    out
}

fn panels(results: &Results) -> Vec<Panel> {
    let kinds: [(&str, &'static str, &[&'static str]); 2] = [
        (
            "hit",
            DIRECT,
            &[DIRECT, IDLE_DIRECT, HIT, MODULE, NATIVE, NGINX, VARNISH],
        ),
        (
            "forwarded",
            PLAIN,
            &[PLAIN, IDLE_FORWARDED, FORWARDED, MODULE_FORWARDED],
        ),
    ];
    let mut panels = Vec::new();
    for (kind, base, names) in kinds {
        for size in SIZES {
            let bars = names.iter().filter_map(|name| {
                let ratio = results.ratio(&key(name, size), &key(base, size))?;
                let ours = [HIT, MODULE, FORWARDED, MODULE_FORWARDED].contains(name);
                Some(Bar {
                    label: name,
                    ours,
                    ratio,
                })
            });
            let title = format!("{} KB {kind}; 1 = {base}", size / 1_024);
            panels.push(Panel {
                title,
                bars: bars.collect(),
            });
        }
    }
    panels.retain(|panel| !panel.bars.is_empty());
    panels
}

fn draw(out: &mut String, panel: &Panel, top: f64, scale: f64) {
    text(out, (20.0, top + 22.0), &panel.title, "font-weight=\"bold\"");
    let first = top + 32.0;
    for (index, bar) in panel.bars.iter().enumerate() {
        let y = first + count(panel.bars.get(..index).unwrap_or_default()) * ROW;
        draw_bar(out, bar, y, scale);
    }
    let one = LEFT + scale;
    line(
        out,
        (one, first - 2.0),
        (one, first + count(&panel.bars) * ROW - 4.0),
        "#7b8794",
    );
}

fn draw_bar(out: &mut String, bar: &Bar, y: f64, scale: f64) {
    let Spread {
        median,
        lowest,
        highest,
    } = bar.ratio;
    let middle = y + (ROW - 6.0) / 2.0;
    text(out, (LEFT - 8.0, middle + 5.0), bar.label, "text-anchor=\"end\"");
    let _ = writeln!(
        out,
        "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{}\" fill=\"{}\"/>",
        median * scale,
        ROW - 6.0,
        if bar.ours { OURS } else { OTHERS }
    );
    let (from, to) = (LEFT + lowest * scale, LEFT + highest * scale);
    line(out, (from, middle), (to, middle), "#1f2933");
    text(
        out,
        (to.max(LEFT + median * scale) + 8.0, middle + 5.0),
        &format!("{median:.2}"),
        "",
    );
}

/// As a factor of heights.
fn count(bars: &[Bar]) -> f64 {
    bars.iter().map(|_| 1.0).sum()
}

fn line(out: &mut String, from: (f64, f64), to: (f64, f64), color: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(
        out,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{color}\"/>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_measured_is_an_empty_picture() {
        assert!(svg(&Results::default(), "nothing").ends_with("</svg>\n"));
    }
}
