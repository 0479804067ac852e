//! The board itself, drawn into a buffer: a terminal's, or one that is printed.

use super::figures::Figures;
use crate::output::{clean, figure, name_of, since, text_of};
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Row, Sparkline, Table, Widget};
use serde_json::Value;

/// More of a list than this is not drawn, whatever the height.
const LONGEST_LIST: usize = 200;

/// What is drawn.
pub(super) struct Board<'b> {
    pub(super) figures: &'b Figures,
    pub(super) server: &'b str,
    /// Why the figures are old.
    pub(super) trouble: Option<&'b str>,
    pub(super) coloured: bool,
}

impl Board<'_> {
    /// Draws it.
    pub(super) fn draw(&self, area: Rect, buffer: &mut Buffer) {
        let alerts = u16::try_from(self.list(&self.figures.alerts).len()).unwrap_or(u16::MAX);
        let [head, key, curves, fleet, middle, keys, footer] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(4),
            Constraint::Length(5),
            Constraint::Min(4),
            Constraint::Length(alerts.clamp(3, 8) + 3),
            Constraint::Min(4),
            Constraint::Length(1),
        ])
        .areas(area);
        self.head(head, buffer);
        self.key_figures(key, buffer);
        self.curves(curves, buffer);
        self.fleet(fleet, buffer);
        let [breakers, alerts] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(middle);
        self.breakers(breakers, buffer);
        self.alerts(alerts, buffer);
        self.keys(keys, buffer);
        Line::styled("q ends", self.style(Color::DarkGray)).render(footer, buffer);
    }

    fn style(&self, colour: Color) -> Style {
        if self.coloured {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }

    fn list<'v>(&self, list: &'v Value) -> &'v [Value] {
        list.as_array().map_or(&[], Vec::as_slice)
    }

    fn head(&self, area: Rect, buffer: &mut Buffer) {
        let mut parts = vec![Span::styled(
            clean(self.server),
            Style::new().add_modifier(Modifier::BOLD),
        )];
        if let Some(trouble) = self.trouble {
            let age = self.figures.at.elapsed().as_secs();
            let text = format!("   figures are {age} s old: {}", clean(trouble));
            parts.push(Span::styled(text, self.style(Color::Red)));
        }
        Line::from(parts).render(area, buffer);
    }

    fn key_figures(&self, area: Rect, buffer: &mut Buffer) {
        let all = &self.figures.performance;
        let of = |field: &str| figure(&all[field]);
        let cache = &self.figures.cache;
        let state = clean(all["circuit_breaker_state"].as_str().unwrap_or("-"));
        let lines = vec![
            Line::from(format!(
                "requests/s {}   hit ratio {} %   errors {} %   breakers {state}",
                of("requests_per_second"),
                of("cache_hit_ratio"),
                of("error_rate")
            )),
            Line::from(format!(
                "latency ms: p50 {}  p90 {}  p95 {}  p99 {}   stored {} of {}, {} MB",
                of("p50_latency"),
                of("p90_latency"),
                of("p95_latency"),
                of("p99_latency"),
                text_of(&cache["size"]),
                text_of(&cache["size_limit"]),
                figure(&cache["memory_usage"])
            )),
        ];
        let window = clean(all["window"].as_str().unwrap_or("-"));
        Paragraph::new(lines)
            .block(self.block(&format!("Last {window}")))
            .render(area, buffer);
    }

    fn curves(&self, area: Rect, buffer: &mut Buffer) {
        let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(area);
        let rates = self.figures.rates();
        let title = format!("Requests/s, last {} looks", rates.len());
        let curve = Sparkline::default().data(rates).style(self.style(Color::Cyan));
        curve.block(self.block(&title)).render(left, buffer);
        let curve = Sparkline::default()
            .data(self.figures.ratios())
            .max(100)
            .style(self.style(Color::Green));
        curve.block(self.block("Hit ratio, %")).render(right, buffer);
    }

    fn fleet(&self, area: Rect, buffer: &mut Buffer) {
        let of = |envoy: &Value| {
            let connected = envoy["connected"] == true;
            let state = if connected {
                "connected".to_owned()
            } else {
                format!("away, seen {}", since(&envoy["last_seen"]))
            };
            let cells = [
                name_of(envoy),
                state,
                text_of(&envoy["version"]),
                text_of(&envoy["revision"]),
                text_of(&envoy["behind"]),
            ];
            (cells.to_vec(), if connected { Color::Reset } else { Color::Yellow })
        };
        let envoys = self.list(&self.figures.fleet);
        let rows = envoys.iter().map(of).collect();
        let title = format!("Fleet: {}", envoys.len());
        self.table(
            &title,
            &["ENVOY", "STATE", "FILTER", "REVISION", "BEHIND"],
            rows,
            "No Envoy is connected.",
            area,
            buffer,
        );
    }

    fn breakers(&self, area: Rect, buffer: &mut Buffer) {
        let mut rows = Vec::new();
        for (upstream, envoys) in self.figures.breakers["upstreams"].as_object().into_iter().flatten() {
            for envoy in self.list(envoys) {
                let state = text_of(&envoy["state"]);
                let colour = if state.contains("open") {
                    Color::Red
                } else {
                    Color::Reset
                };
                rows.push((
                    vec![upstream.clone(), name_of(envoy), state, figure(&envoy["failure_rate"])],
                    colour,
                ));
            }
        }
        // Those that are not closed first.
        rows.sort_by_key(|(cells, _)| cells.get(2).is_some_and(|state| state == "closed"));
        let head = ["BREAKER", "ENVOY", "STATE", "FAILED %"];
        self.table("Breakers", &head, rows, "No breaker yet.", area, buffer);
    }

    fn alerts(&self, area: Rect, buffer: &mut Buffer) {
        let of = |alert: &Value| {
            let colour = if alert["severity"] == "critical" {
                Color::Red
            } else {
                Color::Yellow
            };
            let cells = ["severity", "name", "summary"].map(|field| text_of(&alert[field]));
            (cells.to_vec(), colour)
        };
        let rows = self.list(&self.figures.alerts).iter().map(of).collect();
        self.table(
            "Alerts",
            &["SEVERITY", "NAME", ""],
            rows,
            "No alert is on.",
            area,
            buffer,
        );
    }

    fn keys(&self, area: Rect, buffer: &mut Buffer) {
        let top = &self.figures.cache["top_keys"]["hits"];
        let of = |key: &Value| (vec![text_of(&key["count"]), text_of(&key["url"])], Color::Reset);
        let rows = self.list(top).iter().map(of).collect();
        self.table("Top keys", &["HITS", "URL"], rows, "No hits yet.", area, buffer);
    }

    fn block(&self, title: &str) -> Block<'static> {
        Block::bordered()
            .title(title.to_owned())
            .border_style(self.style(Color::DarkGray))
    }

    fn table(
        &self,
        title: &str,
        head: &[&'static str],
        rows: Vec<(Vec<String>, Color)>,
        empty: &'static str,
        area: Rect,
        buffer: &mut Buffer,
    ) {
        if rows.is_empty() {
            return Paragraph::new(empty).block(self.block(title)).render(area, buffer);
        }
        // As wide as their cells; the last one takes what is left.
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|(cells, _)| cells.get(column));
            let widest = cells
                .map(|cell| Span::raw(cell.as_str()).width())
                .max()
                .unwrap_or_default();
            u16::try_from(widest.clamp(head.get(column).map_or(0, |name| name.len()), 40)).unwrap_or(40)
        };
        let mut widths: Vec<Constraint> = (1..head.len())
            .map(|column| Constraint::Length(width(column - 1)))
            .collect();
        widths.push(Constraint::Fill(1));
        let rows = rows.into_iter().take(LONGEST_LIST);
        let rows = rows.map(|(cells, colour)| Row::new(cells.iter().map(|cell| clean(cell))).style(self.style(colour)));
        let head = Row::new(head.iter().copied()).style(Style::new().add_modifier(Modifier::BOLD));
        let table = Table::new(rows, widths)
            .column_spacing(2)
            .header(head)
            .block(self.block(title));
        Widget::render(table, area, buffer);
    }
}
