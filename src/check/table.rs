//! What a person reads at a terminal: the rows, what needs action first, and the verdict last, where the eye is when the
//! check has ended. A terminal gets as many rows as fit; a file or a pipe gets all of them, whole.
//!
//! A kind of row is one function that lays it out, such as [`scopes`], in the list that [`table`] begins with.

use std::cmp::Reverse;
use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr as _;

use crate::inventory::Severity;
use crate::presentation::Summary;
use crate::terminal::{Size, cut, wrap};

/// Cells of what has no name or no value.
const UNNAMED: &str = "(unnamed)";
const NONE: &str = "-";
/// Between two columns.
const GAP: usize = 2;
/// No column is narrower, however narrow the terminal.
const MIN_COLUMN: usize = 8;
/// Of a terminal's rows, those with the command and with the prompt after it.
const PROMPT_ROWS: usize = 2;

struct Column {
    head: &'static str,
    /// How narrow the column becomes before another is left out; none for what is useless in part.
    min: Option<usize>,
    /// Which columns are left out where there is no room: the highest first, those of 0 never.
    left_out: u8,
}

const fn column(head: &'static str, min: Option<usize>, left_out: u8) -> Column {
    Column { head, min, left_out }
}

/// Rows of one kind.
struct Table<'a> {
    /// What its rows are called.
    name: &'static str,
    columns: &'static [Column],
    /// A cell for each column. What is worst comes first.
    rows: Vec<(Vec<&'a str>, Severity)>,
}

