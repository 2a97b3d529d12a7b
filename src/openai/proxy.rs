//! The proxy that the environment asks for. It is decided once, at the start, and a variable that cannot be used ends the
//! start: requests with the admin key must never go round a proxy by mistake.
//!
//! As curl and the official clients do: the variable of the scheme before `ALL_PROXY`, lower case before upper case. An
//! empty variable counts as not set, and white space around a value is dropped.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::{Host, Url};

use crate::config::{ConfigError, is_loopback};

const NO_PROXY: [&str; 2] = ["no_proxy", "NO_PROXY"];

#[derive(Clone)]
pub(super) struct Proxy {
    /// For people: `scheme://host:port`, without user and password.
    address: String,
    pub(super) http: reqwest::Proxy,
}

impl Proxy {
    /// The proxy for requests to `api`; `None`: they go there directly. `variable` looks one up in the environment.
    pub(super) fn for_api(
        api: &Url,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Option<Self>, ConfigError> {
        if is_loopback(api) {
            return Ok(None);
        }
        let value_of = |name: &'static str| -> Result<Option<_>, ConfigError> {
            let Some(value) = variable(name) else { return Ok(None) };
            let text = value.into_string().map_err(|_| refuse(name, "must be valid UTF-8"))?;
            let text = text.trim();
            Ok((!text.is_empty()).then(|| (name, text.to_owned())))
        };
        let first_of = |names: &[&'static str]| {
            names.iter().copied().map(value_of).find_map(Result::transpose).transpose()
        };
        let names: &[_] = match (api.scheme(), variable("REQUEST_METHOD")) {
            ("https", _) => &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
            // In a CGI script, a client's header sets HTTP_PROXY.
            (_, Some(_)) => &["http_proxy", "all_proxy", "ALL_PROXY"],
            (_, None) => &["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"],
        };
        if first_of(&NO_PROXY)?.is_some_and(|(_, list)| excepts(&list, api)) {
            return Ok(None);
        }
        let proxy = first_of(names)?;
        proxy
            .map(|(name, value)| Self::parse(&value).map_err(|fault| refuse(name, fault)))
            .transpose()
    }

    pub(super) fn speaks_tls(&self) -> bool {
        self.address.starts_with("https:")
    }

    /// Reads `[SCHEME://][USER[:PASSWORD]@]HOST[:PORT]`; what follows that is ignored.
    fn parse(value: &str) -> Result<Self, &'static str> {
        const FORM: &str = "must be the address of a proxy, such as http://proxy.example:3128";
        if value.contains(char::is_control) {
            return Err("must not contain control characters, such as a line feed");
        }
        let (scheme, rest) = value.split_once("://").unwrap_or(("http", value));
        let scheme = scheme.to_ascii_lowercase();
        if !matches!(&*scheme, "http" | "https") {
            return Err(
                "must begin with http:// or https://, since no other kind of proxy is supported",
            );
        }
        // The last @: a password may contain others, and slashes too.
        let (user_and_password, host) = match rest.rsplit_once('@') {
            Some((user_and_password, host)) => (Some(user_and_password), host),
            None => (None, rest),
        };
        // Of `http:/proxy` and `http://http://proxy`, the scheme would be taken for the host, or for the user.
        let has_scheme = |text: &str| {
            let begins =
                |it: &str| text.get(..it.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(it));
            ["http:/", "https:/", "http//", "https//"].into_iter().any(begins)
        };
        if has_scheme(rest) || has_scheme(host) || host.contains('\\') {
            return Err(FORM);
        }
        let url = Url::parse(&format!("{scheme}://{host}")).map_err(|_| FORM)?;
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(FORM);
        };
        // The HTTP library silently ignores a proxy whose address it cannot read. It can read these.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
        if !host.bytes().all(is_plain) {
            return Err(FORM);
        }
        let address = format!("{scheme}://{host}:{port}");
        let credentials = user_and_password.map(escaped).transpose()?.unwrap_or_default();
        let http = reqwest::Proxy::all(format!("{scheme}://{credentials}{host}:{port}"));
        Ok(Self { address, http: http.map_err(|_| FORM)? })
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

/// Without the password, which the library's proxy prints.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn refuse(name: &str, fault: &str) -> ConfigError {
    ConfigError::new(name, fault, "environment variable")
}

