//! `basic_auth_users`: who may ask, and how that is found out without telling more.
//!
//! Whether a password is right takes a bcrypt, which is slow on purpose. So credentials that were right are remembered,
//! as a keyed hash; a scraper pays for a check once, and nobody who floods the port with wrong ones can keep it out.

use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key, Tag};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::{constant_time, error::Unspecified};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bcrypt::HashParts;
use hyper::header::{AUTHORIZATION, HeaderMap};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::document::{Fault, Section};

/// At 2^16 rounds one check takes seconds; beyond, a scrape would time out before it is over.
const MAX_COST: u32 = 16;
/// More than two at once would take every core from the scrapes and the polls.
const CHECKS_AT_ONCE: usize = 2;
/// What else waits is told to come again. At a cost of 10 these take about a second.
const CHECKS_WAITING: usize = 32;

/// Who may ask, each with the hash of a password.
#[derive(Default)]
pub(super) struct Users(BTreeMap<String, SecretString>);

impl Users {
    pub(super) fn read(document: &mut Section) -> Result<Self, Fault> {
        let (section, entries) = document.entries("basic_auth_users")?;
        let mut users = BTreeMap::new();
        for (name, hash) in entries {
            if name.contains(':') {
                return Err(section.fault(&name, "a user name cannot contain a colon"));
            }
            let parts = HashParts::from_str(&hash).map_err(|_| section.fault(&name, "must be a bcrypt hash"))?;
            if !(4..=MAX_COST).contains(&parts.get_cost()) {
                return Err(section.fault(&name, format!("must be a bcrypt hash with a cost from 4 to {MAX_COST}")));
            }
            users.insert(name, hash.into());
        }
        Ok(Self(users))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Admitted,
    Refused,
    /// Too many checks wait already.
    Busy,
}

/// Checks credentials.
pub(super) struct Doorkeeper {
    /// Of this process alone, so that what is remembered is of no use elsewhere.
    key: Key,
    /// For each user the credentials that were right last.
    remembered: Mutex<BTreeMap<String, Tag>>,
    checks: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Doorkeeper {
    pub(super) fn new() -> Result<Self, Unspecified> {
        Ok(Self {
            key: Key::generate(HMAC_SHA256, &SystemRandom::new())?,
            remembered: Mutex::default(),
            checks: Arc::new(Semaphore::new(CHECKS_AT_ONCE)),
            waiting: Arc::new(Semaphore::new(CHECKS_AT_ONCE + CHECKS_WAITING)),
        })
    }

    /// Whether the credentials of a request are those of one of the users.
    pub(super) async fn check(self: &Arc<Self>, users: &Users, headers: &HeaderMap) -> Verdict {
        let Some(Credentials { name, password }) = Credentials::of(headers) else { return Verdict::Refused };
        // Somebody unknown is checked against one of the hashes too, always the same, and refused whatever comes out:
        // neither the time nor the cost tells which names there are.
        let stranger = usize::from(self.tag(&[name.as_bytes()]).as_ref()[0]) % users.0.len().max(1);
        let known = users.0.get(&name);
        let Some(hash) = known.or_else(|| users.0.values().nth(stranger)) else { return Verdict::Refused };
        let is_known = known.is_some();
        // The hash is part of what is remembered, so a new password is asked for at once.
        let tag = self.tag(&[name.as_bytes(), hash.expose_secret().as_bytes(), &password]);
        if self.remembers(&name, &tag) {
            return Verdict::Admitted;
        }
        let Ok(place) = Arc::clone(&self.waiting).try_acquire_owned() else { return Verdict::Busy };
        let Ok(turn) = Arc::clone(&self.checks).acquire_owned().await else { return Verdict::Busy };
        // The same credentials may have been found right while these waited.
        if self.remembers(&name, &tag) {
            return Verdict::Admitted;
        }
        let (doorkeeper, hash) = (Arc::clone(self), hash.clone());
        // Goes on to its end where the client leaves, and is remembered then too; so does its place.
        let checking = spawn_blocking(move || {
            let _held = (place, turn);
            tracing::trace!("a password is being checked");
            let is_right = bcrypt::verify(&*password, hash.expose_secret()).unwrap_or(false);
            tracing::trace!("a password was checked");
            if is_right && is_known {
                doorkeeper.remembered().insert(name, tag);
                Verdict::Admitted
            } else {
                Verdict::Refused
            }
        });
        checking.await.unwrap_or(Verdict::Refused)
    }

    /// Forgets users that are gone.
    pub(super) fn forget_all_but(&self, users: &Users) {
        self.remembered().retain(|name, _| users.0.contains_key(name));
    }

    fn remembers(&self, name: &str, tag: &Tag) -> bool {
        let remembered = self.remembered();
        remembered
            .get(name)
            .is_some_and(|right| constant_time::verify_slices_are_equal(right.as_ref(), tag.as_ref()).is_ok())
    }

    fn remembered(&self) -> MutexGuard<'_, BTreeMap<String, Tag>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A keyed hash of the parts, each with its length, so that none can run into the next.
    fn tag(&self, parts: &[&[u8]]) -> Tag {
        let mut context = Context::with_key(&self.key);
        for part in parts {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        context.sign()
    }
}

/// What a client says who it is, by RFC 7617.
struct Credentials {
    name: String,
    password: Zeroizing<Vec<u8>>,
}

impl Credentials {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next()?;
        // Which of two is meant would be a guess.
        if values.next().is_some() {
            return None;
        }
        let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = Zeroizing::new(STANDARD.decode(encoded.trim()).ok()?);
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        let name = std::str::from_utf8(&decoded[..colon]).ok()?.to_owned();
        Some(Self { name, password: Zeroizing::new(decoded[colon + 1..].to_vec()) })
    }
}
