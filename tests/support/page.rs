//! The text format 0.0.4, read strictly: one family after the other, each with help and type, each series once.

use std::collections::{BTreeMap, HashSet};

/// A series and its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

impl Sample {
    pub(crate) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// A valid metrics page.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) text: String,
    pub(crate) samples: Vec<Sample>,
}

impl Page {
    /// Reads a page, or says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let body = text.strip_suffix('\n').ok_or("the last line does not end")?;
        if text.contains('\0') {
            return Err("NUL".into());
        }
        let mut samples = Vec::new();
        let mut series = HashSet::new();
        let mut families = HashSet::new();
        let (mut help, mut family) = (None, None);
        for line in body.split('\n') {
            let fault =
                |what: &str| format!("{what}: {}", line.chars().take(200).collect::<String>());
            if let Some(comment) = line.strip_prefix("# ") {
                let (keyword, rest) =
                    comment.split_once(' ').ok_or_else(|| fault("a comment of one word"))?;
                let (name, text) = rest.split_once(' ').ok_or_else(|| fault("nothing said"))?;
                match keyword {
                    "HELP" if !text.is_empty() && families.insert(name.to_owned()) => {
                        help = Some(name.to_owned());
                    }
                    "TYPE" if help.as_deref() == Some(name) => {
                        family = Some((name.to_owned(), text.to_owned()));
                    }
                    _ => return Err(fault("help or type twice, or not in their order")),
                }
                continue;
            }
            let sample = Parser(line).sample().ok_or_else(|| fault("not a sample"))?;
            let (name, kind) = family.as_ref().ok_or_else(|| fault("no family"))?;
            let suffixes: &[&str] =
                if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            let belongs = sample
                .name
                .strip_prefix(name.as_str())
                .is_some_and(|suffix| suffixes.contains(&suffix));
            if !belongs || help.as_ref() != Some(name) {
                return Err(fault("in another family's place"));
            }
            if (kind == "counter") != name.ends_with("_total") {
                return Err(fault("a counter not named like one, or the other way round"));
            }
            if !series.insert((sample.name.clone(), sample.labels.clone())) {
                return Err(fault("a series twice"));
            }
            samples.push(sample);
        }
        Ok(Self { text: text.into(), samples })
    }

    /// Every series of this name, in the page's order.
    pub(crate) fn series(&self, name: &str) -> Vec<&Sample> {
        self.samples.iter().filter(|sample| sample.name == name).collect()
    }

    /// The values of one label over every series of this name.
    pub(crate) fn labels(&self, name: &str, label: &str) -> Vec<&str> {
        self.series(name).into_iter().map(|sample| sample.label(label)).collect()
    }

    /// The only series of this name with these labels, among others.
    pub(crate) fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self.series(name).into_iter().filter(|sample| {
            labels
                .iter()
                .all(|(label, value)| sample.labels.get(*label).is_some_and(|v| v == value))
        });
        let first = found.next();
        assert!(found.next().is_none(), "{name} {labels:?} is more than one series");
        first.map(|sample| sample.value)
    }

    /// The value of a series without labels, which must be there.
    pub(crate) fn one(&self, name: &str) -> f64 {
        self.find(name, &[]).unwrap_or_else(|| panic!("no {name} in:\n{}", self.text))
    }

    pub(crate) fn polls(&self) -> f64 {
        self.one("openai_cert_exporter_polls_total")
    }

    pub(crate) fn is_up(&self) -> bool {
        self.one("openai_cert_exporter_up") == 1.0
    }

    pub(crate) fn malformed(&self) -> f64 {
        self.one("openai_cert_exporter_malformed_certificates")
    }

    /// A value of the certificate with this identifier.
    pub(crate) fn of(&self, certificate: &str, name: &str) -> Option<f64> {
        self.find(name, &[("certificate_id", certificate)])
    }

    /// Identifiers of the certificates that are shown.
    pub(crate) fn certificates(&self) -> Vec<&str> {
        self.labels("openai_certificate_active", "certificate_id")
    }

    /// How many polls failed for which reasons, of those for which any did.
    pub(crate) fn failures(&self) -> BTreeMap<&str, f64> {
        let all = self.series("openai_cert_exporter_poll_failures_total");
        all.into_iter()
            .filter(|sample| sample.value > 0.0)
            .map(|sample| (sample.label("reason"), sample.value))
            .collect()
    }

    /// Those reasons alone.
    pub(crate) fn reasons(&self) -> Vec<&str> {
        self.failures().into_keys().collect()
    }

    /// All that it says of certificates, but for what changes with every poll and with time.
    pub(crate) fn facts(&self) -> Vec<&str> {
        let changing = [
            "openai_cert_exporter_",
            "openai_certificate_days_until_expiry",
            "openai_mtls_read_timestamp",
            "openai_project_last_success",
        ];
        let is_fact = |line: &&str| {
            line.starts_with("openai_") && !changing.iter().any(|name| line.starts_with(name))
        };
        self.text.lines().filter(is_fact).collect()
    }
}

