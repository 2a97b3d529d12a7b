//! The shape of a list page. The page as a whole must be right, while each entry is decoded alone, so that a malformed
//! one costs nothing but itself.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::error::Category;
use serde_json::value::RawValue;
use serde_path_to_error::Segment;

use super::PageError;
use crate::inventory::{Certificate, Identified, Project};

/// An object of a list.
pub trait Entry: Identified + Sized {
    /// Reads an entry; an error names the field at fault.
    fn decode(json: &RawValue) -> Result<Self, &'static str>;

    fn name_mut(&mut self) -> &mut Option<Box<str>>;
}

#[derive(Deserialize)]
pub(super) struct Page<'a> {
    #[serde(borrow)]
    pub(super) data: Vec<&'a RawValue>,
    /// Missing in a page that does not prove whether it is the last.
    pub(super) has_more: Option<bool>,
    pub(super) last_id: Option<String>,
}

impl<'a> Page<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, PageError> {
        // A derived struct would take an array for its fields in their order.
        if text.trim_ascii_start().starts_with('[') {
            return Err(PageError::NotAPage);
        }
        serde_json::from_str(text).map_err(|error| match error.classify() {
            Category::Data => PageError::NotAPage,
            Category::Io | Category::Syntax | Category::Eof => PageError::NotJson,
        })
    }
}

/// A body as text. JSON is UTF-8, but one broken string must not cost its page: each sequence that is not UTF-8 becomes
/// an escape that no string may hold, so that only the entry it belongs to is malformed.
pub(super) fn as_text(body: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = str::from_utf8(body) {
        return text.into();
    }
    let chunks = body.utf8_chunks();
    chunks
        .map(|chunk| {
            [chunk.valid(), if chunk.invalid().is_empty() { "" } else { "\\ud800" }].concat()
        })
        .collect()
}

/// The fields that malformed entries are counted by, beside the two below. serde's own messages and paths repeat what a
/// response says, which must not be logged.
const FIELDS: [&str; 7] =
    ["id", "name", "active", "created_at", "certificate_details", "status", "archived_at"];
const NOT_AN_OBJECT: &str = "not an object";
/// A field that comes twice, or whose name is not Unicode.
const FIELD_NAMES: &str = "field names";

fn object<'a, T: Deserialize<'a>>(json: &'a RawValue) -> Result<T, &'static str> {
    // A derived struct would take an array too.
    if !json.get().starts_with('{') {
        return Err(NOT_AN_OBJECT);
    }
    T::deserialize(json).map_err(|_| field_at_fault::<T>(json))
}

/// Decodes a refused entry once more, with the path to its fault.
fn field_at_fault<'a, T: Deserialize<'a>>(json: &'a RawValue) -> &'static str {
    let error = serde_path_to_error::deserialize::<_, T>(json).err();
    let known = error.and_then(|error| match error.path().iter().next()? {
        Segment::Map { key } => FIELDS.into_iter().find(|field| field == key),
        _ => None,
    });
    known.unwrap_or(FIELD_NAMES)
}

#[derive(Deserialize)]
struct WireCertificate<'a> {
    id: Option<Box<str>>,
    name: Option<Box<str>>,
    active: Option<bool>,
    created_at: Option<i64>,
    #[serde(borrow)]
    certificate_details: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireDetails {
    valid_at: Option<i64>,
    expires_at: Option<i64>,
}

impl Entry for Certificate {
    fn decode(json: &RawValue) -> Result<Self, &'static str> {
        let WireCertificate { id, name, active, created_at, certificate_details } = object(json)?;
        let (id, active) = (identifier(id)?, active.ok_or("active")?);
        let details = certificate_details.and_then(|details| object(details).ok());
        let WireDetails { valid_at, expires_at } = details.ok_or("certificate_details")?;
        Ok(Self { id, name, active, created_at, valid_at, expires_at })
    }

    fn name_mut(&mut self) -> &mut Option<Box<str>> {
        &mut self.name
    }
}

#[derive(Deserialize)]
struct WireProject {
    id: Option<Box<str>>,
    name: Option<Box<str>>,
    status: Option<Box<str>>,
    archived_at: Option<i64>,
}

impl Entry for Project {
    fn decode(json: &RawValue) -> Result<Self, &'static str> {
        let WireProject { id, name, status, archived_at } = object(json)?;
        // The identifier becomes a segment of a path, which "." and ".." are not.
        let id = identifier(id.filter(|id| !matches!(&**id, "." | "..")))?;
        let archived = archived_at.is_some() || status.as_deref() == Some("archived");
        Ok(Self { id, name, archived })
    }

    fn name_mut(&mut self) -> &mut Option<Box<str>> {
        &mut self.name
    }
}

/// An identifier is the cursor to the next page and labels series: an empty one does neither, the exposition format has no
/// NUL, and a longer one would be cut there, so that two could become one.
const MAX_ID_BYTES: usize = 512;

