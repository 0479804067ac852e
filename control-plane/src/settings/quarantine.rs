//! What Envoys have found not to be shareable goes into the settings, and so to all Envoys.

use super::service::SettingsService;
use crate::kernel::clock::now_ms;
use control_domain::settings::change::Change;
use control_domain::settings::history::{Author, Refused};
use control_domain::settings::quarantine::{NotTaken, adding};
use optimizer_proto::v1::SharingFinding;
use std::sync::Arc;
use std::time::Duration;

/// Between two attempts, while a canary is under way or the replicas cannot agree.
const RETRY: Duration = Duration::from_secs(2);
impl SettingsService {
    /// An Envoy has found that responses depend on what is not in their key.
    pub(crate) fn found(self: &Arc<Self>, envoy: &str, node: &str, finding: &SharingFinding) {
        if !self.waiting.begin(envoy, &finding.id, now_ms()) {
            tracing::warn!(
                envoy,
                finding = finding.id,
                "a finding of verified sharing waits already, or is one too many"
            );
            return;
        }
        let (service, finding) = (Arc::clone(self), finding.clone());
        let (envoy, node) = (envoy.to_owned(), node.to_owned());
        tokio::spawn(async move {
            while !service.quarantine(&envoy, &node, &finding).await {
                tokio::time::sleep(RETRY).await;
            }
            service.waiting.end(&finding.id);
        });
    }

    /// False when it is to be tried again.
    async fn quarantine(&self, envoy: &str, node: &str, finding: &SharingFinding) -> bool {
        let author = Author {
            who: node.to_owned(),
            source: "verify_sharing".to_owned(),
            reason: format!("responses depend on {}", finding.depends_on.join(", ")),
        };
        let published = self.published();
        if let Err(not_taken) = adding(finding, published.document()) {
            if not_taken != NotTaken::Known {
                tracing::error!(envoy, finding = finding.id, %not_taken, "a finding of verified sharing is not put into the settings");
            }
            return true;
        }
        let written = self.change(None, author, false, None, |history, expected, author, at_ms| {
            let document = &history.present().document;
            match adding(finding, document) {
                Ok(change) => history.propose(&change, expected, author, at_ms),
                // Somebody was first: nothing changes.
                Err(_) => history.propose(&Change::Replace(document.clone()), expected, author, at_ms),
            }
        });
        match written.await {
            Ok(_) => {
                tracing::error!(
                    envoy,
                    finding = finding.id,
                    route = finding.route,
                    host = finding.host,
                    path_prefix = finding.path_prefix,
                    depends_on = ?finding.depends_on,
                    since_ms = now_ms().saturating_sub(finding.at_ms),
                    "responses depend on what is not in the key: they are not cached any more"
                );
                true
            }
            Err(Refused::CanaryUnderWay(_) | Refused::Unavailable(_) | Refused::Conflict { .. }) => false,
            Err(refused) => {
                tracing::error!(envoy, finding = finding.id, %refused, "a finding of verified sharing is refused");
                true
            }
        }
    }
}
