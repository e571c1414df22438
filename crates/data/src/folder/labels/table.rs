//! Lists as rows of fields, whatever the format of their files.

use std::io::Read as _;
use std::path::Path;

use injerto_files::{csv, mistaken, printable};
use serde_json::Value;

/// The rows of a list.
pub(super) struct Table {
    /// Names of the columns, if the list has them.
    pub header: Vec<String>,
    /// Whether [`Table::header`] is known already. Otherwise the first row may be the header.
    pub has_header: bool,
    /// Each row with the number of its line, from 1.
    pub rows: Vec<(usize, Vec<String>)>,
}

/// Most bytes of a list: 100 million images have shorter ones.
const LARGEST: u64 = 4 << 30;

impl Table {
    /// Reads a list. `is_image` says whether a text names an image: in a list without commas and tabs, a path may hold spaces.
    pub fn read(file: &Path, is_image: &dyn Fn(&str) -> bool) -> Result<Self, String> {
        let length = std::fs::metadata(file).map_err(|error| format!("cannot be read: {error}"))?.len();
        if length > LARGEST {
            return Err(format!("is larger than {LARGEST} bytes, the limit for a list"));
        }
        let mut bytes = Vec::with_capacity(length as usize);
        let unread = |error: std::io::Error| format!("cannot be read: {error}");
        injerto_files::open(file).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(unread)?;
        if let Some(other) = mistaken(&bytes).filter(|_| !bytes.is_empty()) {
            return Err(other.to_owned());
        }
        let mut text = String::from_utf8(bytes).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            format!("line {line}: this is not UTF-8; save the list in this encoding")
        })?;
        if !text.contains('\n') {
            // Some spreadsheets for the Mac end lines so.
            text = text.replace('\r', "\n");
        }
        let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_lowercase();
        match ending.as_str() {
            "csv" => Self::separated(&text, ',', is_image),
            "tsv" => Self::separated(&text, '\t', is_image),
            "jsonl" | "ndjson" => Self::json(&text),
            "json" | "parquet" | "xlsx" | "xls" => Err(format!(
                "lists that end in .{} are not read; save it as .csv, or as .jsonl with one object per line",
                printable(&ending)
            )),
            _ => match between_words(&text, is_image) {
                Some(by) => {
                    let mut rows = separated(&text, by)?;
                    rows.retain(|(_, row)| !row[0].trim_start().starts_with('#'));
                    Ok(Self { header: Vec::new(), has_header: false, rows })
                }
                None => Ok(Self::words(&text, is_image)),
            },
        }
    }

    /// A list whose columns are separated by `usual`, unless its first line shows another separator.
    fn separated(text: &str, usual: char, is_image: &dyn Fn(&str) -> bool) -> Result<Self, String> {
        let first = lines(text).next().map_or("", |(_, line)| line);
        // Excel writes and reads such a line. A tab at its end is the separator.
        let begin = text.trim_start_matches('\u{feff}').trim_start();
        let named = begin.strip_prefix("sep=").and_then(|by| by.chars().next());
        let named = named.filter(|by| !matches!(by, '\r' | '\n' | '"'));
        let mut rows = separated(text, named.unwrap_or_else(|| separator(first, usual, is_image)))?;
        if named.is_some() {
            rows.remove(0);
        }
        Ok(Self { header: Vec::new(), has_header: false, rows })
    }

    fn words(text: &str, is_image: &dyn Fn(&str) -> bool) -> Self {
        let row = |line: &str| match is_image(line) {
            true => vec![line.to_owned()],
            false if line.contains('\t') => line.split('\t').map(str::to_owned).collect(),
            false => line.split_whitespace().map(str::to_owned).collect(),
        };
        let lines = lines(text).filter(|(_, line)| !line.starts_with('#'));
        Self { header: Vec::new(), has_header: false, rows: lines.map(|(at, line)| (at, row(line))).collect() }
    }

    fn json(text: &str) -> Result<Self, String> {
        let (mut header, mut rows): (Vec<String>, Vec<(usize, Vec<String>)>) = (Vec::new(), Vec::new());
        for (at, line) in lines(text) {
            let object: serde_json::Map<String, Value> =
                serde_json::from_str(line).map_err(|error| format!("line {at}: expected a JSON object: {error}"))?;
            let mut row = vec![String::new(); header.len()];
            for (key, value) in object {
                let field = match value {
                    Value::String(text) => text,
                    Value::Number(number) => number.to_string(),
                    Value::Bool(truth) => truth.to_string(),
                    Value::Null => String::new(),
                    // Only a column that is asked for can be wrong.
                    other @ (Value::Array(_) | Value::Object(_)) => other.to_string(),
                };
                match header.iter().position(|known| *known == key) {
                    Some(place) => row[place] = field,
                    None => {
                        header.push(key);
                        row.push(field);
                    }
                }
            }
            rows.push((at, row));
        }
        rows.iter_mut().for_each(|(_, row)| row.resize(header.len(), String::new()));
        Ok(Self { header, has_header: true, rows })
    }
}

/// What separates columns, the likelier first: spreadsheets of countries with a decimal comma write semicolons.
const SEPARATORS: [char; 4] = [',', ';', '\t', '|'];

/// The separator in the first line of a list: the usual one if the line holds it outside of quotation marks, or else another one that it
/// holds there. A line that is the path of an image holds none.
fn separator(first: &str, usual: char, is_image: &dyn Fn(&str) -> bool) -> char {
    // Every other part stands between quotation marks.
    let holds = |by: &char| first.split('"').step_by(2).any(|part| part.contains(*by));
    let known = std::iter::once(usual).chain(SEPARATORS).find(holds);
    known.filter(|_| !is_image(first)).unwrap_or(usual)
}

/// The separator of a text that is meant to have spaces or tabs between its fields, but whose first lines name images only if another
/// character separates them; `None` where spaces and tabs do.
fn between_words(text: &str, is_image: &dyn Fn(&str) -> bool) -> Option<char> {
    let by = |line: &str| {
        if is_image(line) || line.split_whitespace().any(is_image) || line.split('\t').any(is_image) {
            return Some(None);
        }
        let names = |by: &char| line.split(*by).any(|field| is_image(field.trim().trim_matches('"')));
        SEPARATORS.into_iter().find(names).map(Some)
    };
    // The first line may be a header, which names no image.
    lines(text).filter(|(_, line)| !line.starts_with('#')).take(2).find_map(|(_, line)| by(line)).flatten()
}

/// The rows of a text whose fields are separated by a character.
fn separated(text: &str, by: char) -> Result<Vec<(usize, Vec<String>)>, String> {
    csv::separated(text, by).map_err(|line| format!("line {line}: a quotation mark is not closed"))
}

/// Lines with their numbers, without empty ones.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    (1..).zip(text.lines().map(str::trim)).filter(|(_, line)| !line.is_empty())
}
