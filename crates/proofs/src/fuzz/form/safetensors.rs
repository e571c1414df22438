//! Safetensors: a header in JSON, whose metadata may hold JSON too, and the values.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::json::alter_tree;
use super::{alter_in_place, few, take};
use crate::fuzz::mutate::Random;

/// Metadata key of the checksum of the project's own files; see `backbones::weights::checksum`.
const CHECKSUM: &str = "injerto.sha256";

/// Safetensors with a changed header or changed values, and with a checksum that fits, if they had one.
pub fn safetensors(bytes: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut rest = bytes;
    let length = u64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?);
    let mut header: Value = serde_json::from_slice(take(&mut rest, usize::try_from(length).ok()?)?).ok()?;
    let mut values = rest.to_vec();
    let mut metadata = header.get_mut("__metadata__").and_then(Value::as_object_mut);
    let had_checksum = metadata.as_mut().is_some_and(|metadata| metadata.shift_remove(CHECKSUM).is_some());
    match random.below(4) {
        0 => (0..few(random)).for_each(|_| alter_in_place(&mut values, random)),
        1 => alter_tree(&mut header, random),
        // What the project itself writes down stands in texts of JSON, which are a few values among many.
        _ => match metadata.filter(|metadata| !metadata.is_empty()) {
            Some(metadata) => {
                let at = random.below(metadata.len());
                let text = metadata.values_mut().nth(at)?;
                let inner = text.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
                match inner {
                    Some(mut inner) => {
                        alter_tree(&mut inner, random);
                        *text = inner.to_string().into();
                    }
                    None => alter_tree(text, random),
                }
            }
            None => alter_tree(&mut header, random),
        },
    }
    if had_checksum && let Some(checksum) = checksum(&header, &values) {
        header["__metadata__"][CHECKSUM] = checksum.into();
    }
    let header = serde_json::to_vec(&header).ok()?;
    Some([&(header.len() as u64).to_le_bytes()[..], &header, &values].concat())
}

/// SHA-256 of the metadata, and of name, number type, shape and bytes of every tensor, in the order of names; `None` if the header
/// does not say where these are.
fn checksum(header: &Value, values: &[u8]) -> Option<String> {
    let mut hashed = Vec::new();
    let text = |text: &str, hashed: &mut Vec<u8>| hashed.extend(text.bytes().chain([0]));
    let fields: BTreeMap<&String, &Value> = header.as_object()?.iter().collect();
    let metadata: BTreeMap<&String, &Value> = header.get("__metadata__")?.as_object()?.iter().collect();
    for (key, value) in metadata {
        text(key, &mut hashed);
        text(value.as_str()?, &mut hashed);
    }
    for (name, tensor) in fields.into_iter().filter(|(name, _)| *name != "__metadata__") {
        let shape: Vec<u64> = tensor["shape"].as_array()?.iter().map(Value::as_u64).collect::<Option<_>>()?;
        let place = |at: usize| usize::try_from(tensor["data_offsets"][at].as_u64()?).ok();
        text(name, &mut hashed);
        text(tensor["dtype"].as_str()?, &mut hashed);
        text(&format!("{shape:?}"), &mut hashed);
        hashed.extend(values.get(place(0)?..place(1)?)?);
    }
    Some(injerto_files::hex(Sha256::digest(hashed)))
}