/// The rest of a line.
struct Parser<'a>(&'a str);

impl Parser<'_> {
    fn sample(mut self) -> Option<Sample> {
        let name = self.name(true)?;
        let mut labels = BTreeMap::new();
        if self.take('{') {
            while !self.take('}') {
                let label = self.name(false)?;
                let value = (self.take('=') && self.take('"')).then(|| self.quoted())??;
                if labels.insert(label, value).is_some() {
                    return None; // a label twice
                }
                if !self.take(',') && !self.0.starts_with('}') {
                    return None;
                }
            }
        }
        // No time stamps: they would stop Prometheus from noticing that a series ended.
        let value = self.take(' ').then_some(self.0)?;
        let number = value.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
        let value = if number || ["NaN", "+Inf", "-Inf"].contains(&value) {
            value.parse().ok()?
        } else {
            return None;
        };
        Some(Sample { name, labels, value })
    }

    fn take(&mut self, expected: char) -> bool {
        match self.0.strip_prefix(expected) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn name(&mut self, colons: bool) -> Option<String> {
        let valid =
            |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || (colons && byte == b':');
        let end = self.0.bytes().position(|byte| !valid(byte)).unwrap_or(self.0.len());
        let (name, rest) = self.0.split_at(end);
        self.0 = rest;
        (!name.is_empty() && !name.starts_with(|first: char| first.is_ascii_digit()))
            .then(|| name.to_owned())
    }

    /// The rest of a label's value, its closing quote included.
    fn quoted(&mut self) -> Option<String> {
        let mut value = String::new();
        let mut characters = self.0.char_indices();
        while let Some((index, character)) = characters.next() {
            match character {
                '"' => {
                    self.0 = &self.0[index + 1..];
                    return Some(value);
                }
                '\\' => value.push(match characters.next()?.1 {
                    'n' => '\n',
                    escaped @ ('\\' | '"') => escaped,
                    _ => return None,
                }),
                other => value.push(other),
            }
        }
        None
    }
}

#[test]
fn page_that_is_not_valid_is_refused() {
    let family = "# HELP a_b Help.\n# TYPE a_b gauge\n";
    let page = Page::parse(&format!("{family}a_b{{x=\"1\\n\\\"\\\\\"}} -1.5\na_b 2e3\n")).unwrap();
    assert_eq!(page.find("a_b", &[("x", "1\n\"\\")]), Some(-1.5));
    assert_eq!(page.samples[1].value, 2000.0);
    for (bad, why) in [
        ("a_b 1", "no end"),
        ("a_b 1\na_b 2\n", "twice"),
        ("a_b{x=\"1\",y=\"2\"} 1\na_b{y=\"2\",x=\"1\"} 1\n", "twice in another order"),
        ("a_b{x=\"1\",x=\"2\"} 1\n", "a label twice"),
        ("a_b{x=\"\\t\"} 1\n", "an escape that there is not"),
        ("a_b{x=\"\n\"} 1\n", "a raw line feed"),
        ("a_b{x=\"\0\"} 1\n", "NUL"),
        ("a_b{x=\"1\"} 1 1700000000\n", "a time stamp"),
        ("a_b one\n", "no number"),
        ("a_c 1\n", "another family"),
        ("a_b 1\n\n", "an empty line"),
        ("a_b 1\n# HELP a_b Help.\n# TYPE a_b gauge\na_b{x=\"1\"} 1\n", "a family in two places"),
    ] {
        assert!(Page::parse(&format!("{family}{bad}")).is_err(), "{why}");
    }
    assert!(Page::parse("a_b 1\n").is_err(), "no type");
}
