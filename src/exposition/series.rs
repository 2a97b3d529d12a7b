//! The series of a metric, row by row, as the text format 0.0.4 has them: byte for byte what the library's encoder writes,
//! without its tree of owned strings. A row is one of the things that the metric has series for.

use std::fmt::Write as _;

use strum::VariantArray as _;

use super::metrics::{Metric, Series};
use crate::clients::{ClientFile, FileKind, Judgement};
use crate::inventory::{Certificate, Project, ProjectList, UnixSeconds};
use crate::poll_state::{FailureReason, PollState};

impl Metric {
    /// Calls `write` with the label values and the value of each series of a row. `None` past the last row.
    pub(super) fn for_each_series(
        &self,
        row: usize,
        state: &PollState,
        now: UnixSeconds,
        mut write: impl FnMut(&[&str], f64),
    ) -> Option<()> {
        let mut write_if_any = |labels: &[&str], value: Option<f64>| {
            if let Some(value) = value {
                write(labels, value);
            }
        };
        let inventory = state.snapshot.as_ref().map(|snapshot| &snapshot.inventory);
        match self.series {
            Series::State(value) => write_if_any(&[], (row == 0).then(|| value(state))?),
            Series::FailureReasons => {
                let mut reasons = FailureReason::VARIANTS.to_vec();
                reasons.sort_by_key(FailureReason::into_str);
                let reason = *reasons.get(row)?;
                write(&[reason.into_str()], state.failures[reason as usize] as f64);
            }
            Series::Certificates(value) | Series::CertificatesNow(value) => {
                let certificate = inventory?.organization().items.get(row)?;
                write_if_any(&of_certificate(certificate), value(certificate, now));
            }
            Series::CertificateUses(value) => {
                let used = inventory?.certificates().get(row)?;
                write(&of_certificate(&used.certificate), value(used));
            }
            Series::Scopes(value) => {
                let (project, scope) = inventory?.scope(row)?;
                write_if_any(&of_scope(project), value(scope, now));
            }
            Series::ScopeReads => {
                let (project, _) = inventory?.scope(row)?;
                write(&of_scope(project), state.snapshot.as_ref()?.read_at(row));
            }
            Series::ProjectCertificates(value) => {
                let ProjectList { project, certificates } = inventory?.projects().get(row)?;
                let [project_id, project_name] = of_project(project);
                for certificate in &certificates.items {
                    let [id, name] = of_certificate(certificate);
                    write(&[project_id, project_name, id, name], value(certificate));
                }
            }
            Series::ProjectReads => {
                let read_at = state.snapshot.as_ref()?.projects_read_at.get(row)?;
                write(&of_project(&inventory?.projects()[row].project), *read_at);
            }
            Series::Clients(value) => {
                let client = state.clients.as_ref()?.clients().get(row)?;
                write(&[&client.name], value(client));
            }
            Series::ClientLeaves(value) => {
                let client = state.clients.as_ref()?.clients().get(row)?;
                for ClientFile { path, chain, .. } in client.certificates() {
                    write(&[&client.name, path], value(chain.valid()) as f64);
                }
            }
            Series::ClientScopes(kind, value) => {
                let Judgement { client, file, project, acceptance, .. } =
                    state.clients.as_ref()?.get(row)?;
                if file.kind == kind {
                    let [scope, id, name] = of_scope(project);
                    let labels = [&*client.name, &file.path, scope, id, name];
                    write_if_any(&labels, value(&acceptance.at(now)));
                }
            }
            Series::ClientRefusals => {
                let Judgement { client, file, project, acceptance, .. } =
                    state.clients.as_ref()?.get(row)?;
                let refusal = acceptance.at(now).refusal;
                if let Some(reason) = refusal.filter(|_| file.kind == FileKind::Certificate) {
                    let [scope, id, name] = of_scope(project);
                    write(&[&client.name, &file.path, scope, id, name, reason.into()], 1.0);
                }
            }
            Series::DependentClients => {
                let clients = state.clients.as_ref().filter(|_| row == 0)?;
                if !clients.clients().is_empty() {
                    for (certificate, count) in clients.dependent_clients(now) {
                        write_if_any(&of_certificate(certificate), count.map(|count| count as f64));
                    }
                }
            }
            Series::Problems => {
                let clients = state.clients.as_ref().filter(|_| row == 0)?;
                for (certificate, problems) in clients.problems() {
                    let [id, name] = of_certificate(certificate);
                    for problem in problems.into_iter().flatten() {
                        write(&[id, name, problem.into()], 1.0);
                    }
                }
            }
        }
        Some(())
    }

