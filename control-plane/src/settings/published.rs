//! The settings in force, as everyone may read them without waiting for a writer.

use crate::kernel::trace::Cause;
use control_domain::settings::canary::Canary;
use control_domain::settings::history::{Revision, SettingsHistory};
use optimizer_proto::settings::Settings;
use optimizer_proto::v1::SettingsPush;
use serde_json::Value;
use std::sync::Arc;

/// The settings to push: those for all, and those of a canary.
#[derive(Debug)]
pub(crate) struct Published {
    epoch: String,
    present: Revision,
    /// The present document, checked; `None` when it is of a version that this process cannot read.
    settings: Option<Arc<Settings>>,
    /// The same, as far as this process can read it.
    readable: Arc<Settings>,
    all: SettingsPush,
    canary: Option<(Canary, SettingsPush)>,
    /// What they were changed by.
    cause: Cause,
}

impl Published {
    pub(super) fn of(history: &SettingsHistory, canary: Option<&Canary>) -> Self {
        let push = |number, document: &Value| SettingsPush {
            revision: number,
            document: document.to_string().into_bytes(),
            epoch: history.epoch().to_owned(),
        };
        let present = history.present().clone();
        let settings = Settings::parse(&present.document).ok();
        let settings = settings.map(|(settings, _)| Arc::new(settings));
        let readable = || {
            let known = Settings::parse_tolerant(&present.document);
            Arc::new(known.map(|(settings, _)| settings).unwrap_or_default())
        };
        Self {
            epoch: history.epoch().to_owned(),
            readable: settings.clone().unwrap_or_else(readable),
            settings,
            all: push(present.number, &present.document),
            canary: canary.map(|canary| {
                let tried = push(canary.revision.number, &canary.revision.document);
                (canary.clone(), tried)
            }),
            present,
            cause: Cause::present(),
        }
    }

    /// The history that they are of.
    pub(crate) fn epoch(&self) -> &str {
        &self.epoch
    }

    /// What they were changed by.
    pub(crate) fn cause(&self) -> &Cause {
        &self.cause
    }

    /// The revision in force.
    pub(crate) fn present(&self) -> &Revision {
        &self.present
    }

    /// The document in force.
    pub(crate) fn document(&self) -> &Value {
        &self.present.document
    }

    /// The document in force, checked; `None` when it is of a version that this process cannot read.
    pub(crate) fn settings(&self) -> Option<&Arc<Settings>> {
        self.settings.as_ref()
    }

    /// The document in force, as far as this process can read it: of another version's settings those that it knows.
    pub(crate) fn readable(&self) -> &Settings {
        &self.readable
    }

    /// The revision on trial.
    pub(crate) fn canary(&self) -> Option<&Canary> {
        self.canary.as_ref().map(|(canary, _)| canary)
    }

    /// What an Envoy is to run on.
    pub(crate) fn to(&self, envoy: &str) -> &SettingsPush {
        match &self.canary {
            Some((canary, push)) if canary.envoys.contains(envoy) => push,
            _ => &self.all,
        }
    }
}
