//! The metrics of certificates, projects and scopes: as many series as there are of those, written straight as text.

use std::fmt::Write as _;

use super::deflate::LineCompressor;
use super::text::{push_label_value, push_number};
use crate::inventory::{Certificate, Project, ProjectCertificates, Scope, Snapshot, UnixSeconds, days_until};

/// A gauge family, and what each of its series says.
#[derive(Clone, Copy)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) rows: Rows,
}

/// What a family has a series for, and the value of one; `None` where it has none.
#[derive(Clone, Copy)]
pub(super) enum Rows {
    /// The organization's certificates.
    Certificates(fn(&Certificate) -> Option<f64>),
    /// The same; the value moves with time, in seconds since the epoch.
    Moving(fn(&Certificate, f64) -> Option<f64>),
    /// Every certificate of any list, with what supersedes it.
    Known(fn(Option<&Certificate>) -> f64),
    /// Every scope, at a whole second.
    Scopes(fn(&Scope, UnixSeconds) -> Option<f64>),
    /// The certificates of each project.
    ProjectCertificates(fn(&Certificate) -> f64),
    /// The projects.
    Projects(fn(&ProjectCertificates) -> f64),
}

/// Families that stand side by side in the page, and change at the same times.
pub(super) type Group = &'static [Family];

/// Change only with the snapshot.
pub(super) const CERTIFICATES_BEFORE_DAYS: Group = &[
    Family {
        name: "openai_certificate_active",
        help: "Whether the certificate is active at the organization: 1 or 0.",
        rows: Rows::Certificates(|certificate| Some(flag(certificate.active))),
    },
    Family {
        name: "openai_certificate_created_timestamp_seconds",
        help: "When the certificate was uploaded, as a Unix time; absent where the API gives no date.",
        rows: Rows::Certificates(|certificate| Some(certificate.created_at? as f64)),
    },
];

/// Changes all the time.
pub(super) const DAYS: Family = Family {
    name: "openai_certificate_days_until_expiry",
    help: "Days from now until the certificate expires, negative once it has; absent where the API gives no date.",
    rows: Rows::Moving(|certificate, now| Some(days_until(certificate.expires_at?, now))),
};

/// Change only with the snapshot.
pub(super) const CERTIFICATES_AFTER_DAYS: Group = &[
    Family {
        name: "openai_certificate_not_after_timestamp_seconds",
        help: "When the certificate expires, as a Unix time; absent where the API gives no date.",
        rows: Rows::Certificates(|certificate| Some(certificate.expires_at? as f64)),
    },
    Family {
        name: "openai_certificate_not_before_timestamp_seconds",
        help: "When the certificate becomes valid, as a Unix time; absent where the API gives no date.",
        rows: Rows::Certificates(|certificate| Some(certificate.valid_at? as f64)),
    },
    Family {
        name: "openai_certificate_superseded",
        help: "Whether another certificate of the same rotation group has taken over wherever this one is active: 1 or 0.",
        rows: Rows::Known(|successor| flag(successor.is_some())),
    },
];

/// Change with the snapshot, and when a certificate begins or ends.
pub(super) const SCOPES: Group = &[
    Family {
        name: "openai_mtls_active_certificates",
        help: "Certificates that are active in the scope and valid now.",
        rows: Rows::Scopes(|scope, now| Some(scope.valid(now) as f64)),
    },
    Family {
        name: "openai_mtls_enforced",
        help: "Whether any certificate is active in the scope, valid or not, so that mutual TLS is enforced there: 1 or 0.",
        rows: Rows::Scopes(|scope, _| Some(flag(scope.is_enforced()))),
    },
    Family {
        name: "openai_mtls_runway_end_timestamp_seconds",
        help: "The first instant from now on at which no active certificate of the scope is valid, as a Unix time; where none \
               is valid now, when the last one ended; absent where none has been valid yet.",
        rows: Rows::Scopes(|scope, now| Some(scope.runway_end(now)? as f64)),
    },
    Family {
        name: "openai_mtls_unknown_expiry_certificates",
        help: "Certificates that are active in the scope and whose expiry the API does not give; the runway leaves them out.",
        rows: Rows::Scopes(|scope, _| Some(scope.of_unknown_expiry() as f64)),
    },
];

/// Change only with the snapshot.
pub(super) const PROJECTS: Group = &[
    Family {
        name: "openai_project_certificate_active",
        help: "Whether the certificate is active at the project: 1 or 0.",
        rows: Rows::ProjectCertificates(|certificate| flag(certificate.active)),
    },
    Family {
        name: "openai_project_last_success_timestamp_seconds",
        help: "When the project's certificates were last read whole, as a Unix time.",
        rows: Rows::Projects(|project| project.read_at),
    },
];

/// Every group, in the order of the page.
pub(super) const GROUPS: [Group; 5] = [CERTIFICATES_BEFORE_DAYS, &[DAYS], CERTIFICATES_AFTER_DAYS, SCOPES, PROJECTS];

pub(super) fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

