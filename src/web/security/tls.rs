//! `tls_server_config`: from the reference's words to rustls.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use secrecy::zeroize::Zeroizing;
use tokio_rustls::rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    self, CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    SupportedCipherSuite, SupportedProtocolVersion,
};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use super::document::{Fault, Section, nameable};
use super::sources::Sources;

/// The keys of `tls_server_config`.
pub(super) const KEYS: [&str; 13] = [
    "cert",
    "cert_file",
    "key",
    "key_file",
    "client_ca",
    "client_ca_file",
    "client_auth_type",
    "client_allowed_sans",
    "min_version",
    "max_version",
    "cipher_suites",
    "prefer_server_cipher_suites",
    "curve_preferences",
];

/// How clients of the port are verified, from the weakest to the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Clients {
    /// Not at all.
    Anyone,
    /// Those that show a certificate.
    IfGiven,
    /// Each must show one.
    All,
}

/// A port that speaks TLS.
pub(super) struct Tls {
    pub(super) config: Arc<ServerConfig>,
    pub(super) clients: Clients,
    /// Whether a client's certificate must carry one of certain names.
    pub(super) names_matter: bool,
}

impl Tls {
    /// From its section; `None` where the section asks for nothing.
    pub(super) fn read(mut section: Section, folder: &Path, sources: &mut Sources) -> Result<Option<Self>, Fault> {
        if section.is_empty() {
            return Ok(None);
        }
        let chain = certificates(&mut section, "cert", "cert_file", folder, sources)?
            .ok_or_else(|| section.fault("cert_file", "is missing, and so is cert"))?;
        let key = private_key(&mut section, folder, sources)?;
        let (clients, verifier) = client_verifier(&mut section, folder, sources)?;
        let names_matter = verifier.as_ref().is_some_and(|(_, names)| !names.is_empty());

        let provider = CryptoProvider {
            cipher_suites: cipher_suites(&mut section)?,
            kx_groups: curves(&mut section)?,
            ..aws_lc_rs::default_provider()
        };
        let versions = versions(&mut section)?;
        let builder =
            ServerConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&versions).map_err(
                |_| section.fault("cipher_suites", "none of them works with the versions of TLS that are allowed"),
            )?;
        let builder = match verifier {
            None => builder.with_no_client_auth(),
            Some((verifier, names)) if names.is_empty() => builder.with_client_cert_verifier(verifier),
            Some((verifier, names)) => builder.with_client_cert_verifier(Arc::new(NamedClients { verifier, names })),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => section.fault("key_file", "is not the key of the certificate"),
            rustls::Error::InvalidCertificate(_) => section.fault("cert_file", "has a certificate that cannot be read"),
            _ => section.fault("key_file", "has a private key of a kind that is not supported"),
        })?;
        config.ignore_client_order = section.flag("prefer_server_cipher_suites")?.unwrap_or(true);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Self { config: Arc::new(config), clients, names_matter }))
    }
}

/// What is given in place or in a file, but not both, as PEM.
fn pem(
    section: &mut Section,
    inline: &str,
    in_file: &str,
    folder: &Path,
    sources: &mut Sources,
) -> Result<Option<Zeroizing<Vec<u8>>>, Fault> {
    match (section.text(inline)?, section.text(in_file)?) {
        (None, None) => Ok(None),
        (Some(text), None) => Ok(Some(Zeroizing::new(text.into_bytes()))),
        // The path is not repeated: what stands there may be the key itself.
        (None, Some(path)) => sources.read(&folder.join(path)).map(Some).map_err(|error| {
            let folder = folder.display();
            section.fault(in_file, format!("the file cannot be read (relative paths are taken from {folder}): {error}"))
        }),
        (Some(_), Some(_)) => {
            Err(section.fault(in_file, format!("is set, but {inline} is too; only one of them may be")))
        }
    }
}

fn certificates(
    section: &mut Section,
    inline: &str,
    in_file: &str,
    folder: &Path,
    sources: &mut Sources,
) -> Result<Option<Vec<CertificateDer<'static>>>, Fault> {
    let Some(pem) = pem(section, inline, in_file, folder, sources)? else { return Ok(None) };
    match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => Ok(Some(certificates)),
        Ok(_) => Err(section.fault(in_file, "has no certificate in PEM")),
        Err(_) => Err(section.fault(in_file, "has a certificate that is not valid PEM")),
    }
}

fn private_key(section: &mut Section, folder: &Path, sources: &mut Sources) -> Result<PrivateKeyDer<'static>, Fault> {
    let pem = pem(section, "key", "key_file", folder, sources)?
        .ok_or_else(|| section.fault("key_file", "is missing, and so is key"))?;
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| section.fault("key_file", "has no private key in PEM (an encrypted one cannot be used)"))
}

type Verifier = (Arc<dyn ClientCertVerifier>, Vec<String>);

