//! What a terminal has room for, and how text is laid out in it.

use std::borrow::Cow;
use std::io::IsTerminal;
use std::os::fd::AsFd;

use rustix::termios::tcgetwinsize;
use unicode_width::UnicodeWidthStr as _;

/// In columns and rows of characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub columns: usize,
    pub rows: usize,
}

impl Size {
    /// For what is read with a tool, or scrolled.
    pub const UNLIMITED: Self = Self { columns: usize::MAX, rows: usize::MAX };

    /// Of the terminal behind a stream, by `COLUMNS` and `LINES` where it does not know its size. Anything else, such as a
    /// pipe, is unlimited.
    pub fn of(stream: impl AsFd + IsTerminal) -> Self {
        if !stream.is_terminal() {
            return Self::UNLIMITED;
        }
        let (columns, rows) =
            tcgetwinsize(stream).map_or((0, 0), |size| (size.ws_col, size.ws_row));
        Self { columns: known(columns, "COLUMNS"), rows: known(rows, "LINES") }
    }
}

/// What the terminal says, or else the environment.
fn known(told: u16, variable: &str) -> usize {
    let set = || std::env::var(variable).ok()?.parse().ok();
    let told = (told > 0).then_some(told).or_else(set).filter(|length| *length > 0);
    told.map_or(usize::MAX, Into::into)
}

/// A text that is wider than `columns`, cut between characters, with an ellipsis for what is left out.
pub fn cut(text: &str, columns: usize) -> Cow<'_, str> {
    if text.width() <= columns {
        return text.into();
    }
    let ends = text.char_indices().map(|(end, _)| &text[..end]);
    let begin = ends.take_while(|begin| begin.width() < columns).last().unwrap_or_default();
    format!("{begin}…").into()
}

/// A text in lines of at most `columns`, broken between words, and within those that are wider than a line.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split(' ') {
        if !line.is_empty() {
            line.push(' ');
            if line.width().saturating_add(word.width()) > columns {
                line.pop();
                lines.push(std::mem::take(&mut line));
            }
        }
        for char in word.chars() {
            line.push(char);
            if line.width() > columns && line.len() > char.len_utf8() {
                line.pop();
                lines.push(std::mem::replace(&mut line, char.into()));
            }
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_cut_and_wrapped_by_the_columns_that_it_takes() {
        assert_eq!(cut("edge-2026", 9), "edge-2026");
        assert_eq!(cut("edge-2026", 8), "edge-20…");
        assert_eq!(cut("東京東京", 6), "東京…");
        assert_eq!(cut("東京東京", 5), "東京…");
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("one 東京東京東 two", 4), ["one", "東京", "東京", "東", "two"]);
        assert_eq!(wrap("one two three", usize::MAX), ["one two three"]);
        assert_eq!(wrap("", 4), [""]);
    }

    proptest! {
        #[test]
        fn nothing_is_wider_than_its_room(text in "[a-z 東é👩]{0,60}", columns in 2_usize..30) {
            prop_assert!(cut(&text, columns).width() <= columns);
            let lines = wrap(&text, columns);
            prop_assert!(lines.iter().all(|line| line.width() <= columns), "{lines:?}");
            let words = |text: &str| text.replace(' ', "");
            prop_assert_eq!(words(&lines.concat()), words(&text), "nothing is lost");
        }
    }
}
