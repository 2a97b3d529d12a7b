//! The one reader of PEM: for TLS to the API, for the port, and for clients.
//!
//! It reads what OpenSSL and Go read. What they pass over in silence is a fault here: a chain that has lost a certificate
//! fails at the other side, far from its cause. No fault repeats what a file holds, but for the kinds of its blocks.

use std::fmt;

use secrecy::zeroize::Zeroizing;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::{PemObject, SectionKind};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, RootCertStore};
use x509_parser::asn1_rs::{Any, FromDer as _};
use x509_parser::parse_x509_certificate;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";

/// Why a text in PEM cannot be used, as what is said of it: "cannot be used: …".
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum PemError {
    #[error("is empty")]
    Empty,
    #[error("is in UTF-16, not in UTF-8")]
    Utf16,
    #[error("is in a binary format such as DER or PKCS #12, not in PEM")]
    Binary,
    #[error("is not in PEM: it has no BEGIN line")]
    NoBlock,
    /// The kinds of the blocks that are there, and a hint or nothing.
    #[error("holds no {wanted}, but: {found}{hint}")]
    Missing { wanted: &'static str, found: String, hint: &'static str },
    #[error("cannot be used: {0} {1}")]
    Block(Place, BlockFault),
}

/// What is wrong with a block. Numbers are those of lines.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum BlockFault {
    #[error("has no BEGIN line")]
    NoBegin,
    #[error("has no END line")]
    NoEnd,
    #[error(
        "has a BEGIN or END in line {0} that is not the whole line; a line break may be missing there"
    )]
    Marker(usize),
    #[error("ends in line {0} as a block of another kind")]
    OtherEnd(usize),
    #[error("has a character in line {0} that is not base64")]
    NotBase64(usize),
    #[error("is damaged: something is missing or added in it")]
    Damaged,
    #[error(
        "is a TRUSTED CERTIFICATE, which OpenSSL alone reads; openssl x509 turns it into a CERTIFICATE"
    )]
    Trusted,
    #[error("is encrypted; it is needed without a passphrase, which nobody can enter here")]
    Encrypted,
    #[error("is a private key of a kind that is not supported")]
    UnsupportedKey,
    #[error("is not a certificate that can be read")]
    UnreadableCertificate,
}

/// A block's number and its first line, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    block: usize,
    line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {} (line {})", self.block, self.line)
    }
}

/// A certificate or a key, and where it was read from.
#[derive(Debug)]
pub(crate) struct Item<T> {
    pub(crate) der: T,
    place: Place,
}

impl Item<CertificateDer<'static>> {
    pub(crate) fn unreadable(&self) -> PemError {
        PemError::Block(self.place, BlockFault::UnreadableCertificate)
    }
}

pub(crate) type Certificates = Vec<Item<CertificateDer<'static>>>;

/// As people count them.
pub(crate) fn count(certificates: &Certificates) -> String {
    let plural = if certificates.len() == 1 { "" } else { "s" };
    format!("{} certificate{plural}", certificates.len())
}

/// The certificates of a text, in their order; at least one.
pub(crate) fn certificates(text: &[u8]) -> Result<Certificates, PemError> {
    let blocks = blocks(text)?;
    let mut certificates = Vec::new();
    for block in &blocks {
        match block.label {
            "CERTIFICATE" | "X509 CERTIFICATE" => certificates.push(block.decode("CERTIFICATE")?),
            "TRUSTED CERTIFICATE" => return Err(block.fault(BlockFault::Trusted)),
            _ => {}
        }
    }
    if certificates.is_empty() {
        return Err(missing(text, "certificate", &blocks));
    }
    Ok(certificates)
}

/// The first private key of a text.
pub(crate) fn private_key(text: &[u8]) -> Result<Item<PrivateKeyDer<'static>>, PemError> {
    let blocks = blocks(text)?;
    let Some(block) = blocks.iter().find(|block| block.label.ends_with("PRIVATE KEY")) else {
        return Err(missing(text, "private key", &blocks));
    };
    match block.label {
        "ENCRYPTED PRIVATE KEY" => Err(block.fault(BlockFault::Encrypted)),
        _ if block.is_encrypted() => Err(block.fault(BlockFault::Encrypted)),
        "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => block.decode(block.label),
        _ => Err(block.fault(BlockFault::UnsupportedKey)),
    }
}