fn client_verifier(
    section: &mut Section,
    folder: &Path,
    sources: &mut Sources,
) -> Result<(Clients, Option<Verifier>), Fault> {
    let kind = section.text("client_auth_type")?;
    let clients = match kind.as_deref() {
        None | Some("NoClientCert") => Clients::Anyone,
        Some("VerifyClientCertIfGiven") => Clients::IfGiven,
        Some("RequireAndVerifyClientCert") => Clients::All,
        Some(kind @ ("RequestClientCert" | "RequireAnyClientCert" | "RequireClientCert")) => {
            let fault = format!("{kind} is not supported, since it verifies nothing; RequireAndVerifyClientCert does");
            return Err(section.fault("client_auth_type", fault));
        }
        Some(_) => {
            let fault = "must be NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert";
            return Err(section.fault("client_auth_type", fault));
        }
    };
    let authorities = certificates(section, "client_ca", "client_ca_file", folder, sources)?;
    let names = section.texts("client_allowed_sans")?;
    if clients == Clients::Anyone {
        let without_effect = [("client_ca_file", authorities.is_some()), ("client_allowed_sans", !names.is_empty())];
        return match without_effect.into_iter().find(|(_, given)| *given) {
            Some((key, _)) => Err(section.fault(key, "has no effect without a client_auth_type that verifies clients")),
            None => Ok((clients, None)),
        };
    }
    let authorities = authorities.ok_or_else(|| {
        section.fault("client_ca_file", "is missing, and so is client_ca; client_auth_type needs one of them")
    })?;
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(|_| section.fault("client_ca_file", "has a certificate that cannot be read"))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        // The one whose signature algorithms are used; suites do not matter here.
        Arc::new(aws_lc_rs::default_provider()),
    );
    let builder = if clients == Clients::IfGiven { builder.allow_unauthenticated() } else { builder };
    let verifier = builder
        .build()
        .map_err(|_| section.fault("client_ca_file", "has no certificate that clients can be verified with"))?;
    Ok((clients, Some((verifier, names))))
}

fn versions(section: &mut Section) -> Result<Vec<&'static SupportedProtocolVersion>, Fault> {
    let mut number = |key: &str, default: u8| match section.text(key)?.as_deref() {
        None => Ok(default),
        Some("TLS12") => Ok(12),
        Some("TLS13") => Ok(13),
        Some(old @ ("TLS10" | "TLS11")) => {
            Err(section.fault(key, format!("{old} is not supported, since it is broken; TLS12 and TLS13 are")))
        }
        Some(_) => Err(section.fault(key, "must be TLS12 or TLS13")),
    };
    let (min, max) = (number("min_version", 12)?, number("max_version", 13)?);
    if min > max {
        return Err(section.fault("min_version", "is above max_version"));
    }
    Ok([(12, &TLS12), (13, &TLS13)]
        .into_iter()
        .filter(|(number, _)| (min..=max).contains(number))
        .map(|(_, version)| version)
        .collect())
}

/// The suites for TLS 1.2 in the order of the list, and all of TLS 1.3, which the reference does not let one choose from.
fn cipher_suites(section: &mut Section) -> Result<Vec<SupportedCipherSuite>, Fault> {
    let supported = aws_lc_rs::DEFAULT_CIPHER_SUITES;
    let wanted = section.texts("cipher_suites")?;
    if wanted.is_empty() {
        return Ok(supported.to_vec());
    }
    let (mut suites, optional): (Vec<_>, Vec<_>) = supported.iter().partition(|suite| suite.version() == &TLS13);
    for name in wanted {
        let Some(suite) = supported.iter().find(|suite| go_name(**suite) == name) else {
            let unsupported = nameable(&name).unwrap_or("an entry");
            let names: Vec<_> = optional.iter().map(|suite| go_name(*suite)).collect();
            let fault = format!("{unsupported} is not supported; there are: {}", names.join(", "));
            return Err(section.fault("cipher_suites", fault));
        };
        if !suites.contains(suite) {
            suites.push(*suite);
        }
    }
    Ok(suites)
}

/// A suite's name as Go, and so the reference, writes it.
fn go_name(suite: SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1)
}

fn curves(section: &mut Section) -> Result<Vec<&'static dyn SupportedKxGroup>, Fault> {
    use aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};

    let wanted = section.texts("curve_preferences")?;
    if wanted.is_empty() {
        return Ok(aws_lc_rs::DEFAULT_KX_GROUPS.to_vec());
    }
    wanted
        .iter()
        .map(|name| match name.as_str() {
            "X25519" => Ok(X25519),
            "CurveP256" => Ok(SECP256R1),
            "CurveP384" => Ok(SECP384R1),
            "X25519MLKEM768" => Ok(X25519MLKEM768),
            other => {
                let unsupported = nameable(other).unwrap_or("an entry");
                let fault =
                    format!("{unsupported} is not supported; there are: X25519, CurveP256, CurveP384, X25519MLKEM768");
                Err(section.fault("curve_preferences", fault))
            }
        })
        .collect()
}

/// Clients whose certificate is valid and carries one of certain names.
#[derive(Debug)]
struct NamedClients {
    verifier: Arc<dyn ClientCertVerifier>,
    names: Vec<String>,
}

impl NamedClients {
    /// Whether the certificate has one of the names, exactly as it stands in the list.
    fn have_name(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok((_, certificate)) = parse_x509_certificate(certificate) else { return false };
        let Ok(Some(names)) = certificate.subject_alternative_name() else { return false };
        let is_allowed = |name: &str| self.names.iter().any(|allowed| allowed == name);
        names.value.general_names.iter().any(|name| match name {
            GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => is_allowed(name),
            GeneralName::IPAddress(octets) => self.allow_address(octets),
            _ => false,
        })
    }

    fn allow_address(&self, octets: &[u8]) -> bool {
        let address =
            <[u8; 4]>::try_from(octets).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from));
        // An IPv6 address can be written in more than one way.
        address.is_ok_and(|address| self.names.iter().any(|name| name.parse() == Ok(address)))
    }
}

impl ClientCertVerifier for NamedClients {
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.verifier.verify_client_cert(end_entity, intermediates, now)?;
        if self.have_name(end_entity) {
            Ok(verified)
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn offer_client_auth(&self) -> bool {
        self.verifier.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