    /// Appends what comes before a family's series.
    pub(super) fn write_head(&self, text: &mut String) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# HELP {0} {1}\n# TYPE {0} {2}", self.name, self.help, self.kind);
    }

    pub(super) fn write_series(&self, labels: &[&str], value: f64, text: &mut String) {
        text.push_str(self.name);
        let mut separator = '{';
        for (name, value) in self.series.labels().iter().zip(labels) {
            text.push(separator);
            text.push_str(name);
            text.push_str("=\"");
            push_label(text, value);
            text.push('"');
            separator = ',';
        }
        text.push_str(if labels.is_empty() { " " } else { "} " });
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{value}");
    }
}

fn of_certificate(certificate: &Certificate) -> [&str; 2] {
    [&certificate.id, certificate.name.as_deref().unwrap_or_default()]
}

fn of_project(project: &Project) -> [&str; 2] {
    [&project.id, project.name.as_deref().unwrap_or_default()]
}

fn of_scope(project: Option<&Project>) -> [&str; 3] {
    let [id, name] = project.map(of_project).unwrap_or_default();
    [if project.is_some() { "project" } else { "organization" }, id, name]
}

/// Of a label's value: Prometheus can be set to give up the whole scrape at longer ones.
const MAX_LABEL_BYTES: usize = 512;
const CUT: &str = "…";
const NUL_SHOWN_AS: &str = "\u{fffd}";

/// Appends a label's value, cut between characters where it is too long. No two series become one by that: identifiers,
/// which tell them apart, are never as long.
pub(crate) fn push_label(text: &mut String, value: &str) {
    if value.len() <= MAX_LABEL_BYTES / NUL_SHOWN_AS.len() {
        return push_escaped(text, value);
    }
    let value = value.replace('\0', NUL_SHOWN_AS);
    if value.len() <= MAX_LABEL_BYTES {
        return push_escaped(text, &value);
    }
    let fits = |end: &usize| value.is_char_boundary(*end);
    let end = (0..=MAX_LABEL_BYTES - CUT.len()).rfind(fits).unwrap_or_default();
    push_escaped(text, &value[..end]);
    text.push_str(CUT);
}

/// Appends a label's value. Prometheus gives up the whole scrape at a NUL, for which the format has no escape.
fn push_escaped(text: &mut String, value: &str) {
    let mut rest = value;
    while let Some(position) =
        rest.bytes().position(|byte| matches!(byte, b'\\' | b'"' | b'\n' | b'\0'))
    {
        text.push_str(&rest[..position]);
        text.push_str(match rest.as_bytes()[position] {
            b'\\' => r"\\",
            b'"' => "\\\"",
            b'\n' => r"\n",
            _ => NUL_SHOWN_AS,
        });
        rest = &rest[position + 1..];
    }
    text.push_str(rest);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn label_values_are_escaped(value in "[a-z\\\\\"\n\r\t\u{0}ü🔒]{0,20}") {
            let mut text = String::new();
            push_escaped(&mut text, &value);
            let escaped = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            prop_assert_eq!(text, escaped.replace('\0', "\u{fffd}"));
        }

        #[test]
        fn label_values_are_cut_between_characters(value in "[aü…🔒\u{0}]{100,600}") {
            let mut text = String::new();
            push_label(&mut text, &value);
            let whole = value.replace('\0', "\u{fffd}");
            match text.strip_suffix('…') {
                _ if whole.len() <= 512 => prop_assert_eq!(text, whole),
                Some(begin) => prop_assert!(whole.starts_with(begin) && (509..=512).contains(&text.len())),
                None => prop_assert!(false, "{}", text),
            }
        }
    }
}
