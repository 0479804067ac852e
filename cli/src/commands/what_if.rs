//! The hit ratio with another size or policy, as a plot in the terminal.

use super::Session;
use crate::failure::{Failure, NO, Outcome};
use crate::output::{Paint, Table, clean, figure, text_of};
use clap::Args;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::symbols::Marker;
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, Widget};
use reqwest::Method;
use serde_json::Value;

/// Size of the plot, characters.
const PLOT: Rect = Rect::new(0, 0, 76, 16);

/// Which cache.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Entries of each Envoy; those in force when absent
    #[arg(long)]
    cache_size: Option<u64>,
    /// Megabytes of each Envoy; those in force when absent
    #[arg(long)]
    cache_memory_mb: Option<u64>,
    /// Eviction policy; the one in force when absent
    #[arg(long, value_parser = ["s3_fifo", "sieve", "lru", "lfu", "fifo", "gdsf"])]
    policy: Option<String>,
    /// Only this Envoy, by node id or instance
    #[arg(long)]
    envoy: Option<String>,
}

/// Asks, and draws.
///
/// # Errors
/// No answer, or a refusal.
pub fn run(session: &Session, arguments: &Arguments) -> Result<Outcome, Failure> {
    let parameters = [
        ("cache_size", arguments.cache_size.map(|size| size.to_string())),
        (
            "cache_memory_mb",
            arguments.cache_memory_mb.map(|size| size.to_string()),
        ),
        ("policy", arguments.policy.clone()),
        ("envoy", arguments.envoy.clone()),
    ];
    let predicted = session
        .client
        .ask(Method::GET, "/cache/what-if")
        .query(&parameters)
        .send()?
        .document;
    session.output.show(&predicted, |paint| text(&predicted, paint))?;
    Ok(if predicted["enough"] == true {
        Outcome::Yes
    } else {
        Outcome::No(NO)
    })
}

fn text(predicted: &Value, paint: Paint) -> String {
    let mut table = Table::new(&[
        "",
        "ENTRIES",
        "MB",
        "POLICY",
        "HIT RATIO %",
        "BETWEEN",
        "ORIGIN REQUESTS/S",
    ]);
    for (name, part) in [("now", &predicted["present"]), ("asked", &predicted["predicted"])] {
        table.row([
            name.to_owned(),
            text_of(&part["cache_size"]),
            text_of(&part["cache_memory_mb"]),
            text_of(&part["policy"]),
            figure(&part["hit_ratio"]),
            format!(
                "{} to {}",
                figure(&part["hit_ratio_low"]),
                figure(&part["hit_ratio_high"])
            ),
            figure(&part["origin_requests_per_second"]),
        ]);
    }
    let mut text = table.render(paint, "");
    let policies = predicted["policies"].as_object().into_iter().flatten();
    let policies: Vec<_> = policies
        .map(|(name, ratio)| format!("{} {}", clean(name), figure(ratio)))
        .collect();
    text += &format!("By policy, %: {}\n\n", policies.join(", "));
    if predicted["enough"] != true {
        text += &paint.warning(&format!(
            "Only {} sampled lookups: too few to go by. Wait for more traffic.\n",
            predicted["samples"]
        ));
    }
    text += &plot(predicted);
    let knee = text_of(&predicted["knee"]);
    text + &format!(
        "Beyond {knee} entries no size wins another point. From {} sampled lookups.\n",
        predicted["samples"]
    )
}

/// Hit ratio over the logarithm of the size.
fn plot(predicted: &Value) -> String {
    let of = |point: &Value| {
        Some((
            (point["cache_size"].as_u64()? as f64).max(1.0).log10(),
            point["hit_ratio"].as_f64()?,
        ))
    };
    let curve: Vec<(f64, f64)> = predicted["curve"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(of)
        .collect();
    let (Some(first), Some(last)) = (curve.first(), curve.last()) else {
        return "There is no curve yet.\n".to_owned();
    };
    let points = |part: &Value| of(part).map(|point| vec![point]).unwrap_or_default();
    let (now, predicted_curve) = (points(&predicted["present"]), points(&predicted["predicted"]));
    let datasets = vec![
        Dataset::default()
            .marker(Marker::Braille)
            .graph_type(GraphType::Line)
            .data(&curve),
        Dataset::default()
            .marker(Marker::Custom('o'))
            .graph_type(GraphType::Scatter)
            .data(&now),
        Dataset::default()
            .marker(Marker::Custom('x'))
            .graph_type(GraphType::Scatter)
            .data(&predicted_curve),
    ];
    let (low, high) = (first.0, last.0.max(first.0 + 0.1));
    let label = |exponent: f64| format!("{:.0}", 10_f64.powf(exponent));
    let chart = Chart::new(datasets)
        .x_axis(Axis::default().title("entries").bounds([low, high]).labels([
            label(low),
            label(f64::midpoint(low, high)),
            label(high),
        ]))
        .y_axis(
            Axis::default()
                .title("hit ratio, %")
                .bounds([0.0, 100.0])
                .labels(["0", "50", "100"]),
        )
        .style(Style::new());
    let mut buffer = Buffer::empty(PLOT);
    chart.render(PLOT, &mut buffer);
    let mut text = lines(&buffer);
    text += "o now   x asked\n";
    text
}

/// The characters of a buffer, without colours.
pub(super) fn lines(buffer: &Buffer) -> String {
    let mut text = String::new();
    for y in buffer.area.top()..buffer.area.bottom() {
        let row: String = (buffer.area.left()..buffer.area.right())
            .filter_map(|x| buffer.cell((x, y)))
            .map(ratatui::buffer::Cell::symbol)
            .collect();
        text += row.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_curve_is_drawn_and_too_few_lookups_are_said() {
        let part = json!({"cache_size": 1000, "cache_memory_mb": 64, "policy": "lru", "hit_ratio": 50});
        let curve =
            [(100, 10), (1_000, 50), (10_000, 90)].map(|(size, ratio)| json!({"cache_size": size, "hit_ratio": ratio}));
        let predicted = json!({"present": part, "predicted": part, "enough": false, "samples": 3, "knee": 1000, "curve": curve, "policies": {"lru": 50}});
        let text = text(&predicted, Paint::new(false));
        assert!(text.contains("too few to go by"), "{text}");
        assert!(text.contains("10000"), "{text}");
        assert!(text.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c)), "{text}");
    }

    #[test]
    fn without_a_curve_it_says_so() {
        assert_eq!(plot(&json!({"curve": []})), "There is no curve yet.\n");
    }
}
