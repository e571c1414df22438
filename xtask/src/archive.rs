//! Archives in the format `ustar` that are equal whenever their contents are: in order, with one time and one owner.

use std::io::{Error, Result, Write};

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path in the archive, with `/` between its parts.
    pub path: String,
    /// Whether the file is a program or a library.
    pub is_executable: bool,
    /// Its contents.
    pub bytes: Vec<u8>,
}

/// Writes the files in the order of their paths, all with the time `time` (seconds since 1970) and owned by nobody in particular.
///
/// # Errors
/// A path is too long for the format, or `out` cannot be written.
pub fn write(out: &mut impl Write, mut entries: Vec<Entry>, time: u64) -> Result<()> {
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    for entry in &entries {
        out.write_all(&header(entry, time)?)?;
        out.write_all(&entry.bytes)?;
        out.write_all(&vec![0; entry.bytes.len().next_multiple_of(BLOCK) - entry.bytes.len()])?;
    }
    out.write_all(&[0; 2 * BLOCK])
}

const BLOCK: usize = 512;

fn header(entry: &Entry, time: u64) -> Result<[u8; BLOCK]> {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    let (prefix, name) = split(&entry.path).ok_or_else(|| Error::other(format!("{}: too long a path", entry.path)))?;
    put(0, name.as_bytes());
    put(100, if entry.is_executable { b"0000755\0" } else { b"0000644\0" });
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", entry.bytes.len()).as_bytes());
    put(136, format!("{time:011o}\0").as_bytes());
    // While the sum is computed, its field holds spaces.
    put(148, &[b' '; 8]);
    put(156, b"0");
    put(257, b"ustar\x0000");
    put(265, b"root");
    put(297, b"root");
    put(345, prefix.as_bytes());
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(header)
}

/// Splits a path where the format has two fields for it, of 155 and 100 bytes.
fn split(path: &str) -> Option<(&str, &str)> {
    if path.len() <= 100 {
        return Some(("", path));
    }
    let borders = path.match_indices('/').map(|(at, _)| (&path[..at], &path[at + 1..]));
    borders.into_iter().find(|(prefix, name)| prefix.len() <= 155 && name.len() <= 100)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn entry(path: &str, is_executable: bool, bytes: &[u8]) -> Entry {
        Entry { path: path.to_owned(), is_executable, bytes: bytes.to_vec() }
    }

    #[test]
    fn tar_lists_what_was_written_in_order_with_one_time_and_owner() {
        let long = format!("{}/b", "a".repeat(120));
        let entries =
            vec![entry("z.txt", false, b"12345"), entry("bin/run", true, &[7; 600]), entry(&long, false, b"")];
        let mut archive = Vec::new();
        write(&mut archive, entries.clone(), 1_000_000_000).expect("written");
        let mut again = Vec::new();
        write(&mut again, entries.into_iter().rev().collect(), 1_000_000_000).expect("written");
        assert_eq!(archive, again, "the order of the list makes no difference");

        let mut tar = Command::new("tar");
        tar.args(["-tvf", "-", "--numeric-owner"]).env("TZ", "UTC").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = tar.spawn().expect("every system has a tar");
        child.stdin.take().expect("piped").write_all(&archive).expect("read");
        let listed = String::from_utf8(child.wait_with_output().expect("it ends").stdout).expect("text");
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = listed.lines().map(words).collect();
        assert_eq!(lines.len(), 3, "{listed}");
        assert!(lines[0].starts_with("-rw-r--r-- ") && lines[0].ends_with(&long), "{listed}");
        assert!(lines[1].starts_with("-rwxr-xr-x ") && lines[1].contains(" 600 ") && lines[1].ends_with("bin/run"));
        assert!(lines[2].contains(" 5 ") && lines[2].contains("2001"), "{listed}");
    }

    #[test]
    fn a_path_that_no_field_holds_is_refused() {
        let error = write(&mut Vec::new(), vec![entry(&"a".repeat(101), false, b"")], 0).expect_err("too long");
        assert!(error.to_string().ends_with("too long a path"), "{error}");
    }
}
