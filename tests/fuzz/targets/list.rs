//! Any bytes as a page of a list: they are read or refused, and what is read is as it must be.

#![no_main]

use libfuzzer_sys::fuzz_target;
use openai_cert_exporter::inventory::{Certificate, Project};
use openai_cert_exporter::openai::{Next, Pager};
use secrecy::SecretString;

const KEY: &str = "sk-admin-fuzz";

fuzz_target!(|body: &[u8]| {
    let secret = SecretString::from(KEY);
    let mut pager = Pager::<Certificate>::new(&secret);
    if pager.push(body) == Ok(Next::Complete) {
        let list = pager.finish(None);
        assert!(list.items.is_sorted_by(|a, b| a.id < b.id), "each is listed once");
        for certificate in &list.items {
            assert!(!certificate.id.is_empty() && !certificate.id.contains(KEY));
            assert!(!certificate.name.as_deref().unwrap_or_default().contains(KEY));
        }
        // Read once more, it changes nothing.
        let mut again = Pager::new(&secret);
        assert_eq!(again.push(body), Ok(Next::Complete));
        assert_eq!(again.finish(Some(&list)).items, list.items);
    }
    let mut pager = Pager::<Project>::new(&secret);
    if pager.push(body) == Ok(Next::Complete) {
        let list = pager.finish(None);
        assert!(
            list.items.iter().all(|project| !matches!(&*project.id, "" | "." | "..")),
            "a segment of a path"
        );
    }
});
