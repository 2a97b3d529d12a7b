//! Any bytes as a page of a list: they are read or refused, and what is read is as it must be.

#![no_main]

use std::collections::HashSet;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use openai_cert_exporter::inventory::{Certificate, Project};
use openai_cert_exporter::openai::{Step, Walk};
use secrecy::SecretString;

const KEY: &str = "sk-admin-fuzz";

fuzz_target!(|body: &[u8]| {
    let secret = SecretString::from(KEY);
    let mut walk = Walk::<Certificate>::new(&secret, None);
    if let Ok(Step::Complete) = walk.take(body) {
        let list = walk.finish();
        let ids: HashSet<_> = list.items.iter().map(|certificate| &certificate.id).collect();
        assert_eq!(ids.len(), list.items.len(), "each is shown once");
        for certificate in &list.items {
            assert!(!certificate.id.contains(KEY));
            assert!(!certificate.name.as_deref().unwrap_or_default().contains(KEY));
        }
        // The same page again is the same list, which is not built anew unless something came twice.
        let mut again = Walk::<Certificate>::new(&secret, Some(&list));
        assert_eq!(again.take(body), Ok(Step::Complete));
        let again = again.finish();
        assert!(if list.duplicates == 0 { Arc::ptr_eq(&again, &list) } else { again == list });
    }
    let mut walk = Walk::<Project>::new(&secret, None);
    if let Ok(Step::Complete) = walk.take(body) {
        let _ = walk.finish();
    }
});