/// `USER:PASSWORD@` with everything escaped that a URL may give a meaning to; what was escaped before stays so.
fn escaped(user_and_password: &str) -> Result<String, &'static str> {
    let (user, password) = user_and_password.split_once(':').unwrap_or((user_and_password, ""));
    let escaped = |text| -> Result<String, &'static str> {
        let text = percent_decode_str(text).decode_utf8();
        let text = text.map_err(|_| "must have a user and password in UTF-8")?;
        Ok(utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string())
    };
    Ok(format!("{}:{}@", escaped(user)?, escaped(password)?))
}

/// Whether a value of `NO_PROXY` excepts `api`: it is a list of `*`, names (with the names below them), addresses and
/// networks, each but the first with or without a port.
fn excepts(list: &str, api: &Url) -> bool {
    let entries = list.split(|c: char| c == ',' || c.is_whitespace());
    entries.filter(|entry| !entry.is_empty()).any(|entry| match api.host() {
        _ if entry == "*" => true,
        Some(Host::Domain(name)) => {
            let entry = without_port(entry, api).trim_start_matches('.').to_ascii_lowercase();
            let above = name.trim_end_matches('.').strip_suffix(&*entry);
            !entry.is_empty() && above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
        }
        Some(Host::Ipv4(address)) => contains(without_port(entry, api), address.into()),
        Some(Host::Ipv6(address)) => contains(entry.trim_matches(['[', ']']), address.into()),
        None => false,
    })
}

fn without_port<'a>(entry: &'a str, api: &Url) -> &'a str {
    let port = api.port_or_known_default().map(|port| format!(":{port}"));
    port.and_then(|port| entry.strip_suffix(&*port)).unwrap_or(entry)
}

