//! `tls_server_config`: its settings as a configuration of rustls.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs::{self, kx_group};
use tokio_rustls::rustls::crypto::{CryptoProvider, SupportedKxGroup};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{Error, ServerConfig, SupportedCipherSuite};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use super::client_verifier::client_verifier;
use super::files::WatchedFiles;
use super::web_config::{ClientAuth, Curve, TlsServerConfig, TlsVersion};
use crate::config::ConfigError;

/// How a port speaks TLS.
pub(in crate::web) struct Tls {
    config: Arc<ServerConfig>,
    pub(super) client_auth: ClientAuth,
    /// A client's certificate must carry one of these; empty if any certificate will do.
    allowed_sans: Vec<String>,
    /// Of the certificate that is presented, as a Unix time; unknown where only rustls can read it.
    pub(super) not_after: Option<i64>,
}

impl Tls {
    pub(super) fn new(
        settings: TlsServerConfig,
        files: &mut WatchedFiles,
    ) -> Result<Self, ConfigError> {
        let provider = Arc::new(CryptoProvider {
            cipher_suites: cipher_suites(&settings),
            kx_groups: key_exchange_groups(&settings),
            ..aws_lc_rs::default_provider()
        });
        let min = settings.min_version.unwrap_or(TlsVersion::Tls12);
        let versions: &[_] = match (min, settings.max_version.unwrap_or(TlsVersion::Tls13)) {
            (TlsVersion::Tls12, TlsVersion::Tls12) => &[&TLS12],
            (TlsVersion::Tls12, TlsVersion::Tls13) => &[&TLS12, &TLS13],
            (TlsVersion::Tls13, TlsVersion::Tls13) => &[&TLS13],
            (TlsVersion::Tls13, TlsVersion::Tls12) => {
                return Err(refuse(files, "min_version", "is above max_version"));
            }
        };
        let client_auth = settings.client_auth_type.unwrap_or_default();
        let allowed_sans = settings.client_allowed_sans.unwrap_or_default();

        let chain = certificates("cert", (settings.cert, settings.cert_file), files)?
            .ok_or_else(|| refuse(files, "cert_file", "is missing, and so is cert"))?;
        let key = pem("key", (settings.key, settings.key_file), files)?
            .ok_or_else(|| refuse(files, "key_file", "is missing, and so is key"))?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| {
            refuse(files, "key_file", "has no private key in PEM (an encrypted one cannot be used)")
        })?;
        let authorities =
            certificates("client_ca", (settings.client_ca, settings.client_ca_file), files)?;
        let verifier = client_verifier(client_auth, authorities, &allowed_sans)
            .map_err(|(key, fault)| refuse(files, key, fault))?;
        let leaf = chain.first().and_then(|leaf| parse_x509_certificate(leaf).ok());
        let not_after = leaf.map(|(_, leaf)| leaf.validity().not_after.timestamp());

        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|_| {
                refuse(
                    files,
                    "cipher_suites",
                    "none of them works with the versions of TLS that are allowed",
                )
            })?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|error| match error {
                Error::InconsistentKeys(_) => {
                    refuse(files, "key_file", "is not the key of the certificate")
                }
                Error::InvalidCertificate(_) => {
                    refuse(files, "cert_file", "has a certificate that cannot be read")
                }
                _ => refuse(files, "key_file", "has a private key of a kind that is not supported"),
            })?;
        config.ignore_client_order = settings.prefer_server_cipher_suites.unwrap_or(true);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), client_auth, allowed_sans, not_after })
    }

    pub(super) fn has_san_allowlist(&self) -> bool {
        !self.allowed_sans.is_empty()
    }

    /// Speaks TLS on a stream, and checks the names of the client's certificate, if it shows one.
    pub(in crate::web) async fn accept(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Unpin> {
        let stream = TlsAcceptor::from(Arc::clone(&self.config)).accept(stream).await?;
        // The certificates are there for a resumed session too.
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        if self.has_san_allowlist()
            && certificates.first().is_some_and(|certificate| !self.allows(certificate))
        {
            return Err(io::Error::other("the certificate carries none of client_allowed_sans"));
        }
        Ok(stream)
    }

    /// Whether a certificate carries one of the names, exactly as it is written in the list.
    fn allows(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok((_, certificate)) = parse_x509_certificate(certificate) else { return false };
        let Ok(Some(names)) = certificate.subject_alternative_name() else { return false };
        names.value.general_names.iter().any(|name| match name {
            GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
                self.allowed_sans.iter().any(|allowed| allowed == name)
            }
            GeneralName::IPAddress(octets) => {
                let address = <[u8; 4]>::try_from(*octets).map(IpAddr::from);
                let address = address.or_else(|_| <[u8; 16]>::try_from(*octets).map(IpAddr::from));
                // An IPv6 address can be written in more than one way.
                address.is_ok_and(|address| {
                    self.allowed_sans.iter().any(|allowed| allowed.parse() == Ok(address))
                })
            }
            _ => false,
        })
    }
}

