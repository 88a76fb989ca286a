//! A plain table: columns as wide as their widest cell, cells of several lines.

use super::listing::Row;
use super::terminal::{HEADING, paint};

const GAP: &str = "   ";

/// A table of `rows`.
pub(crate) fn of<const N: usize, R: Row<N>>(rows: &[R]) -> String {
    render(R::HEADING, &rows.iter().map(Row::cells).collect::<Vec<_>>())
}

/// Lays out `rows` under `heading`.
fn render<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = heading.map(width);
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = cell.lines().map(width).max().unwrap_or(0).max(*widest);
        }
    }
    let title = lay_out(&widths, heading.iter().copied());
    let mut table = paint(HEADING, title) + "\n";
    for row in rows {
        let height = row.iter().map(|cell| cell.lines().count()).max().unwrap_or(0);
        for line in 0..height {
            table += &lay_out(&widths, row.iter().map(|cell| cell.lines().nth(line).unwrap_or("")));
            table.push('\n');
        }
    }
    table
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn lay_out<'c>(widths: &[usize], cells: impl Iterator<Item = &'c str>) -> String {
    let padded: Vec<String> = cells.zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
    padded.join(GAP).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_line_and_nothing_trails() {
        let rows = [["a".to_owned(), "one\ntwo".to_owned()], ["long cell".to_owned(), String::new()]];
        let table = anstream::adapter::strip_str(&render(["X", "Y"], &rows)).to_string();
        assert_eq!(table, "X           Y\na           one\n            two\nlong cell\n");
    }
}
