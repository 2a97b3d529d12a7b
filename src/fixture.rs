//! What unit tests build their inventories from.

use std::ops::Range;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair,
};
use regex::Regex;
use time::OffsetDateTime;

use crate::inventory::{
    Certificate, Inventory, Listing, Lists, Malformed, Project, ProjectFaults, ProjectList,
    RotationGroup, Snapshot, UnixSeconds,
};

/// The moment of tests that need one: 15 January, 08:00 UTC.
pub(crate) const NOW: UnixSeconds = 1_800_000_000;
pub(crate) const DAY: UnixSeconds = 86_400;

/// An active certificate without a name and without dates.
pub(crate) fn certificate(id: &str) -> Certificate {
    Certificate {
        id: id.into(),
        name: None,
        active: true,
        created_at: None,
        valid_at: None,
        expires_at: None,
        expires_at_from_pem: false,
        has_unreadable_date: false,
    }
}

impl Certificate {
    pub(crate) fn named(self, name: &str) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    pub(crate) fn inactive(self) -> Self {
        Self { active: false, ..self }
    }

    /// Valid from and to these days, counted from [`NOW`].
    pub(crate) fn valid(self, days: Range<i64>) -> Self {
        self.dated(Some(NOW + days.start * DAY), Some(NOW + days.end * DAY))
    }

    pub(crate) fn dated(
        self,
        valid_at: Option<UnixSeconds>,
        expires_at: Option<UnixSeconds>,
    ) -> Self {
        Self { valid_at, expires_at, ..self }
    }
}

pub(crate) fn list(certificates: Vec<Certificate>) -> Listing<Certificate> {
    Listing::new(certificates, Malformed::default())
}

/// The organization's list, then those of the projects `proj_0`, `proj_1`, …
pub(crate) fn lists(read: &[Vec<Certificate>]) -> Lists {
    let project = |(number, read): (usize, &Vec<Certificate>)| ProjectList {
        project: Project { id: format!("proj_{number}").into(), name: None, archived: false },
        certificates: Arc::new(list(read.clone())),
    };
    let mut projects: Vec<_> = read[1..].iter().enumerate().map(project).collect();
    projects.sort_by(|a, b| a.project.id.cmp(&b.project.id));
    Lists {
        organization: Arc::new(list(read[0].clone())),
        projects,
        unread: Vec::new(),
        project_faults: ProjectFaults::default(),
    }
}

/// A root authority, in PEM, and how it issues certificates for client authentication: to these days, counted from
/// [`NOW`].
pub(crate) fn authority(name: &str) -> (String, impl Fn(i64) -> String) {
    let params = |name: &str, days: i64| {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let instant = |days| OffsetDateTime::from_unix_timestamp(NOW + days * DAY).unwrap();
        (params.not_before, params.not_after) = (instant(-365), instant(days));
        params
    };
    let (key, mut root) = (KeyPair::generate().unwrap(), params(name, 3_650));
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = root.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(root, key);
    let issue = move |days| {
        let mut leaf = params("client", days);
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        leaf.use_authority_key_identifier_extension = true;
        leaf.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().pem()
    };
    (pem, issue)
}

pub(crate) fn group(pattern: &str) -> RotationGroup {
    RotationGroup::new(Regex::new(pattern).unwrap())
}

/// All lists read at [`NOW`]; names are `authority-generation`.
pub(crate) fn snapshot(read: &[Vec<Certificate>]) -> Arc<Snapshot> {
    let inventory = Inventory::new_or_unchanged(None, lists(read), &group("^([a-z]+)-"));
    Arc::new(Snapshot {
        projects_read_at: vec![NOW as f64; read.len() - 1],
        organization_read_at: NOW as f64,
        projects_listed_at: Some(NOW as f64),
        inventory,
    })
}
