//! Writes floating-point numbers into JSON bit by bit, because a reader of decimals may be off by the last bit, and because JSON has no
//! NaN.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Writes the bits of a number.
pub fn serialize<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    value.map(f64::to_bits).serialize(serializer)
}

/// Reads a number that [`serialize`] wrote.
pub fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    Ok(Option::<u64>::deserialize(deserializer)?.map(f64::from_bits))
}
