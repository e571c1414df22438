//! Files that are not what their names say.

/// What a file is in place of what it should be, by its bytes: nothing at all, zeros, a pointer of Git LFS, a web page,
/// a store's error, or compressed. `None` if it is none of these; the error of its reader is then the best one.
///
/// # Examples
/// ```
/// # use injerto_files::mistaken;
/// assert_eq!(mistaken(b""), Some("it is empty"));
/// assert_eq!(mistaken(b"PK\x03\x04"), None);
/// ```
pub fn mistaken(bytes: &[u8]) -> Option<&'static str> {
    let text = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes).trim_ascii_start();
    let begins = |with: &[u8]| text.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    Some(match bytes {
        [] => "it is empty",
        [0x1f, 0x8b, ..] => "it is compressed by gzip; unpack it first",
        _ if bytes.starts_with(b"version https://git-lfs") => {
            "it is a Git LFS pointer, not the file itself; fetch that with `git lfs pull`"
        }
        _ if begins(b"<!doctype html") || begins(b"<html") => {
            "it is a web page, not the file itself; download the file"
        }
        _ if begins(b"<?xml") && bytes.windows(6).take(256).any(|part| part == b"<Error") => {
            "it is the error of a store that refused the download, not the file itself"
        }
        _ if bytes.iter().all(|&byte| byte == 0) => "it holds only zeros: a copy of it has failed",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_place_of_a_file_is_named() {
        let check = |bytes: &[u8], expected: &str| assert!(mistaken(bytes).is_some_and(|said| said.contains(expected)));
        check(b"\n<!DOCTYPE html><title>404</title>", "a web page");
        check(b"<HTML>", "a web page");
        check("\u{feff}<!doctype html>".as_bytes(), "a web page");
        check(b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull");
        check(&[0; 9], "only zeros");
        check(&[0x1f, 0x8b, 8], "gzip");
        check(b"<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code></Error>", "refused the download");
        for picture in ["<svg>", "<?xml version=\"1.0\"?><svg></svg>"] {
            assert_eq!(mistaken(picture.as_bytes()), None);
        }
    }
}