fn refuse(files: &WatchedFiles, key: &str, fault: impl Into<String>) -> ConfigError {
    files.refuse(format!("tls_server_config.{key}"), fault)
}

/// The suites for TLS 1.2 in the order of the list, and all of TLS 1.3, which the reference does not let one choose from.
fn cipher_suites(settings: &TlsServerConfig) -> Vec<SupportedCipherSuite> {
    let supported = aws_lc_rs::DEFAULT_CIPHER_SUITES.iter().copied();
    let Some(wanted) = settings.cipher_suites.as_ref().filter(|wanted| !wanted.is_empty()) else {
        return supported.collect();
    };
    let for_tls13 = supported.filter(|suite| suite.version() == &TLS13);
    let for_tls12 = wanted.iter().map(|suite| suite.0).filter(|suite| suite.version() == &TLS12);
    for_tls13.chain(for_tls12).collect()
}

fn key_exchange_groups(settings: &TlsServerConfig) -> Vec<&'static dyn SupportedKxGroup> {
    let Some(wanted) = settings.curve_preferences.as_ref().filter(|wanted| !wanted.is_empty())
    else {
        return aws_lc_rs::DEFAULT_KX_GROUPS.to_vec();
    };
    let group = |curve: &Curve| match curve {
        Curve::X25519 => kx_group::X25519,
        Curve::CurveP256 => kx_group::SECP256R1,
        Curve::CurveP384 => kx_group::SECP384R1,
        Curve::X25519MLKEM768 => kx_group::X25519MLKEM768,
    };
    wanted.iter().map(group).collect()
}

/// PEM in place, or the path of a file with it. Empty text counts as none, as it does in the reference.
type Material = (Option<SecretString>, Option<String>);

fn pem(
    key: &str,
    material: Material,
    files: &mut WatchedFiles,
) -> Result<Option<Zeroizing<Vec<u8>>>, ConfigError> {
    let refuse = |files: &_, fault| Err(refuse(files, &format!("{key}_file"), fault));
    let (inline, file) = material;
    let inline = inline.filter(|text| !text.expose_secret().is_empty());
    match (inline, file.filter(|path| !path.is_empty())) {
        (None, None) => Ok(None),
        (Some(text), None) => Ok(Some(Zeroizing::new(text.expose_secret().as_bytes().to_vec()))),
        (None, Some(path)) => files.read_named(&path).map(Some).or_else(|error| {
            // The path is not repeated: what stands there may be the key itself.
            let folder = files.folder().display();
            refuse(
                files,
                format!(
                    "the file cannot be read (relative paths are taken from {folder}): {error}"
                ),
            )
        }),
        (Some(_), Some(_)) => {
            refuse(files, format!("is set, but {key} is too; only one of them may be"))
        }
    }
}

fn certificates(
    key: &str,
    material: Material,
    files: &mut WatchedFiles,
) -> Result<Option<Vec<CertificateDer<'static>>>, ConfigError> {
    let Some(pem) = pem(key, material, files)? else { return Ok(None) };
    let fault = match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => return Ok(Some(certificates)),
        Ok(_) => "has no certificate in PEM",
        Err(_) => "has a certificate that is not valid PEM",
    };
    Err(refuse(files, &format!("{key}_file"), fault))
}
