//! The certificates of the simulated organization and of those who present some to it: every reason for which a client is
//! refused, and a few that are let in.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::{env, fs};

use glob::Pattern;
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::json;
use tempfile::{Builder, TempDir};

use super::authority::Authority;
use super::organization::{DAY, HOUR, Organization, authority};
use crate::inventory::UnixSeconds;

/// The anchor that most clients of the organization hang on.
const EDGE: &str = "edge-gateway-2025";
const ROOT: &str = "offline-root-2016";

/// The authorities of the organization's certificates, by name.
pub(super) struct Anchors(HashMap<String, Authority>);

impl Anchors {
    /// Makes the certificate of each entry, with the dates that are listed.
    pub(super) fn of(organization: &mut Organization, now: UnixSeconds) -> io::Result<Self> {
        let (mut anchors, mut contents) = (HashMap::new(), HashMap::new());
        for listed in &organization.certificates {
            let name = listed.name.as_deref().unwrap_or("Example Corp clients");
            let begin = listed.valid_at.unwrap_or(now - 362 * DAY);
            let valid = begin..listed.expires_at.unwrap_or(now + 3 * DAY);
            let anchor = match name {
                // It is from before anybody asked for a key usage.
                ROOT => Authority::root_for(name, valid, &[])?,
                _ => Authority::root(name, valid)?,
            };
            contents.insert(listed.id.clone(), anchor.pem.clone());
            anchors.insert(name.to_owned(), anchor);
        }
        let anchors = Self(anchors);
        for listed in organization.all_mut() {
            let mut pem = contents.get(&listed.id).cloned().unwrap_or_default();
            match listed.name.as_deref() {
                // Somebody has uploaded a whole bundle.
                Some(EDGE) => pem += &anchors.named(ROOT)?.pem,
                Some("imported-without-end") => pem.truncate(pem.len() / 2),
                _ => {}
            }
            listed.content = Some(pem.into());
        }
        Ok(anchors)
    }

    fn named(&self, name: &str) -> io::Result<&Authority> {
        self.0.get(name).ok_or_else(|| io::Error::other(format!("there is no anchor {name}")))
    }
}

/// Somebody who presents certificates.
struct DemoClient {
    name: &'static str,
    /// The project whose requests it sends; none: it is of the organization's own scope.
    project: Option<&'static str>,
    /// Names and contents of its certificate files.
    files: Vec<(&'static str, Vec<u8>)>,
    /// The file of its issuer.
    issuer: Option<String>,
}

impl DemoClient {
    fn new(name: &'static str, pem: String) -> Self {
        let files = vec![("tls.crt", pem.into())];
        Self { name, project: None, files, issuer: None }
    }

    fn also(mut self, file: &'static str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((file, content.into()));
        self
    }

    fn in_project(self, name: &'static str) -> Self {
        Self { project: Some(name), ..self }
    }

    fn issued_by(self, pem: String) -> Self {
        Self { issuer: Some(pem), ..self }
    }
}

fn clients(anchors: &Anchors, now: UnixSeconds) -> io::Result<Vec<DemoClient>> {
    let days = |from: i64, to: i64| now + from * DAY..now + to * DAY;
    let issued = |anchor: &str, name: &'static str, valid: Range<UnixSeconds>| {
        Ok::<_, io::Error>(DemoClient::new(name, anchors.named(anchor)?.client(name, valid)?))
    };
    let edge = anchors.named(EDGE)?;
    let (eu, us) = (authority("eu-west-1", 5), authority("us-east-1", 5));

    let eu_issuer =
        anchors.named(&eu)?.intermediate("inference eu-west-1 issuing CA", days(-29, 330))?;
    let eu_leaf = eu_issuer.client("inference-eu-west-1", days(-10, 80))?;
    // With its renewal it got a key of which nobody has uploaded the certificate.
    let us_issuer = Authority::root(&us, days(-1, 364))?;