/// Certificates as those to trust.
pub(crate) fn roots(certificates: &Certificates) -> Result<RootCertStore, PemError> {
    let mut roots = RootCertStore::empty();
    for item in certificates {
        roots.add(item.der.clone()).map_err(|_| item.unreadable())?;
    }
    Ok(roots)
}

/// Why a certificate and a key are not a pair.
#[derive(Debug)]
pub(crate) enum PairError {
    Certificate(PemError),
    Key(PemError),
    /// It is the key of another certificate.
    Mismatch,
}

/// A chain, of which the first certificate is presented, and its key.
pub(crate) fn pair(
    chain: &Certificates,
    key: &Item<PrivateKeyDer<'static>>,
) -> Result<CertifiedKey, PairError> {
    let unreadable = |item: &Item<_>| PairError::Certificate(item.unreadable());
    if let Some(item) = chain.iter().find(|item| parse_x509_certificate(&item.der).is_err()) {
        return Err(unreadable(item));
    }
    let certificates = chain.iter().map(|item| item.der.clone()).collect();
    let provider = aws_lc_rs::default_provider();
    let pair = CertifiedKey::from_der(certificates, key.der.clone_key(), &provider);
    pair.map_err(|error| match (error, chain.first()) {
        (Error::InconsistentKeys(_), _) => PairError::Mismatch,
        (Error::InvalidCertificate(_), Some(leaf)) => unreadable(leaf),
        _ => PairError::Key(PemError::Block(key.place, BlockFault::UnsupportedKey)),
    })
}

/// A block as it stands in a text.
struct Block<'a> {
    label: &'a str,
    place: Place,
    /// Each line between BEGIN and END, with its number.
    lines: Vec<(usize, &'a [u8])>,
}

/// Every block of a text, of whatever kind. Text between them is passed over.
fn blocks(text: &[u8]) -> Result<Vec<Block<'_>>, PemError> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut open: Option<Block<'_>> = None;
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        // Files that were put together have the mark in the middle.
        let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line).trim_ascii();
        let place = Place { block: blocks.len() + 1, line: number };
        match (open.take(), line.strip_prefix(BEGIN), line.strip_prefix(END)) {
            (None, None, None) => {}
            (None, Some(rest), _) => {
                let Some(label) = label(rest) else {
                    return Err(PemError::Block(place, BlockFault::Marker(number)));
                };
                open = Some(Block { label, place, lines: Vec::new() });
            }
            (None, _, Some(_)) => return Err(PemError::Block(place, BlockFault::NoBegin)),
            (Some(block), Some(_), _) => return Err(block.fault(BlockFault::NoEnd)),
            (Some(block), _, Some(rest)) => match label(rest) {
                Some(label) if label == block.label => blocks.push(block),
                Some(_) => return Err(block.fault(BlockFault::OtherEnd(number))),
                None => return Err(block.fault(BlockFault::Marker(number))),
            },
            (Some(mut block), None, None) => {
                block.lines.push((number, line));
                open = Some(block);
            }
        }
    }
    open.map_or(Ok(blocks), |block| Err(block.fault(BlockFault::NoEnd)))
}

/// The kind of a block, in letters that no secret is made of alone.
fn label(rest: &[u8]) -> Option<&str> {
    let label = str::from_utf8(rest.strip_suffix(b"-----")?).ok()?;
    let is_of_a_label =
        |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b" #".contains(&byte);
    label.bytes().all(is_of_a_label).then_some(label)
}

impl Block<'_> {
    fn fault(&self, fault: BlockFault) -> PemError {
        PemError::Block(self.place, fault)
    }

    /// In the older way, with a header that says so.
    fn is_encrypted(&self) -> bool {
        self.lines
            .iter()
            .any(|(_, line)| line.starts_with(b"Proc-Type:") && line.ends_with(b"ENCRYPTED"))
    }

    /// What it holds, as a block with this label.
    fn decode<T: PemObject>(&self, label: &str) -> Result<Item<T>, PemError> {
        let mut pem = Zeroizing::new(Vec::with_capacity(self.length() + 128));
        pem.extend_from_slice(format!("-----BEGIN {label}-----\n").as_bytes());
        // Headers, as RFC 1421 has them, stand before the base64.
        for (number, line) in self.lines.iter().skip_while(|(_, line)| line.contains(&b':')) {
            let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/= \t".contains(byte);
            if !line.iter().all(is_base64) {
                return Err(self.fault(BlockFault::NotBase64(*number)));
            }
            pem.extend(line.iter().filter(|byte| !byte.is_ascii_whitespace()));
        }
        pem.extend_from_slice(format!("\n-----END {label}-----\n").as_bytes());
        let section = <(SectionKind, Vec<u8>)>::from_pem_slice(&pem).ok();
        // What every kind holds is one value that says how long it is.
        let is_whole = |der: &[u8]| Any::from_der(der).is_ok_and(|(rest, _)| rest.is_empty());
        let whole = section.filter(|(_, der)| is_whole(der));
        let der = whole.and_then(|(kind, der)| T::from_pem(kind, der));
        der.map(|der| Item { der, place: self.place })
            .ok_or_else(|| self.fault(BlockFault::Damaged))
    }

    fn length(&self) -> usize {
        self.lines.iter().map(|(_, line)| line.len()).sum()
    }
}

