//! Fields of CSV files (RFC 4180), written and read.

use std::borrow::Cow;

/// Writes text as one field of a CSV file: in quotation marks where it holds a comma, a quotation mark or a line break.
///
/// # Examples
/// ```
/// # use injerto_files::csv;
/// assert_eq!(csv::field("cats"), "cats");
/// assert_eq!(csv::field("cats, \"large\""), "\"cats, \"\"large\"\"\"");
/// ```
pub fn field(text: &str) -> Cow<'_, str> {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")).into(),
        false => text.into(),
    }
}

/// Writes fields as one line of a CSV file, without the line break.
pub fn line<'a>(fields: impl IntoIterator<Item = &'a str>) -> String {
    fields.into_iter().map(field).collect::<Vec<_>>().join(",")
}

/// Reads the lines of a CSV file, each as its fields, with the number of the line in the file (from 1) on which it begins. Lines end
/// with `\n` or `\r\n`; a byte order mark, which spreadsheets write, and empty lines are passed over.
///
/// # Errors
/// The number of the line on which a quotation mark opens and is not closed, or after which text follows a closing one.
pub fn lines(text: &str) -> Result<Vec<(usize, Vec<String>)>, usize> {
    separated(text, ',')
}

/// Reads lines as [`lines`] does, whose fields `separator` separates: a semicolon, as spreadsheets of countries with a decimal comma
/// write, or a tabulator. Spaces before and after a field in quotation marks are not part of it.
///
/// # Errors
/// Those of [`lines`].
pub fn separated(text: &str, separator: char) -> Result<Vec<(usize, Vec<String>)>, usize> {
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut lines, mut number) = (Vec::new(), 1);
    while !rest.is_empty() {
        let begin = number;
        let mut fields = Vec::new();
        loop {
            let quoted = rest.trim_start_matches(' ').strip_prefix('"');
            let (field, after) = match quoted {
                Some(inner) => {
                    let (field, after) = closed(inner).ok_or(begin)?;
                    (field, after.trim_start_matches(' '))
                }
                None => {
                    let end = rest.find([separator, '\n']).unwrap_or(rest.len());
                    let whole = &rest[..end];
                    let ends = rest[end..].starts_with('\n') || end == rest.len();
                    let field = if ends { whole.strip_suffix('\r').unwrap_or(whole) } else { whole };
                    (field.to_owned(), &rest[end..])
                }
            };
            number += field.matches('\n').count();
            fields.push(field);
            if let Some(next) = after.strip_prefix(separator) {
                rest = next;
                continue;
            }
            rest = match after.strip_prefix("\r\n").or_else(|| after.strip_prefix('\n')) {
                Some(next) => next,
                None if after.is_empty() => after,
                None => return Err(begin),
            };
            break;
        }
        number += 1;
        if fields != [""] {
            lines.push((begin, fields));
        }
    }
    Ok(lines)
}

/// The text up to the quotation mark that closes a field, and the rest after it; `None` if there is no such mark.
fn closed(mut inner: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    loop {
        let (part, after) = inner.split_once('"')?;
        field += part;
        match after.strip_prefix('"') {
            Some(after) => (field, inner) = (field + "\"", after),
            None => return Some((field, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_they_were_written() {
        for fields in [
            vec!["a", "b"],
            vec!["cats, large", "\"x\".jpg", ""],
            vec!["two\nlines", "and\r\ntwo", "\r"],
            vec!["", ""],
            vec!["\""],
            vec!["ends with a return\r"],
        ] {
            let text = format!("{}\n", line(fields.iter().copied()));
            let read = lines(&text).expect("it is well-formed");
            assert_eq!(read, [(1, fields.iter().map(|&field| field.to_owned()).collect())], "{text:?}");
        }
    }

    #[test]
    fn lines_have_their_numbers_in_the_file() {
        let text = "\u{feff}from,to\r\n\r\n\"a\nb\",c\r\nd,e";
        let of = |fields: &[&str]| fields.iter().map(|&field| field.to_owned()).collect::<Vec<_>>();
        let expected = [(1, of(&["from", "to"])), (3, of(&["a\nb", "c"])), (5, of(&["d", "e"]))];
        assert_eq!(lines(text), Ok(expected.to_vec()));
        assert_eq!(lines(""), Ok(Vec::new()));
        assert_eq!(lines("a,b\n\"c,d\n"), Err(2));
        assert_eq!(lines("\"a\"b,c\n"), Err(1));
    }

    #[test]
    fn fields_may_be_separated_by_other_characters_and_stand_between_spaces() {
        let of = |fields: &[&str]| vec![(1, fields.iter().map(|&field| field.to_owned()).collect::<Vec<_>>())];
        assert_eq!(separated("a;\"b;c\"; d,e", ';'), Ok(of(&["a", "b;c", " d,e"])));
        assert_eq!(separated("a b\t\"c\td\"", '\t'), Ok(of(&["a b", "c\td"])));
        assert_eq!(lines("a, \"b, c\" ,d"), Ok(of(&["a", "b, c", "d"])));
    }
}
