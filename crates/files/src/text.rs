//! Writes paths as text that can be read back, in TOML, in JSON, and in commands to copy.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::is_plain;

/// Writes a path or an argument as text. A byte that is not UTF-8 is written as `\xNN`; [`from_text`] restores the path. (A name that
/// contains the four characters `\xe9` is written as `\x5cxe9`.)
///
/// # Examples
/// ```
/// # use injerto_files::to_text;
/// assert_eq!(to_text("photos/café".as_ref()), "photos/café");
/// ```
pub fn to_text(path: &OsStr) -> Cow<'_, str> {
    match path.to_str() {
        Some(text) if !cfg!(unix) || !text.contains("\\x") => text.into(),
        None if !cfg!(unix) => path.to_string_lossy(),
        _ => escaped(path.as_encoded_bytes()).into(),
    }
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(at) = rest.find('\\') {
            text.push_str(&rest[..at]);
            text.push_str(if byte(&rest[at..]).is_some() { "\\x5c" } else { "\\" });
            rest = &rest[at + 1..];
        }
        text.push_str(rest);
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// The byte of an escape `\xNN` at the beginning of `text`, if it is not ASCII or if it is the backslash.
fn byte(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("\\x")?.get(..2)?;
    let lower = |digit: char| matches!(digit, '0'..='9' | 'a'..='f');
    let value = u8::from_str_radix(digits, 16).ok().filter(|_| digits.chars().all(lower))?;
    (value >= 0x80 || value == b'\\').then_some(value)
}

/// The path that [`to_text`] wrote.
pub fn from_text(text: &str) -> PathBuf {
    if !cfg!(unix) || !text.contains("\\x") {
        return text.into();
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let (value, length) = byte(&rest[at..]).map_or((b'\\', 1), |value| (value, 4));
        bytes.push(value);
        rest = &rest[at + length..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    of_bytes(bytes).into()
}

#[cfg(unix)]
fn of_bytes(bytes: Vec<u8>) -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes)
}

#[cfg(not(unix))]
fn of_bytes(bytes: Vec<u8>) -> OsString {
    String::from_utf8_lossy(&bytes).into_owned().into()
}

/// Writes a path as one word of a command that a user may copy into a shell. The word is quoted if the shell would otherwise read
/// it differently, and it is never an option.
pub fn shell_word(path: &Path) -> String {
    let text = path.to_str();
    let leading = if path.as_os_str().as_encoded_bytes().starts_with(b"-") { "./" } else { "" };
    let harmless = |c: char| c.is_alphanumeric() || "_@%+=:,./-".contains(c) || (cfg!(windows) && c == '\\');
    match text {
        Some(text) if !text.is_empty() && text.chars().all(harmless) => format!("{leading}{text}"),
        Some(text) if cfg!(windows) => format!("\"{text}\""),
        Some(text) if text.chars().all(is_plain) => format!("'{leading}{}'", text.replace('\'', r"'\''")),
        // Bytes that cannot be typed are written by `printf`, which every POSIX system has.
        _ => format!("\"$(printf '{leading}{}')\"", printf(path.as_os_str().as_encoded_bytes())),
    }
}

/// The format with which `printf` writes these bytes.
fn printf(bytes: &[u8]) -> String {
    let mut format = String::new();
    for &byte in bytes {
        match byte {
            b'%' => format.push_str("%%"),
            b'\\' | b'\'' | ..=0x1f | 0x7f.. => {
                let _ = write!(format, "\\{byte:03o}");
            }
            _ => format.push(char::from(byte)),
        }
    }
    format
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

    use super::*;

    #[test]
    fn a_path_is_restored_from_its_text() {
        let check = |bytes: &[u8], expected: &str| {
            let path = OsStr::from_bytes(bytes);
            assert_eq!(to_text(path), expected);
            assert_eq!(from_text(expected).as_os_str(), path);
        };
        check("café 猫".as_bytes(), "café 猫");
        check(b"ni\xf1o/\xe9.jpg", r"ni\xf1o/\xe9.jpg");
        check(br"a\b", r"a\b");
        check(br"as typed \xe9", r"as typed \x5cxe9");
        check(br"\x5c", r"\x5cx5c");
        check(br"\x41 \xE9 \x", r"\x41 \xE9 \x");
        check(b"\\\xff", r"\\xff");
        check(b"", "");
    }

    #[test]
    fn a_shell_reads_the_word_as_the_path() {
        let check = |bytes: &[u8], expected: Option<&str>| {
            let path = Path::new(OsStr::from_bytes(bytes));
            let word = shell_word(path);
            assert!(word.chars().all(is_plain), "{word:?}");
            expected.into_iter().for_each(|expected| assert_eq!(word, expected));
            let said = std::process::Command::new("sh").args(["-c", &format!("printf '%s' {word}")]).output();
            let said = OsString::from_vec(said.expect("there is a shell").stdout);
            assert_eq!(said.as_bytes().strip_prefix(b"./").unwrap_or(said.as_bytes()), bytes, "{word}");
        };
        check(b"runs/cats-20260101", Some("runs/cats-20260101"));
        check("café".as_bytes(), Some("café"));
        check(b"my runs/x 1", Some("'my runs/x 1'"));
        check(b"it's $HOME `id` \"q\" \\", Some(r#"'it'\''s $HOME `id` "q" \'"#));
        check(b"-rf", Some("./-rf"));
        check(b"- f", Some("'./- f'"));
        check(b"", Some("''"));
        check(b"caf\xe9 100%", Some(r#""$(printf 'caf\351 100%%')""#));
        check("a\u{1b}]0;x\u{7}\u{202e}'b\\".as_bytes(), None);
        check(b"~", Some("'~'"));
        check(b"a;b&c|d*e?[f]#g", None);
    }
}
