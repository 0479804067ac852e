//! The Envoys: connected, of one version, on the settings in force, with statistics, with their module.

use super::Findings;
use crate::output::{envoys, name_of};
use serde_json::Value;
use std::collections::BTreeSet;

/// Reasons for which the cache is not used because of where the filter stands or what surrounds it (envoy/README.md, "Order of filters").
const OUT_OF_ORDER: [&str; 3] = ["guard-behind", "routed-anew", "chosen-by-metadata"];
/// So many Envoys are named, then counted.
const NAMED: usize = 5;

fn list(document: &Value) -> &[Value] {
    document.as_array().map_or(&[], Vec::as_slice)
}

fn count(list: &[Value]) -> u64 {
    list.len().try_into().unwrap_or(u64::MAX)
}

fn names<'v>(some: impl IntoIterator<Item = &'v Value>) -> String {
    let all: Vec<String> = some.into_iter().map(name_of).collect();
    let mut text = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if all.len() > NAMED {
        text += &format!(" and {} more", all.len() - NAMED);
    }
    text
}

/// Who is connected, of which version, and what they do not take.
pub(super) fn connected(fleet: &Value, findings: &mut Findings) {
    let (here, away): (Vec<_>, Vec<_>) = list(fleet).iter().partition(|envoy| envoy["connected"] == true);
    if here.is_empty() {
        let advice = "Look in an Envoy's log for the filter, and whether the cluster of the control stream reaches the gRPC port (18000); \
                      envoy/README.md";
        return findings.fail("envoys", "no Envoy is connected", advice);
    }
    let versions: BTreeSet<&str> = here.iter().filter_map(|envoy| envoy["version"].as_str()).collect();
    let versions: Vec<&str> = versions.into_iter().collect();
    let text = format!("{} connected, filter {}", here.len(), versions.join(" and "));
    if versions.len() > 1 {
        findings.warn(
            "envoys",
            text,
            "Finish the upgrade: all Envoys should run one version (optimizer rollout status)",
        );
    } else {
        findings.ok("envoys", text);
    }
    if !away.is_empty() {
        let advice = "Expected where they were scaled down; else see whether they run and reach the gRPC port";
        findings.warn("envoys away", names(away), advice);
    }
    for envoy in &here {
        let name = name_of(envoy);
        if let Some(refused) = envoy["refused"].as_object() {
            let revision = refused.get("revision").map(ToString::to_string).unwrap_or_default();
            let advice =
                "An older filter does not know newer settings: upgrade it, or go back (optimizer settings rollback)";
            findings.fail(
                "settings refused",
                format!("{name} refuses revision {revision}"),
                advice,
            );
        }
        let ignored: Vec<&str> = list(&envoy["ignored"]).iter().filter_map(Value::as_str).collect();
        if !ignored.is_empty() {
            let advice = "Its filter is older than the control plane: upgrade it";
            findings.warn(
                "settings ignored",
                format!("{name} does not know {}", ignored.join(", ")),
                advice,
            );
        }
        if let Some(field) = envoy["last_refused_report"]["field"].as_str() {
            let text = format!("{name} reported a {field} that cannot be true");
            findings.warn(
                "reports",
                text,
                "Is its clock set, and is it the filter that was shipped?",
            );
        }
    }
}

