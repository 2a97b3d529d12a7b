//! The effective configuration as people read it: TOML, a key a line, each value with its origin.

use std::fmt::Write as _;

use figment::value::Value;
use unicode_width::UnicodeWidthStr as _;

use super::layers::{Layers, as_toml};
use crate::terminal::wrap;

/// Origins stand in a column of their own, unless a value is longer than this.
const MAX_WIDTH: usize = 120;
const INDENT: &str = "    ";

/// A value of the effective configuration, and where it comes from.
pub(super) struct Setting {
    pub key: String,
    pub value: Value,
    pub origin: String,
}

impl Layers {
    /// Sorted by key; the admin key is redacted. Lines are at most `columns` wide, as far as TOML allows.
    pub fn to_toml(&self, columns: usize) -> String {
        to_toml(&self.settings(), columns)
    }
}

fn to_toml(settings: &[Setting], columns: usize) -> String {
    let key_width = settings.iter().map(|setting| setting.key.len()).max().unwrap_or_default();
    let assigned = |Setting { key, value, .. }: &Setting| {
        let text = as_toml(value);
        (format!("{key:key_width$} = {text}"), format!("{key} = {text}"))
    };
    let widths = settings.iter().map(|setting| assigned(setting).0.width());
    // So that beside most values there is room for most origins.
    let max = MAX_WIDTH.min(columns.saturating_sub("  # default".len()));
    let width = widths.filter(|width| *width <= max).max().unwrap_or_default();
    let mut text = String::new();
    for setting in settings {
        let (aligned, short) = assigned(setting);
        let gap = width.saturating_sub(aligned.width()) + 2;
        // Writing to a string cannot fail.
        if aligned.width() + gap + "# ".len() + setting.origin.width() <= columns {
            let _ = writeln!(text, "{aligned}{:gap$}# {}", "", setting.origin);
            continue;
        }
        let fitting = [aligned, short].into_iter().find(|line| line.width() <= columns);
        let _ = writeln!(text, "{}", fitting.unwrap_or_else(|| broken(setting, columns)));
        for line in comment(&setting.origin, columns.saturating_sub(INDENT.len())).lines() {
            let _ = writeln!(text, "{INDENT}{line}");
        }
    }
    text
}

/// A comment in lines of at most `columns`.
pub fn comment(text: &str, columns: usize) -> String {
    let lines = wrap(text, columns.saturating_sub("# ".len()));
    lines.iter().flat_map(|line| ["# ", line, "\n"]).collect()
}

/// A setting that is longer than a line: a list with a line for each of its values, or a text in pieces.
fn broken(Setting { key, value, .. }: &Setting, columns: usize) -> String {
    if let Value::Array(_, values) = value {
        let lines = values.iter().map(|value| format!("{INDENT}{},\n", as_toml(value)));
        return format!("{key} = [\n{}]", lines.collect::<String>());
    }
    let text = as_toml(value);
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(text) => {
            let room = columns.saturating_sub(INDENT.len() + "\"\"\"".len());
            let pieces = pieces(text, room).join(&format!("\\\n{INDENT}"));
            format!("{key} = \"\"\"\\\n{INDENT}{pieces}\"\"\"")
        }
        None => format!("{key} = {text}"),
    }
}

/// An escaped text in pieces of at most `room` columns, none of which ends within an escape. A space at the beginning of one
/// is escaped too: TOML would take it for indentation.
fn pieces(mut text: &str, room: usize) -> Vec<String> {
    let (mut pieces, mut piece) = (Vec::new(), String::new());
    while let Some(first) = text.chars().next() {
        let length = match text.as_bytes() {
            [b'\\', b'u', ..] => "\\u0000".len(),
            [b'\\', ..] => "\\n".len(),
            _ => first.len_utf8(),
        };
        let (unit, rest) = text.split_at(length);
        if piece.width() + unit.width() > room && !piece.is_empty() {
            pieces.push(std::mem::take(&mut piece));
        }
        piece.push_str(if piece.is_empty() && unit == " " { "\\u0020" } else { unit });
        text = rest;
    }
    pieces.push(piece);
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn setting(key: &str, value: impl Into<Value>, origin: &str) -> Setting {
        Setting { key: key.into(), value: value.into(), origin: origin.into() }
    }

    #[test]
    fn settings_are_aligned_and_wrapped() {
        let settings = [
            setting("a.b", "text", "default"),
            setting("a.long", "one \\d two three", "environment variable OPENAI_BASE_URL"),
            setting("a.list", vec!["^prod-eu-", "^prod-us-"], "default"),
        ];
        assert_eq!(
            to_toml(&settings, usize::MAX),
            "a.b    = \"text\"                      # default\n\
             a.long = \"one \\\\d two three\"         # environment variable OPENAI_BASE_URL\n\
             a.list = [\"^prod-eu-\", \"^prod-us-\"]  # default\n"
        );
        assert_eq!(
            to_toml(&settings, 26),
            "a.b    = \"text\"  # default\n\
             a.long = \"\"\"\\\n    one \\\\d two three\"\"\"\n    # environment variable\n    # OPENAI_BASE_URL\n\
             a.list = [\n    \"^prod-eu-\",\n    \"^prod-us-\",\n]\n    # default\n"
        );
    }

    proptest! {
        #[test]
        fn any_width_is_the_same_configuration(
            text in "[a-z \\\\\"\n\u{1}ü東]{0,60}",
            list in prop::collection::vec("[a-z \\\\\"]{0,30}", 0..4),
            columns in 30_usize..120,
        ) {
            let settings = [
                setting("a.text", &*text, "environment variable OPENAI_BASE_URL"),
                setting("a.list", list.clone(), "default"),
            ];
            let shown = to_toml(&settings, columns);
            let read: toml::Table = toml::from_str(&shown).map_err(|error| TestCaseError::fail(format!("{error}\n{shown}")))?;
            let values: Vec<_> = list.into_iter().map(toml::Value::String).collect();
            prop_assert_eq!(&read["a"]["text"], &toml::Value::String(text));
            prop_assert_eq!(&read["a"]["list"], &toml::Value::Array(values));
            let mut lines = shown.lines().filter(|line| !line.contains('[') && !line.ends_with(','));
            prop_assert!(lines.all(|line| line.width() <= columns), "{columns}:\n{shown}");
        }
    }
}
