//! An operation of the control plane while this command waits for it: a bar, and Ctrl-C cancels it.

use super::{Session, segment};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{note, operation_bar, show_operation};
use indicatif::ProgressBar;
use reqwest::Method;
use serde_json::Value;
use signal_hook::consts::SIGINT;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two looks at Ctrl-C.
const LOOK: Duration = Duration::from_millis(50);
/// Between two questions to the control plane.
const ASK: Duration = Duration::from_millis(500);
/// What was cancelled ends within this time, or is left alone.
const END: Duration = Duration::from_secs(20);

/// Watches the operation that a request with its key begins.
#[derive(Debug)]
pub struct Watch {
    key: String,
    client: Client,
    interrupted: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Ctrl-C ends this program at once.
    leave: Arc<AtomicBool>,
}

impl Watch {
    /// From now on Ctrl-C cancels; pressed once more it ends the command.
    ///
    /// # Errors
    /// Signals cannot be handled.
    pub fn begin(session: &Session, what: &str) -> Result<Self, Failure> {
        let (interrupted, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let key = format!("cli-{:016x}", RandomState::new().build_hasher().finish());
        let failed = |error: &std::io::Error| Failure::usage(format!("Ctrl-C cannot be handled: {error}"));
        let leave = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register_conditional_default(SIGINT, Arc::clone(&leave)).map_err(|error| failed(&error))?;
        signal_hook::flag::register(SIGINT, Arc::clone(&interrupted)).map_err(|error| failed(&error))?;
        let work = Work {
            key: key.clone(),
            client: session.client.clone(),
            bar: operation_bar(what),
            interrupted: Arc::clone(&interrupted),
            leave: Arc::clone(&leave),
            over: Arc::clone(&over),
        };
        Ok(Self {
            key,
            client: session.client.clone(),
            interrupted,
            over,
            thread: Some(std::thread::spawn(move || work.run())),
            leave,
        })
    }

    /// Value of the header `Operation-Key`.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Ctrl-C was pressed.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }

    /// How the operation stands; null when nobody knows.
    #[must_use]
    pub fn now(&self) -> Value {
        of_key(&self.client, &self.key)
    }

    /// Waits until the operation has ended, and gives its last word; null when there is none.
    #[must_use]
    pub fn ended(&self) -> Value {
        let begun = Instant::now();
        loop {
            let now = self.now();
            let is_over = now["receipt"].is_object();
            if is_over || (begun.elapsed() > END && (self.is_interrupted() || now.is_null())) {
                return now;
            }
            std::thread::sleep(LOOK * 4);
        }
    }

    /// The bar goes, and Ctrl-C ends the command again.
    pub fn close(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.leave.store(true, Ordering::SeqCst);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.close();
    }
}

/// What was cancelled, in words.
#[must_use]
pub fn what_was_done(operation: &Value) -> String {
    let counts = operation["receipt"]["counts"].as_object();
    let counts: Vec<String> = counts
        .into_iter()
        .flatten()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if counts.is_empty() {
        "nothing".to_owned()
    } else {
        counts.join(", ")
    }
}

struct Work {
    key: String,
    client: Client,
    bar: ProgressBar,
    interrupted: Arc<AtomicBool>,
    leave: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
}

impl Work {
    fn run(&self) {
        let (mut asked_at, mut is_cancelled) = (Instant::now(), false);
        while !self.over.load(Ordering::SeqCst) {
            if self.interrupted.load(Ordering::SeqCst) && !is_cancelled {
                self.leave.store(true, Ordering::SeqCst);
                is_cancelled = self.cancel();
            }
            if asked_at.elapsed() > ASK && !self.bar.is_hidden() {
                let operation = of_key(&self.client, &self.key);
                if operation.is_object() {
                    show_operation(&self.bar, &operation);
                }
                asked_at = Instant::now();
            }
            std::thread::sleep(LOOK);
        }
        self.bar.finish_and_clear();
    }

    /// False while there is nothing to cancel yet.
    fn cancel(&self) -> bool {
        let operation = of_key(&self.client, &self.key);
        let Some(id) = operation["id"].as_str() else {
            return false;
        };
        if operation["receipt"].is_object() {
            return true;
        }
        self.bar
            .suspend(|| note("Cancelling; Ctrl-C once more leaves at once."));
        let path = format!("/operations/{}", segment(id));
        self.client.ask(Method::DELETE, &path).send().is_ok()
    }
}

fn of_key(client: &Client, key: &str) -> Value {
    let found = client.get(&format!("/operations?key={key}")).unwrap_or_default();
    found.get(0).cloned().unwrap_or_default()
}