/// Faults of single Envoys, and whether their own statistics come.
pub(super) fn health(fleet: &Value, findings: &mut Findings) {
    let all = list(fleet);
    let without: Vec<_> = all.iter().filter(|envoy| envoy["statistics_at"].is_null()).collect();
    if without.is_empty() && !all.is_empty() {
        findings.ok("statistics", format!("own statistics come from {}", envoys(count(all))));
    } else if !without.is_empty() {
        let advice = "Add the stats sink of envoy/static.yaml to the bootstrap, or ENVOY_ADMIN_URLS at the control plane: without it \
                      errors that no filter sees are not counted";
        findings.warn("statistics", format!("none from {}", names(without)), advice);
    }
    for envoy in all {
        let name = name_of(envoy);
        if envoy["filter"] == false {
            let advice =
                "It serves without cache and breaker: see its log for the module, and its filter configuration";
            findings.fail("filter", format!("no filter reports from {name}"), advice);
        }
        for fault in list(&envoy["faults"]) {
            let reason = fault["reason"].as_str().unwrap_or_default();
            let alert = fault["alert"].as_str().unwrap_or_default();
            findings.warn(
                "envoy",
                format!("{name}: {reason}"),
                &format!("deploy/RUNBOOK.md, alert {alert}"),
            );
        }
        let refused: Vec<&str> = list(&envoy["refused_configuration"])
            .iter()
            .filter_map(Value::as_str)
            .collect();
        if !refused.is_empty() {
            let text = format!("{name} refuses {}", refused.join(", "));
            findings.fail(
                "configuration",
                text,
                "Its log says why; the last good one stays in force",
            );
        }
    }
}

/// How far the settings in force have come.
pub(super) fn settings(rollout: &Value, findings: &mut Findings) {
    let revision = rollout["revision"].as_u64().unwrap_or_default();
    if rollout["complete"] == true {
        findings.ok(
            "settings",
            format!("revision {revision} is in force on every connected Envoy"),
        );
    } else {
        let late = count(list(&rollout["stragglers"]));
        let advice = "Wait a moment and check again; an Envoy that stays behind is stuck or refuses it";
        findings.warn(
            "settings",
            format!("revision {revision} is not yet in force on {}", envoys(late)),
            advice,
        );
    }
    if let Some(canary) = rollout["canary"].as_u64() {
        let advice = "optimizer settings canary promote, or abort, ends it";
        findings.warn("settings canary", format!("revision {canary} is on trial"), advice);
    }
    for envoy in list(&rollout["xds"]["envoys"]) {
        for refused in list(&envoy["refused"]) {
            let kind = refused["kind"].as_str().unwrap_or_default();
            let reason = refused["reason"].as_str().unwrap_or_default();
            let text = format!("{} refuses {kind}: {reason}", name_of(envoy));
            findings.fail(
                "xDS",
                text,
                "The last good configuration stays; change the settings it was made from",
            );
        }
    }
}

/// Which module of the filter each Envoy runs, where the control plane hands them out.
pub(super) fn modules(rollout: &Value, findings: &mut Findings) {
    let all = list(&rollout["envoys"]);
    if all.is_empty() {
        return findings.ok("modules", "each Envoy runs the file on its machine");
    }
    let mut sound = true;
    for envoy in all {
        let name = name_of(envoy);
        if let Some(reason) = envoy["refused"].as_str() {
            sound = false;
            findings.fail(
                "modules",
                format!("{name} refuses its module: {reason}"),
                "optimizer rollout abort goes back",
            );
        } else if envoy["reports"] == false {
            sound = false;
            findings.fail(
                "modules",
                format!("{name} runs no module"),
                "It serves without the filter: see its log",
            );
        } else if envoy["in_force"] != envoy["offered"] {
            sound = false;
            findings.warn(
                "modules",
                format!("{name} does not run what it was offered yet"),
                "Wait, then check again",
            );
        }
    }
    if sound {
        let stable = rollout["stable"]
            .as_str()
            .map_or("the file on its machine", |sum| sum.get(..12).unwrap_or(sum));
        findings.ok(
            "modules",
            format!("what was offered runs on {} ({stable})", envoys(count(all))),
        );
    }
    if let Some(percent) = rollout["canary"]["percent"].as_u64() {
        let advice = "optimizer rollout promote, or abort, ends it";
        findings.warn(
            "modules canary",
            format!("a module is on trial on {percent} % of the Envoys"),
            advice,
        );
    }
}

