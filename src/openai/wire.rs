//! The shape of a list page, and how one is read: the page as a whole must be right, while each entry is decoded alone,
//! so that one that cannot be read costs nothing but itself.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::inventory::{Certificate, Fault, Identified, Malformed, Project};

/// An object that stands in a list.
pub trait Entry: Clone + Identified + PartialEq {
    /// The fields of it that matter, as the API gives them.
    type Wire: DeserializeOwned;

    /// Those fields, by name, with what may stand in them.
    const FIELDS: &'static [FieldCheck];

    /// Takes the fields over; `None` where the identifier is none.
    fn from_wire(wire: Self::Wire) -> Option<Self>;

    /// What people call it.
    fn name_mut(&mut self) -> &mut Option<Box<str>>;
}

/// One page of a list, whose entries are a `D`.
#[derive(Deserialize)]
pub(super) struct Page<D> {
    pub(super) data: D,
    /// Missing in a page that does not say whether it is the last.
    pub(super) has_more: Option<bool>,
    pub(super) last_id: Option<String>,
}

impl<T: Entry> Page<Entries<T>> {
    pub(super) fn parse(body: &[u8]) -> Result<Self, serde_json::Error> {
        let text = as_text(body);
        // In one go where every entry is right, which is nearly always; else anew, entry by entry.
        match serde_json::from_str(&text) {
            Ok(Object(Page { data: AllRight(data), has_more, last_id })) => Ok(Self { data, has_more, last_id }),
            Err(_) => serde_json::from_str(&text).map(|Object(page)| page),
        }
    }
}

/// A JSON object. What is derived for a struct alone would take a list as well, for its fields in their order, and an
/// empty list for a struct whose fields may all be missing.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(Fields(PhantomData))
    }
}

/// The entries of a page, read one after the other without a tree in between.
pub(super) struct Entries<T> {
    pub(super) items: Vec<T>,
    pub(super) malformed: Malformed,
    /// Whether the last entry is the last of `items`: only then does its identifier lead on.
    pub(super) last_is_item: bool,
}

impl<T> Entries<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty() && self.malformed.count == 0
    }
}

impl<T: Entry> Entries<T> {
    fn add(&mut self, decoded: Result<T, Fault>) {
        self.last_is_item = decoded.is_ok();
        match decoded {
            Ok(item) => self.items.push(item),
            Err(fault) => self.malformed.add(fault),
        }
    }
}

/// Entries each of which has the right shape; any other refuses the page.
struct AllRight<T>(Entries<T>);

impl<'de, T: Entry> Deserialize<'de> for AllRight<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(OneByOne(|Object(wire)| from_wire(wire), PhantomData)).map(Self)
    }
}

impl<'de, T: Entry> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(OneByOne(|raw: &RawValue| decode(raw.get()), PhantomData))
    }
}

/// Reads a list of `R`s and takes each for an entry.
struct OneByOne<F, R>(F, PhantomData<R>);

impl<'de, T: Entry, R: Deserialize<'de>, F: Fn(R) -> Result<T, Fault>> Visitor<'de> for OneByOne<F, R> {
    type Value = Entries<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut entries = Entries { items: Vec::new(), malformed: Malformed::default(), last_is_item: false };
        while let Some(read) = sequence.next_element()? {
            entries.add((self.0)(read));
        }
        Ok(entries)
    }
}

/// One entry on its own.
fn decode<T: Entry>(json: &str) -> Result<T, Fault> {
    match serde_json::from_str(json) {
        Ok(Object(wire)) => from_wire(wire),
        Err(_) => Err(fault(json, T::FIELDS)),
    }
}

fn from_wire<T: Entry>(wire: T::Wire) -> Result<T, Fault> {
    T::from_wire(wire).ok_or(Fault::Field("id"))
}

/// A body as text. JSON is UTF-8, but one broken string must not cost its page: each sequence that is not UTF-8 becomes
/// an escape that no string may hold, so that the entry it stands in is malformed and the others are read.
fn as_text(body: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = str::from_utf8(body) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(body.len() + 64);
    for chunk in body.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push_str("\\ud800");
        }
    }
    Cow::Owned(text)
}

/// [`Certificate`] as the API gives it.
#[derive(Deserialize)]
pub struct WireCertificate {
    id: Box<str>,
    #[serde(default)]
    name: Option<Box<str>>,
    active: bool,
    #[serde(default)]
    created_at: Option<i64>,
    certificate_details: Object<WireDetails>,
}

#[derive(Deserialize)]
struct WireDetails {
    #[serde(default)]
    valid_at: Option<i64>,
    #[serde(default)]
    expires_at: Option<i64>,
}

impl Entry for Certificate {
    type Wire = WireCertificate;

    const FIELDS: &'static [FieldCheck] = &[
        ("id", is::<Box<str>>),
        ("name", is::<Option<Box<str>>>),
        ("active", is::<bool>),
        ("created_at", is::<Option<i64>>),
        ("certificate_details", is::<Object<WireDetails>>),
    ];

    fn from_wire(wire: WireCertificate) -> Option<Self> {
        let WireCertificate { id, name, active, created_at, certificate_details: Object(details) } = wire;
        let WireDetails { valid_at, expires_at } = details;
        is_identifier(&id).then_some(Self { id, name, active, created_at, valid_at, expires_at })
    }

    fn name_mut(&mut self) -> &mut Option<Box<str>> {
        &mut self.name
    }
}

/// [`Project`] as the API gives it.
#[derive(Deserialize)]
pub struct WireProject {
    id: Box<str>,
    #[serde(default)]
    name: Option<Box<str>>,
    #[serde(default)]
    status: Option<Box<str>>,
    #[serde(default)]
    archived_at: Option<i64>,
}

