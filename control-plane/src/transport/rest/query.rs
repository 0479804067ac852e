//! Query parameters that several resources share.

use super::problem::Problem;
use control_domain::telemetry::sum::Filter;
use control_domain::views::{DEFAULT_WINDOW_MS, MAX_WINDOW_MS};
use optimizer_proto::settings::parse_duration;
use serde::Deserialize;
use std::time::Duration;

const MAX_TIMEOUT_MS: u64 = 30_000;
const DEFAULT_TIMEOUT_MS: u64 = 2_000;

/// Over which time a figure is.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Window {
    /// From 10s to 1h; 5m when absent.
    window: Option<String>,
    /// Only requests of this route.
    route: Option<String>,
    /// Only requests to this upstream.
    upstream: Option<String>,
    /// Only this Envoy, by instance or node id.
    envoy: Option<String>,
}

impl Window {
    /// The part of the traffic that is asked for.
    pub(crate) fn filter(&self) -> Filter {
        Filter {
            envoy: self.envoy.clone(),
            route: self.route.clone(),
            upstream: self.upstream.clone(),
        }
    }

    pub(crate) fn milliseconds(&self) -> Result<u64, Problem> {
        let Some(text) = &self.window else {
            return Ok(DEFAULT_WINDOW_MS);
        };
        parse_duration(text)
            .filter(|window| (10_000..=MAX_WINDOW_MS).contains(window))
            .ok_or_else(|| Problem::bad_query("window", text, "a duration from 10s to 1h"))
    }
}

/// How a write is to be done.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Write {
    /// Only says what would come of it.
    #[serde(default)]
    pub(crate) dry_run: bool,
    /// `all`: the answer comes when every Envoy has it, or with 202 and the stragglers.
    #[param(pattern = "^all$")]
    wait: Option<String>,
    /// How long at most, 2s when absent.
    timeout: Option<String>,
}

impl Write {
    /// How long to wait for the whole fleet; `None` when nobody asked to.
    pub(crate) fn wait(&self) -> Result<Option<Duration>, Problem> {
        waiting(self.wait.as_deref(), self.timeout.as_deref())
    }
}

/// How a change of settings is to be done.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SettingsWrite {
    /// Only says what would come of it.
    #[serde(default)]
    pub(crate) dry_run: bool,
    /// `all`: the answer comes when every Envoy runs on it, or with 202 and the stragglers.
    #[param(pattern = "^all$")]
    wait: Option<String>,
    /// How long at most, 2s when absent.
    timeout: Option<String>,
    /// Write also when the Envoys run on settings that this control plane has lost: those are gone then.
    #[serde(default)]
    pub(crate) confirm: bool,
    /// Percent of the Envoys that get it, 1 to 99, until it is promoted or aborted.
    canary: Option<String>,
    /// Why, for the history. The header `X-Reason` does as well.
    pub(crate) reason: Option<String>,
}

impl SettingsWrite {
    /// How long to wait for the whole fleet; `None` when nobody asked to.
    pub(crate) fn wait(&self) -> Result<Option<Duration>, Problem> {
        waiting(self.wait.as_deref(), self.timeout.as_deref())
    }

    /// The share of the fleet that is to try it; `None` for all.
    pub(crate) fn share(&self) -> Result<Option<u8>, Problem> {
        let Some(text) = &self.canary else { return Ok(None) };
        let share = text.trim_end_matches('%').parse().ok();
        share
            .filter(|share| (1..=99).contains(share))
            .map(Some)
            .ok_or_else(|| Problem::bad_query("canary", text, "a whole number from 1 to 99, in percent"))
    }
}

/// What headers say about a change of settings.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only described; headers are read where they matter")]
pub(crate) struct SettingsHeaders {
    /// The entity tag of `GET /settings` that the change is based on: 412 when somebody else was first, 428 when it is missing and the
    /// setting `require_if_match` asks for it. Without it the change is made to whatever is in force.
    #[param(rename = "If-Match")]
    if_match: Option<String>,
    /// Why, for the history.
    #[param(rename = "X-Reason")]
    reason: Option<String>,
    /// Who, where no token says it; the address when absent.
    #[param(rename = "X-Author")]
    author: Option<String>,
}

/// Headers with the reason of an override or a purge.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only described; headers are read where they matter")]
pub(crate) struct ReasonHeaders {
    /// Why, for the log.
    #[param(rename = "X-Reason")]
    reason: Option<String>,
    /// Who, where no token says it; the address when absent.
    #[param(rename = "X-Author")]
    author: Option<String>,
}

fn waiting(wait: Option<&str>, limit: Option<&str>) -> Result<Option<Duration>, Problem> {
    match wait {
        None => Ok(None),
        Some("all") => timeout(limit).map(Some),
        Some(other) => Err(Problem::bad_query("wait", other, "all")),
    }
}

/// A time-out parameter.
pub(crate) fn timeout(text: Option<&str>) -> Result<Duration, Problem> {
    let Some(text) = text else {
        return Ok(Duration::from_millis(DEFAULT_TIMEOUT_MS));
    };
    parse_duration(text)
        .filter(|timeout| *timeout <= MAX_TIMEOUT_MS)
        .map(Duration::from_millis)
        .ok_or_else(|| Problem::bad_query("timeout", text, "a duration up to 30s"))
}
