//! `tls_server_config`: its settings as a configuration of rustls.

use std::fmt::Display;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs::{self, kx_group};
use tokio_rustls::rustls::crypto::{CryptoProvider, SupportedKxGroup};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ServerConfig, SupportedCipherSuite};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use super::client_verifier::client_verifier;
use super::files::WatchedFiles;
use super::web_config::{ClientAuth, Curve, TlsServerConfig, TlsVersion};
use crate::config::{ConfigError, values};
use crate::pem::{self, Certificates, PairError};

/// How a port speaks TLS.
pub(in crate::web) struct Tls {
    config: Arc<ServerConfig>,
    pub(super) client_auth: ClientAuth,
    /// A client's certificate must carry one of these; empty if any certificate will do.
    allowed_sans: Vec<String>,
    /// What each file of certificates holds, a line each.
    pub(super) certificate_counts: Vec<String>,
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

        let cert = Material::read("cert", (settings.cert, settings.cert_file), files)?
            .ok_or_else(|| refuse(files, "cert_file", "is missing, and so is cert"))?;
        let key = Material::read("key", (settings.key, settings.key_file), files)?
            .ok_or_else(|| refuse(files, "key_file", "is missing, and so is key"))?;
        let chain = cert.certificates(files)?;
        let private_key = pem::private_key(&key.text).map_err(|error| key.refuse(files, &error))?;
        let pair = pem::pair(&chain, &private_key).map_err(|error| match error {
            PairError::Certificate(error) => cert.refuse(files, &error),
            PairError::Key(error) => key.refuse(files, &error),
            PairError::Mismatch => {
                let fault = format!("is not the key of the first certificate in {}", cert.name());
                key.refuse(files, &fault)
            }
        })?;
        let client_ca =
            Material::read("client_ca", (settings.client_ca, settings.client_ca_file), files)?;
        let authorities =
            client_ca.as_ref().map(|material| material.certificates(files)).transpose()?;
        let listed = client_ca.as_ref().zip(authorities.as_ref());
        let certificate_counts = [(&cert, &chain)]
            .into_iter()
            .chain(listed)
            .map(|(material, held)| material.count(held))
            .collect();
        if let Some((material, held)) = listed {
            pem::roots(held).map_err(|error| material.refuse(files, &error))?;
        }
        let listed = authorities.map(|held| held.into_iter().map(|item| item.der).collect());
        let verifier = client_verifier(client_auth, listed, &allowed_sans)
            .map_err(|(key, fault)| refuse(files, key, fault))?;
        let leaf = chain.first().and_then(|leaf| parse_x509_certificate(&leaf.der).ok());
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
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
        config.ignore_client_order = settings.prefer_server_cipher_suites.unwrap_or(true);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            client_auth,
            allowed_sans,
            certificate_counts,
            not_after,
        })
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

/// PEM, and where it is given.
struct Material {
    /// The key of the file, or of the text in place.
    key: String,
    /// Where it is a file.
    path: Option<PathBuf>,
    text: Zeroizing<Vec<u8>>,
}

impl Material {
    /// PEM in place, or in a file. Empty text counts as none, as it does in the reference.
    fn read(
        key: &str,
        (inline, file): (Option<SecretString>, Option<String>),
        files: &mut WatchedFiles,
    ) -> Result<Option<Self>, ConfigError> {
        let file_key = format!("{key}_file");
        let inline = inline.filter(|text| !text.expose_secret().is_empty());
        match (inline, file.filter(|path| !path.is_empty())) {
            (None, None) => Ok(None),
            (Some(text), None) => {
                let text = text.expose_secret().as_bytes().to_vec();
                Ok(Some(Self { key: key.into(), path: None, text: text.into() }))
            }
            (None, Some(path)) if values::is_secret(&path) => {
                let fault = format!("{}; PEM in place belongs in {key}", values::SECRET_AS_PATH);
                Err(refuse(files, &file_key, fault))
            }
            (None, Some(path)) => {
                let text = files.read_named(&path);
                let path = files.folder().join(path);
                match text {
                    Ok(text) => Ok(Some(Self { key: file_key, path: Some(path), text })),
                    Err(error) => {
                        let fault = format!("{} cannot be read: {error}", path.display());
                        Err(refuse(files, &file_key, fault))
                    }
                }
            }
            (Some(_), Some(_)) => {
                let fault = format!("is set, but {key} is too; only one of them may be");
                Err(refuse(files, &file_key, fault))
            }
        }
    }

    fn certificates(&self, files: &WatchedFiles) -> Result<Certificates, ConfigError> {
        pem::certificates(&self.text).map_err(|error| self.refuse(files, &error))
    }

    fn refuse(&self, files: &WatchedFiles, fault: &impl Display) -> ConfigError {
        let path = self.path.as_ref().map(|path| format!("{} ", path.display()));
        refuse(files, &self.key, format!("{}{fault}", path.unwrap_or_default()))
    }

    /// The path of the file, or the key of what is given in place.
    fn name(&self) -> String {
        self.path.as_ref().map_or_else(|| self.key.clone(), |path| path.display().to_string())
    }

    fn count(&self, held: &Certificates) -> String {
        format!("tls_server_config.{}: {} holds {}", self.key, self.name(), pem::count(held))
    }
}
