//! `basic_auth_users`: checks credentials, without giving away which users there are.
//!
//! Verifying a password takes a bcrypt, which is slow on purpose. So the results of checks are remembered, by a keyed hash of
//! the credentials, and clients take turns at new ones: a flood of wrong passwords cannot keep a scraper out.

use std::collections::{BTreeMap, VecDeque};
use std::str::FromStr as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::sleep;

use super::turns::{Group, Turns};
use crate::blocking::spawn_blocking;
use crate::config::values;
use crate::web::lock;
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

/// At 2^16 rounds one check takes seconds; beyond, a scrape would time out before it is over.
const MAX_COST: u32 = 16;
/// How long the refusal of wrong credentials is held back while others wait for a check. At 30 checks a second
/// (a cost of 10, two cores), 150 connections that guess are kept out of the queue by it.
const WRONG_DELAY: Duration = Duration::from_secs(5);
/// More than the clients of a port that go on with an old password.
const MAX_WRONG: usize = 1_024;

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
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Allow,
    Deny,
    /// Too many checks were waiting.
    Overloaded,
}

/// Checks credentials.
pub(super) struct BasicAuth {
    /// Made anew by each process, so that what is remembered is worth nothing elsewhere.
    key: Key,
    results: Mutex<Results>,
    turns: Turns,
}

/// What checks have come to.
#[derive(Default)]
struct Results {
    /// For each user the credentials that were right last.
    right: BTreeMap<String, Tag>,
    /// The last wrong credentials, of any name.
    wrong: VecDeque<Tag>,
}

impl BasicAuth {
    pub(super) fn new() -> Result<Self, Unspecified> {
        let key = Key::generate(HMAC_SHA256, &SystemRandom::new())?;
        Ok(Self { key, results: Mutex::default(), turns: Turns::new() })
    }

    /// Whether the credentials of a client's request are those of one of the users.
    pub(super) async fn check(
        self: &Arc<Self>,
        users: &Users,
        headers: &HeaderMap,
        client: Group,
    ) -> Decision {
        let Some(credentials) = credentials(headers) else { return Decision::Deny };
        let (name, password) = (credentials.username(), credentials.password());
        let known = users.get(name);
        let is_known = known.is_some();
        let Some(PasswordHash(hash)) = known.or_else(|| self.decoy(users, name)) else {
            return Decision::Deny;
        };
        // All that a result depends on, so that a new password or user counts at once.
        let tag = self.tag(&[name, hash.expose_secret(), password, &is_known.to_string()]);
        if let Some(decision) = self.remembered(name, &tag) {
            return decision;
        }
        let Some(turn) = self.turns.wait(client).await else { return Decision::Overloaded };
        // The same credentials may have been checked while these waited.
        if let Some(decision) = self.remembered(name, &tag) {
            return decision;
        }
        let (auth, hash) = (Arc::clone(self), hash.clone());
        // Runs to completion even if the client disconnects, and holds its turn until then: abandoned checks must not
        // exceed the limit.
        let checking = spawn_blocking(move || {
            let _turn = turn;
            tracing::trace!("a password is being checked");
            let is_right =
                bcrypt::verify(credentials.password(), hash.expose_secret()).unwrap_or(false);
            tracing::trace!("a password was checked");
            auth.remember(credentials.username(), tag, is_right && is_known)
        });
        let decision = checking.await.unwrap_or(Decision::Deny);
        if decision == Decision::Deny && self.turns.are_all_taken() {
            // Whoever guesses does not join the queue again at once, so that it stays short for the others.
            sleep(WRONG_DELAY).await;
        }
        decision
    }

    /// The hash that the password of an unknown user is checked against, the same one for the same name. The result does not
    /// count: it is checked so that neither time nor load tells which users there are.
    fn decoy<'u>(&self, users: &'u Users, name: &str) -> Option<&'u PasswordHash> {
        let index = usize::from(self.tag(&[name]).as_ref()[0]) % users.len().max(1);
        users.values().nth(index)
    }

    fn remembered(&self, name: &str, tag: &Tag) -> Option<Decision> {
        let is_equal = |other: &Tag| {
            constant_time::verify_slices_are_equal(other.as_ref(), tag.as_ref()).is_ok()
        };
        let results = lock(&self.results);
        if results.right.get(name).is_some_and(is_equal) {
            Some(Decision::Allow)
        } else {
            // Nobody else can make tags, so the time that a comparison takes tells nothing of them.
            let is_wrong = results.wrong.iter().any(|wrong| wrong.as_ref() == tag.as_ref());
            is_wrong.then_some(Decision::Deny)
        }
    }

    fn remember(&self, name: &str, tag: Tag, is_right: bool) -> Decision {
        let mut results = lock(&self.results);
        if is_right {
            results.right.insert(name.to_owned(), tag);
            return Decision::Allow;
        }
        results.wrong.truncate(MAX_WRONG - 1);
        results.wrong.push_front(tag);
        Decision::Deny
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
