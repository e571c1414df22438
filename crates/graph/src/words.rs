//! Names and texts in descriptions, for `#[serde(deserialize_with = …)]`.

use serde::{Deserialize as _, Deserializer, de};

use crate::limits;

/// Reads a name, which must be short and printable.
pub(crate) fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    limits::check_name(&name).map_err(de::Error::custom)?;
    Ok(name)
}

/// Reads a text of one line, which must be printable and not too long.
pub(crate) fn line<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    limits::check_text(&text, limits::LONGEST_TEXT).map_err(de::Error::custom)?;
    Ok(text)
}
