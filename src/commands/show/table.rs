//! Tables like kubectl's: titles in capitals, three spaces between, no borders.

use unicode_width::UnicodeWidthStr;

use super::paint::{Paint, TextStyle};
use super::plain::plain;

const COLUMN_GAP: &str = "   ";

/// Table cell; its text is made safe for a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    text: String,
    text_style: TextStyle,
}

impl Cell {
    pub fn new(text: &str, text_style: TextStyle) -> Self {
        // Readers would take the neighbours of an empty cell as adjacent.
        let text = match plain(text).trim() {
            "" => "-".to_owned(),
            text => text.to_owned(),
        };
        Self { text, text_style }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::new(text, TextStyle::Neutral)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::from(text.as_str())
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    /// `None` is shown as `-`.
    fn from(value: Option<T>) -> Self {
        value.map_or_else(|| Cell::from(""), Into::into)
    }
}

/// Renders the rows under their titles, each line with a newline. Wide characters, such as Chinese ones, count as two
/// columns.
pub fn table<const N: usize>(titles: [&str; N], rows: &[[Cell; N]], paint: Paint) -> String {
    let titles = titles.map(|title| Cell { text: title.to_owned(), text_style: TextStyle::Heading });
    let mut widths = [0; N];
    for row in std::iter::once(&titles).chain(rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.text.width().max(*width);
        }
    }
    let mut out = String::new();
    for row in std::iter::once(&titles).chain(rows) {
        for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
            out.push_str(&paint.paint(&cell.text, cell.text_style));
            if at + 1 < N {
                out.extend(std::iter::repeat_n(' ', width - cell.text.width()));
                out.push_str(COLUMN_GAP);
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_also_beside_wide_characters() {
        let rows = [
            [Cell::from("redis-cn01"), Cell::from("会话缓存"), Cell::new("Protected", TextStyle::Good)],
            [Cell::from("redis-cn0002"), Cell::from("a\u{1b}[31m\u{202e}b\nc"), Cell::from(None::<&str>)],
            [Cell::from(" "), Cell::from("x".to_owned()), Cell::new("", TextStyle::Bad)],
        ];
        let text = table(["INSTANCE", "NAME", "STATE"], &rows, Paint::NONE);
        assert_eq!(
            text,
            "INSTANCE       NAME       STATE\n\
             redis-cn01     会话缓存   Protected\n\
             redis-cn0002   a[31mb c   -\n\
             -              x          -\n"
        );
    }
}
