//! Alerts on their way to whoever is on call: a webhook of one's own, PagerDuty, Alertmanager.

use super::document;
use control_domain::Millis;
use control_domain::alerts::{Action, Alert, Notification, Outbox};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// PagerDuty's Events API v2.
pub(crate) const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";
const TIMEOUT: Duration = Duration::from_secs(5);
const FILE: &str = "outbox.json";
/// Alertmanager resolves an alert that it has not heard of for some minutes; it is reminded in time.
const REMIND_MS: u64 = 60_000;

/// Where alerts go. A secret is read from its file at each delivery, so that it can be rotated.
#[derive(Debug, Clone, Default)]
pub(crate) struct Receivers {
    /// Gets every alert as JSON.
    pub(crate) webhook: Option<String>,
    /// Bearer token for it.
    pub(crate) webhook_token_file: Option<PathBuf>,
    pub(crate) pagerduty_key_file: Option<PathBuf>,
    pub(crate) pagerduty_url: Option<String>,
    /// Base URL of an Alertmanager.
    pub(crate) alertmanager: Option<String>,
    /// Link in notifications.
    pub(crate) runbook: Option<String>,
}

/// Delivers.
#[derive(Debug)]
pub(crate) struct Notifier {
    receivers: Receivers,
    outbox: Mutex<Outbox>,
    file: Option<PathBuf>,
    client: Client,
    reminded_ms: Mutex<Millis>,
    firing: Mutex<Vec<Alert>>,
}

impl Notifier {
    /// Goes on with what was not delivered before a restart.
    pub(crate) fn new(receivers: Receivers, state_dir: Option<&Path>) -> Self {
        let file = state_dir.map(|directory| directory.join(FILE));
        let outbox = file
            .as_deref()
            .and_then(|file| document::load(file, Ok))
            .unwrap_or_default();
        Self {
            receivers,
            outbox: Mutex::new(outbox),
            file,
            client: Client::builder().timeout(TIMEOUT).build().unwrap_or_default(),
            reminded_ms: Mutex::default(),
            firing: Mutex::default(),
        }
    }

