//! The shape of a list page. The page as a whole must be right, while each field of an entry is read by itself, so that an
//! odd one costs nothing but itself.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::PageError;
use super::error::known_code;
use crate::inventory::{Certificate, INSTANTS, Identified, Project, UnixSeconds};

/// An object of a list.
pub trait Entry: Identified + Clone + PartialEq {
    fn decode(json: &RawValue) -> Decoded<Self>;

    fn name_mut(&mut self) -> &mut Option<Box<str>>;

    /// Takes the dates that it has not, or that cannot be read, from an earlier read. Returns whether the list has stopped
    /// giving one that matters.
    fn keep_dates(&mut self, _before: &Self) -> bool {
        false
    }
}

/// An entry, as far as it can be read.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded<T> {
    /// Without the fields that cannot be read. If it cannot do without one of them: its identifier, if that can be read.
    pub item: Result<T, Option<Box<str>>>,
    /// The first field that cannot be read, or not in full.
    pub fault: Option<&'static str>,
}

#[derive(Deserialize)]
pub(super) struct Page<'a> {
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<Vec<&'a RawValue>>,
    /// Missing in a page that does not prove whether it is the last.
    pub(super) has_more: Option<bool>,
    #[serde(borrow)]
    last_id: Option<&'a RawValue>,
}

impl<'a> Page<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, PageError> {
        // A derived struct would take an array for its fields in their order.
        if text.trim_ascii_start().starts_with('[') {
            return Err(PageError::NotAPage);
        }
        let page: Self = serde_json::from_str(text).map_err(|error| match error.classify() {
            Category::Data => PageError::NotAPage,
            Category::Io | Category::Syntax | Category::Eof => PageError::NotJson,
        })?;
        if page.error.is_some() {
            return Err(PageError::IsError(known_code(text.as_bytes())));
        }
        // The documentation requires it, but a page that lacks it contradicts nothing.
        if let Some(object) = page.object.filter(|object| object.get() != r#""list""#) {
            let known =
                OTHER_OBJECTS.into_iter().find(|known| object.get() == format!("{known:?}"));
            return Err(PageError::NotAList(known));
        }
        page.data.is_some().then_some(page).ok_or(PageError::NotAPage)
    }

    pub(super) fn entries(&self) -> &[&'a RawValue] {
        self.data.as_deref().unwrap_or_default()
    }

    /// The identifier of the last object, if the page gives one that can be read.
    pub(super) fn last_id(&self) -> Option<Box<str>> {
        identifier(self.last_id?.get()).ok()
    }
}

/// What else an answer may say that it is (`object`). Only these are repeated: they are documented, and so no part of a key.
const OTHER_OBJECTS: [&str; 6] = [
    "certificate",
    "error",
    "organization.certificate",
    "organization.project",
    "organization.project.certificate",
    "page",
];

/// A body as text. JSON is UTF-8, but one broken string must not cost its page: each sequence that is not UTF-8 becomes
/// half a surrogate pair, which [`text`] replaces and counts.
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

/// The fields that are read. Malformed entries are counted by these names, since serde's own messages and paths repeat what
/// a response says, which must not be logged.
const FIELDS: [&str; 10] = [
    "id",
    "name",
    "active",
    "created_at",
    "certificate_details",
    "content",
    "valid_at",
    "expires_at",
    "status",
    "archived_at",
];
const NOT_AN_OBJECT: &str = "not an object";

/// What a field holds, or what is left of it if not all of it can be read.
type Field<T> = Result<T, Option<T>>;

/// The known fields of an object in their order, as JSON.
#[derive(Default)]
struct Fields<'a> {
    values: Vec<(&'static str, &'a str)>,
    fault: Option<&'static str>,
}

impl<'a> Fields<'a> {
    fn of(json: &'a str) -> Self {
        let values = serde_json::Deserializer::from_str(json).deserialize_map(Values);
        values.map_or_else(
            |_| Self { fault: Some(NOT_AN_OBJECT), ..Self::default() },
            |values| Self { values, fault: None },
        )
    }

