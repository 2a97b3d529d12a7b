//! The admin key: where it comes from, and what it may be.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};

use crate::blocking::{IO_TIMEOUT, wait_for};
use crate::regular_file;

/// An admin key file larger than this is none.
const MAX_FILE_KIB: u64 = 64;

#[derive(Clone, Debug)]
pub enum Credentials {
    Key(SecretString),
    /// A file, read again for every poll.
    File(PathBuf),
}

impl Credentials {
    /// The key as it is now, trimmed, or for people why there is none. Blocks if it is in a file.
    pub fn read(&self) -> Result<SecretString, String> {
        match self {
            Self::Key(key) => usable("the admin key", key.expose_secret()),
            Self::File(path) => {
                let content = regular_file::read(path, MAX_FILE_KIB).map(Zeroizing::new);
                let content = content.map_err(|error| Self::unreadable(path, &error))?;
                let text = str::from_utf8(&content);
                let text = text.map_err(|_| Self::unreadable(path, &"it is not UTF-8"))?;
                usable(&format!("the admin key file {}", path.display()), text)
            }
        }
    }

    /// The same, unless the file takes too long.
    pub(super) fn read_in_time(&self) -> Result<SecretString, String> {
        let Self::File(path) = self else { return self.read() };
        let credentials = self.clone();
        let read = wait_for(IO_TIMEOUT, move || credentials.read());
        read.unwrap_or_else(|error| Err(Self::unreadable(path, &error)))
    }

    /// What messages say of a file that cannot be read.
    pub(crate) fn unreadable(path: &Path, error: &impl Display) -> String {
        format!("the admin key file {} cannot be read: {error}", path.display())
    }
}

/// The key in a text, or what is wrong with it.
fn usable(place: &str, text: &str) -> Result<SecretString, String> {
    // Some editors begin a file with a byte order mark.
    let key = text.trim_start_matches('\u{feff}').trim();
    match fault(key) {
        Some(fault) => Err(format!("{place} {fault}")),
        None => Ok(key.into()),
    }
}

/// What no admin key has, and how it may have come there.
fn fault(key: &str) -> Option<&'static str> {
    let has = |chars: &[char]| key.contains(chars);
    let begins = |word: &str| key.get(..word.len()).is_some_and(|it| it.eq_ignore_ascii_case(word));
    let faults = [
        (key.is_empty(), "is empty"),
        (key.contains("-----BEGIN"), "holds PEM, not an admin key"),
        (
            begins("bearer "),
            "begins with \"Bearer\", which is added to it anyway; give the key alone",
        ),
        (
            begins("authorization:"),
            "begins with \"Authorization:\", which is added to it anyway; give the key alone",
        ),
        (
            has(&['"', '\'', '`']),
            "has a quotation mark, which is taken for a part of it; give the key alone",
        ),
        (
            has(&['=']),
            "has an equals sign: the name of a variable may stand before it; give the key alone",
        ),
        (
            has(&['$', '{', '}']),
            "has a $ or a brace: it seems that a variable was to be replaced, and was not",
        ),
        (
            has(&['<', '>']),
            "has an angle bracket: it seems that the key was to be put there, and was not",
        ),
        (has(&['*']), "has an asterisk: a masked key was copied, not the key itself"),
        (has(&['\\']), "has a backslash, such as that of a line break that was written as \\n"),
        (key.ends_with([',', ';']), "ends with a comma or semicolon; give the key alone"),
        (
            key.starts_with('~') || ["/", "./", "../"].iter().any(|it| key.starts_with(it)),
            "looks like the path of a file, which belongs in api.admin_key_file",
        ),
        (key.contains(char::is_whitespace), "has a blank or a line break in the middle"),
        (
            !key.bytes().all(|byte| byte.is_ascii_graphic()),
            "has a character that an HTTP header cannot carry",
        ),
    ];
    faults.into_iter().find(|(holds, _)| *holds).map(|(_, fault)| fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_key_can_be_is_named_and_not_repeated() {
        let read = |text: &str| Credentials::Key(text.into()).read();
        for key in ["sk-admin-PLANTED", "12345", "007", "true", "1.5", "[1]", "a:b/c+d", " \tk\r\n"]
        {
            assert_eq!(read(key).unwrap().expose_secret(), key.trim());
        }
        assert_eq!(
            read("\u{feff} sk-admin-PLANTED\n").unwrap().expose_secret(),
            "sk-admin-PLANTED"
        );
        for (key, fault) in [
            ("", "is empty"),
            (" \t\n", "is empty"),
            ("\"sk-admin-PLANTED\"", "quotation mark"),
            ("'sk-admin-PLANTED'\n", "quotation mark"),
            ("sk-admin-PLANTED`", "quotation mark"),
            ("Bearer sk-admin-PLANTED", "Bearer"),
            ("bearer  sk-admin-PLANTED", "Bearer"),
            ("OPENAI_ADMIN_KEY=sk-admin-PLANTED", "equals sign"),
            ("export KEY=\"sk-admin-PLANTED\"", "quotation mark"),
            ("${OPENAI_ADMIN_KEY}", "a variable was to be replaced"),
            ("$PLANTED", "a variable was to be replaced"),
            ("{{ PLANTED }}", "a variable was to be replaced"),
            ("<PLANTED>", "angle bracket"),
            ("sk-admin PLANTED", "a blank or a line break"),
            ("sk-admin-PLANTED\nsk-admin-PLANTED", "a blank or a line break"),
            ("-----BEGIN PLANTED-----", "PEM"),
            ("naïve", "HTTP header"),
            ("sk-admin\u{feff}PLANTED", "HTTP header"),
            ("Authorization:sk-admin-PLANTED", "Authorization:"),
            ("authorization: Bearer sk-admin-PLANTED", "Authorization:"),
            ("sk-admin-PLANTED,", "comma or semicolon"),
            ("sk-admin-PLANTED;\n", "comma or semicolon"),
            ("sk-admin-PLANTED\\n", "backslash"),
            ("sk-****PLANTED", "asterisk"),
            ("/run/secrets/PLANTED", "api.admin_key_file"),
            ("./PLANTED", "api.admin_key_file"),
            ("../PLANTED", "api.admin_key_file"),
            ("~/PLANTED", "api.admin_key_file"),
            ("bell\u{7}", "HTTP header"),
        ] {
            let message = read(key).unwrap_err();
            assert!(message.starts_with("the admin key ") && message.contains(fault), "{message}");
            assert!(!message.contains("PLANTED"), "{message}");
        }
    }
}