/// Whether requests went past the cache because of the order of the filters. The control plane sees no Envoy's configuration: this is
/// judged by what happened in the last minutes.
pub(super) fn order(stats: &Value, findings: &mut Findings) {
    let mut seen = Vec::new();
    for not_used in list(&stats["not_used_because"]) {
        let reason = not_used["reason"].as_str().unwrap_or_default();
        if OUT_OF_ORDER.contains(&reason) {
            seen.push(format!("{} ({reason})", not_used["count"]));
        }
    }
    let window = stats["window"].as_str().unwrap_or("the last minutes");
    if seen.is_empty() {
        findings.ok(
            "filter order",
            format!("no request of {window} went past the cache because of it"),
        );
    } else {
        let advice = "envoy/README.md, \"Order of filters\": what may refuse a request stands before the cache";
        let text = format!("requests went past the cache in {window}: {}", seen.join(", "));
        findings.warn("filter order", text, advice);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{self, Fail, Ok, Warn};
    use super::*;
    use serde_json::json;

    fn judged(judge: fn(&Value, &mut Findings), document: &Value) -> Vec<(String, Verdict)> {
        let mut findings = Findings::default();
        judge(document, &mut findings);
        findings
            .0
            .into_iter()
            .map(|finding| (finding.name, finding.verdict))
            .collect()
    }

    fn expect(judge: fn(&Value, &mut Findings), document: &Value, expected: &[(&str, Verdict)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, verdict)| ((*name).to_owned(), *verdict))
            .collect();
        assert_eq!(judged(judge, document), expected);
    }

    #[test]
    fn a_fleet_of_one_version_is_sound_and_everything_else_is_told() {
        expect(connected, &json!([]), &[("envoys", Fail)]);
        expect(
            connected,
            &json!([{"connected": true, "version": "1"}]),
            &[("envoys", Ok)],
        );
        let mixed = json!([
            {"node_id": "a", "connected": true, "version": "1", "refused": {"revision": 3}},
            {"node_id": "b", "connected": true, "version": "2", "ignored": ["/new"]},
            {"node_id": "c", "connected": false, "version": "1"},
        ]);
        let expected = [
            ("envoys", Warn),
            ("envoys away", Warn),
            ("settings refused", Fail),
            ("settings ignored", Warn),
        ];
        expect(connected, &mixed, &expected);
    }

    #[test]
    fn an_envoy_without_statistics_or_filter_is_told() {
        let sound =
            json!([{"node_id": "a", "filter": true, "statistics_at": 5, "faults": [], "refused_configuration": []}]);
        expect(health, &sound, &[("statistics", Ok)]);
        let ill = json!([{"node_id": "a", "filter": false, "statistics_at": null,
            "faults": [{"reason": "full", "alert": "envoy_overloaded"}], "refused_configuration": ["lds"]}]);
        expect(
            health,
            &ill,
            &[
                ("statistics", Warn),
                ("filter", Fail),
                ("envoy", Warn),
                ("configuration", Fail),
            ],
        );
    }

    #[test]
    fn a_revision_that_is_not_everywhere_is_a_warning() {
        expect(settings, &json!({"revision": 2, "complete": true}), &[("settings", Ok)]);
        let late = json!({"revision": 2, "complete": false, "stragglers": ["a"], "canary": 3,
            "xds": {"envoys": [{"node_id": "a", "refused": [{"kind": "listener", "reason": "no"}]}]}});
        expect(
            settings,
            &late,
            &[("settings", Warn), ("settings canary", Warn), ("xDS", Fail)],
        );
    }

    #[test]
    fn a_module_that_is_refused_is_a_failure() {
        expect(modules, &json!({"envoys": []}), &[("modules", Ok)]);
        let refused = json!({"envoys": [{"node_id": "a", "refused": "no such file"}], "canary": {"percent": 10}});
        expect(modules, &refused, &[("modules", Fail), ("modules canary", Warn)]);
    }

    #[test]
    fn requests_that_pass_a_guard_behind_the_cache_are_told() {
        expect(
            order,
            &json!({"not_used_because": [{"reason": "no-store", "count": 4}]}),
            &[("filter order", Ok)],
        );
        expect(
            order,
            &json!({"not_used_because": [{"reason": "guard-behind", "count": 4}]}),
            &[("filter order", Warn)],
        );
    }
}
