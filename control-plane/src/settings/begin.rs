//! What a control plane begins with: the history on disk, or a new one.

use super::store::state_file::{Restored, StateFile};
use crate::kernel::ids::unique;
use control_domain::Millis;
use control_domain::settings::history::SettingsHistory;
use optimizer_proto::settings::Settings;
use std::collections::BTreeMap;

/// What a control plane begins with.
pub(super) struct Begun {
    /// The history to go on with.
    pub(super) history: SettingsHistory,
    /// The ConfigMap's keys as last seen.
    pub(super) seen: BTreeMap<String, String>,
    /// There was no history, or only an older one: the Envoys may know more.
    pub(super) lost: bool,
    /// What is to be told of damage to the files.
    pub(super) damage: Option<String>,
}

/// Reads the history, or begins a new one.
pub(super) fn begin(local: Option<&StateFile>, now_ms: Millis) -> Begun {
    let fresh = || unique(now_ms);
    let Some(Restored {
        history,
        seen,
        older,
        damaged,
    }) = local.and_then(StateFile::load)
    else {
        return Begun {
            history: SettingsHistory::new(fresh(), &Settings::default(), now_ms),
            seen: BTreeMap::new(),
            lost: true,
            damage: None,
        };
    };
    // Envoys may run on revisions that only the damaged copy had: under another name the numbers begin anew for them.
    let mut history = if older {
        let revisions = history.revisions().cloned().collect();
        SettingsHistory::restored(fresh(), revisions).unwrap_or(history)
    } else {
        history
    };
    if let Some(reason) = history.bring_up_to_date(now_ms) {
        tracing::warn!(
            revision = history.present().number,
            reason,
            "settings of another version"
        );
    }
    Begun {
        history,
        seen,
        lost: older,
        damage: (older || damaged).then(|| {
            "the settings on disk were damaged at the start, and the newest revisions may be lost; the next change is kept whole".to_owned()
        }),
    }
}
