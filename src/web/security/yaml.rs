//! YAML as a figment [`Value`], in which nothing is taken silently: of two equal keys derived readers take the last, and a
//! tag they drop.

use figment::value::{Dict, Empty, Value};
use yaml_serde::Value as Yaml;

/// A document, or what is wrong with it. The fault repeats no key and no value: either may be a secret in the wrong place.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    yaml_serde::from_str(text).map_err(|error| fault(&error)).and_then(to_value)
}

/// The parser's own messages name what it expected; those about a key come behind its path, and end with it.
fn fault(error: &yaml_serde::Error) -> String {
    let message = error.to_string();
    match error.location() {
        Some(at) if message.contains("duplicate entry") => {
            format!("a key is there twice at line {} column {}", at.line(), at.column())
        }
        _ => message.rsplit(": ").next().unwrap_or_default().to_owned(),
    }
}

fn to_value(yaml: Yaml) -> Result<Value, String> {
    Ok(match yaml {
        Yaml::Null => Empty::None.into(),
        Yaml::Bool(value) => value.into(),
        // Every key that takes a number takes text.
        Yaml::Number(number) => number.to_string().into(),
        Yaml::String(text) => text.into(),
        Yaml::Sequence(values) => {
            values.into_iter().map(to_value).collect::<Result<Vec<_>, _>>()?.into()
        }
        Yaml::Mapping(entries) => {
            let mut dict = Dict::new();
            for (key, value) in entries {
                let key = to_value(key)?.into_string().ok_or("a key is not text")?;
                if dict.insert(key, to_value(value)?).is_some() {
                    return Err("a key is there twice, as a number and as text".into());
                }
            }
            dict.into()
        }
        Yaml::Tagged(_) => return Err("tags are not supported".into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_repeats_no_key_and_no_value() {
        for (text, expected) in [
            ("SECRET: {SECRET: 1, SECRET: 2}", "a key is there twice at line 1 column 9"),
            ("SECRET: {? [SECRET] : 1, ? [SECRET] : 2}", "a key is there twice at line 1 column 9"),
            ("SECRET: {1: SECRET, '1': SECRET}", "a key is there twice, as a number and as text"),
            ("SECRET: {SECRET: !SECRET SECRET}", "tags are not supported"),
            ("{SECRET: 1}: SECRET", "a key is not text"),
            ("SECRET: *SECRET", "unknown anchor at line 1 column 9"),
            (
                "SECRET: \"SECRET",
                "found unexpected end of stream at line 1 column 16, while scanning a quoted scalar at line 1 column 9",
            ),
            (
                "SECRET: SECRET: SECRET",
                "mapping values are not allowed in this context at line 1 column 15",
            ),
            (
                "a: SECRET\n---\nb: SECRET",
                "deserializing from YAML containing more than one document is not supported",
            ),
        ] {
            let fault = parse(text).unwrap_err();
            assert_eq!(fault, expected, "{text}");
        }
    }
}
