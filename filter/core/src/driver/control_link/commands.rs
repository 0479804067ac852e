//! What the control plane may ask of a running Envoy.

use crate::driver::host::Host;
use crate::driver::host::ctx::Ctx;
use crate::driver::shared::settings_cell;
use crate::driver::vm::Vm;
use optimizer_proto::v1::command::Body;
use optimizer_proto::v1::{Command, ExportPage, PurgeCount, SettingsPart};
use serde_json::json;

/// What became of a command.
pub(crate) struct Done {
    pub(crate) ok: bool,
    /// The result as JSON.
    pub(crate) detail: String,
    pub(super) page: Option<ExportPage>,
    /// Number of a purge, which is acknowledged when it is in force in every VM.
    pub(super) purge: Option<u32>,
    /// How much a purge has matched, where that was asked for.
    pub(super) count: Option<PurgeCount>,
    /// A part of the settings, where it was asked for.
    pub(super) settings: Option<SettingsPart>,
}

impl Vm {
    /// Carries a command out.
    pub(crate) fn execute(&mut self, ctx: Ctx<'_, impl Host>, command: &Command) -> Done {
        let (mut purge, mut count) = (None, None);
        let (mut page, mut settings) = (None, None);
        let done = match &command.body {
            Some(Body::Explain(explain)) => self.explain(ctx, explain),
            Some(Body::Purge(asked)) => {
                // Before it is in force: what is purged goes with the next request for it.
                let counted = self.count_before(ctx, &asked.counted);
                self.purge(ctx, asked).map(|stamp| {
                    purge = Some(stamp);
                    count = counted.map(|count| PurgeCount { stamp, ..count });
                    json!({ "stamp": stamp })
                })
            }
            Some(Body::Count(step)) => self.count_after(ctx, step).map(|step| {
                count = Some(step);
                json!({})
            }),
            Some(Body::Breaker(apply_override)) => self.apply_override(ctx, apply_override),
            Some(Body::Export(export)) => {
                page = Some(self.export(ctx, export));
                Ok(json!({}))
            }
            Some(Body::Import(part)) => self.import(ctx, part),
            Some(Body::Sweep(step)) => Ok(self.sweep(ctx, step.cursor)),
            Some(Body::Inventory(step)) => Ok(self.inventory(ctx, step)),
            Some(Body::Settings(asked)) if asked.max_bytes > 0 => settings_cell::part(ctx.host, asked).map(|part| {
                settings = Some(part);
                json!({})
            }),
            Some(Body::Settings(_)) => settings_cell::published(ctx.host),
            None => Err("this filter does not know the command".to_owned()),
        };
        let (ok, detail) = match done {
            Ok(detail) => (true, detail),
            Err(reason) => (false, json!({ "reason": reason })),
        };
        Done {
            ok,
            detail: detail.to_string(),
            page,
            purge,
            count,
            settings,
        }
    }
}
