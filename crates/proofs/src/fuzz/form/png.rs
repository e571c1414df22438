//! PNG: chunks with a CRC each, and pixels that are compressed with a checksum of their own.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

use super::{alter_in_place, shuffle, take};
use crate::fuzz::mutate::{Random, alter};

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// The most bytes that are unpacked.
const LARGEST: u64 = 1 << 20;

/// Kind and data.
type Chunk = ([u8; 4], Vec<u8>);

/// PNG with a changed chunk or changed pixels.
pub fn png(bytes: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut chunks = take_apart(bytes)?;
    // The stream of compressed pixels is changed itself at times.
    let unpacked = random.below(4) > 0;
    if unpacked {
        unpack(&mut chunks)?;
    }
    if chunks.is_empty() {
        return None;
    }
    match random.below(8) {
        0 => shuffle(&mut chunks, random),
        choice => {
            let pixels = chunks.iter().position(|(kind, _)| kind == b"IDAT").filter(|_| choice < 5);
            let at = pixels.unwrap_or_else(|| random.below(chunks.len()));
            match random.below(4) {
                0 => alter(&mut chunks[at].1, random),
                _ => alter_in_place(&mut chunks[at].1, random),
            }
        }
    }
    Some(put_together(&chunks, unpacked))
}

fn take_apart(bytes: &[u8]) -> Option<Vec<Chunk>> {
    let mut rest = bytes.strip_prefix(SIGNATURE)?;
    let mut chunks = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_be_bytes(take(&mut rest, 4)?.try_into().ok()?);
        let kind = take(&mut rest, 4)?.try_into().ok()?;
        chunks.push((kind, take(&mut rest, usize::try_from(length).ok()?)?.to_vec()));
        take(&mut rest, 4)?;
    }
    Some(chunks)
}

/// Replaces all chunks of pixels by one that is not compressed.
fn unpack(chunks: &mut Vec<Chunk>) -> Option<()> {
    let at = chunks.iter().position(|(kind, _)| kind == b"IDAT")?;
    let packed: Vec<u8> =
        chunks.iter().filter(|(kind, _)| kind == b"IDAT").flat_map(|(_, data)| data.clone()).collect();
    let mut pixels = Vec::new();
    ZlibDecoder::new(&packed[..]).take(LARGEST).read_to_end(&mut pixels).ok()?;
    chunks[at].1 = pixels;
    let mut number = 0;
    chunks.retain(|(kind, _)| {
        number += 1;
        kind != b"IDAT" || number == at + 1
    });
    Some(())
}

fn put_together(chunks: &[Chunk], pack: bool) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    for (kind, data) in chunks {
        let packed = match kind == b"IDAT" && pack {
            true => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(data).and_then(|()| encoder.finish()).expect("memory can be written")
            }
            false => data.clone(),
        };
        bytes.extend(u32::try_from(packed.len()).unwrap_or(u32::MAX).to_be_bytes());
        let begin = bytes.len();
        bytes.extend(kind.iter().chain(&packed));
        bytes.extend(crc32fast::hash(&bytes[begin..]).to_be_bytes());
    }
    bytes
}
