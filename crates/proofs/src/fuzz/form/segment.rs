//! A segment of the feature cache: header in JSON, rows with a CRC each, an index, and a CRC of header and index. See
//! `trainer::cache::segment`.

use super::{alter_in_place, json, shuffle, take};
use crate::fuzz::mutate::Random;

/// Magic and footer without the number of rows and the CRC, and the bytes of an entry of the index without its CRC.
const BEGIN: &[u8] = b"INJFEAT1";
const END: &[u8] = b"INJFEND1";
const PRINT: usize = 32;

/// A segment with a changed header, row, entry or number of rows, and with checksums that fit.
pub fn segment(bytes: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut rest = bytes.strip_prefix(BEGIN)?.strip_suffix(END)?;
    let length = u64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?);
    let mut header = take(&mut rest, usize::try_from(length).ok()?)?.to_vec();
    let (mut rest, footer) = rest.split_at_checked(rest.len().checked_sub(12)?)?;
    let mut number = u64::from_le_bytes(footer[..8].try_into().ok()?);
    let count = usize::try_from(number).ok().filter(|&count| 0 < count && count <= rest.len() / PRINT)?;
    let row = (rest.len() / count).checked_sub(PRINT + 4)?;
    let mut rows = Vec::new();
    for _ in 0..count {
        rows.push((take(&mut rest, row)?.to_vec(), Vec::new()));
    }
    for (_, print) in &mut rows {
        *print = take(&mut rest, PRINT)?.to_vec();
        take(&mut rest, 4)?;
    }
    let at = random.below(count);
    match random.below(6) {
        0 | 1 => header = json(&header, random)?,
        2 => alter_in_place(&mut rows[at].0, random),
        3 => alter_in_place(&mut rows[at].1, random),
        4 => shuffle(&mut rows, random),
        _ => number = number.wrapping_add(random.below(3) as u64).wrapping_sub(1),
    }
    if number == count as u64 {
        number = rows.len() as u64;
    }
    let index = rows.iter().flat_map(|(row, print)| [&print[..], &crc32fast::hash(row).to_le_bytes()].concat());
    let index: Vec<u8> = index.collect();
    let sum = crc32fast::hash(&[&header[..], &index].concat());
    let rows: Vec<u8> = rows.into_iter().flat_map(|(row, _)| row).collect();
    let length = (header.len() as u64).to_le_bytes();
    Some([BEGIN, &length, &header, &rows, &index, &number.to_le_bytes(), &sum.to_le_bytes(), END].concat())
}