impl Entry for Project {
    type Wire = WireProject;

    const FIELDS: &'static [FieldCheck] = &[
        ("id", is::<Box<str>>),
        ("name", is::<Option<Box<str>>>),
        ("status", is::<Option<Box<str>>>),
        ("archived_at", is::<Option<i64>>),
    ];

    fn from_wire(wire: WireProject) -> Option<Self> {
        let WireProject { id, name, status, archived_at } = wire;
        let archived = archived_at.is_some() || status.as_deref() == Some("archived");
        (is_identifier(&id) && !matches!(&*id, "." | "..")).then_some(Self { id, name, archived })
    }

    fn name_mut(&mut self) -> &mut Option<Box<str>> {
        &mut self.name
    }
}

/// An identifier leads to the next page and labels series: an empty one does neither, and NUL cannot be written in
/// the exposition format. A project's is a segment of a path too, which "." and ".." are not.
fn is_identifier(text: &str) -> bool {
    !text.is_empty() && !text.contains('\0')
}

/// Whether a field's JSON is a `T`; a field that is not there counts as null.
fn is<T: DeserializeOwned>(json: &str) -> bool {
    serde_json::from_str::<T>(json).is_ok()
}

/// A field's name, and whether JSON may stand in it.
pub type FieldCheck = (&'static str, fn(&str) -> bool);

/// Which field of an entry that could not be decoded was at fault. serde's own messages repeat values, and values of an
/// answer are not for the log.
fn fault(json: &str, fields: &[FieldCheck]) -> Fault {
    let Ok(object) = serde_json::from_str::<std::collections::HashMap<Cow<'_, str>, &RawValue>>(json) else {
        return Fault::Entry;
    };
    fields
        .iter()
        .find(|(name, valid)| !valid(object.get(*name).map_or("null", |raw| raw.get())))
        .map_or(Fault::Entry, |(name, _)| Fault::Field(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(json: &str) -> Result<Certificate, Fault> {
        super::decode(json)
    }

    #[test]
    fn each_fault_is_named() {
        let good = r#"{"id":"c","name":null,"active":true,"created_at":1,"certificate_details":{"valid_at":2,"expires_at":3}}"#;
        assert!(decode(good).is_ok());
        for (from, to, field) in [
            (r#""id":"c","#, "", "id"),
            (r#""id":"c""#, r#""id":7"#, "id"),
            (r#""id":"c""#, r#""id":"""#, "id"),
            (r#""id":"c""#, r#""id":"a\u0000b""#, "id"),
            (r#""name":null"#, r#""name":"\ud800""#, "name"),
            (r#""active":true"#, r#""active":"true""#, "active"),
            (r#""active":true"#, r#""active":null"#, "active"),
            (r#""created_at":1"#, r#""created_at":1e400"#, "created_at"),
            (r#""created_at":1"#, r#""created_at":9223372036854775808"#, "created_at"),
            (r#""created_at":1"#, r#""created_at":"1""#, "created_at"),
            (r#"{"valid_at":2,"expires_at":3}"#, "null", "certificate_details"),
            (r#"{"valid_at":2,"expires_at":3}"#, "[2,3]", "certificate_details"),
            (r#"{"valid_at":2,"expires_at":3}"#, "[]", "certificate_details"),
            (r#""expires_at":3"#, r#""expires_at":"soon""#, "certificate_details"),
        ] {
            let bad = good.replace(from, to);
            assert_eq!(decode(&bad), Err(Fault::Field(field)), "{bad}");
        }
        for bad in
            ["null", "7", "[]", r#"["c",null,true,1,{}]"#, r#""c""#, &good.replace(r#""name":null"#, r#""id":"d""#)]
        {
            assert_eq!(decode(bad), Err(Fault::Entry), "{bad}");
        }
    }

    #[test]
    fn dates_may_be_missing() {
        let certificate = decode(r#"{"id":"c","active":false,"certificate_details":{"expires_at":null}}"#).unwrap();
        assert_eq!((certificate.created_at, certificate.valid_at, certificate.expires_at), (None, None, None));
        assert_eq!(certificate.name, None);
    }

    #[test]
    fn any_64_bit_instant_is_taken() {
        let json = format!(
            r#"{{"id":"c","active":false,"certificate_details":{{"valid_at":{},"expires_at":{}}}}}"#,
            i64::MIN,
            i64::MAX
        );
        let certificate = decode(&json).unwrap();
        assert_eq!((certificate.valid_at, certificate.expires_at), (Some(i64::MIN), Some(i64::MAX)));
    }

    #[test]
    fn one_bad_entry_costs_itself() {
        let body = b"{\"data\":[1e400,{\"id\":\"a\xff\"},{\"id\":\"b\",\"active\":true,\"certificate_details\":{}}],\"has_more\":false}";
        let page = Page::<Entries<Certificate>>::parse(body).unwrap();
        assert_eq!(page.data.malformed.count, 2);
        assert_eq!(page.data.items[0].id.as_ref(), "b");
        assert!(page.data.last_is_item);
    }

    #[test]
    fn a_page_of_another_shape_is_refused() {
        for body in [
            "",
            "{",
            "[]",
            "null",
            "{}",
            r#"{"data":null,"has_more":false}"#,
            r#"{"data":{},"has_more":false}"#,
            r#"{"data":[],"has_more":"no"}"#,
            r#"{"data":[],"has_more":false}x"#,
            r#"{"data":[],"last_id":7}"#,
            "[[],false,null]",
        ] {
            assert!(Page::<Entries<Certificate>>::parse(body.as_bytes()).is_err(), "{body}");
        }
    }
}
