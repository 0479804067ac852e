//! What the runbook says about an alert: where to read, and how severe by its own scale.

use super::Severity;

/// About an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// Heading of the runbook, as Git hosts make anchors of headings.
    pub anchor: &'static str,
    /// The runbook's SEV-0 to SEV-3.
    pub sev: u8,
}

/// What the runbook says about a rule's alert.
#[must_use]
pub fn about(name: &str, severity: Severity) -> About {
    let (anchor, critical, warning) = match name {
        "p95_latency" => ("high-latency-alert", 1, 2),
        "cache_hit_ratio" => ("low-cache-hit-ratio-alert", 2, 3),
        "error_rate" => ("high-error-rate-alert", 1, 3),
        "throughput" => ("performance-metrics", 1, 3),
        "memory_usage" | "cpu_usage" | "disk_usage" | "open_connections" => ("system-metrics", 1, 3),
        "no_envoy_connected" => ("sev-0-critical-system-down", 0, 0),
        "sharing_quarantined" => ("responses-shared-by-mistake", 1, 2),
        "experiment_harmful" | "experiment_unjudged" => ("experiment-rolled-back", 3, 3),
        "circuit_breaker_open" => ("high-error-rate-alert", 1, 1),
        "cache_thrashing" => ("cache-optimization", 3, 3),
        "envoy_overloaded" | "errors_unseen" => ("envoy-alert", 1, 3),
        "filter_missing" => ("envoy-alert", 2, 2),
        "envoy_configuration_refused" | "figures_missing" => ("envoy-alert", 3, 3),
        "config_map_refused" => ("auto-tuning-script", 3, 3),
        _ => ("step-3-investigation--15-minutes", 3, 3),
    };
    let sev = match severity {
        Severity::Critical => critical,
        Severity::Warning => warning,
    };
    About { anchor, sev }
}

#[cfg(test)]
mod tests {
    use super::*;
    use optimizer_proto::settings::{Alerts, state_rules};

    const RUNBOOK: &str = include_str!("../../../../deploy/RUNBOOK.md");

    fn anchor(heading: &str) -> String {
        let text = heading.trim_start_matches('#').replace('*', "").trim().to_lowercase();
        let lines = text
            .chars()
            .filter(|sign| sign.is_alphanumeric() || "-_ ".contains(*sign));
        lines.collect::<String>().trim().replace(' ', "-")
    }

    #[test]
    fn every_alert_leads_to_a_heading_of_the_runbook() {
        let anchors: Vec<String> = RUNBOOK
            .lines()
            .filter(|line| line.starts_with('#'))
            .map(anchor)
            .collect();
        let rules = Alerts::default();
        let names = rules.thresholds().map(|(name, _, _)| name);
        for name in names.iter().chain(&state_rules()) {
            let about = about(name, Severity::Critical);
            assert!(
                anchors.iter().any(|known| known == about.anchor),
                "{name}: {}",
                about.anchor
            );
        }
    }
}