    let mobile_issuer = edge.intermediate("mobile backend issuing CA", days(-200, 165))?;
    let mobile = |pod: &str| mobile_issuer.client(pod, days(-30, 60));

    let portal = edge.leaf("partner-portal", days(-30, 60), |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    })?;
    let crm = edge.leaf("legacy-crm", days(-300, 65), |params| {
        params.use_authority_key_identifier_extension = false;
    })?;
    let runner = anchors.named("ci-runners-2025")?.leaf("ci-laptop", days(-1, 6), |_| {})?;
    let unknown = Authority::root("analytics-2026", days(-20, 345))?;

    Ok(vec![
        // Let in for months.
        issued("edge-gateway-2026", "checkout", days(-9, 81))?.in_project("Checkout"),
        DemoClient::new("inference-eu-west-1", eu_leaf + &eu_issuer.pem)
            .in_project("Inference eu-west-1")
            .issued_by(eu_issuer.pem),
        issued(&us, "inference-us-east-1", days(-20, 70))?
            .in_project("Inference us-east-1")
            .issued_by(us_issuer.pem),
        // Let in until their anchor ends; the second file is in DER.
        issued("support-tools-2026", "support-tools", days(-1, 20))?,
        issued("ci-runners-2025", "ci-runners", days(-1, 6))?
            .also("laptop.crt", runner.der().to_vec()),
        // The intermediate is missing in the second file.
        DemoClient::new("mobile-backend", mobile("mobile-backend-1")? + &mobile_issuer.pem)
            .also("canary.crt", mobile("mobile-backend-2")?),
        // Refused, for a reason each.
        issued(EDGE, "reporting", now - 90 * DAY..now - 5 * HOUR)?,
        issued("data-platform-2027", "data-platform", days(12, 102))?,
        DemoClient::new("partner-portal", portal.pem()),
        DemoClient::new("legacy-crm", crm.pem()),
        issued("webhook-relay-2025", "webhook-relay", days(-20, 10))?,
        issued("edge-gateway-2026", "edge-gateway", days(-2, 88))?,
        DemoClient::new("analytics", unknown.client("analytics", days(-20, 70))?),
    ])
}

/// The files of all clients, removed with this.
pub(super) struct ClientFolder {
    /// The clients as a configuration has them, in TOML.
    pub(super) configuration: String,
    _folder: TempDir,
}

impl ClientFolder {
    pub(super) fn write(anchors: &Anchors, now: UnixSeconds) -> io::Result<Self> {
        let folder = folder()?;
        let mut configuration = String::new();
        for client in clients(anchors, now)? {
            configuration += &write_client(&client, folder.path())?;
        }
        Ok(Self { configuration, _folder: folder })
    }
}

/// In memory where no file can be written, as in most containers.
fn folder() -> io::Result<TempDir> {
    let make = |place: &Path| Builder::new().prefix("openai-cert-exporter-demo-").tempdir_in(place);
    make(&env::temp_dir()).or_else(|error| make(Path::new("/dev/shm")).map_err(|_| error))
}

/// Writes the files of a client, and returns its configuration.
fn write_client(client: &DemoClient, folder: &Path) -> io::Result<String> {
    let folder = folder.join(client.name);
    fs::create_dir(&folder)?;
    for (file, content) in &client.files {
        fs::write(folder.join(file), content)?;
    }
    let pattern = |name: &str| format!("{}/{name}", Pattern::escape(&folder.to_string_lossy()));
    let mut lines = vec![
        "[[clients]]".to_owned(),
        format!("name = {}", json!(client.name)),
        format!("certificate_files = {}", json!(pattern("*.crt"))),
    ];
    lines.extend(client.project.map(|name| format!("projects = {}", json!(format!("^{name}$")))));
    if let Some(pem) = &client.issuer {
        fs::write(folder.join("issuer.pem"), pem)?;
        lines.push(format!("issuer_files = {}", json!(pattern("issuer.pem"))));
    }
    Ok(lines.join("\n") + "\n")
}
