//! A live board. It asks the control plane a few questions each interval, and nothing when it is not looked at.

mod board;
mod figures;

use super::Session;
use super::what_if::lines;
use crate::failure::{Failure, Outcome};
use clap::Args;
use figures::Figures;
use ratatui::DefaultTerminal;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::Rect;
use ratatui::style::Style;
use std::io::IsTerminal;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// How long a key may wait.
const KEYS: Duration = Duration::from_millis(100);
/// Size of the board where there is no terminal.
const ONCE: Rect = Rect::new(0, 0, 110, 42);

/// How the board is shown.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Between two looks
    #[arg(long, default_value = "2s", value_name = "TIME", value_parser = crate::options::duration)]
    interval: Duration,
    /// Print it once and end, as without a terminal
    #[arg(long)]
    once: bool,
}

/// Shows the board until `q`, or once.
///
/// # Errors
/// No answer at the beginning, or no terminal that can be drawn on.
pub fn run(session: &Session, arguments: &Arguments) -> Result<Outcome, Failure> {
    // The first look tells what is wrong in words, not on a board.
    let first = Figures::ask(&session.client)?;
    let live = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    if !session.output.is_for_people() || arguments.once || !live {
        let document = first.document();
        session
            .output
            .show(&document, |_| once(&first, session.client.server()))?;
        return Ok(Outcome::Yes);
    }
    let (stop, stopped) = sync_channel::<()>(0);
    let (send, receive) = sync_channel(1);
    let (client, interval) = (session.client.clone(), arguments.interval);
    let asker = std::thread::spawn(move || ask(&client, interval, &send, &stopped));
    let mut terminal = ratatui::try_init().map_err(|error| unusable(&error))?;
    let coloured = session.output.paint.is_on();
    let shown = show(&mut terminal, first, session.client.server(), coloured, &receive);
    let restored = ratatui::try_restore();
    // Both ends of its channels: it ends at its next look.
    drop((stop, receive));
    // A request that is under way may take its time; nobody has to wait for it.
    drop(asker);
    shown.and(restored).map_err(|error| unusable(&error))?;
    Ok(Outcome::Yes)
}

fn unusable(error: &std::io::Error) -> Failure {
    Failure::usage(format!("The terminal cannot be used: {error}; --once prints the board"))
}

/// Asks each interval until nobody listens.
fn ask(
    client: &crate::client::Client,
    interval: Duration,
    send: &SyncSender<Result<Figures, Failure>>,
    stopped: &Receiver<()>,
) {
    while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        if send.send(Figures::ask(client)).is_err() {
            return;
        }
    }
}

fn show(
    terminal: &mut DefaultTerminal,
    mut figures: Figures,
    server: &str,
    coloured: bool,
    receive: &Receiver<Result<Figures, Failure>>,
) -> std::io::Result<()> {
    let mut trouble = None;
    let mut changed = true;
    loop {
        if changed {
            let text = board::Board {
                figures: &figures,
                server,
                trouble: trouble.as_deref(),
                coloured,
            };
            terminal.draw(|frame| text.draw(frame.area(), frame.buffer_mut()))?;
        }
        changed = false;
        match receive.try_recv() {
            Ok(Ok(next)) => {
                figures = next.after(&figures);
                (trouble, changed) = (None, true);
            }
            // The last figures stay, and say how old they are.
            Ok(Err(failure)) => (trouble, changed) = (Some(failure.to_string()), true),
            Err(_) => {}
        }
        if event::poll(KEYS)? {
            match event::read()? {
                Event::Key(key) if key.kind == KeyEventKind::Press => {
                    let interrupted = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                    if interrupted || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                        return Ok(());
                    }
                }
                Event::Resize(..) => changed = true,
                _ => {}
            }
        }
    }
}

/// The board as text.
fn once(figures: &Figures, server: &str) -> String {
    let mut buffer = Buffer::empty(ONCE);
    let board = board::Board {
        figures,
        server,
        trouble: None,
        coloured: false,
    };
    board.draw(ONCE, &mut buffer);
    buffer.set_style(ONCE, Style::reset());
    lines(&buffer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn figures() -> Figures {
        let performance = json!({"requests_per_second": 1234.5, "cache_hit_ratio": 87.5, "p50_latency": 0.4, "p95_latency": 3.25,
            "p99_latency": 9.5, "error_rate": 0.25, "window": "300s"});
        Figures::of(
            performance,
            json!([{"node_id": "gateway-1", "connected": true, "version": "0.1.0", "revision": 7}]),
            json!({"size": 900, "size_limit": 1000, "memory_usage": 12.5, "top_keys": {"hits": [{"url": "http://a/hot", "count": 42}]}}),
            json!({"state": "open", "upstreams": {"orders": [{"node_id": "gateway-1", "state": "open", "failure_rate": 80}]}}),
            json!([{"name": "error_rate", "severity": "critical", "summary": "Errors"}]),
        )
    }

    #[test]
    fn everything_that_matters_is_on_it() {
        let text = once(&figures(), "http://there:8080");
        for part in [
            "http://there:8080",
            "1234",
            "87.5",
            "3.25",
            "gateway-1",
            "orders",
            "open",
            "error_rate",
            "http://a/hot",
        ] {
            assert!(text.contains(part), "{part} is missing:\n{text}");
        }
    }

    #[test]
    fn an_empty_installation_is_said_in_words() {
        let empty = Figures::of(json!({}), json!([]), json!({}), json!({}), json!([]));
        let text = once(&empty, "http://there:8080");
        for part in [
            "No Envoy is connected",
            "No alert is on",
            "No breaker yet",
            "No hits yet",
        ] {
            assert!(text.contains(part), "{part} is missing:\n{text}");
        }
    }

    #[test]
    fn a_small_terminal_is_no_reason_to_fail() {
        for (width, height) in [(1, 1), (20, 5), (300, 100)] {
            let area = Rect::new(0, 0, width, height);
            let figures = figures();
            let board = board::Board {
                figures: &figures,
                server: "http://there",
                trouble: Some("gone"),
                coloured: true,
            };
            board.draw(area, &mut Buffer::empty(area));
        }
    }

    #[test]
    fn the_past_is_bounded() {
        let mut now = figures();
        for _ in 0..1_000 {
            now = figures().after(&now);
        }
        assert!(now.rates().len() <= 120);
        assert!(matches!(now.document(), Value::Object(_)));
    }
}
