//! Is the installation sound? Every part that the REST API shows is looked at, and each finding says what to do.

mod access;
mod fleet;
mod health;

use super::Session;
use crate::failure::{Failure, NO, Outcome, USAGE};
use crate::output::{Paint, clean, one_line};
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

/// Nothing to say but how much is shown.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Only warnings and failures
    #[arg(short, long)]
    quiet: bool,
}

/// How something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and somebody should look at it.
    Warn,
    /// It does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub name: String,
    /// How it was found.
    pub verdict: Verdict,
    /// What was seen, one sentence.
    pub text: String,
    /// What to do; empty where nothing is.
    pub advice: String,
}

/// All findings so far.
#[derive(Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// As it should be.
    pub fn ok(&mut self, name: &str, text: impl Into<String>) {
        self.add(name, Verdict::Ok, text.into(), "");
    }

    /// Worth a look.
    pub fn warn(&mut self, name: &str, text: impl Into<String>, advice: &str) {
        self.add(name, Verdict::Warn, text.into(), advice);
    }

    /// Broken.
    pub fn fail(&mut self, name: &str, text: impl Into<String>, advice: &str) {
        self.add(name, Verdict::Fail, text.into(), advice);
    }

    /// Something could not be looked at.
    pub fn failure(&mut self, name: &str, failure: &Failure) {
        self.add(name, Verdict::Fail, failure.to_string(), &failure.advice().join(". "));
    }

    fn add(&mut self, name: &str, verdict: Verdict, text: String, advice: &str) {
        self.0.push(Finding {
            name: name.to_owned(),
            verdict,
            text: one_line(&text),
            advice: advice.to_owned(),
        });
    }

    fn verdict(&self) -> Verdict {
        self.0
            .iter()
            .map(|finding| finding.verdict)
            .max()
            .unwrap_or(Verdict::Ok)
    }
}

/// Looks at everything.
///
/// # Errors
/// Standard output cannot be written. Whatever is wrong with the installation is a finding, not an error.
pub fn run(session: &Session, arguments: &Arguments) -> Result<Outcome, Failure> {
    let mut findings = Findings::default();
    look(session, &mut findings);
    let verdict = findings.verdict();
    let mut shown = findings.0;
    shown.retain(|finding| !arguments.quiet || finding.verdict != Verdict::Ok);
    let document = json!({"server": session.client.server(), "verdict": verdict, "checks": shown});
    session.output.show(&document, |paint| table(&shown, verdict, paint))?;
    Ok(match verdict {
        Verdict::Ok => Outcome::Yes,
        Verdict::Warn => Outcome::No(NO),
        Verdict::Fail => Outcome::No(USAGE),
    })
}

fn look(session: &Session, findings: &mut Findings) {
    if !access::reachable(session, findings) {
        return;
    }
    let sent_at = std::time::SystemTime::now();
    let health = match session.client.get("/health") {
        Ok(health) => health,
        Err(failure) => return findings.failure("credentials", &failure),
    };
    let answered_at = std::time::SystemTime::now();
    access::credentials(session, &health, findings);
    access::version(session, findings);
    health::clock(&health, sent_at, answered_at, findings);
    health::components(&health, findings);
    with(session, findings, "envoys", "/fleet", fleet::connected);
    with(session, findings, "statistics", "/fleet/health", fleet::health);
    with(session, findings, "settings", "/settings/rollout", fleet::settings);
    with(session, findings, "modules", "/filter/rollout", fleet::modules);
    with(session, findings, "filter order", "/cache/stats", fleet::order);
    with(session, findings, "alerts", "/alerts/active", health::alerts);
}

fn with(session: &Session, findings: &mut Findings, name: &str, path: &str, judge: fn(&Value, &mut Findings)) {
    match session.client.get(path) {
        Ok(document) => judge(&document, findings),
        Err(failure) => findings.failure(name, &failure),
    }
}

fn table(findings: &[Finding], verdict: Verdict, paint: Paint) -> String {
    let mut text = String::new();
    for finding in findings {
        let word = match finding.verdict {
            Verdict::Ok => paint.good("ok  "),
            Verdict::Warn => paint.warning("warn"),
            Verdict::Fail => paint.bad("fail"),
        };
        text += &format!("{word}  {}: {}\n", paint.strong(&finding.name), clean(&finding.text));
        if !finding.advice.is_empty() {
            text += &format!("      {}\n", paint.faint(&format!("→ {}", finding.advice)));
        }
    }
    text + match verdict {
        Verdict::Ok => "Sound.",
        Verdict::Warn => "It works; the warnings are worth a look.",
        Verdict::Fail => "Not sound: see what failed.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_is_the_verdict() {
        let mut findings = Findings::default();
        assert_eq!(findings.verdict(), Verdict::Ok);
        findings.ok("a", "good");
        findings.fail("b", "bad", "repair it");
        findings.warn("c", "so so", "");
        assert_eq!(findings.verdict(), Verdict::Fail);
        let text = table(&findings.0, findings.verdict(), Paint::new(false));
        assert!(text.contains("fail  b: bad\n      → repair it\n"), "{text}");
    }
}