/// What a text holds in place of what is wanted.
fn missing(text: &[u8], wanted: &'static str, blocks: &[Block<'_>]) -> PemError {
    match text {
        _ if !blocks.is_empty() => {}
        _ if text.trim_ascii().is_empty() => return PemError::Empty,
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, ..] | [_, 0, ..] => return PemError::Utf16,
        // The first byte and the length of a DER sequence.
        [0x30, 0x80..=0xff, ..] => return PemError::Binary,
        _ => return PemError::NoBlock,
    }
    let mut labels: Vec<_> = blocks.iter().map(|block| block.label).collect();
    labels.sort_unstable();
    labels.dedup();
    let is_there = |kind: &str| labels.iter().any(|label| label.ends_with(kind));
    let hint = match wanted {
        "certificate" if is_there("PRIVATE KEY") => "; it may be swapped with the file of the key",
        "private key" if is_there("CERTIFICATE") => {
            "; it may be swapped with the file of the certificate"
        }
        _ => "",
    };
    PemError::Missing { wanted, found: labels.join(", ").to_lowercase(), hint }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::{Index, select};
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    struct Made {
        certificate: String,
        key: String,
    }

    fn made() -> Made {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap().pem();
        Made {
            certificate: certificate.replace('\r', ""),
            key: key.serialize_pem().replace('\r', ""),
        }
    }

    fn ders(text: impl AsRef<[u8]>) -> Result<Vec<CertificateDer<'static>>, String> {
        let items = certificates(text.as_ref()).map_err(|error| error.to_string())?;
        Ok(items.into_iter().map(|item| item.der).collect())
    }

    fn key_fault(text: impl AsRef<[u8]>) -> String {
        private_key(text.as_ref()).unwrap_err().to_string()
    }

    const REQUEST: &str =
        "-----BEGIN CERTIFICATE REQUEST-----\n!\n-----END CERTIFICATE REQUEST-----\n";
    const PARAMETERS: &str =
        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";

    #[test]
    fn certificates_are_read_wherever_they_stand() {
        let (a, b) = (made(), made());
        let both = [&a, &b].map(|made| ders(&made.certificate).unwrap().remove(0)).to_vec();
        let chain = format!("{}{}", a.certificate, b.certificate);
        for text in [
            chain.clone(),
            chain.replace('\n', "\r\n"),
            chain.replace('\n', " \n"),
            chain.replace('\n', "\n  "),
            chain.trim_end().to_owned(),
            format!("\u{feff}{}\u{feff}{}", a.certificate, b.certificate),
            format!("subject=CN = a\n\n{}\nissuer=CN = b\n{}", a.certificate, b.certificate),
            format!("{REQUEST}{chain}"),
            format!("{}{REQUEST}{}{}", a.certificate, a.key, b.certificate),
            chain.replace("CERTIFICATE", "X509 CERTIFICATE"),
        ] {
            assert_eq!(ders(&text).as_ref(), Ok(&both), "{text}");
        }
        let latin1 = [b"# Z\xfcrich\n", chain.as_bytes()].concat();
        assert_eq!(ders(latin1), Ok(both));
    }

    #[test]
    fn the_first_key_is_read_wherever_it_stands() {
        let (a, b) = (made(), made());
        let read = |text: &str| private_key(text.as_bytes()).unwrap().der.clone_key();
        let key = read(&a.key);
        for text in [
            format!("{}{}", a.key, b.key),
            format!("{PARAMETERS}{}", a.key),
            format!("{}{REQUEST}{}", b.certificate, a.key),
        ] {
            assert_eq!(read(&text), key, "{text}");
        }
    }

    #[test]
    fn fault_names_block_and_line() {
        let Made { certificate, key } = made();
        let lines = certificate.lines().count();
        let third = certificate.split_inclusive('\n').nth(2).unwrap();
        let trusted = certificate.replace("CERTIFICATE", "TRUSTED CERTIFICATE");
        let second = |block: &str| format!("{certificate}{block}");
        let at_second = format!("cannot be used: block 2 (line {})", lines + 1);
        for (text, fault) in [
            (second(&certificate[..certificate.len() - 100]), format!("{at_second} has no END line")),
            (format!("{}{certificate}", &certificate[..93]), "cannot be used: block 1 (line 1) has no END line".into()),
            (second(&certificate[99..]), format!("cannot be used: block 2 (line {}) has no BEGIN line", 2 * lines - 2)),
            (second(&certificate.replacen(third, "", 1)), format!("{at_second} is damaged: something is missing or added in it")),
            (second(&certificate.replacen(third, &third.repeat(2), 1)), format!("{at_second} is damaged: something is missing or added in it")),
            (second(&certificate.replacen(third, &third.replacen(|_| true, "!", 1), 1)), format!("{at_second} has a character in line {} that is not base64", lines + 3)),
            (second(&certificate.replacen("END CERTIFICATE", "END X509 CRL", 1)), format!("{at_second} ends in line {} as a block of another kind", 2 * lines)),
            (
                second("").trim_end().to_owned() + &certificate,
                format!("cannot be used: block 1 (line 1) has a BEGIN or END in line {lines} that is not the whole line; a line break may be missing there"),
            ),
            (
                certificate.replace('\n', "\\n"),
                "cannot be used: block 1 (line 1) has a BEGIN or END in line 1 that is not the whole line; a line break may be missing there".into(),
            ),
            (second(&trusted), format!("{at_second} is a TRUSTED CERTIFICATE, which OpenSSL alone reads; openssl x509 turns it into a CERTIFICATE")),
            (
                "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----".into(),
                "cannot be used: block 1 (line 1) is damaged: something is missing or added in it".into(),
            ),
            (key.clone(), "holds no certificate, but: private key; it may be swapped with the file of the key".into()),
            (format!("{REQUEST}{REQUEST}{PARAMETERS}"), "holds no certificate, but: certificate request, ec parameters".into()),
            ("\n \n".into(), "is empty".into()),
            ("-- BEGIN CERTIFICATE --".into(), "is not in PEM: it has no BEGIN line".into()),
        ] {
            assert_eq!(ders(&text), Err(fault), "{text}");
        }
        let der = ders(&certificate).unwrap().remove(0);
        assert_eq!(
            ders(&der).unwrap_err(),
            "is in a binary format such as DER or PKCS #12, not in PEM"
        );
        let utf16: Vec<u8> = certificate.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(ders(utf16).unwrap_err(), "is in UTF-16, not in UTF-8");
    }

    #[test]
    fn key_that_cannot_be_used_is_called_what_it_is() {
        let Made { certificate, key } = made();
        let headers = "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n";
        let encrypted = "cannot be used: block 1 (line 1) is encrypted; it is needed without a passphrase, which nobody can enter here";
        let unsupported =
            "cannot be used: block 1 (line 1) is a private key of a kind that is not supported";
        for (text, fault) in [
            (key.replace("PRIVATE", "ENCRYPTED PRIVATE"), encrypted),
            (key.replacen('\n', headers, 1).replace("PRIVATE", "EC PRIVATE"), encrypted),
            (key.replace("PRIVATE", "OPENSSH PRIVATE"), unsupported),
            (
                certificate,
                "holds no private key, but: certificate; it may be swapped with the file of the certificate",
            ),
            (String::new(), "is empty"),
        ] {
            assert_eq!(key_fault(&text), fault, "{text}");
        }
    }

    #[test]
    fn pair_is_the_first_certificate_and_its_key() {
        let (a, b) = (made(), made());
        let read = |text: &str| certificates(text.as_bytes()).unwrap();
        let chain = read(&format!("{}{}", a.certificate, b.certificate));
        let key = |made: &Made| private_key(made.key.as_bytes()).unwrap();
        assert!(pair(&chain, &key(&a)).is_ok());
        assert!(matches!(pair(&chain, &key(&b)), Err(PairError::Mismatch)));
        // DER, but no certificate and no key.
        let relabelled = |text: &str, from: &str, to: &str| {
            ["BEGIN", "END"].iter().fold(text.to_owned(), |text, marker| {
                text.replace(&format!("{marker} {from}"), &format!("{marker} {to}"))
            })
        };
        let not_one = read(&relabelled(&a.key, "PRIVATE KEY", "CERTIFICATE"));
        let fault = "cannot be used: block 1 (line 1) is not a certificate that can be read";
        match pair(&not_one, &key(&a)) {
            Err(PairError::Certificate(error)) => assert_eq!(error.to_string(), fault),
            other => panic!("{other:?}"),
        }
        assert_eq!(roots(&not_one).unwrap_err().to_string(), fault);
        let in_second_place =
            read(&format!("{}{}", a.certificate, relabelled(&a.key, "PRIVATE KEY", "CERTIFICATE")));
        assert!(matches!(pair(&in_second_place, &key(&a)), Err(PairError::Certificate(_))));
        assert_eq!(roots(&chain).unwrap().len(), 2);
        let not_one = relabelled(&a.certificate, "CERTIFICATE", "PRIVATE KEY");
        let not_one = private_key(not_one.as_bytes()).unwrap();
        assert!(matches!(pair(&chain, &not_one), Err(PairError::Key(_))));
    }

    /// One thing that happens to a file on its way.
    #[derive(Clone, Debug)]
    enum Mishap {
        CutOff(Index),
        RemoveByte(Index),
        InsertByte(Index, u8),
        /// By one that no base64 has.
        ReplaceByte(Index, u8),
        RemoveLine(Index),
        RepeatLine(Index),
    }

    fn mishap() -> impl Strategy<Value = Mishap> {
        let other = || select(b"-!:.\0\xff".to_vec());
        prop_oneof![
            any::<Index>().prop_map(Mishap::CutOff),
            any::<Index>().prop_map(Mishap::RemoveByte),
            (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Mishap::InsertByte(at, byte)),
            (any::<Index>(), other()).prop_map(|(at, byte)| Mishap::ReplaceByte(at, byte)),
            any::<Index>().prop_map(Mishap::RemoveLine),
            any::<Index>().prop_map(Mishap::RepeatLine),
        ]
    }

    fn after(text: &[u8], mishap: &Mishap) -> Vec<u8> {
        let mut bytes = text.to_vec();
        let mut lines: Vec<_> = text.split_inclusive(|byte| *byte == b'\n').collect();
        match mishap {
            Mishap::CutOff(at) => bytes.truncate(at.index(text.len())),
            Mishap::RemoveByte(at) => drop(bytes.remove(at.index(text.len()))),
            Mishap::InsertByte(at, byte) => bytes.insert(at.index(text.len()), *byte),
            Mishap::ReplaceByte(at, byte) => bytes[at.index(text.len())] = *byte,
            Mishap::RemoveLine(at) => drop(lines.remove(at.index(lines.len()))),
            Mishap::RepeatLine(at) => {
                let at = at.index(lines.len());
                lines.insert(at, lines[at]);
            }
        }
        if matches!(mishap, Mishap::RemoveLine(_) | Mishap::RepeatLine(_)) {
            lines.concat()
        } else {
            bytes
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn no_certificate_is_lost_or_changed_without_a_fault(mishap in mishap()) {
            static MADE: std::sync::LazyLock<(String, Vec<CertificateDer<'static>>)> =
                std::sync::LazyLock::new(|| {
                    let text = format!("{}\n{}{}", made().certificate, REQUEST, made().certificate);
                    let ders = ders(&text).unwrap();
                    (text, ders)
                });
            let (text, whole) = &*MADE;
            let text = after(text.as_bytes(), &mishap);
            match ders(&text) {
                Ok(read) => {
                    prop_assert!(whole.starts_with(&read));
                    // Cut off between two blocks, it is a file of its own.
                    let end = b"-----END CERTIFICATE-----";
                    let ends = text.windows(end.len()).filter(|bytes| bytes == end).count();
                    prop_assert_eq!(read.len(), ends);
                }
                Err(fault) => prop_assert!(
                    fault.contains("block ") || text.len() < whole[0].len(), "{}", fault
                ),
            }
        }
    }
}