impl<'a> Table<'a> {
    fn new(
        name: &'static str,
        columns: &'static [Column],
        rows: impl Iterator<Item = (Vec<&'a str>, Severity)>,
    ) -> Self {
        let mut rows: Vec<_> = rows.collect();
        rows.sort_by_key(|(_, severity)| Reverse(*severity));
        Self { name, columns, rows }
    }
}

fn scopes<'a>(summary: &'a Summary<'_>) -> Table<'a> {
    const COLUMNS: &[Column] = &[
        column("STATE", None, 0),
        column("ENDS", None, 2),
        column("", None, 0),
        column("SCOPE", Some(24), 0),
        column("ID", None, 3),
        column("NOTE", Some(24), 1),
    ];
    let rows = summary.scopes.iter().map(|row| {
        let cells = vec![
            row.label,
            row.end.as_deref().unwrap_or(NONE),
            row.relative_end.as_deref().unwrap_or_default(),
            row.name.as_deref().unwrap_or(UNNAMED),
            row.id.as_deref().unwrap_or_default(),
            row.note.as_deref().unwrap_or_default(),
        ];
        (cells, row.severity)
    });
    Table::new("scope", COLUMNS, rows)
}

fn certificates<'a>(summary: &'a Summary<'_>) -> Table<'a> {
    const COLUMNS: &[Column] = &[
        column("STATE", None, 0),
        column("EXPIRES", None, 2),
        column("", None, 0),
        column("CERTIFICATE", Some(24), 0),
        column("ID", None, 4),
        column("ACTIVE AT", Some(16), 1),
        column("SUPERSEDED BY", Some(24), 3),
    ];
    let rows = summary.certificates.iter().map(|row| {
        let cells = vec![
            row.label,
            row.end.as_deref().unwrap_or(NONE),
            &row.relative_end,
            row.name.as_deref().unwrap_or(UNNAMED),
            &row.id,
            row.active_at.as_deref().unwrap_or(NONE),
            row.successor.as_deref().unwrap_or_default(),
        ];
        (cells, row.severity)
    });
    Table::new("certificate", COLUMNS, rows)
}

fn clients<'a>(summary: &'a Summary<'_>) -> Table<'a> {
    const COLUMNS: &[Column] = &[
        column("STATE", None, 0),
        column("REFUSED FROM", None, 2),
        column("", None, 0),
        column("CLIENT", Some(16), 0),
        column("SCOPE", Some(16), 0),
        column("REASON", Some(24), 1),
        column("ANCHOR", Some(16), 3),
        column("FILE", Some(24), 4),
    ];
    let rows = summary.clients.iter().map(|row| {
        let cells = vec![
            row.label,
            row.end.as_deref().unwrap_or(NONE),
            row.relative_end.as_deref().unwrap_or_default(),
            &row.client,
            row.scope.as_deref().or(row.scope_id.as_deref()).unwrap_or(NONE),
            row.reason.as_deref().unwrap_or_default(),
            row.anchor.as_ref().map_or(NONE, |anchor| &anchor.name),
            &row.file,
        ];
        (cells, row.severity)
    });
    Table::new("client", COLUMNS, rows)
}

/// As many rows as there is room for, and the verdict below them.
pub(super) fn table(summary: &Summary<'_>, room: Size) -> String {
    let tables = [scopes(summary), certificates(summary), clients(summary)];
    let order = by_need(&tables);
    let rows = room.rows.saturating_sub(PROMPT_ROWS);
    let mut verdict = verdict(summary, &summary.message(), room.columns);
    if verdict.lines().count() > rows / 2 {
        verdict = self::verdict(summary, &summary.short_message(), room.columns);
    }
    let counts = (0..=order.len().min(rows)).rev();
    let mut texts = counts.map(|count| layout(&tables, &order[..count], room.columns) + &verdict);
    texts.find(|text| text.lines().count() <= rows).unwrap_or(verdict)
}

fn verdict(summary: &Summary<'_>, message: &str, columns: usize) -> String {
    let (style, status) = (style(summary.color), summary.status.to_string());
    let text = wrap(&format!("{status}  {message}"), columns).join("\n");
    let rest = text.strip_prefix(&status).unwrap_or(&text);
    let mut text = format!("{style}{status}{style:#}{rest}\n");
    for (when, next) in ["Do next", "Then"].iter().zip(&summary.next_steps) {
        text.extend([&*wrap(&format!("{when}: {}.", next.text), columns).join("\n"), "\n"]);
    }
    text
}

/// Of each row the position of its table, in the order in which rows get room: what is worst first, and of what is as bad
/// the tables in turn.
fn by_need(tables: &[Table<'_>]) -> Vec<usize> {
    let mut order = Vec::new();
    for (table, Table { rows, .. }) in tables.iter().enumerate() {
        for alike in rows.chunk_by(|(_, a), (_, b)| a == b) {
            let keys = alike.iter().enumerate();
            order.extend(keys.map(|(turn, (_, severity))| (Reverse(*severity), turn, table)));
        }
    }
    order.sort_unstable();
    order.into_iter().map(|(.., table)| table).collect()
}

/// The first rows of each table, a blank line after them, and what is left out.
fn layout(tables: &[Table<'_>], shown: &[usize], columns: usize) -> String {
    let (mut text, mut left_out, mut urgent) = (String::new(), Vec::new(), 0);
    for (position, table) in tables.iter().enumerate() {
        let count = shown.iter().filter(|table| **table == position).count();
        let (shown, rest) = table.rows.split_at(count);
        if !shown.is_empty() {
            align(&mut text, table.columns, shown, columns);
            text.push('\n');
        }
        if !rest.is_empty() {
            let plural = if rest.len() == 1 { "" } else { "s" };
            left_out.push(format!("{} more {}{plural}", rest.len(), table.name));
            urgent += rest.iter().filter(|(_, severity)| *severity >= Severity::Warning).count();
        }
    }
    if !left_out.is_empty() {
        let urgent = match urgent {
            0 => "none needs action".into(),
            1 => "1 needs action".into(),
            many => format!("{many} need action"),
        };
        let note = format!("… and {} ({urgent}); --all shows them", left_out.join(", "));
        text.extend([&*wrap(&note, columns).join("\n"), "\n\n"]);
    }
    text
}

/// Writes rows in columns as wide as their widest cell, as far as there is room. The first column, the state, is coloured.
fn align(text: &mut String, columns: &[Column], rows: &[(Vec<&str>, Severity)], room: usize) {
    let fitting = fit(columns, rows, room);
    let head: Vec<_> = columns.iter().map(|column| column.head).collect();
    let bold = Style::new().bold();
    let body = rows.iter().map(|(cells, severity)| (cells, style(*severity), Style::new()));
    for (cells, first, others) in std::iter::once((&head, bold, bold)).chain(body) {
        let mut line = String::new();
        for (column, width) in &fitting {
            let cell = cut(cells[*column], *width);
            let (style, gap) = (if *column == 0 { first } else { others }, width - cell.width());
            // Writing to a string cannot fail.
            let _ = write!(line, "{style}{cell}{style:#}{:1$}", "", gap + GAP);
        }
        text.extend([line.trim_end(), "\n"]);
    }
}

/// The columns that are shown, and how wide.
fn fit(columns: &[Column], rows: &[(Vec<&str>, Severity)], room: usize) -> Vec<(usize, usize)> {
    let widest = |column: usize| rows.iter().map(|(cells, _)| cells[column].width()).max();
    let is_empty = |column: usize| widest(column) == Some(0);
    let natural = |column: usize| widest(column).max(Some(columns[column].head.width()));
    let mut shown: Vec<_> =
        (0..columns.len()).map(|column| (column, natural(column).unwrap_or_default())).collect();
    loop {
        let min = |column: usize| columns[column].min;
        if let Some(narrowed) = narrow(shown.clone(), room, min) {
            return narrowed;
        }
        let may_go = shown.iter().map(|(column, _)| *column).enumerate();
        let may_go = may_go.filter(|(_, column)| columns[*column].left_out > 0);
        match may_go.max_by_key(|(_, column)| (is_empty(*column), columns[*column].left_out)) {
            Some((position, _)) => shown.remove(position),
            None => return narrow(shown.clone(), room, |_| Some(MIN_COLUMN)).unwrap_or(shown),
        };
    }
}

/// Takes from the widest column that is above its minimum until all fit; none if they cannot.
fn narrow(
    mut shown: Vec<(usize, usize)>,
    room: usize,
    min: impl Fn(usize) -> Option<usize>,
) -> Option<Vec<(usize, usize)>> {
    while shown.iter().map(|(_, width)| width + GAP).sum::<usize>() > room.saturating_add(GAP) {
        let may_lose =
            |(column, width): &&mut (usize, usize)| min(*column).is_some_and(|min| min < *width);
        shown.iter_mut().filter(may_lose).max_by_key(|(_, width)| *width)?.1 -= 1;
    }
    Some(shown)
}

fn style(color: Severity) -> Style {
    match color {
        Severity::Off => Style::new().dimmed(),
        Severity::Ok => AnsiColor::Green.on_default(),
        Severity::Warning => AnsiColor::Yellow.on_default().bold(),
        Severity::Critical => AnsiColor::Red.on_default().bold(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;
    use crate::fixture::{DAY, NOW, certificate, snapshot};
    use crate::inventory::Thresholds;
    use crate::poll_state::{PollResult, PollState, PollTiming};

    /// A table of certificates that end in so many days, and as many projects.
    fn table_of(days: &[i64], projects: usize, room: Size) -> String {
        let named = |(number, days): (usize, &i64)| {
            let ending = certificate(&format!("cert_{number}")).dated(None, Some(NOW + days * DAY));
            ending.named(&format!("certificate number {number} 東京"))
        };
        let mut lists = vec![vec![]; 1 + projects];
        lists[0] = days.iter().enumerate().map(named).collect();
        let timing =
            PollTiming { interval: Duration::from_secs(300), timeout: Duration::from_secs(240) };
        let mut state = PollState::new(Instant::now(), timing);
        let result =
            PollResult { ended_at: NOW as f64, duration: Duration::ZERO, failed: Vec::new() };
        state.record(Some(snapshot(&lists)), result);
        let summary = Summary::new(&state, NOW as f64, Thresholds::default());
        anstream::adapter::strip_str(&table(&summary, room)).to_string()
    }

    #[test]
    fn columns_are_as_wide_as_a_terminal_shows_them() {
        const COLUMNS: &[Column] = &[column("A", None, 0), column("B", None, 0)];
        let mut text = String::new();
        let rows = [vec!["東京", "x"], vec!["abc", ""]].map(|cells| (cells, Severity::Off));
        align(&mut text, COLUMNS, &rows, usize::MAX);
        let plain = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(plain, "A     B\n東京  x\nabc\n");
    }

    #[test]
    fn what_needs_action_gets_the_room_there_is() {
        let mut days = [300; 40];
        days[30..34].copy_from_slice(&[20, 3, 25, -1]);
        let room = Size { columns: 80, rows: 16 };
        let text = table_of(&days, 0, room);
        let rows = text.lines().take_while(|line| !line.starts_with('…'));
        let numbers = rows.filter_map(|line| line.split("number ").nth(1)?.split(' ').next());
        assert_eq!(numbers.collect::<Vec<_>>(), ["33", "31", "30", "32"], "{text}");
        let rest = "… and 1 more scope, 36 more certificates (none needs action); --all shows them";
        assert!(text.contains(rest), "{text}");
        let all = table_of(&days, 0, Size { rows: usize::MAX, ..room });
        assert!(all.matches("number").count() > 40 && !all.contains("--all"), "{all}");
    }

    proptest! {
        #[test]
        fn any_terminal_has_room(
            days in prop::collection::vec(-10_i64..400, 0..40),
            projects in 0_usize..40,
            columns in 40_usize..200,
            rows in 24_usize..80,
        ) {
            let text = table_of(&days, projects, Size { columns, rows });
            let count = text.lines().count();
            prop_assert!(count <= rows - PROMPT_ROWS, "{count} of {rows}:\n{text}");
            prop_assert!(text.lines().all(|line| line.width() <= columns), "{columns}:\n{text}");
        }
    }
}
