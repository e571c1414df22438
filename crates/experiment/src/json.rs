//! JSON for people and scripts: one entry per line, except that a list of plain values takes one line.

use serde::Serialize;
use serde_json::Value;

/// `value` as JSON with one entry per line. A list of numbers or words takes one line, so that a confusion matrix reads as a
/// table, and the file stays small enough for an editor even with a thousand classes.
pub(crate) fn pretty(value: &impl Serialize) -> String {
    let mut text = String::new();
    write(&serde_json::to_value(value).expect("plain data with names for keys"), 0, &mut text);
    text
}

fn write(value: &Value, depth: usize, text: &mut String) {
    match value {
        Value::Array(items) if items.iter().any(|item| item.is_array() || item.is_object()) => {
            lines(items.iter().map(|item| (None, item)), ['[', ']'], depth, text);
        }
        Value::Object(entries) if !entries.is_empty() => {
            lines(entries.iter().map(|(key, item)| (Some(key), item)), ['{', '}'], depth, text);
        }
        Value::Array(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                text.push_str(if at > 0 { ", " } else { "" });
                text.push_str(&item.to_string());
            }
            text.push(']');
        }
        plain => text.push_str(&plain.to_string()),
    }
}

fn lines<'v>(
    items: impl Iterator<Item = (Option<&'v String>, &'v Value)>,
    brackets: [char; 2],
    depth: usize,
    text: &mut String,
) {
    let indent = |depth: usize| "  ".repeat(depth);
    text.push(brackets[0]);
    for (at, (key, item)) in items.enumerate() {
        text.push_str(if at > 0 { ",\n" } else { "\n" });
        text.push_str(&indent(depth + 1));
        if let Some(key) = key {
            text.push_str(&Value::from(key.as_str()).to_string());
            text.push_str(": ");
        }
        write(item, depth + 1, text);
    }
    text.push('\n');
    text.push_str(&indent(depth));
    text.push(brackets[1]);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_of_numbers_are_rows() {
        let value = json!({ "name": "a\n\"b\"", "confusion": [[1, 2], [0, 3]], "none": {}, "empty": [], "rate": 0.1 });
        let expected = r#"{
  "name": "a\n\"b\"",
  "confusion": [
    [1, 2],
    [0, 3]
  ],
  "none": {},
  "empty": [],
  "rate": 0.1
}"#;
        assert_eq!(pretty(&value), expected);
    }

    #[test]
    fn numbers_come_back_to_the_last_bit() {
        let values = vec![0.1 + 0.2, 1e-300, f64::MAX, 0.9666666666666667];
        assert_eq!(serde_json::from_str::<Vec<f64>>(&pretty(&values)).expect("JSON"), values);
    }
}
