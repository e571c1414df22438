//! Files that consist of boxes within boxes (ISO/IEC 14496-12), as AVIF and JPEG XL do.

use std::ops::Range;

use super::{alter_in_place, few, take};
use crate::fuzz::mutate::{Random, alter};

/// Boxes that hold boxes, and the bytes before the first of these.
const HOLD: [(&[u8], usize); 4] = [(b"meta", 4), (b"iprp", 0), (b"ipco", 0), (b"iinf", 6)];

/// The file with changes within the content of boxes. Their sizes stay; where the last box grows or shrinks, its size follows.
pub fn boxes(bytes: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut found = Vec::new();
    walk(bytes, 0, &mut found)?;
    // It is mostly the picture.
    let last = found.last()?.clone();
    let mut bytes = bytes.to_vec();
    for _ in 0..few(random) {
        let content = if random.below(3) == 0 { last.clone() } else { random.of(&found).clone() };
        let mut part = bytes[content.clone()].to_vec();
        alter_in_place(&mut part, random);
        bytes.splice(content, part);
    }
    if last.end == bytes.len() && random.below(8) == 0 {
        let mut part = bytes.split_off(last.start);
        alter(&mut part, random);
        let size = u32::try_from(part.len() + 8).ok()?;
        bytes[last.start - 8..][..4].copy_from_slice(&size.to_be_bytes());
        bytes.extend(part);
    }
    Some(bytes)
}

/// Where the contents of the boxes lie that hold no others; `None` where the boxes do not fill the file.
fn walk(mut bytes: &[u8], mut at: usize, found: &mut Vec<Range<usize>>) -> Option<()> {
    while !bytes.is_empty() {
        let size = u32::from_be_bytes(take(&mut bytes, 4)?.try_into().ok()?);
        let kind = take(&mut bytes, 4)?;
        let content = take(&mut bytes, usize::try_from(size).ok()?.checked_sub(8)?)?;
        at += 8;
        match HOLD.iter().find(|(known, _)| *known == kind) {
            Some((_, before)) => walk(content.get(*before..)?, at + before, found)?,
            None => found.push(at..at + content.len()),
        }
        at += content.len();
    }
    Some(())
}
