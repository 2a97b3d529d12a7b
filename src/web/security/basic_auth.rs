//! `basic_auth_users`: checks credentials, without giving away which users there are.
//!
//! Verifying a password takes a bcrypt, which is slow on purpose. So verified credentials are cached, as a keyed hash: a
//! scraper pays for one check, and a flood of wrong passwords cannot keep it out.

use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key, Tag};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::{constant_time, error::Unspecified};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use bcrypt::HashParts;
use headers::HeaderMapExt as _;
use headers::authorization::{Authorization, Basic};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer};
use tokio::sync::Semaphore;

use crate::blocking::spawn_blocking;
use crate::config::values;

/// At 2^16 rounds one check takes seconds; beyond, a scrape would time out before it is over.
const MAX_COST: u32 = 16;
/// More than two at once would take every core from the scrapes and the polls.
const CHECKS_AT_ONCE: usize = 2;
/// Clients beyond these get a 503 at once. At a cost of 10 these take about a second.
const CHECKS_WAITING: usize = 32;

/// By name.
pub(super) type Users = BTreeMap<String, PasswordHash>;

/// By bcrypt.
pub(super) struct PasswordHash(SecretString);

impl<'de> Deserialize<'de> for PasswordHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        values::text(
            deserializer,
            format_args!("a bcrypt hash with a cost from 4 to {MAX_COST}"),
            |hash| {
                let cost = HashParts::from_str(hash).ok()?.get_cost();
                (4..=MAX_COST).contains(&cost).then(|| Self(hash.into()))
            },
        )
    }
}

/// What becomes of a request.
pub(super) enum Decision {
    Allow,
    Deny,
    /// Too many checks are waiting already.
    Overloaded,
}

/// Checks credentials.
pub(super) struct BasicAuth {
    /// Made anew by each process, so that what is cached is worth nothing elsewhere.
    key: Key,
    /// For each user the credentials that were right last.
    verified: Mutex<BTreeMap<String, Tag>>,
    /// Each check holds a reference to this from its arrival to its end, so their number is the length of the queue.
    queue: Arc<Semaphore>,
}

impl BasicAuth {
    pub(super) fn new() -> Result<Self, Unspecified> {
        let key = Key::generate(HMAC_SHA256, &SystemRandom::new())?;
        Ok(Self {
            key,
            verified: Mutex::default(),
            queue: Arc::new(Semaphore::new(CHECKS_AT_ONCE)),
        })
    }

    /// Whether the credentials of a request are those of one of the users.
    pub(super) async fn check(self: &Arc<Self>, users: &Users, headers: &HeaderMap) -> Decision {
        let Some(credentials) = credentials(headers) else { return Decision::Deny };
        let (name, password) = (credentials.username(), credentials.password());
        let known = users.get(name);
        let is_known = known.is_some();
        let Some(PasswordHash(hash)) = known.or_else(|| self.decoy(users, name)) else {
            return Decision::Deny;
        };
        // The hash is part of what is cached, so a new password is required at once.
        let tag = self.tag(&[name, hash.expose_secret(), password]);
        if is_known && self.is_verified(name, &tag) {
            return Decision::Allow;
        }
        if Arc::strong_count(&self.queue) > CHECKS_AT_ONCE + CHECKS_WAITING {
            return Decision::Overloaded;
        }
        let Ok(permit) = Arc::clone(&self.queue).acquire_owned().await else {
            return Decision::Overloaded;
        };
        // The same credentials may have been verified while these waited.
        if is_known && self.is_verified(name, &tag) {
            return Decision::Allow;
        }
        let (auth, hash) = (Arc::clone(self), hash.clone());
        // Runs to completion even if the client disconnects, and holds its permit until then: abandoned checks must not
        // exceed the limit.
        let checking = spawn_blocking(move || {
            let _permit = permit;
            tracing::trace!("a password is being checked");
            let is_right =
                bcrypt::verify(credentials.password(), hash.expose_secret()).unwrap_or(false);
            tracing::trace!("a password was checked");
            if !is_right || !is_known {
                return Decision::Deny;
            }
            auth.verified().insert(credentials.username().to_owned(), tag);
            Decision::Allow
        });
        checking.await.unwrap_or(Decision::Deny)
    }

    /// The hash that the password of an unknown user is checked against, the same one for the same name. The result does not
    /// count: it is checked so that neither time nor load tells which users there are.
    fn decoy<'u>(&self, users: &'u Users, name: &str) -> Option<&'u PasswordHash> {
        let index = usize::from(self.tag(&[name]).as_ref()[0]) % users.len().max(1);
        users.values().nth(index)
    }

    fn is_verified(&self, name: &str, tag: &Tag) -> bool {
        let is_equal = |right: &Tag| {
            constant_time::verify_slices_are_equal(right.as_ref(), tag.as_ref()).is_ok()
        };
        self.verified().get(name).is_some_and(is_equal)
    }

    fn verified(&self) -> MutexGuard<'_, BTreeMap<String, Tag>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A keyed hash of the parts, each with its length, so that none can run into the next.
    fn tag(&self, parts: &[&str]) -> Tag {
        let mut context = Context::with_key(&self.key);
        for part in parts {
            context.update(&part.len().to_be_bytes());
            context.update(part.as_bytes());
        }
        context.sign()
    }
}

/// Of several headers it would be a guess which one is meant.
fn credentials(headers: &HeaderMap) -> Option<Basic> {
    let is_one = headers.get_all(AUTHORIZATION).iter().count() == 1;
    headers.typed_get().filter(|_| is_one).map(|Authorization(credentials)| credentials)
}
