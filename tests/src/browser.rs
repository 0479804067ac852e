//! A real browser: headless Chromium, told what to do by the DevTools protocol over two pipes.

use crate::wait::PATIENCE;
use crate::{Failure, Result, wait};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

/// Names under which Chromium is installed.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Chromium reads commands from descriptor 3 and answers on descriptor 4, each message ended by a zero byte.
const SCRIPT: &str = r#"exec "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#;

/// The installed Chromium; `None` without one. `CHROMIUM` names another file.
#[must_use]
pub fn chromium() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CHROMIUM").filter(|named| !named.is_empty()) {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut files = NAMES
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    files.find(|file| file.is_file())
}

/// A browser with one page, ended when this is dropped.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    commands: ChildStdin,
    answers: Receiver<Value>,
    session: Option<String>,
    asked: u64,
}

impl Browser {
    /// Starts it, with its profile in `folder`.
    ///
    /// # Errors
    /// It does not start, or does not speak the protocol.
    pub fn start(program: &Path, folder: &Path) -> Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "sh"]).arg(program);
        // Without a sandbox: tests may run as root in a container, and the page is the product's own.
        command.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--remote-debugging-pipe",
            "--window-size=1280,900",
        ]);
        let profile = folder.join("browser");
        command
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| Failure::from(error).during("starting Chromium"))?;
        let (commands, output) = (child.stdin.take(), child.stdout.take());
        let (commands, output) = commands
            .zip(output)
            .ok_or_else(|| Failure::new("Chromium has no pipes".to_owned()))?;
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(output).split(0) {
                let message = message.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
                if message.is_none_or(|message: Value| sender.send(message).is_err()) {
                    return;
                }
            }
        });
        let mut browser = Self {
            child,
            commands,
            answers,
            session: None,
            asked: 0,
        };
        let page = browser.call("Target.createTarget", &json!({"url": "about:blank"}))?;
        let attach = json!({"targetId": page["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", &attach)?;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        Ok(browser)
    }

    /// One command of the protocol, and its result.
    ///
    /// # Errors
    /// No answer in time, or an error.
    pub fn call(&mut self, method: &str, parameters: &Value) -> Result<Value> {
        self.asked += 1;
        let mut command = json!({"id": self.asked, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        self.commands.write_all(format!("{command}\0").as_bytes())?;
        self.commands.flush()?;
        loop {
            let answer = self.answers.recv_timeout(PATIENCE);
            let answer = answer.map_err(|_| Failure::new(format!("Chromium did not answer {method}")))?;
            if answer["id"] != json!(self.asked) {
                continue;
            }
            return match answer.get("error") {
                Some(error) => Err(Failure::new(format!("{method}: {error}"))),
                None => Ok(answer["result"].clone()),
            };
        }
    }

    /// Opens an address.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(&mut self, address: &str) -> Result<()> {
        let answer = self.call("Page.navigate", &json!({"url": address}))?;
        match answer["errorText"].as_str() {
            Some(error) => Err(Failure::new(format!("{address}: {error}"))),
            None => Ok(()),
        }
    }

    /// What an expression of JavaScript gives, once it is there.
    ///
    /// # Errors
    /// It throws.
    pub fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let parameters = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", &parameters)?;
        match answer.get("exceptionDetails") {
            Some(details) => Err(Failure::new(format!(
                "{expression}: {}",
                details["exception"]["description"]
            ))),
            None => Ok(answer["result"]["value"].clone()),
        }
    }

    /// The text that the element of a selector shows; empty while there is none.
    ///
    /// # Errors
    /// The browser does not answer.
    pub fn text(&mut self, selector: &str) -> Result<String> {
        let text = self.evaluate(&format!("document.querySelector({})?.innerText ?? ''", json!(selector)))?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Waits until the element of a selector shows a text.
    ///
    /// # Errors
    /// It takes too long; what is shown instead is told.
    pub fn wait_text(&mut self, selector: &str, wanted: &str) -> Result<()> {
        let mut shown = String::new();
        let seen = wait::until(&format!("{wanted:?} in {selector}"), || {
            shown = self.text(selector).unwrap_or_default();
            shown.contains(wanted).then_some(())
        });
        seen.map_err(|failure| failure.during(&format!("looking at {shown:?}")))
    }

    /// Puts a value into the field of a selector, as typing would.
    ///
    /// # Errors
    /// There is no such field.
    pub fn enter(&mut self, selector: &str, value: &str) -> Result<()> {
        let script = format!(
            "(() => {{ const field = document.querySelector({}); field.value = {}; for (const kind of ['input', 'change']) field.dispatchEvent(new Event(kind, {{ bubbles: true }})); }})()",
            json!(selector),
            json!(value)
        );
        self.evaluate(&script).map(drop)
    }

    /// Presses the button of a selector.
    ///
    /// # Errors
    /// There is no such button.
    pub fn press(&mut self, selector: &str) -> Result<()> {
        self.evaluate(&format!("document.querySelector({}).click()", json!(selector)))
            .map(drop)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}