    /// A field that may be missing or null. Of two that differ, neither can be trusted.
    fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'a str) -> Field<T>,
    ) -> Option<T> {
        let mut values =
            self.values.iter().filter(|(field, _)| *field == name).map(|(_, json)| *json);
        let first = values.next()?;
        let field = match first {
            _ if values.any(|other| other != first) => Err(None),
            "null" => return None,
            json => read(json),
        };
        field.map_or_else(
            |rest| {
                self.fault.get_or_insert(name);
                rest
            },
            Some,
        )
    }

    /// A field that every entry must have.
    fn required<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'a str) -> Field<T>,
    ) -> Option<T> {
        let value = self.optional(name, read);
        if value.is_none() {
            self.fault.get_or_insert(name);
        }
        value
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = Vec<(&'static str, &'de str)>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::with_capacity(FIELDS.len());
        while let Some((RawText(name), value)) = map.next_entry::<RawText<'_>, &RawValue>()? {
            let known = FIELDS.into_iter().find(|field| field.as_bytes() == &*name);
            values.extend(known.map(|name| (name, value.get())));
        }
        Ok(values)
    }
}

/// A JSON string that may hold halves of surrogate pairs, each encoded as if it were a character.
struct RawText<'a>(Cow<'a, [u8]>);

impl<'de> Deserialize<'de> for RawText<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = RawText<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_bytes<E: de::Error>(
                self,
                bytes: &'de [u8],
            ) -> Result<Self::Value, E> {
                Ok(RawText(bytes.into()))
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                Ok(RawText(bytes.to_owned().into()))
            }
        }
        // Unlike a string, bytes may be anything.
        deserializer.deserialize_bytes(Bytes)
    }
}

/// With U+FFFD for each half of a surrogate pair.
fn text(json: &str) -> Field<Box<str>> {
    let RawText(bytes) = serde_json::from_str(json).map_err(|_| None)?;
    if let Ok(text) = str::from_utf8(&bytes) {
        return Ok(text.into());
    }
    // Three bytes that are not UTF-8, each in a chunk of its own, of which only the first is 0xED.
    let half = |invalid: &[u8]| if invalid.starts_with(&[0xED]) { "\u{fffd}" } else { "" };
    let parts = bytes.utf8_chunks().map(|chunk| [chunk.valid(), half(chunk.invalid())].concat());
    Err(Some(parts.collect::<String>().into()))
}

/// An identifier is the cursor to the next page and labels series: an empty one does neither, the exposition format has no
/// NUL, and a longer one would be cut there, so that two could become one.
const MAX_ID_BYTES: usize = 512;

/// Of a PEM. An upload must be smaller than 16 kB.
const MAX_CONTENT_BYTES: usize = 64 << 10;

fn identifier(json: &str) -> Field<Box<str>> {
    let is_usable = |id: &str| (1..=MAX_ID_BYTES).contains(&id.len()) && !id.contains('\0');
    text(json).ok().filter(|id| is_usable(id)).ok_or(None)
}

fn boolean(json: &str) -> Field<bool> {
    match json {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(None),
    }
}

/// A whole number, however it is written: gateways turn `1700000000` into `1.7e9`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "what is beyond becomes a bound, and no instant"
)]
fn instant(json: &str) -> Field<UnixSeconds> {
    let number = json.parse::<f64>().ok().filter(|number| number.fract() == 0.0);
    number
        .map(|number| number as UnixSeconds)
        .filter(|instant| INSTANTS.contains(instant))
        .ok_or(None)
}

