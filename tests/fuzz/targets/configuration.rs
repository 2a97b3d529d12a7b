//! Any bytes as a configuration file, or as the value of any variable: they are taken or refused, and the refusal never
//! shows the key.

#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use libfuzzer_sys::fuzz_target;
use openai_cert_exporter::config::{ConfigFile, Layers, Loaded};

const KEY: &str = "sk-admin-fuzz-PLANTED";
const VARIABLES: [&str; 12] = [
    "OPENAI_BASE_URL",
    "OPENAI_CERT_EXPORTER__API__PAGE_SIZE",
    "OPENAI_CERT_EXPORTER__API__REQUEST_TIMEOUT",
    "OPENAI_CERT_EXPORTER__API__MAX_RETRIES",
    "OPENAI_CERT_EXPORTER__API__INSECURE_HTTP",
    "OPENAI_CERT_EXPORTER__POLL__INTERVAL",
    "OPENAI_CERT_EXPORTER__POLL__PROJECTS",
    "OPENAI_CERT_EXPORTER__POLL__PROJECT_INCLUDE",
    "OPENAI_CERT_EXPORTER__CERTIFICATES__ROTATION_GROUP",
    "OPENAI_CERT_EXPORTER__WEB__LISTEN_ADDRESS",
    "OPENAI_CERT_EXPORTER__LOG__LEVEL",
    "OPENAI_CERT_EXPORTER__NONSENSE",
];

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else { return };
    let mut environment = vec![("OPENAI_ADMIN_KEY".into(), KEY.into())];
    let file = tempfile::NamedTempFile::new().unwrap();
    if let Some(variable) = VARIABLES.get(usize::from(*choice)) {
        environment.push((OsString::from(variable), OsString::from_vec(rest.to_vec())));
    } else {
        // Wherever the text has this, it has the key: as a value, in a line that is broken, in a name.
        let text = String::from_utf8_lossy(rest).replace("@", KEY);
        std::fs::write(file.path(), text).unwrap();
    }
    let loaded = Layers::stack(Some(&ConfigFile::new(file.path())), environment, [], None)
        .and_then(|layers| Loaded::new(&layers));
    if let Err(error) = loaded {
        assert!(!error.to_string().contains(KEY), "{error}");
        assert!(!error.to_string().is_empty());
    }
});
