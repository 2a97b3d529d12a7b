/// A text longer than this is cut where people read it; JSON has it whole.
const MAX_CHARS: usize = 80;

/// A free text that is safe to display on a page or a terminal: characters that are invisible or affect what stands around
/// them (controls, line breaks, changes of direction) are spelled out, and a long text is cut.
pub(crate) fn sanitize(text: &str) -> String {
    let cut = text.char_indices().nth(MAX_CHARS).map(|(end, _)| &text[..end]);
    cut.map_or_else(|| escaped(text), |cut| escaped(cut) + "…")
}

/// The same as a whole, where the end says the most.
pub(super) fn escaped(text: &str) -> String {
    let mut shown = String::new();
    for char in text.chars() {
        if is_unsafe_to_display(char) {
            shown.extend(char.escape_unicode());
        } else {
            shown.push(char);
        }
    }
    shown
}

/// A name to display; none where it is missing or blank.
pub(super) fn display_name(name: Option<&str>) -> Option<String> {
    name.filter(|name| !name.trim().is_empty()).map(sanitize)
}

/// A name to display, or the identifier of what has none.
pub(super) fn name_or_id(name: Option<&str>, id: &str) -> String {
    display_name(name).unwrap_or_else(|| sanitize(id))
}

fn is_unsafe_to_display(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}'
            | '\u{200b}' | '\u{200e}' | '\u{200f}' // the joiners between them belong to scripts and emoji
            | '\u{2028}'..='\u{202e}' // separators of lines and paragraphs, embeddings, overrides
            | '\u{2060}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unsafe_characters_are_spelled_out() {
        for (text, shown) in [
            ("edge-2026", "edge-2026"),
            ("Größe 東京 👩‍💻 שלום", "Größe 東京 👩‍💻 שלום"),
            ("<b>|&\"", "<b>|&\""),
            ("a\nb\tc\0", "a\\u{a}b\\u{9}c\\u{0}"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("\u{202e}6202-egde", "\\u{202e}6202-egde"),
            ("", ""),
        ] {
            assert_eq!(sanitize(text), shown);
        }
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let shown = name_or_id(Some(&"é".repeat(81)), "cert_1");
        assert_eq!(shown, format!("{}…", "é".repeat(80)));
        assert_eq!(sanitize(&"é".repeat(80)), "é".repeat(80));
    }

    #[test]
    fn without_a_name_the_identifier_is_shown() {
        for name in [None, Some(""), Some(" \n")] {
            assert_eq!(display_name(name), None);
            assert_eq!(name_or_id(name, "cert_1"), "cert_1");
        }
    }
}