/// Whether `network` is this address, or a network such as `10.0.0.0/8` that it belongs to.
fn contains(network: &str, address: IpAddr) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let (base, length) = match network.split_once('/') {
        Some((base, length)) => (base, length.parse().ok()),
        None => (network, Some(bits(address).1)),
    };
    let (Ok(base), Some(length)) = (base.parse().map(bits), length) else { return false };
    let (address, size) = bits(address);
    let prefix = |bits: u128| bits.checked_shr(size - length).unwrap_or(0);
    base.1 == size && length <= size && prefix(base.0) == prefix(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    const API: &str = "https://api.openai.com/v1";

    fn proxy(api: &str, environment: &[(&str, &str)]) -> Result<Option<Proxy>, String> {
        let variable = |name: &str| {
            environment.iter().find(|(other, _)| *other == name).map(|(_, value)| value.into())
        };
        Proxy::for_api(&Url::parse(api).unwrap(), variable).map_err(|error| error.to_string())
    }

    /// The address of the proxy, or `-` where requests go directly.
    fn address(api: &str, environment: &[(&str, &str)]) -> String {
        proxy(api, environment).unwrap().map_or("-".into(), |proxy| proxy.to_string())
    }

    #[test]
    fn variables_are_those_of_curl_and_of_the_official_clients() {
        let (a, b) = ("http://a:1", "http://b:2");
        for (environment, https, http) in [
            (vec![], "-", "-"),
            (vec![("HTTPS_PROXY", a), ("HTTP_PROXY", b)], a, b),
            (vec![("https_proxy", a), ("http_proxy", b)], a, b),
            (vec![("https_proxy", a), ("HTTPS_PROXY", b)], a, "-"),
            (vec![("https_proxy", ""), ("HTTPS_PROXY", b)], b, "-"),
            (vec![("HTTPS_PROXY", " \n"), ("ALL_PROXY", b)], b, b),
            (vec![("all_proxy", a), ("ALL_PROXY", b)], a, a),
            (vec![("HTTP_PROXY", a), ("REQUEST_METHOD", "GET")], "-", "-"),
            (vec![("http_proxy", a), ("REQUEST_METHOD", "GET")], "-", a),
            (vec![("ALL_PROXY", a), ("NO_PROXY", "*")], "-", "-"),
        ] {
            assert_eq!(address(API, &environment), https, "{environment:?}");
            assert_eq!(address("http://10.1.2.3/v1", &environment), http, "{environment:?}");
            for loopback in ["http://localhost:8080", "https://127.0.0.1", "https://[::1]:8443"] {
                assert_eq!(address(loopback, &environment), "-", "{environment:?}");
            }
        }
    }

    #[test]
    fn address_is_read_as_people_write_it() {
        for (value, expected) in [
            ("http://proxy.example:3128", "http://proxy.example:3128"),
            (" https://proxy.example/\r\n", "https://proxy.example:443"),
            ("HTTP://Proxy.Example", "http://proxy.example:80"),
            ("proxy.example:3128", "http://proxy.example:3128"),
            ("svc:p@ss/w#rd?@proxy.example:3128/path", "http://proxy.example:3128"),
            ("http://svc@[fd00::1]:3128", "http://[fd00::1]:3128"),
        ] {
            assert_eq!(address(API, &[("HTTPS_PROXY", value)]), expected, "{value:?}");
        }
    }

    #[test]
    fn user_and_password_arrive_whole() {
        for (given, expected) in [
            ("svc", "svc:@"),
            ("svc:s3cr3t", "svc:s3cr3t@"),
            ("svc:a@b^c\\d", "svc:a%40b%5Ec%5Cd@"),
            ("svc:a:b/c d%", "svc:a%3Ab%2Fc%20d%25@"),
            ("a%40b:%2541", "a%40b:%2541@"),
            ("svc:pä", "svc:p%C3%A4@"),
        ] {
            assert_eq!(escaped(given).unwrap(), expected, "{given}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name_and_not_repeated() {
        for value in [
            "http://svc:S3CR3T\n@proxy.example:3128",
            "http://svc:S3CR3T@",
            "http://svc:S3CR3T@proxy.example:port",
            "http://svc:S3CR3T@proxy.example:99999",
            "http://svc:S3CR3T@pro xy.example",
            "http://svc:S3CR3T@pro\"xy.example",
            "http://svc:S3CR3T@\\proxy.example",
            "http://svc:S3CR3T%FF@proxy.example",
            "http:/proxy.example:3128",
            "https:/proxy.example:3128",
            "http//proxy.example:3128",
            "http://http://proxy.example:1",
            "http://HTTPS://proxy.example",
            "http://svc:S3CR3T@http://proxy.example:1",
            "http:/svc:S3CR3T@proxy.example:3128",
            "http://http://svc:S3CR3T@proxy.example:1",
            "socks5://svc:S3CR3T@proxy.example:1080",
            "://svc:S3CR3T@proxy.example",
        ] {
            let message = proxy(API, &[("ALL_PROXY", value)]).unwrap_err();
            assert!(message.starts_with("ALL_PROXY: must "), "{value:?}: {message}");
            assert!(!message.contains("S3CR3T"), "{value:?}: {message}");
            // Nothing needs what another variable decides.
            let environment = [("ALL_PROXY", value), ("https_proxy", "a")];
            assert_eq!(address(API, &environment), "http://a:80", "{value:?}");
        }
        let known = proxy(API, &[("HTTPS_PROXY", "http://svc:S3CR3T@a")]).unwrap().unwrap();
        assert_eq!(format!("{known} {known:?}"), "http://a:80 http://a:80");
    }

    #[test]
    fn no_proxy_excepts_names_addresses_and_networks() {
        let is_excepted =
            |api: &str, list: &str| address(api, &[("ALL_PROXY", "a"), ("NO_PROXY", list)]) == "-";
        for (api, list, expected) in [
            (API, "openai.com", true),
            (API, "a.example, .OpenAI.com", true),
            (API, "a.example api.openai.com:443", true),
            (API, "api.openai.com:8443", false),
            (API, "pi.openai.com,com.,.", false),
            (API, "", false),
            (API, "x,*", true),
            ("https://api.openai.com./v1", "openai.com", true),
            ("https://10.1.2.3", "*", true),
            ("https://10.1.2.3", "10.1.2.3", true),
            ("https://10.1.2.3:8443", "10.1.2.3:8443", true),
            ("https://10.1.2.3", "10.0.0.0/8", true),
            ("https://10.1.2.3", "0.0.0.0/0", true),
            ("https://10.1.2.3", "10.1.2.0/31,10.0.0.0/33,10.0.0.0/-1,::/0,3", false),
            ("https://[fd00::1]:8443", "*", true),
            ("https://[fd00::1]:8443", "[fd00::1]", true),
            ("https://[fd00::1]:8443", "fd00::/8", true),
            ("https://[fd00::1]:8443", "fe80::/10,0.0.0.0/0", false),
        ] {
            assert_eq!(is_excepted(api, list), expected, "{api} {list:?}");
        }
    }
}
