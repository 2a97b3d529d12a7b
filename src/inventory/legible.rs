use std::borrow::Cow;
use std::fmt::Write as _;

/// A name longer than this is cut where people read it; machines get it whole.
const MAX_CHARS: usize = 80;

/// A free text as people may be shown it, on a page or a terminal: what cannot be seen, or would move what stands around
/// it (controls, line breaks, changes of direction), is spelled out, and a long text is cut.
#[must_use]
pub fn legible(text: &str) -> Cow<'_, str> {
    let end = text.char_indices().nth(MAX_CHARS).map(|(index, _)| index);
    let kept = &text[..end.unwrap_or(text.len())];
    if end.is_none() && !kept.contains(is_treacherous) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(kept.len());
    for char in kept.chars() {
        if is_treacherous(char) {
            // Writing to a string cannot fail.
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(char));
        } else {
            shown.push(char);
        }
    }
    if end.is_some() {
        shown.push('…');
    }
    Cow::Owned(shown)
}

/// A name as people may be shown it: what nobody has named, or named with blanks only, is called by its identifier.
#[must_use]
pub fn legible_name<'a>(name: Option<&'a str>, id: &'a str) -> Cow<'a, str> {
    legible(name.filter(|name| !name.trim().is_empty()).unwrap_or(id))
}

fn is_treacherous(char: char) -> bool {
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
    fn only_what_deceives_is_spelled_out() {
        for (text, shown) in [
            ("edge-2026", "edge-2026"),
            ("Größe 東京 👩‍💻 שלום", "Größe 東京 👩‍💻 שלום"),
            ("<b>|&\"", "<b>|&\""),
            ("a\nb\tc\0", "a\\u{a}b\\u{9}c\\u{0}"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("\u{202e}6202-egde", "\\u{202e}6202-egde"),
            ("", ""),
        ] {
            assert_eq!(legible(text), shown);
        }
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let shown = legible_name(Some(&"é".repeat(81)), "cert_1").into_owned();
        assert_eq!(shown, format!("{}…", "é".repeat(80)));
        assert_eq!(legible(&"é".repeat(80)), "é".repeat(80));
    }

    #[test]
    fn what_has_no_name_goes_by_its_identifier() {
        for name in [None, Some(""), Some(" \n")] {
            assert_eq!(legible_name(name, "cert_1"), "cert_1");
        }
    }
}
