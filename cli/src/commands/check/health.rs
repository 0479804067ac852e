//! What the control plane says of itself: components, clock, alerts.

use super::Findings;
use serde_json::Value;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// By more than this, times in answers mislead people.
const CLOCKS_APART: Duration = Duration::from_secs(2);

/// Each component that is not healthy; the others in one line.
pub(super) fn components(health: &Value, findings: &mut Findings) {
    let Some(components) = health["components"].as_object() else {
        return findings.fail(
            "health",
            "the answer has no components",
            "Is it a control plane of this product?",
        );
    };
    let mut healthy = 0;
    for (name, component) in components {
        let reason = component["reason"].as_str().unwrap_or("no reason given");
        let advice = "deploy/RUNBOOK.md and deploy/README.md say what this component is";
        match component["status"].as_str() {
            Some("healthy") => healthy += 1,
            Some("degraded") => findings.warn(&format!("health: {name}"), reason, advice),
            _ => findings.fail(&format!("health: {name}"), reason, advice),
        }
    }
    findings.ok(
        "health",
        format!("{healthy} of {} components are healthy", components.len()),
    );
}

/// The difference between the clock of the control plane and the one here. Its answer was made between `sent_at` and `answered_at`.
pub(super) fn clock(health: &Value, sent_at: SystemTime, answered_at: SystemTime, findings: &mut Findings) {
    let Some(there) = health["as_of"].as_u64() else {
        return findings.warn("clock", "the control plane does not tell its time", "");
    };
    let there = UNIX_EPOCH + Duration::from_millis(there);
    let (text, apart) = match (there.duration_since(answered_at), sent_at.duration_since(there)) {
        (Ok(ahead), _) => (
            format!(
                "the control plane is {:.1} s ahead of this machine",
                ahead.as_secs_f64()
            ),
            ahead,
        ),
        (_, Ok(behind)) => (
            format!("the control plane is {:.1} s behind this machine", behind.as_secs_f64()),
            behind,
        ),
        _ => ("the control plane and this machine agree".to_owned(), Duration::ZERO),
    };
    if apart > CLOCKS_APART {
        let advice = "Synchronise both clocks (NTP): ages of responses and times of events depend on them";
        findings.warn("clock", text, advice);
    } else {
        findings.ok("clock", text);
    }
}

/// What is firing.
pub(super) fn alerts(alerts: &Value, findings: &mut Findings) {
    let Some(alerts) = alerts.as_array() else {
        return findings.fail(
            "alerts",
            "the answer is no list",
            "Is it a control plane of this product?",
        );
    };
    if alerts.is_empty() {
        return findings.ok("alerts", "none is active");
    }
    for alert in alerts {
        let name = format!("alert {}", alert["name"].as_str().unwrap_or("(no name)"));
        let summary = alert["summary"].as_str().unwrap_or_default();
        let runbook = alert["runbook"].as_str().unwrap_or_default();
        if alert["severity"] == "critical" {
            findings.fail(&name, summary, runbook);
        } else {
            findings.warn(&name, summary, runbook);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use serde_json::json;

    fn verdicts(findings: &Findings) -> Vec<(&str, Verdict)> {
        findings
            .0
            .iter()
            .map(|finding| (finding.name.as_str(), finding.verdict))
            .collect()
    }

    #[test]
    fn components_are_judged_one_by_one() {
        let health = json!({"components": {
            "fleet": {"status": "healthy", "reason": "1 connected"},
            "storage": {"status": "degraded", "reason": "read-only"},
            "settings": {"status": "unhealthy", "reason": "lost"},
        }});
        let mut findings = Findings::default();
        components(&health, &mut findings);
        let expected = [
            ("health: settings", Verdict::Fail),
            ("health: storage", Verdict::Warn),
            ("health", Verdict::Ok),
        ];
        let mut seen = verdicts(&findings);
        seen.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_clock_is_judged_only_by_what_the_round_trip_cannot_explain() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let health = json!({"as_of": 1_000_000});
        for (sent_at, answered_at, expected) in [
            (990, 1_010, Verdict::Ok),
            (999, 999, Verdict::Ok),
            (990, 991, Verdict::Warn),
            (1_010, 1_011, Verdict::Warn),
        ] {
            let mut findings = Findings::default();
            clock(&health, at(sent_at), at(answered_at), &mut findings);
            assert_eq!(verdicts(&findings), [("clock", expected)], "{sent_at}");
        }
    }

    #[test]
    fn a_critical_alert_is_a_failure() {
        let mut findings = Findings::default();
        alerts(
            &json!([{"name": "error_rate", "severity": "critical"}, {"name": "p95", "severity": "warning"}]),
            &mut findings,
        );
        assert_eq!(
            verdicts(&findings),
            [("alert error_rate", Verdict::Fail), ("alert p95", Verdict::Warn)]
        );
    }
}