fn identifier(id: Option<Box<str>>) -> Result<Box<str>, &'static str> {
    id.filter(|id| (1..=MAX_ID_BYTES).contains(&id.len()) && !id.contains('\0')).ok_or("id")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode<T: Entry>(json: &str) -> Result<T, &'static str> {
        T::decode(serde_json::from_str(json).unwrap())
    }

    const CERTIFICATE: &str = r#"{"id":"c","name":null,"active":true,"created_at":1,"certificate_details":{"valid_at":2,"expires_at":3},"x":1e400}"#;
    const PROJECT: &str =
        r#"{"id":"p","name":"P","status":"active","archived_at":null,"x":"\ud800"}"#;

    #[test]
    fn malformed_certificate_names_the_field_at_fault() {
        assert!(decode::<Certificate>(CERTIFICATE).is_ok());
        for (from, to, field) in [
            (r#""id":"c","#, "", "id"),
            (r#""id":"c""#, r#""id":7"#, "id"),
            (r#""id":"c""#, r#""id":null"#, "id"),
            (r#""id":"c""#, r#""id":"""#, "id"),
            (r#""id":"c""#, r#""id":"a\u0000b""#, "id"),
            (r#""id":"c""#, &format!(r#""id":"{}""#, "c".repeat(513)), "id"),
            (r#""name":null"#, r#""name":"\ud800""#, "name"),
            (r#""name":null"#, r#""name":["a"]"#, "name"),
            (r#""active":true,"#, "", "active"),
            (r#""active":true"#, r#""active":"true""#, "active"),
            (r#""active":true"#, r#""active":null"#, "active"),
            (r#""created_at":1"#, r#""created_at":1e400"#, "created_at"),
            (r#""created_at":1"#, r#""created_at":1.5"#, "created_at"),
            (r#""created_at":1"#, r#""created_at":9223372036854775808"#, "created_at"),
            (r#""created_at":1"#, r#""created_at":"1""#, "created_at"),
            (r#","certificate_details":{"valid_at":2,"expires_at":3}"#, "", "certificate_details"),
            (r#"{"valid_at":2,"expires_at":3}"#, "null", "certificate_details"),
            (r#"{"valid_at":2,"expires_at":3}"#, "[2,3]", "certificate_details"),
            (r#"{"valid_at":2,"expires_at":3}"#, "[]", "certificate_details"),
            (r#""expires_at":3"#, r#""expires_at":"soon""#, "certificate_details"),
            (r#""expires_at":3"#, r#""valid_at":3"#, "certificate_details"),
            (r#""name":null"#, r#""id":"d""#, FIELD_NAMES),
            (r#""x":1e400"#, r#""active":7"#, FIELD_NAMES),
            (r#""x":1e400"#, r#""\ud800":7"#, FIELD_NAMES),
        ] {
            let bad = CERTIFICATE.replace(from, to);
            assert_ne!(bad, CERTIFICATE);
            assert_eq!(decode::<Certificate>(&bad), Err(field), "{bad}");
        }
        for bad in ["null", "7", "1e400", "[]", r#"["c",null,true,1,{}]"#, r#""c""#] {
            assert_eq!(decode::<Certificate>(bad), Err(NOT_AN_OBJECT), "{bad}");
        }
    }

    #[test]
    fn malformed_project_names_the_field_at_fault() {
        assert_eq!(
            decode(PROJECT),
            Ok(Project { id: "p".into(), name: Some("P".into()), archived: false }),
            "what is not read may be anything"
        );
        for (from, to, field) in [
            (r#""id":"p","#, "", "id"),
            (r#""id":"p""#, r#""id":".""#, "id"),
            (r#""id":"p""#, r#""id":"..""#, "id"),
            (r#""name":"P""#, r#""name":7"#, "name"),
            (r#""status":"active""#, r#""status":{}"#, "status"),
            (r#""archived_at":null"#, r#""archived_at":"now""#, "archived_at"),
        ] {
            assert_eq!(decode::<Project>(&PROJECT.replace(from, to)), Err(field), "{to}");
        }
    }

    #[test]
    fn project_is_archived_by_date_or_by_status() {
        let archived = |from, to| decode::<Project>(&PROJECT.replace(from, to)).unwrap().archived;
        assert!(archived("null", "1"));
        assert!(archived(r#""active""#, r#""archived""#));
        assert!(!archived(r#""active""#, "null"));
    }

    #[test]
    fn dates_may_be_missing_and_may_be_any_64_bit_instant() {
        let dated = |details: &str| {
            let json = format!(r#"{{"id":"c","active":false,"certificate_details":{details}}}"#);
            let Certificate { created_at, valid_at, expires_at, name, .. } = decode(&json).unwrap();
            assert_eq!((created_at, name), (None, None));
            (valid_at, expires_at)
        };
        assert_eq!(dated(r#"{"expires_at":null}"#), (None, None));
        let extremes = format!(r#"{{"valid_at":{},"expires_at":{}}}"#, i64::MIN, i64::MAX);
        assert_eq!(dated(&extremes), (Some(i64::MIN), Some(i64::MAX)));
    }

    #[test]
    fn bytes_that_are_not_utf8_cost_their_entry_alone() {
        let body = b"{\"data\":[{\"id\":\"a\xff\"},{\"id\":\"b\"}],\"first_id\":\"a\xff\",\"has_more\":false}";
        let text = as_text(body);
        let entries: Vec<_> =
            Page::parse(&text).unwrap().data.into_iter().map(Project::decode).collect();
        assert_eq!(
            entries,
            [Err("id"), Ok(Project { id: "b".into(), name: None, archived: false })]
        );
    }

    #[test]
    fn page_of_another_shape_is_refused() {
        for (body, error) in [
            ("", PageError::NotJson),
            ("{", PageError::NotJson),
            (r#"{"data":[],"has_more":false}x"#, PageError::NotJson),
            (r#"{"data":[{],"has_more":false}"#, PageError::NotJson),
            ("[]", PageError::NotAPage),
            (" [[],false,null]", PageError::NotAPage),
            ("null", PageError::NotAPage),
            ("{}", PageError::NotAPage),
            (r#"{"data":null,"has_more":false}"#, PageError::NotAPage),
            (r#"{"data":{},"has_more":false}"#, PageError::NotAPage),
            (r#"{"data":[],"has_more":"no"}"#, PageError::NotAPage),
            (r#"{"data":[],"last_id":7}"#, PageError::NotAPage),
        ] {
            assert_eq!(Page::parse(body).err(), Some(error), "{body}");
        }
    }
}
