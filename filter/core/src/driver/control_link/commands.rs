//! What the control plane may ask of a running Envoy.

use crate::driver::host::Host;
use crate::driver::host::ctx::Ctx;
use crate::driver::shared::settings_cell;
use crate::driver::vm::Vm;
use optimizer_proto::answers;
use optimizer_proto::v1::command::Body;
use optimizer_proto::v1::command_result::Answer;
use optimizer_proto::v1::{Command, CommandResult, PurgeCount, Refusal};

/// What became of a command.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) answer: Option<Answer>,
    /// What is told as JSON.
    pub(crate) detail: String,
    /// Number of a purge, which is acknowledged when it is in force in every VM.
    pub(super) purge: Option<u32>,
}

impl Done {
    pub(super) fn is_refused(&self) -> bool {
        matches!(self.answer, Some(Answer::Refusal(_)))
    }

    /// In the form in which the sender of the command reads it.
    pub(super) fn result(self, command: &Command) -> CommandResult {
        let result = CommandResult {
            id: command.id.clone(),
            ok: !self.is_refused(),
            detail: self.detail,
            answer: self.answer,
        };
        if command.typed_answer {
            result
        } else {
            answers::for_older(result)
        }
    }
}

impl Vm {
    /// Carries a command out.
    pub(crate) fn execute(&mut self, ctx: Ctx<'_, impl Host>, command: &Command) -> Done {
        let mut done = Done::default();
        let answered = match &command.body {
            Some(Body::Explain(explain)) => self.explain(ctx, explain).map(|told| {
                done.detail = told.to_string();
                None
            }),
            Some(Body::Purge(asked)) => {
                // Before it is in force: what is purged goes with the next request for it.
                let counted = self.count_before(ctx, &asked.counted);
                self.purge(ctx, asked).map(|stamp| {
                    done.purge = Some(stamp);
                    counted.map(|count| Answer::Count(PurgeCount { stamp, ..count }))
                })
            }
            Some(Body::Count(step)) => self.count_after(ctx, step).map(|count| Some(Answer::Count(count))),
            Some(Body::Breaker(apply_override)) => self.apply_override(ctx, apply_override).map(|()| None),
            Some(Body::Export(export)) => Ok(Some(Answer::Page(self.export(ctx, export)))),
            Some(Body::Import(part)) => self.import(ctx, part).map(|imported| Some(Answer::Imported(imported))),
            Some(Body::Sweep(step)) => Ok(Some(Answer::Swept(self.sweep(ctx, step.cursor)))),
            Some(Body::Inventory(step)) => Ok(Some(Answer::Inventory(self.inventory(ctx, step)))),
            Some(Body::Settings(asked)) if asked.max_bytes > 0 => {
                settings_cell::part(ctx.host, asked).map(|part| Some(Answer::Settings(part)))
            }
            Some(Body::Settings(_)) => settings_cell::published(ctx.host).map(|told| {
                done.detail = told.to_string();
                None
            }),
            None => Err("this filter does not know the command".to_owned()),
        };
        done.answer = answered.unwrap_or_else(|reason| Some(Answer::Refusal(Refusal { reason })));
        done
    }
}
