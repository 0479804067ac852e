//! Alerts on their way to whoever is on call: a webhook of one's own, PagerDuty, Alertmanager.

use crate::kernel::clock::{now_ms, timestamp};
use crate::kernel::sync::lock;
use crate::storage::document;
use control_domain::Millis;
use control_domain::alerts::{Action, Alert, Notification, Outbox, Severity, about};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

/// PagerDuty's Events API v2.
const PAGERDUTY_URL: &str = "https://events.pagerduty.com/v2/enqueue";
const TIMEOUT: Duration = Duration::from_secs(5);
const FILE: &str = "outbox.json";
/// Alertmanager resolves an alert that it has not heard of for some minutes; it is reminded in time.
const REMIND_MS: u64 = 60_000;
/// Notifications to one receiver in a row.
const AT_A_TIME: usize = 20;

const WEBHOOK: &str = "webhook";
const PAGERDUTY: &str = "pagerduty";
const ALERTMANAGER: &str = "alertmanager";

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

impl Receivers {
    fn configured(&self) -> [(&'static str, bool); 3] {
        [
            (WEBHOOK, self.webhook.is_some()),
            (PAGERDUTY, self.pagerduty_key_file.is_some()),
            (ALERTMANAGER, self.alertmanager.is_some()),
        ]
    }
}

/// Delivers.
#[derive(Debug)]
pub(crate) struct Notifier {
    receivers: Receivers,
    outbox: Mutex<Outbox>,
    file: Option<PathBuf>,
    client: Client,
    reminded_ms: Mutex<Millis>,
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
        }
    }

    /// Notifications waiting, and given up.
    pub(crate) fn counts(&self) -> (usize, u64) {
        lock(&self.outbox).counts()
    }

    /// What waits and what was told.
    pub(crate) fn outbox(&self) -> Outbox {
        lock(&self.outbox).clone()
    }

    /// Goes on where another replica ended.
    pub(crate) fn go_on_with(&self, outbox: Outbox) {
        *lock(&self.outbox) = outbox;
    }

    /// Writes down what every receiver must be told. `firing`: the alerts that are on, and whether anybody wants to be told. True when
    /// there is something new.
    pub(crate) fn reconcile(&self, firing: &[(&Alert, bool)], now_ms: Millis) -> bool {
        let mut outbox = lock(&self.outbox);
        let mut changed = false;
        for (name, configured) in self.receivers.configured() {
            changed |= configured && outbox.reconcile(name, firing, now_ms);
        }
        if changed {
            self.keep(&outbox);
        }
        changed
    }

    fn keep(&self, outbox: &Outbox) {
        let Some(file) = &self.file else { return };
        if let Err(error) = document::save(file, outbox) {
            tracing::warn!(%error, "outbox of notifications cannot be kept");
        }
    }

    /// Sends what is due, to all receivers at once: one that hangs delays none of the others. `firing` are the alerts that are on.
    /// True when something was sent.
    pub(crate) async fn deliver(&self, firing: &[Alert]) -> bool {
        let now_ms = now_ms();
        let due = lock(&self.outbox).due(now_ms);
        let of = |receiver: &'static str| {
            let own = due.iter().filter(move |notification| notification.receiver == receiver);
            self.deliver_to(own.take(AT_A_TIME).collect())
        };
        tokio::join!(of(WEBHOOK), of(PAGERDUTY), of(ALERTMANAGER));
        // Those of receivers that are not configured any more.
        let gone = |notification: &&Notification| {
            let configured = self.receivers.configured();
            !configured.contains(&(notification.receiver.as_str(), true))
        };
        self.deliver_to(due.iter().filter(gone).collect()).await;
        self.remind(firing, now_ms).await;
        !due.is_empty()
    }

    async fn deliver_to(&self, notifications: Vec<&Notification>) {
        for notification in notifications {
            let sent = self.send(notification).await;
            let now_ms = now_ms();
            let mut outbox = lock(&self.outbox);
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
    }

    async fn remind(&self, firing: &[Alert], now_ms: Millis) {
        let Some(base) = self.receivers.alertmanager.as_ref().filter(|_| !firing.is_empty()) else {
            return;
        };
        {
            let mut reminded = lock(&self.reminded_ms);
            if now_ms.saturating_sub(*reminded) < REMIND_MS {
                return;
            }
            *reminded = now_ms;
        }
        let body: Vec<Value> = firing
            .iter()
            .map(|alert| self.for_alertmanager(alert, alert.severity, None))
            .collect();
        // The next reminder follows in a minute.
        let _ = self.post(&alertmanager_url(base), None, &json!(body)).await;
    }

    async fn send(&self, notification: &Notification) -> Result<(), Undelivered> {
        let alert = &notification.alert;
        match notification.receiver.as_str() {
            WEBHOOK => {
                let url = self.receivers.webhook.as_deref().ok_or_else(gone)?;
                let token = self.receivers.webhook_token_file.as_deref().map(secret).transpose()?;
                let body = json!({
                    "action": notification.action,
                    "dedup_key": alert.id,
                    "runbook": self.runbook(alert),
                    "alert": alert,
                });
                self.post(url, token.as_deref(), &body).await
            }
            PAGERDUTY => {
                let file = self.receivers.pagerduty_key_file.as_deref().ok_or_else(gone)?;
                let url = self.receivers.pagerduty_url.as_deref().unwrap_or(PAGERDUTY_URL);
                self.post(url, None, &self.for_pagerduty(&secret(file)?, notification))
                    .await
            }
            ALERTMANAGER => {
                let base = self.receivers.alertmanager.as_deref().ok_or_else(gone)?;
                let ended = (notification.action == Action::Resolve).then_some(alert.resolved_at);
                let mut body = vec![self.for_alertmanager(alert, alert.severity, ended)];
                // To Alertmanager the severity is part of what an alert is: the one it was before is over.
                if let Some(before) = notification.replaces {
                    body.push(self.for_alertmanager(alert, before, Some(now_ms())));
                }
                self.post(&alertmanager_url(base), None, &json!(body)).await
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
            if let Some(runbook) = self.runbook(alert) {
                body.insert("links".to_owned(), json!([{ "href": runbook, "text": "runbook" }]));
            }
        }
        body
    }

    fn for_alertmanager(&self, alert: &Alert, severity: Severity, ended: Option<Millis>) -> Value {
        let mut labels = json!(alert.labels);
        if let Some(labels) = labels.as_object_mut() {
            labels.insert("alertname".to_owned(), json!(alert.name));
            labels.insert("severity".to_owned(), json!(severity));
            labels.insert("sev".to_owned(), json!(about(&alert.name, severity).sev.to_string()));
            labels.insert("service".to_owned(), json!("api-optimizer"));
        }
        let mut body = json!({
            "labels": labels,
            "annotations": { "summary": alert.summary, "runbook_url": self.runbook(alert).unwrap_or_default() },
            "startsAt": timestamp(alert.since),
        });
        if let (Some(ended), Some(body)) = (ended, body.as_object_mut()) {
            body.insert("endsAt".to_owned(), json!(timestamp(ended)));
        }
        body
    }

    /// Where the runbook speaks of an alert.
    fn runbook(&self, alert: &Alert) -> Option<String> {
        let base = self.receivers.runbook.as_deref()?;
        Some(format!("{base}#{}", about(&alert.name, alert.severity).anchor))
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