    /// Notifications waiting, and given up.
    pub(crate) fn standing(&self) -> (usize, u64) {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner).standing()
    }

    /// Writes a notification down for every receiver.
    pub(crate) fn put(&self, action: Action, alert: &Alert, now_ms: Millis) {
        let mut firing = self.firing.lock().unwrap_or_else(PoisonError::into_inner);
        firing.retain(|other| other.id != alert.id);
        if action == Action::Trigger {
            firing.push(alert.clone());
        }
        drop(firing);
        let mut outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = false;
        for (name, configured) in [
            ("webhook", self.receivers.webhook.is_some()),
            ("pagerduty", self.receivers.pagerduty_key_file.is_some()),
            ("alertmanager", self.receivers.alertmanager.is_some()),
        ] {
            changed |= configured && outbox.put(name, action, alert, now_ms);
        }
        if changed {
            self.keep(&outbox);
        }
    }

    fn keep(&self, outbox: &Outbox) {
        let Some(file) = &self.file else { return };
        if let Err(error) = document::save(file, outbox) {
            tracing::warn!(%error, "outbox of notifications cannot be kept");
        }
    }

    /// Sends what is due.
    pub(crate) async fn deliver(&self, now_ms: Millis) {
        let due = self.outbox.lock().unwrap_or_else(PoisonError::into_inner).due(now_ms);
        for notification in due {
            let sent = self.send(&notification).await;
            let mut outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
            match sent {
                Ok(()) => outbox.done(notification.number),
                Err(Undelivered::Refused(reason)) => {
                    tracing::error!(receiver = notification.receiver, reason, "notification refused");
                    outbox.done(notification.number);
                }
                Err(Undelivered::Later(reason)) => {
                    tracing::warn!(
                        receiver = notification.receiver,
                        reason,
                        "notification not delivered, will be retried"
                    );
                    let jitter = u8::try_from(now_ms % 256).unwrap_or(0);
                    outbox.failed(notification.number, now_ms, jitter);
                }
            }
            self.keep(&outbox);
        }
        self.remind(now_ms).await;
    }

    async fn remind(&self, now_ms: Millis) {
        let Some(base) = &self.receivers.alertmanager else {
            return;
        };
        let alerts = {
            let mut reminded = self.reminded_ms.lock().unwrap_or_else(PoisonError::into_inner);
            if now_ms.saturating_sub(*reminded) < REMIND_MS {
                return;
            }
            *reminded = now_ms;
            self.firing.lock().unwrap_or_else(PoisonError::into_inner).clone()
        };
        if alerts.is_empty() {
            return;
        }
        let body: Vec<Value> = alerts
            .iter()
            .map(|alert| self.for_alertmanager(alert, Action::Trigger))
            .collect();
        // The next reminder follows in a minute.
        let _ = self.post(&alertmanager_url(base), None, &json!(body)).await;
    }

    async fn send(&self, notification: &Notification) -> Result<(), Undelivered> {
        let alert = &notification.alert;
        match notification.receiver.as_str() {
            "webhook" => {
                let url = self.receivers.webhook.as_deref().ok_or_else(gone)?;
                let token = self.receivers.webhook_token_file.as_deref().map(secret).transpose()?;
                let body = json!({
                    "action": notification.action,
                    "dedup_key": alert.id,
                    "runbook": self.receivers.runbook,
                    "alert": alert,
                });
                self.post(url, token.as_deref(), &body).await
            }
            "pagerduty" => {
                let file = self.receivers.pagerduty_key_file.as_deref().ok_or_else(gone)?;
                let url = self.receivers.pagerduty_url.as_deref().unwrap_or(PAGERDUTY);
                self.post(url, None, &self.for_pagerduty(&secret(file)?, notification))
                    .await
            }
            "alertmanager" => {
                let base = self.receivers.alertmanager.as_deref().ok_or_else(gone)?;
                let body = json!([self.for_alertmanager(alert, notification.action)]);
                self.post(&alertmanager_url(base), None, &body).await
            }
            _ => Err(gone()),
        }
    }

    fn for_pagerduty(&self, key: &str, notification: &Notification) -> Value {
        let alert = &notification.alert;
        let mut body = json!({
            "routing_key": key,
            "event_action": notification.action,
            "dedup_key": alert.id,
        });
        if notification.action == Action::Trigger
            && let Some(body) = body.as_object_mut()
        {
            let payload = json!({
                "summary": alert.summary,
                "source": "api-optimizer",
                "severity": alert.severity,
                "component": alert.name,
                "custom_details": { "value": alert.value, "threshold": alert.threshold, "labels": alert.labels },
            });
            body.insert("payload".to_owned(), payload);
            if let Some(runbook) = &self.receivers.runbook {
                body.insert("links".to_owned(), json!([{ "href": runbook, "text": "runbook" }]));
            }
        }
        body
    }

    fn for_alertmanager(&self, alert: &Alert, action: Action) -> Value {
        let mut labels = json!(alert.labels);
        if let Some(labels) = labels.as_object_mut() {
            labels.insert("alertname".to_owned(), json!(alert.name));
            labels.insert("severity".to_owned(), json!(alert.severity));
            labels.insert("service".to_owned(), json!("api-optimizer"));
        }
        let mut body = json!({
            "labels": labels,
            "annotations": { "summary": alert.summary, "runbook_url": self.receivers.runbook.as_deref().unwrap_or_default() },
            "startsAt": timestamp(alert.since),
        });
        if let (Action::Resolve, Some(body)) = (action, body.as_object_mut()) {
            body.insert("endsAt".to_owned(), json!(timestamp(alert.resolved_at)));
        }
        body
    }

    async fn post(&self, url: &str, token: Option<&str>, body: &Value) -> Result<(), Undelivered> {
        let mut request = self.client.post(url).json(body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request
            .send()
            .await
            // Without the URL: it may carry a secret.
            .map_err(|error| Undelivered::Later(error.without_url().to_string()))?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
                Err(Undelivered::Later(status.to_string()))
            }
            // Whatever is sent again would be refused again, except for a credential that is put right.
            status if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN => {
                Err(Undelivered::Later(status.to_string()))
            }
            status => Err(Undelivered::Refused(status.to_string())),
        }
    }
}

enum Undelivered {
    Later(String),
    Refused(String),
}

fn gone() -> Undelivered {
    Undelivered::Refused("this receiver is not configured any more".to_owned())
}

fn secret(file: &Path) -> Result<String, Undelivered> {
    std::fs::read_to_string(file)
        .map(|text| text.trim().to_owned())
        .map_err(|error| Undelivered::Later(format!("{}: {error}", file.display())))
}

fn alertmanager_url(base: &str) -> String {
    format!("{}/api/v2/alerts", base.trim_end_matches('/'))
}

/// RFC 3339, as both APIs want it.
pub(crate) fn timestamp(ms: Millis) -> String {
    let time = std::time::UNIX_EPOCH + Duration::from_millis(ms);
    humantime::format_rfc3339_millis(time).to_string()
}