/// `valid_at` and `expires_at`, and the first of them that cannot be read.
type Validity = (Option<UnixSeconds>, Option<UnixSeconds>, Option<&'static str>);

fn validity(json: &str) -> Field<Validity> {
    let mut details = Fields::of(json);
    let (valid_at, expires_at) =
        (details.optional("valid_at", instant), details.optional("expires_at", instant));
    let is_object = details.fault != Some(NOT_AN_OBJECT);
    is_object.then_some((valid_at, expires_at, details.fault)).ok_or(None)
}

/// The PEM in the answer that shows the certificate `id`.
pub(super) fn content(answer: &str, id: &str) -> Result<Box<str>, PageError> {
    if serde_json::from_str::<&RawValue>(answer).is_err() {
        return Err(PageError::NotJson);
    }
    let mut fields = Fields::of(answer);
    let is_of_id = fields.optional("id", identifier).is_some_and(|own| *own == *id);
    let of_details = |json| Ok(Fields::of(json).optional("content", text));
    let content = fields.optional("certificate_details", of_details).flatten();
    content.filter(|pem| is_of_id && pem.len() <= MAX_CONTENT_BYTES).ok_or(PageError::NoContent)
}

impl Entry for Certificate {
    fn decode(json: &RawValue) -> Decoded<Self> {
        let mut fields = Fields::of(json.get());
        let id = fields.required("id", identifier);
        let active = fields.required("active", boolean);
        let name = fields.optional("name", text);
        let created_at = fields.optional("created_at", instant);
        let details = fields.required("certificate_details", validity);
        let (valid_at, expires_at, date_at_fault) = details.unwrap_or((None, None, fields.fault));
        let item = match (id, active) {
            (Some(id), Some(active)) => Ok(Self {
                id,
                name,
                active,
                created_at,
                valid_at,
                expires_at,
                expires_at_from_pem: false,
                has_unreadable_date: date_at_fault.is_some(),
            }),
            (id, _) => Err(id),
        };
        Decoded { item, fault: fields.fault.or(date_at_fault) }
    }

    fn name_mut(&mut self) -> &mut Option<Box<str>> {
        &mut self.name
    }

    fn keep_dates(&mut self, before: &Self) -> bool {
        self.keep_dates(before)
    }
}

impl Entry for Project {
    fn decode(json: &RawValue) -> Decoded<Self> {
        let mut fields = Fields::of(json.get());
        // The identifier becomes a segment of a path, which "." and ".." are not.
        let segment =
            |json| identifier(json).ok().filter(|id| !matches!(&**id, "." | "..")).ok_or(None);
        let id = fields.required("id", segment);
        let name = fields.optional("name", text);
        let status = fields.optional("status", text);
        let archived_at = fields.optional("archived_at", instant);
        let archived = archived_at.is_some() || status.as_deref() == Some("archived");
        Decoded { item: id.map(|id| Self { id, name, archived }).ok_or(None), fault: fields.fault }
    }

    fn name_mut(&mut self) -> &mut Option<Box<str>> {
        &mut self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode<T: Entry>(json: &str) -> Decoded<T> {
        T::decode(serde_json::from_str(json).unwrap())
    }

    const CERTIFICATE: &str = r#"{"id":"c","name":"edge","active":true,"created_at":1,"certificate_details":{"valid_at":2,"expires_at":3},"x":1e400}"#;
    const PROJECT: &str =
        r#"{"id":"p","name":"P","status":"active","archived_at":null,"x":"\ud800"}"#;

    fn certificate() -> Certificate {
        Certificate {
            id: "c".into(),
            name: Some("edge".into()),
            active: true,
            created_at: Some(1),
            valid_at: Some(2),
            expires_at: Some(3),
            expires_at_from_pem: false,
            has_unreadable_date: false,
        }
    }

    /// The certificate with one of its parts replaced.
    fn edited(from: &str, to: &str) -> Decoded<Certificate> {
        let edited = CERTIFICATE.replace(from, to);
        assert_ne!(edited, CERTIFICATE, "{from}");
        decode(&edited)
    }

    #[test]
    fn unknown_fields_are_no_fault_whatever_they_hold() {
        for other in [r#""y":[1e400]"#, r#""x":"\ud800""#, r#""\ud800":7"#, r#""x":1,"x":2"#] {
            let expected = Decoded { item: Ok(certificate()), fault: None };
            assert_eq!(edited(r#""x":1e400}"#, &format!("{other}}}")), expected, "{other}");
        }
    }

    #[test]
    fn odd_field_costs_itself() {
        let named =
            |name: Option<&str>| Certificate { name: name.map(Into::into), ..certificate() };
        let dated = |valid_at, expires_at| Certificate {
            valid_at,
            expires_at,
            has_unreadable_date: true,
            ..certificate()
        };
        let uncreated = Certificate { created_at: None, ..certificate() };
        let details = r#"{"valid_at":2,"expires_at":3}"#;
        for (from, to, field, left) in [
            ("edge", r"edge \ud83d", "name", named(Some("edge \u{fffd}"))),
            ("edge", r"\udc00\ud800é", "name", named(Some("\u{fffd}\u{fffd}é"))),
            (r#""edge""#, "7", "name", named(None)),
            (r#""edge""#, r#"["a"]"#, "name", named(None)),
            (r#""edge""#, r#""edge","name":"other""#, "name", named(None)),
            (r#""created_at":1"#, r#""created_at":"1""#, "created_at", uncreated.clone()),
            (r#""created_at":1"#, r#""created_at":1.5"#, "created_at", uncreated.clone()),
            (r#""created_at":1"#, r#""created_at":1e400"#, "created_at", uncreated.clone()),
            (r#""created_at":1"#, r#""created_at":true"#, "created_at", uncreated.clone()),
            (r#""created_at":1"#, r#""created_at":1700000000000"#, "created_at", uncreated),
            (
                &format!(r#","certificate_details":{details}"#),
                "",
                "certificate_details",
                dated(None, None),
            ),
            (details, "null", "certificate_details", dated(None, None)),
            (details, "[2,3]", "certificate_details", dated(None, None)),
            (details, r#""none""#, "certificate_details", dated(None, None)),
            (r#""expires_at":3"#, r#""expires_at":"soon""#, "expires_at", dated(Some(2), None)),
            (r#""valid_at":2"#, r#""valid_at":0.5"#, "valid_at", dated(None, Some(3))),
            (r#""expires_at":3"#, r#""valid_at":3"#, "valid_at", dated(None, None)),
        ] {
            assert_eq!(edited(from, to), Decoded { item: Ok(left), fault: Some(field) }, "{to}");
        }
        let twice =
            edited(r#""edge","active":true,"created_at":1"#, r#"7,"active":true,"created_at":"1""#);
        assert_eq!(twice.fault, Some("name"), "an entry is counted once, by its first fault");
    }

    #[test]
    fn certificate_needs_its_identifier_and_its_activity() {
        let known = || Some("c".into());
        for (from, to, id, field) in [
            (r#""id":"c","#, "", None, "id"),
            (r#""id":"c""#, r#""id":7"#, None, "id"),
            (r#""id":"c""#, r#""id":null"#, None, "id"),
            (r#""id":"c""#, r#""id":"""#, None, "id"),
            (r#""id":"c""#, r#""id":"a\u0000b""#, None, "id"),
            (r#""id":"c""#, r#""id":"a\ud800""#, None, "id"),
            (r#""id":"c""#, &format!(r#""id":"{}""#, "c".repeat(513)), None, "id"),
            (r#""id":"c""#, r#""id":"c","id":"d""#, None, "id"),
            (r#""active":true,"#, "", known(), "active"),
            (r#""active":true"#, r#""active":"true""#, known(), "active"),
            (r#""active":true"#, r#""active":1"#, known(), "active"),
            (r#""active":true"#, r#""active":null"#, known(), "active"),
            (r#""active":true"#, r#""active":true,"active":false"#, known(), "active"),
        ] {
            assert_eq!(edited(from, to), Decoded { item: Err(id), fault: Some(field) }, "{to}");
        }
        for bad in ["null", "7", "1e400", "[]", r#"["c",null,true,1,{}]"#, r#""c""#] {
            let expected = Decoded { item: Err(None), fault: Some(NOT_AN_OBJECT) };
            assert_eq!(decode::<Certificate>(bad), expected, "{bad}");
        }
    }

    #[test]
    fn project_needs_an_identifier_that_is_a_segment_of_a_path() {
        let project = || Project { id: "p".into(), name: Some("P".into()), archived: false };
        assert_eq!(decode(PROJECT), Decoded { item: Ok(project()), fault: None });
        for (from, to, item, field) in [
            (r#""id":"p","#, "", Err(None), "id"),
            (r#""id":"p""#, r#""id":".""#, Err(None), "id"),
            (r#""id":"p""#, r#""id":"..""#, Err(None), "id"),
            (r#""name":"P""#, r#""name":7"#, Ok(Project { name: None, ..project() }), "name"),
            (r#""status":"active""#, r#""status":{}"#, Ok(project()), "status"),
            (r#""archived_at":null"#, r#""archived_at":"now""#, Ok(project()), "archived_at"),
        ] {
            let decoded = decode::<Project>(&PROJECT.replace(from, to));
            assert_eq!(decoded, Decoded { item, fault: Some(field) }, "{to}");
        }
    }

    #[test]
    fn project_is_archived_by_date_or_by_status() {
        let archived =
            |from, to| decode::<Project>(&PROJECT.replace(from, to)).item.unwrap().archived;
        assert!(archived("null", "1"));
        assert!(archived(r#""active""#, r#""archived""#));
        assert!(!archived(r#""active""#, "null"));
    }

    #[test]
    fn instant_is_a_whole_number_of_seconds_within_the_years_1_to_9999() {
        for (json, seconds) in [
            ("1700000000", 1_700_000_000),
            ("1.7e9", 1_700_000_000),
            ("1700000001.0", 1_700_000_001),
            ("17000000010E-1", 1_700_000_001),
            ("1700000001.0000000000000000000", 1_700_000_001),
            ("-0", 0),
            ("-62135596800", *INSTANTS.start()),
            ("253402300799", *INSTANTS.end()),
        ] {
            assert_eq!(instant(json), Ok(seconds), "{json}");
        }
        for json in [
            "-62135596801",
            "253402300800",
            "1700000000000",
            "9223372036854775808",
            "1e400",
            "1.5",
            "253402300799.5",
            r#""1""#,
            "true",
            "[1]",
        ] {
            assert_eq!(instant(json), Err(None), "{json}");
        }
    }

    #[test]
    fn dates_may_be_missing() {
        for details in ["{}", r#"{"valid_at":null,"expires_at":null}"#] {
            let json = format!(r#"{{"id":"c","active":false,"certificate_details":{details}}}"#);
            let Decoded { item, fault } = decode::<Certificate>(&json);
            let missing = Certificate {
                name: None,
                active: false,
                created_at: None,
                valid_at: None,
                expires_at: None,
                ..certificate()
            };
            assert_eq!((item, fault), (Ok(missing), None));
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_cost_their_field_alone() {
        let body = b"{\"data\":[{\"id\":\"a\xff\"},{\"id\":\"b\",\"name\":\"b\xf0\x9f\x98c\"}],\"first_id\":\"a\xff\",\"has_more\":false}";
        let text = as_text(body);
        let entries: Vec<_> = Page::parse(&text)
            .unwrap()
            .entries()
            .iter()
            .map(|entry| Project::decode(entry))
            .collect();
        let named = Project { id: "b".into(), name: Some("b\u{fffd}c".into()), archived: false };
        assert_eq!(
            entries,
            [
                Decoded { item: Err(None), fault: Some("id") },
                Decoded { item: Ok(named), fault: Some("name") },
            ]
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
            (r#"{"object":null,"error":null,"has_more":false}"#, PageError::NotAPage),
            (r#"{"object":"page","data":[]}"#, PageError::NotAList(Some("page"))),
            (r#"{"object":"sk-admin-abc","data":[]}"#, PageError::NotAList(None)),
            (r#"{"object":{},"data":[]}"#, PageError::NotAList(None)),
            (
                r#"{"object":"error","data":[],"error":{"code":"server_error"}}"#,
                PageError::IsError(Some("server_error")),
            ),
            (r#"{"object":"list","data":[],"error":{"code":"x"}}"#, PageError::IsError(None)),
            (r#"{"data":[],"error":false}"#, PageError::IsError(None)),
        ] {
            assert_eq!(Page::parse(body).err(), Some(error), "{body}");
        }
    }
}
