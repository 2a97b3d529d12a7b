//! The web configuration file: what is taken, what is refused, and in which words.

use crate::server::{TLS, web_config_fault};
use crate::tls::{Authority, Folder, hash};

/// Certificates, keys and a hash that every file of these tests may name.
struct Material {
    authority: Authority,
    hash: String,
}

impl Material {
    fn new() -> Self {
        Self { authority: Authority::new(), hash: hash("secret") }
    }

    /// A folder with it; in the file, `<hash>`, `<cert>`, `<key>` and `<ca>` stand for what is given in place.
    fn folder(&self, web_config: &str) -> Folder {
        let (server, other) = (self.authority.server(), self.authority.server());
        let inline = |pem: &str| format!("\"{}\"", pem.replace('\n', "\\n"));
        let folder = Folder::with(
            &web_config
                .replace("<hash>", &self.hash)
                .replace("<cert>", &inline(&server.certificate))
                .replace("<key>", &inline(&server.key))
                .replace("<ca>", &inline(&self.authority.certificate)),
        );
        folder.write_pair("server", &server);
        folder.write_pair("other", &other);
        // As the example names them.
        folder.write("tls.crt", &server.certificate);
        folder.write("tls.key", &server.key);
        folder.write("ca.crt", &self.authority.certificate);
        folder.write("ca.pem", &self.authority.certificate);
        folder.write("empty.pem", "");
        folder.write("broken.pem", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n");
        folder.write("junk.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        folder
    }
}

const WITH_CLIENTS: &str = "tls_server_config: {cert_file: server.pem, key_file: server.key, client_ca_file: ca.pem, \
                            client_auth_type: RequireAndVerifyClientCert}\n";

#[test]
fn file_that_the_reference_allows_is_taken() {
    let material = Material::new();
    let files = [
        "",
        "# nothing\n",
        "---\n",
        "{}",
        "tls_server_config:\nbasic_auth_users:\nhttp_server_config:\nrate_limit:\n",
        "tls_server_config: {}\n",
        TLS,
        WITH_CLIENTS,
        "tls_server_config: {cert: <cert>, key: <key>, client_ca: <ca>, client_auth_type: VerifyClientCertIfGiven}",
        "tls_server_config: {cert_file: server.pem, key_file: server.key, cert: '', key: , client_auth_type: ''}",
        "tls_server_config: {cert_file: server.pem, key_file: server.key, client_auth_type: NoClientCert}",
        "tls_server_config: {cert_file: server.pem, key_file: server.key, min_version: TLS12, max_version: TLS12}",
        "tls_server_config: {cert_file: server.pem, key_file: server.key, min_version: TLS13, max_version: TLS13}",
        "tls_server_config: {cert_file: server.pem, key_file: server.key, prefer_server_cipher_suites: no, \
         cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, \
         TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, \
         TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, \
         TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256]}",
        "tls_server_config: {cert_file: server.pem, key_file: server.key, \
         curve_preferences: [X25519, CurveP256, CurveP384, X25519MLKEM768]}",
        "http_server_config: {http2: false}",
        "http_server_config: {http2: true}",
        "http_server_config: {headers: {Content-Security-Policy: \"default-src 'self'\", X-Frame-Options: deny, \
         X-Content-Type-Options: nosniff, X-XSS-Protection: 0, Strict-Transport-Security: max-age=31536000}}",
        "http_server_config: {headers: {X-Frame-Options: '', Content-Security-Policy: }}",
        "basic_auth_users: {alice: <hash>, 007: <hash>, \"a b\": <hash>, 'j.doe@example.org': <hash>}",
        include_str!("../../config/web.example.yml"),
        "basic_auth_users: {alice: &h <hash>, bob: *h}",
    ];
    for file in files {
        assert_eq!(web_config_fault(&material.folder(file)), None, "{file}");
    }
}

/// Each file, and what is wrong with it.
fn assert_refused(cases: impl IntoIterator<Item = (String, String)>) {
    let material = Material::new();
    for (file, fault) in cases {
        let folder = material.folder(&file);
        let fault =
            fault.replace("<suites>", SUITES).replace("<keys>", KEYS).replace("<headers>", HEADERS);
        let path = format!("file {}", folder.web_config().display());
        let expected = fault.replace("<folder>/", &folder.name("")).replace("<file>", &path);
        assert_eq!(web_config_fault(&folder), Some(expected), "{file}");
    }
}

/// The message of a key's fault.
fn of_keys(cases: &[(&str, &str)]) -> Vec<(String, String)> {
    cases.iter().map(|(file, fault)| ((*file).to_owned(), format!("{fault} (<file>)"))).collect()
}

const SUITES: &str = "TLS_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256, TLS_CHACHA20_POLY1305_SHA256, \
                      TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, \
                      TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, \
                      TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256";
const KEYS: &str = "cert, cert_file, key, key_file, client_ca, client_ca_file, client_auth_type, client_allowed_sans, \
                    min_version, max_version, cipher_suites, prefer_server_cipher_suites, curve_preferences";
const HEADERS: &str = "Content-Security-Policy, X-Frame-Options, X-Content-Type-Options, X-XSS-Protection, Strict-Transport-Security";

/// Added to a valid `tls_server_config`, and what is wrong with it there.
#[rustfmt::skip]
const SETTINGS: &[(&str, &str)] = &[
    ("min_version: TLS10", "min_version: must be one of TLS12, TLS13"),
    ("min_version: TLS11", "min_version: must be one of TLS12, TLS13"),
    ("max_version: TLS11", "max_version: must be one of TLS12, TLS13"),
    ("min_version: TLS14", "min_version: must be one of TLS12, TLS13"),
    ("min_version: 1.2", "min_version: must be one of TLS12, TLS13"),
    ("min_version: TLS13, max_version: TLS12", "min_version: is above max_version"),
    ("client_auth_type: RequestClientCert", "client_auth_type: must be NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert (the others verify nothing)"),
    ("client_auth_type: RequireAnyClientCert", "client_auth_type: must be NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert (the others verify nothing)"),
    ("client_auth_type: RequireClientCert", "client_auth_type: must be NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert (the others verify nothing)"),
    ("client_auth_type: requireandverifyclientcert", "client_auth_type: must be NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert (the others verify nothing)"),
    ("client_auth_type: RequireAndVerifyClientCert", "client_ca_file: is missing, and so is client_ca; client_auth_type needs one of them"),
    ("client_auth_type: VerifyClientCertIfGiven", "client_ca_file: is missing, and so is client_ca; client_auth_type needs one of them"),
    ("client_ca_file: ca.pem", "client_ca_file: has no effect without a client_auth_type that verifies clients"),
    ("client_allowed_sans: [a]", "client_allowed_sans: has no effect without a client_auth_type that verifies clients"),
    ("client_ca_file: ca.pem, client_auth_type: RequireAndVerifyClientCert, client_allowed_sans: a", "client_allowed_sans: must be a sequence"),
    ("client_ca_file: ca.pem, client_auth_type: RequireAndVerifyClientCert, client_allowed_sans: ''", "client_allowed_sans: must be a sequence"),
    ("client_ca_file: empty.pem, client_auth_type: RequireAndVerifyClientCert", "client_ca_file: <folder>/empty.pem is empty"),
    ("client_ca_file: broken.pem, client_auth_type: RequireAndVerifyClientCert", "client_ca_file: <folder>/broken.pem cannot be used: block 1 (line 1) has a character in line 2 that is not base64"),
    ("client_ca_file: junk.pem, client_auth_type: RequireAndVerifyClientCert", "client_ca_file: <folder>/junk.pem cannot be used: block 1 (line 1) is damaged: something is missing or added in it"),
    ("client_ca_file: server.pem, client_auth_type: RequireAndVerifyClientCert", "client_ca_file: has no certificate of an authority, and none that a client may present"),
    ("cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]", "cipher_suites.0: must be one of <suites>"),
    ("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_NONE]", "cipher_suites.1: must be one of <suites>"),
    ("cipher_suites: ['<hash>']", "cipher_suites.0: must be one of <suites>"),
    ("cipher_suites: TLS_NONE", "cipher_suites: must be a sequence"),
    ("max_version: TLS12, cipher_suites: [TLS_AES_128_GCM_SHA256]", "cipher_suites: none of them works with the versions of TLS that are allowed"),
    ("curve_preferences: [CurveP521]", "curve_preferences.0: must be one of X25519, CurveP256, CurveP384, X25519MLKEM768"),
    ("prefer_server_cipher_suites: 2", "prefer_server_cipher_suites: must be true or false"),
    ("cert: <cert>", "cert_file: is set, but cert is too; only one of them may be"),
    ("key: <key>", "key_file: is set, but key is too; only one of them may be"),
    ("cert_fiel: x", "cert_fiel: unknown key; there are: <keys>"),
    ("<hash>: x", "<not a name>: unknown key; there are: <keys>"),
];

#[rustfmt::skip]
const MATERIAL: &[(&str, &str)] = &[
    ("tls_server_config: {min_version: TLS13}", "tls_server_config.cert_file: is missing, and so is cert"),
    ("tls_server_config: {cert_file: '', key_file: server.key}", "tls_server_config.cert_file: is missing, and so is cert"),
    ("tls_server_config: {cert_file: server.pem}", "tls_server_config.key_file: is missing, and so is key"),
    ("tls_server_config: {cert_file: server.pem, key_file: other.key}", "tls_server_config.key_file: <folder>/other.key is not the key of the first certificate in <folder>/server.pem"),
    ("tls_server_config: {cert_file: server.pem, key_file: server.pem}", "tls_server_config.key_file: <folder>/server.pem holds no private key, but: certificate; it may be swapped with the file of the certificate"),
    ("tls_server_config: {cert_file: server.key, key_file: server.key}", "tls_server_config.cert_file: <folder>/server.key holds no certificate, but: private key; it may be swapped with the file of the key"),
    ("tls_server_config: {cert_file: junk.pem, key_file: server.key}", "tls_server_config.cert_file: <folder>/junk.pem cannot be used: block 1 (line 1) is damaged: something is missing or added in it"),
    ("tls_server_config: {cert_file: none.pem, key_file: server.key}", "tls_server_config.cert_file: <folder>/none.pem cannot be read: No such file or directory (os error 2)"),
    ("tls_server_config: {cert_file: server.pem, key_file: <key>}", "tls_server_config.key_file: must be the path of a file, but looks like what is in one: PEM or a key; PEM in place belongs in key"),
    ("tls_server_config: {cert_file: ., key_file: server.key}", "tls_server_config.cert_file: <folder>/. cannot be read: it is not a regular file"),
    ("tls_server_config: {cert: <cert>, key: 'x'}", "tls_server_config.key: is not in PEM: it has no BEGIN line"),
    ("tls_server_config: {cert: <ca>, key: <key>}", "tls_server_config.key: is not the key of the first certificate in cert"),
    ("tls_server_config: ''", "tls_server_config: must be a section"),
    ("tls_server_config: {cert_file: '', key_file: ''}", "tls_server_config.cert_file: is missing, and so is cert"),
];

#[rustfmt::skip]
const OTHER_KEYS: &[(&str, &str)] = &[
    ("rate_limit: {interval: 1s, burst: 20}", "rate_limit: is not supported"),
    ("rate_limit: 20", "rate_limit: is not supported"),
    ("tls_server_config: [server.pem, server.key]", "tls_server_config: must be a section"),
    ("http_server_config: <hash>", "http_server_config: must be a section"),
    ("tls_config: {}", "tls_config: unknown key; there are: tls_server_config, http_server_config, basic_auth_users"),
    ("http_server_config: {http3: true}", "http_server_config.http3: unknown key; there are: http2, headers"),
    ("http_server_config: {headers: {Server: x}}", "http_server_config.headers: Server is not supported; there are: <headers>"),
    ("http_server_config: {headers: {x-frame-options: deny}}", "http_server_config.headers: x-frame-options is not supported; there are: <headers>"),
    ("http_server_config: {headers: {X-Frame-Options: ALLOWALL}}", "http_server_config.headers: X-Frame-Options must be deny or sameorigin"),
    ("http_server_config: {headers: {X-Content-Type-Options: sniff}}", "http_server_config.headers: X-Content-Type-Options must be nosniff"),
    ("http_server_config: {headers: {X-XSS-Protection: \"a\\nb\"}}", "http_server_config.headers: X-XSS-Protection has a character that an HTTP header cannot carry"),
];

#[rustfmt::skip]
const USERS: &[(&str, &str)] = &[
    ("basic_auth_users: {alice: secret}", "basic_auth_users.alice: must be a bcrypt hash with a cost from 4 to 16"),
    ("basic_auth_users: {alice: }", "basic_auth_users.alice: must be a bcrypt hash with a cost from 4 to 16"),
    ("basic_auth_users: {alice: [<hash>]}", "basic_auth_users.alice: must be a bcrypt hash with a cost from 4 to 16"),
    ("basic_auth_users: {alice: <hash>x}", "basic_auth_users.alice: must be a bcrypt hash with a cost from 4 to 16"),
    ("basic_auth_users: {alice: $2y$03$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG}", "basic_auth_users.alice: must be a bcrypt hash with a cost from 4 to 16"),
    ("basic_auth_users: {alice: $2y$31$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG}", "basic_auth_users.alice: must be a bcrypt hash with a cost from 4 to 16"),
    ("basic_auth_users: {'a:b': <hash>}", "basic_auth_users: a user name cannot contain a colon"),
    ("basic_auth_users: <hash>", "basic_auth_users: must be a map"),
    ("basic_auth_users: [<hash>]", "basic_auth_users: must be a map"),
    ("basic_auth_users: ''", "basic_auth_users: must be a map"),
    ("basic_auth_users: {<hash>: alice}", "basic_auth_users.<not a name>: must be a bcrypt hash with a cost from 4 to 16"),
];

#[rustfmt::skip]
const FORM: &[(&str, &str)] = &[
    ("<hash>", "it must be a mapping of keys to values"),
    ("- <hash>", "it must be a mapping of keys to values"),
    ("basic_auth_users: !secret <hash>", "tags are not supported"),
    ("basic_auth_users: {<hash>: !secret x}", "tags are not supported"),
    ("basic_auth_users: {[<hash>]: x}", "a key is not text"),
    ("basic_auth_users: {}\nbasic_auth_users: {}", "a key is there twice at line 1 column 1"),
    ("basic_auth_users: {alice: <hash>, alice: <hash>}", "a key is there twice at line 1 column 19"),
    ("basic_auth_users: {<hash>: {<hash>: 1, <hash>: 1}}", "a key is there twice at line 1 column 82"),
    ("a: 1\n---\nb: 2\n", "deserializing from YAML containing more than one document is not supported"),
];

#[test]
fn tls_that_cannot_be_spoken_is_refused_by_name() {
    assert_refused(SETTINGS.iter().map(|(more, fault)| {
        let file =
            format!("tls_server_config: {{cert_file: server.pem, key_file: server.key, {more}}}");
        (file, format!("tls_server_config.{fault} (<file>)"))
    }));
}

#[test]
fn certificate_or_key_that_cannot_be_used_is_refused_by_name() {
    assert_refused(of_keys(MATERIAL));
}

#[test]
fn key_that_is_unknown_and_value_that_does_not_fit_are_refused_by_name() {
    assert_refused(of_keys(OTHER_KEYS));
}

#[test]
fn user_that_could_never_log_in_is_refused_by_name() {
    assert_refused(of_keys(USERS));
}

#[test]
fn file_that_is_no_web_configuration_is_refused() {
    assert_refused(FORM.iter().map(|(file, fault)| {
        ((*file).to_owned(), format!("configuration <file> is not valid YAML: {fault}"))
    }));
}

#[test]
fn file_that_cannot_be_read_is_refused() {
    let folder = Folder::with("basic_auth_users: {alice: secret");
    let path = folder.web_config();
    let fault =
        || web_config_fault(&folder).unwrap().replace(&path.display().to_string(), "<file>");
    assert_eq!(
        fault(),
        "configuration file <file> is not valid YAML: did not find expected ',' or '}' at line 2 column 1, while parsing a flow mapping at line 1 column 19"
    );
    std::fs::write(&path, b"# \xe9\n").unwrap();
    assert_eq!(fault(), "configuration file <file> is not valid YAML: it is not UTF-8");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(
        fault(),
        "web.config_file: cannot be read: No such file or directory (os error 2) (file <file>)"
    );
    std::fs::create_dir(&path).unwrap();
    assert_eq!(fault(), "web.config_file: cannot be read: it is not a regular file (file <file>)");
}
