//! JSON, as `cargo metadata` writes it and as a bill of materials is written.

use std::fmt::Write as _;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`, `true`, `false` or a number, as it is written.
    Word(String),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Json>),
    /// An object, in the order in which it is written.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads a document.
    ///
    /// # Errors
    /// Where it is no JSON.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value()?;
        reader.space();
        if reader.at == text.len() { Ok(value) } else { Err(reader.wrong("the end")) }
    }

    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// An object.
    pub fn object<const N: usize>(fields: [(&str, Self); N]) -> Self {
        Self::Object(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// The value of a key; nothing if this is no object or has no such key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(fields) => fields.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text of a key.
    pub fn str(&self, key: &str) -> Option<&str> {
        match self.get(key) {
            Some(Self::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The elements of the list of a key; none if there is no such list.
    pub fn list(&self, key: &str) -> &[Self] {
        match self.get(key) {
            Some(Self::List(list)) => list,
            _ => &[],
        }
    }
}

impl std::fmt::Display for Json {
    /// The document, indented, without a line break at its end.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = String::new();
        write_value(&mut out, self, 0);
        f.write_str(&out)
    }
}

fn write_value(out: &mut String, value: &Json, depth: usize) {
    let mut all = |brackets: [char; 2], count: usize, each: &dyn Fn(&mut String, usize)| {
        out.push(brackets[0]);
        for i in 0..count {
            let comma = if i == 0 { "" } else { "," };
            let _ = write!(out, "{comma}\n{:1$}", "", 2 * depth + 2);
            each(out, i);
        }
        if count > 0 {
            let _ = write!(out, "\n{:1$}", "", 2 * depth);
        }
        out.push(brackets[1]);
    };
    match value {
        Json::Word(word) => out.push_str(word),
        Json::Text(text) => write_text(out, text),
        Json::List(list) => all(['[', ']'], list.len(), &|out, i| write_value(out, &list[i], depth + 1)),
        Json::Object(fields) => all(['{', '}'], fields.len(), &|out, i| {
            write_text(out, &fields[i].0);
            out.push_str(": ");
            write_value(out, &fields[i].1, depth + 1);
        }),
    }
}

fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The text that is read, and how far it was read.
struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl Reader<'_> {
    fn wrong(&self, expected: &str) -> String {
        format!("no JSON: expected {expected} at byte {}", self.at)
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches([' ', '\n', '\r', '\t']).len();
    }

    /// Takes a character, with the space before it, if it comes next.
    fn takes(&mut self, c: char) -> bool {
        self.space();
        let is_next = self.rest().starts_with(c);
        self.at += if is_next { c.len_utf8() } else { 0 };
        is_next
    }

    fn value(&mut self) -> Result<Json, String> {
        if self.takes('{') {
            let mut fields = Vec::new();
            while !self.takes('}') {
                if !fields.is_empty() && !self.takes(',') {
                    return Err(self.wrong("a comma"));
                }
                self.space();
                let key = self.string()?;
                if !self.takes(':') {
                    return Err(self.wrong("a colon"));
                }
                fields.push((key, self.value()?));
            }
            return Ok(Json::Object(fields));
        }
        if self.takes('[') {
            let mut list = Vec::new();
            while !self.takes(']') {
                if !list.is_empty() && !self.takes(',') {
                    return Err(self.wrong("a comma"));
                }
                list.push(self.value()?);
            }
            return Ok(Json::List(list));
        }
        if self.rest().starts_with('"') {
            return self.string().map(Json::Text);
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        let word: String = self.rest().chars().take_while(|c| is_word(*c)).collect();
        let is_known = ["null", "true", "false"].contains(&word.as_str()) || word.parse::<f64>().is_ok();
        self.at += word.len();
        if is_known { Ok(Json::Word(word)) } else { Err(self.wrong("a value")) }
    }

    fn string(&mut self) -> Result<String, String> {
        if !self.takes('"') {
            return Err(self.wrong("a text"));
        }
        let mut units: Vec<u16> = Vec::new();
        let mut chars = self.rest().char_indices();
        while let Some((at, c)) = chars.next() {
            let escaped = match c {
                '"' => {
                    self.at += at + 1;
                    return Ok(String::from_utf16_lossy(&units));
                }
                '\\' => chars.next().map(|(_, c)| c),
                c => {
                    units.extend(c.encode_utf16(&mut [0; 2]).iter());
                    continue;
                }
            };
            units.push(match escaped {
                Some('n') => 0x0a,
                Some('t') => 0x09,
                Some('r') => 0x0d,
                Some('b') => 0x08,
                Some('f') => 0x0c,
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                    u16::from_str_radix(&digits, 16).map_err(|_| self.wrong("four digits"))?
                }
                Some(c @ ('"' | '\\' | '/')) => c as u16,
                _ => return Err(self.wrong("an escape")),
            });
        }
        Err(self.wrong("the end of a text"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let text = r#"{ "a": [1, -2.5e3, null, true, []], "b\n\"\\\/": { "c": "\u00e9\ud83c\udf31 ñ" }, "d": {} }"#;
        let value = Json::parse(text).expect("JSON");
        assert_eq!(value.list("a").len(), 5);
        assert_eq!(value.get("b\n\"\\/").and_then(|b| b.str("c")), Some("é🌱 ñ"));
        assert_eq!(Json::parse(&value.to_string()), Ok(value));
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        let check =
            |text: &str, expected: &str| assert_eq!(Json::parse(text), Err(format!("no JSON: expected {expected}")));
        check("[1 2]", "a comma at byte 3");
        check("{\"a\" 1}", "a colon at byte 5");
        check("[1] x", "the end at byte 4");
        check("nul", "a value at byte 3");
        check("\"a", "the end of a text at byte 1");
    }
}
