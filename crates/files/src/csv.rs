//! Fields of a line of a CSV file (RFC 4180). Names that are made printable contain no line breaks, so that a row is a line.

use std::borrow::Cow;

/// Text as a field: in quotation marks where it needs them.
pub fn field(text: &str) -> Cow<'_, str> {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")).into(),
        false => text.into(),
    }
}

/// The fields of a line; `None` if a quotation mark is not closed.
pub fn fields(line: &str) -> Option<Vec<String>> {
    let (mut fields, mut rest) = (Vec::new(), line);
    loop {
        let Some(inner) = rest.strip_prefix('"') else {
            let (field, after) = rest.split_once(',').map_or((rest, None), |(field, after)| (field, Some(after)));
            fields.push(field.to_owned());
            rest = match after {
                Some(after) => after,
                None => return Some(fields),
            };
            continue;
        };
        let (mut field, mut inner) = (String::new(), inner);
        loop {
            let (part, after) = inner.split_once('"')?;
            field += part;
            match after.strip_prefix('"') {
                Some(after) => (field, inner) = (field + "\"", after),
                None => {
                    inner = after;
                    break;
                }
            }
        }
        fields.push(field);
        match inner.strip_prefix(',') {
            Some(after) => rest = after,
            None => return inner.is_empty().then_some(fields),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_they_were_written() {
        let check = |row: &[&str], line: &str| {
            assert_eq!(row.iter().map(|text| field(text)).collect::<Vec<_>>().join(","), line);
            assert_eq!(fields(line).expect("fields"), row);
        };
        check(&["a", "", "b c"], "a,,b c");
        check(&["a, b", "\"x\"", "\"", "é"], "\"a, b\",\"\"\"x\"\"\",\"\"\"\",é");
        assert_eq!(fields("\"a,b"), None);
        assert_eq!(fields("\"a\"b"), None);
    }
}
