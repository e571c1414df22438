use std::fmt::{self, Write as _};
use std::path::Path;

/// A name or a text that is fit for a terminal. Characters that would move the cursor, change colours or reverse the reading
/// direction are printed as escapes (`\u{1b}`, `\n`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Printable<'t>(std::borrow::Cow<'t, str>);

/// Makes `text` fit for one line of a terminal.
pub fn printable(text: &str) -> Printable<'_> {
    Printable(text.into())
}

/// Makes `path` fit for one line of a terminal. A byte that is not UTF-8 becomes `\xNN`.
pub fn shown(path: &Path) -> Printable<'_> {
    match path.to_str() {
        Some(text) => printable(text),
        None => Printable(lossless(path).into()),
    }
}

/// The path with `\xNN` for each byte that is not UTF-8, so that different names never look alike.
fn lossless(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").expect("a string takes everything");
        }
    }
    text
}

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| if is_plain(c) { f.write_char(c) } else { write!(f, "{}", c.escape_default()) })
    }
}

/// Whether a terminal only prints this character. This is false for control characters, for the marks that change the reading
/// direction (Unicode's Bidi_Control), and for line and paragraph separators.
pub fn is_plain(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !turns && !matches!(c, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_reach_the_terminal_as_characters_only() {
        let check = |name: &str, expected: &str| assert_eq!(printable(name).to_string(), expected);
        check("café 猫.jpg", "café 猫.jpg");
        check("a\u{1b}]0;owned\u{7}a", "a\\u{1b}]0;owned\\u{7}a");
        check("two\nlines\t", "two\\nlines\\t");
        check("\u{9b}31m", "\\u{9b}31m");
        check("photo\u{202e}gpj.exe", "photo\\u{202e}gpj.exe");
    }

    #[cfg(unix)]
    #[test]
    fn different_paths_that_are_not_utf_8_look_different() {
        use std::os::unix::ffi::OsStrExt as _;
        let path = |bytes: &[u8]| shown(Path::new(std::ffi::OsStr::from_bytes(bytes))).to_string();
        assert_eq!(path(b"ni\xf1o/a.jpg"), "ni\\xf1o/a.jpg");
        assert_ne!(path(b"\xe9.jpg"), path(b"\xe8.jpg"));
    }
}