/// The whole second that has begun: validity changes on whole ones.
#[expect(clippy::cast_possible_truncation, reason = "no clock comes near the bounds")]
pub(super) fn second(now: f64) -> UnixSeconds {
    now.floor() as UnixSeconds
}

impl Rows {
    /// How many there are.
    pub(super) fn count(self, snapshot: &Snapshot) -> usize {
        match self {
            Self::Certificates(_) | Self::Moving(_) => snapshot.organization().items.len(),
            Self::Known(_) => snapshot.certificate_count(),
            Self::Scopes(_) => 1 + snapshot.projects().items.len(),
            Self::ProjectCertificates(_) | Self::Projects(_) => snapshot.projects().items.len(),
        }
    }
}

impl Family {
    /// Appends what stands before the series.
    pub(super) fn write_head(&self, out: &mut String) {
        // Writing to a string cannot fail. No help text has a character that would have to be escaped.
        let _ = writeln!(out, "# HELP {0} {1}\n# TYPE {0} gauge", self.name, self.help);
    }

    /// Whether there are series at all: a family without any is left out.
    pub(super) fn is_empty(&self, snapshot: &Snapshot, now: f64) -> bool {
        let mut series = String::new();
        (0..self.rows.count(snapshot)).all(|row| {
            self.write_row(snapshot, row, now, &mut series);
            series.is_empty()
        })
    }

    /// Appends the series of one row, which may be none.
    pub(super) fn write_row(&self, snapshot: &Snapshot, row: usize, now: f64, out: &mut String) {
        match self.rows {
            Rows::Certificates(value) => {
                let certificate = &snapshot.organization().items[row];
                self.write(out, value(certificate), |out| push_certificate(out, certificate));
            }
            Rows::Moving(value) => {
                let certificate = &snapshot.organization().items[row];
                self.write(out, value(certificate, now), |out| push_certificate(out, certificate));
            }
            Rows::Known(value) => {
                let (certificate, successor) = snapshot.certificate(row);
                self.write(out, Some(value(successor)), |out| push_certificate(out, certificate));
            }
            Rows::Scopes(value) => {
                let (project, scope) = match row {
                    0 => (None, snapshot.scope()),
                    project => {
                        (Some(&snapshot.projects().items[project - 1].project), snapshot.project_scope(project - 1))
                    }
                };
                self.write(out, value(scope, second(now)), |out| push_scope(out, project));
            }
            Rows::ProjectCertificates(value) => {
                let read = &snapshot.projects().items[row];
                for certificate in &read.certificates.items {
                    self.write(out, Some(value(certificate)), |out| {
                        push_project(out, &read.project);
                        out.push(',');
                        push_certificate(out, certificate);
                    });
                }
            }
            Rows::Projects(value) => {
                let read = &snapshot.projects().items[row];
                self.write(out, Some(value(read)), |out| push_project(out, &read.project));
            }
        }
    }

    fn write(&self, out: &mut String, value: Option<f64>, labels: impl FnOnce(&mut String)) {
        let Some(value) = value else { return };
        out.push_str(self.name);
        out.push('{');
        labels(out);
        out.push_str("} ");
        push_number(out, value);
        out.push('\n');
    }
}

/// Appends a series of [`DAYS`], in the parts that its compression goes by. `elsewhere` is where its labels stand already.
pub(super) fn write_days(lines: &mut LineCompressor, certificate: &Certificate, days: f64, elsewhere: Option<usize>) {
    lines.part(None, |out| {
        out.push_str(DAYS.name);
        out.push('{');
    });
    let mut length = 0;
    lines.part(elsewhere, |out| {
        let start = out.len();
        push_label(out, "certificate_id", &certificate.id);
        length = out.len() - start;
    });
    lines.part(elsewhere.map(|position| position + length), |out| {
        out.push(',');
        push_label(out, "certificate_name", certificate.name.as_deref().unwrap_or_default());
        out.push_str("} ");
    });
    lines.value(|out| {
        push_number(out, days);
        out.push('\n');
    });
}

fn push_certificate(out: &mut String, certificate: &Certificate) {
    push_label(out, "certificate_id", &certificate.id);
    out.push(',');
    push_label(out, "certificate_name", certificate.name.as_deref().unwrap_or_default());
}

fn push_project(out: &mut String, project: &Project) {
    push_label(out, "project_id", &project.id);
    out.push(',');
    push_label(out, "project_name", project.name.as_deref().unwrap_or_default());
}

fn push_scope(out: &mut String, project: Option<&Project>) {
    match project {
        None => out.push_str("scope=\"organization\",project_id=\"\",project_name=\"\""),
        Some(project) => {
            out.push_str("scope=\"project\",");
            push_project(out, project);
        }
    }
}

/// Prometheus gives up the whole scrape at a NUL, for which the format has no escape.
fn push_label(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push_str("=\"");
    if value.contains('\0') {
        push_label_value(out, &value.replace('\0', "\u{fffd}"));
    } else {
        push_label_value(out, value);
    }
    out.push('"');
}
