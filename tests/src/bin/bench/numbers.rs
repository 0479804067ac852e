//! Medians, spreads and quantiles.

use serde_json::{Value, json};

/// What repeated measurements gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

impl Spread {
    /// Of at least one value.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        Self {
            median: quantile(&mut values, 0.5),
            lowest: quantile(&mut values, 0.0),
            highest: quantile(&mut values, 1.0),
        }
    }

    pub(crate) fn to_json(self) -> Value {
        json!({"median": rounded(self.median), "lowest": rounded(self.lowest), "highest": rounded(self.highest)})
    }

    /// `1.25 (1.20 to 1.31)` with so many decimals.
    pub(crate) fn text(self, decimals: usize) -> String {
        format!(
            "{:.decimals$} ({:.decimals$} to {:.decimals$})",
            self.median, self.lowest, self.highest
        )
    }
}

/// Three decimals: more is noise.
fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// The value below or at which `share` of the values lie.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len().max(1)) - 1;
    values.get(index).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quantiles() {
        let spread = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!(spread.text(1), "2.0 (1.0 to 3.0)");
        let mut values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert!((quantile(&mut values, 0.5) - 100.0).abs() < f64::EPSILON);
        assert!((quantile(&mut values, 0.99) - 198.0).abs() < f64::EPSILON);
    }
}
