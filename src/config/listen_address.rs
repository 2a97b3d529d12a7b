//! Where to listen.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// `host:port`: the host a name or an address (an IPv6 one in brackets), never empty; what is read may leave it out for
/// every address of this machine, `[::]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress(Box<str>);

impl ListenAddress {
    /// A free port of this machine.
    pub fn free_on_loopback() -> Self {
        Self("127.0.0.1:0".into())
    }
}

impl FromStr for ListenAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (host, port) = text.rsplit_once(':')?;
            port.parse::<u16>().ok()?;
            let is_valid = match host.strip_prefix('[') {
                Some(rest) => rest.strip_suffix(']')?.parse::<Ipv6Addr>().is_ok(),
                None => !host.contains([':', ' ', '/']),
            };
            let host = if host.is_empty() { "[::]" } else { host };
            is_valid.then(|| Self(format!("{host}:{port}").into()))
        };
        parse().ok_or("must be an address such as [::]:10099 or :10099")
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
