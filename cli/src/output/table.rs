//! Tables for people: columns as wide as what stands in them.

use super::{Paint, clean};
use ratatui::text::Span;

/// Rows under a head.
#[derive(Debug, Default)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these columns.
    #[must_use]
    pub fn new(head: &[&str]) -> Self {
        Self {
            head: head.iter().map(|name| (*name).to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// One more row. Control characters are taken out of it.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| clean(&cell)).collect());
    }

    /// The text, or `empty` where there are no rows.
    #[must_use]
    pub fn render(&self, paint: Paint, empty: &str) -> String {
        if self.rows.is_empty() {
            return format!("{empty}\n");
        }
        let mut widths: Vec<usize> = self.head.iter().map(|cell| width(cell)).collect();
        for row in &self.rows {
            for (cell, widest) in row.iter().zip(&mut widths) {
                *widest = width(cell).max(*widest);
            }
        }
        let mut text = format!("{}\n", paint.strong(&line(&self.head, &widths)));
        for row in &self.rows {
            text += &line(row, &widths);
            text.push('\n');
        }
        text
    }
}

fn width(cell: &str) -> usize {
    Span::raw(cell).width()
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let mut text = String::new();
    for (cell, widest) in cells.iter().zip(widths) {
        text.push_str(cell);
        text.push_str(&" ".repeat(widest.saturating_sub(width(cell)) + 2));
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let mut table = Table::new(&["NODE", "STATE"]);
        table.row(["日本".to_owned(), "open".to_owned()]);
        table.row(["gateway-1".to_owned(), "closed".to_owned()]);
        let text = table.render(Paint::new(false), "");
        assert_eq!(text, "NODE       STATE\n日本       open\ngateway-1  closed\n");
    }

    #[test]
    fn no_rows_are_said_in_words() {
        assert_eq!(
            Table::new(&["NODE"]).render(Paint::new(false), "No Envoys."),
            "No Envoys.\n"
        );
    }
}
