//! The page for the textfile collector of the node exporter.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use super::CheckError;
use crate::cli::{Format, Report};
use crate::exposition::{self, Exposition, ExpositionError};
use crate::poll_state::PollState;
use crate::regular_file;

/// More than the page of any organization.
const MAX_KIB: u64 = 64 << 10;

/// The labels of `--label` as the page has them, a comma after each.
pub(super) fn constant_labels(report: &Report) -> Result<String, CheckError> {
    if report.output != Format::Prometheus && !report.labels.is_empty() {
        return Err(CheckError::LabelWithoutSeries);
    }
    let mut names: Vec<&str> = exposition::label_names().collect();
    let mut labels = String::new();
    for label in &report.labels {
        let (name, value) = label.split_once('=').ok_or(CheckError::Label)?;
        let is_of_a_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
        let is_name = !name.is_empty()
            && name.chars().all(is_of_a_name)
            && !name.starts_with(|char: char| char.is_ascii_digit())
            && !name.starts_with("__");
        if !is_name || names.contains(&name) || value.contains(char::is_control) {
            return Err(CheckError::Label);
        }
        names.push(name);
        labels.extend([name, "=\""]);
        exposition::push_label(&mut labels, value);
        labels.push_str("\",");
    }
    Ok(labels)
}

/// What a poll has read. If it has failed, what the file says that holds without it is kept.
pub(super) fn page(
    state: &Arc<PollState>,
    file: Option<&Path>,
    labels: &str,
    now: f64,
) -> Result<String, ExpositionError> {
    let page: String = Exposition::of_state_only().text(state, now)?.collect();
    let earlier = file.and_then(|file| regular_file::read(file, MAX_KIB).ok());
    let earlier = earlier.and_then(|earlier| String::from_utf8(earlier).ok()).unwrap_or_default();
    let facts = exposition::facts(&earlier, labels, state, now);
    Ok(joined(&with_labels(&page, labels), &facts))
}

/// Two pages as one, on which the series of each family stand together. A series of both has its value on the page.
fn joined(page: &str, facts: &str) -> String {
    let on_page: HashSet<_> = page.lines().map(series).collect();
    let mut families: Vec<(&str, String)> = Vec::new();
    for family in split(page).chain(split(facts)) {
        let name = family.split(' ').nth(2).unwrap_or_default();
        match families.iter_mut().find(|(other, _)| *other == name) {
            Some((_, there)) => {
                let lines = family.split_inclusive('\n').filter(|line| !line.starts_with('#'));
                there.extend(lines.filter(|line| !on_page.contains(series(line))));
            }
            None => families.push((name, family.to_owned())),
        }
    }
    families.into_iter().map(|(_, family)| family).collect()
}

/// A line without its value.
fn series(line: &str) -> &str {
    line.rsplit_once(' ').map_or(line, |(series, _)| series)
}

/// The families of a page, each with its head.
fn split(page: &str) -> impl Iterator<Item = &str> {
    let begins = page.match_indices("# HELP ").map(|(begin, _)| begin);
    let begins: Vec<_> =
        begins.filter(|begin| *begin == 0 || page[..*begin].ends_with('\n')).collect();
    let ends: Vec<_> = begins.iter().skip(1).copied().chain([page.len()]).collect();
    begins.into_iter().zip(ends).map(|(begin, end)| &page[begin..end])
}

fn with_labels(page: &str, labels: &str) -> String {
    let Some(last) = labels.strip_suffix(',') else { return page.to_owned() };
    let labelled = page.lines().map(|line| match line.find(['{', ' ']) {
        _ if line.starts_with('#') => format!("{line}\n"),
        Some(end) if line[end..].starts_with('{') => {
            format!("{}{{{labels}{}\n", &line[..end], &line[end + 1..])
        }
        end => {
            let (name, value) = line.split_at(end.unwrap_or(line.len()));
            format!("{name}{{{last}}}{value}\n")
        }
    });
    labelled.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(labels: &[&str]) -> Option<String> {
        let labels = labels.iter().map(ToString::to_string).collect();
        let report = Report { output: Format::Prometheus, output_file: None, labels };
        constant_labels(&report).ok()
    }

    #[test]
    fn labels_are_those_that_every_series_can_have() {
        for (given, expected) in [
            (&[][..], Some("")),
            (&["organization=acme"], Some("organization=\"acme\",")),
            (&["a=1", "_b="], Some("a=\"1\",_b=\"\",")),
            (&["a=\"=\\é"], Some("a=\"\\\"=\\\\é\",")),
            (&["acme"], None),
            (&["=acme"], None),
            (&["1a=acme"], None),
            (&["__a=acme"], None),
            (&["a-b=acme"], None),
            (&["a=acme", "a=b"], None),
            (&["certificate_id=acme"], None),
            (&["reason=acme"], None),
            (&["a=two\nlines"], None),
        ] {
            assert_eq!(labels(given).as_deref(), expected, "{given:?}");
        }
    }

    #[test]
    fn series_of_a_family_stand_together() {
        let (a, b) = ("# HELP a A # HELP b.\n# TYPE a gauge\n", "# HELP b B.\n# TYPE b gauge\n");
        assert_eq!(
            joined(&format!("{a}a 1\n{b}b 1\n"), &format!("{a}a{{x=\"1\"}} 2\n")),
            format!("{a}a 1\na{{x=\"1\"}} 2\n{b}b 1\n")
        );
        assert_eq!(joined(&format!("{a}a 1\n"), &format!("{b}b 1\n")), format!("{a}a 1\n{b}b 1\n"));
        assert_eq!(joined(&format!("{a}a 1\n"), &format!("{a}a 2\n")), format!("{a}a 1\n"));
        assert_eq!(joined("", ""), "");
    }

    #[test]
    fn each_series_begins_with_the_labels() {
        let page = "# HELP up Up {}.\nup 1\ncertificate{id=\"a {b\"} 2\n";
        assert_eq!(with_labels(page, ""), page);
        assert_eq!(
            with_labels(page, "a=\"1\",b=\"2\","),
            "# HELP up Up {}.\nup{a=\"1\",b=\"2\"} 1\ncertificate{a=\"1\",b=\"2\",id=\"a {b\"} 2\n"
        );
    }
}
