//! Whether a WebP file agrees with itself.
//!
//! Its decoder trusts the sizes that the file states: that of a lossy image inside a canvas, however small the canvas is, and that of a
//! chunk, however short the file is. Both are checked against the file before the decoder sees them.

/// Walks through the chunks of a file whose canvas is `[height, width]`.
///
/// # Errors
/// A text that says what is wrong: a chunk that goes on after the file's end, or an image that is larger than its canvas.
pub(super) fn check(bytes: &[u8], canvas: [u32; 2]) -> Result<(), String> {
    // `RIFF`, its size, `WEBP`.
    walk(bytes, 12, bytes.len(), canvas)
}

/// The chunks between two places.
fn walk(bytes: &[u8], from: usize, until: usize, canvas: [u32; 2]) -> Result<(), String> {
    let mut at = from;
    while let Some((name, size)) = header(bytes, at).filter(|_| at < until) {
        let data = at + 8;
        let end = data.checked_add(size).filter(|&end| end <= bytes.len()).ok_or("it ends too early")?;
        match name {
            b"VP8 " => lossy(&bytes[data..end], canvas)?,
            // A frame of an animation: its place, size and time, and chunks of its own.
            b"ANMF" => walk(bytes, data + 16, end, canvas)?,
            _ => {}
        }
        at = end + size % 2;
    }
    Ok(())
}

/// Name and size of a chunk.
fn header(bytes: &[u8], at: usize) -> Option<(&[u8; 4], usize)> {
    let (name, rest) = bytes.get(at..)?.split_first_chunk()?;
    Some((name, u32::from_le_bytes(*rest.first_chunk()?) as usize))
}

fn lossy(data: &[u8], [height, width]: [u32; 2]) -> Result<(), String> {
    // Three bytes of the frame, three of a signature; the upper two bits of a side are a scale that nobody applies.
    let Some(&[w0, w1, h0, h1]) = data.get(6..10).and_then(<[u8]>::first_chunk) else {
        return Err("it ends too early".to_owned());
    };
    let side = |bytes| u32::from(u16::from_le_bytes(bytes) & 0x3fff);
    let (own_width, own_height) = (side([w0, w1]), side([h0, h1]));
    match own_width <= width && own_height <= height {
        true => Ok(()),
        false => {
            Err(format!("it says that it has {width}x{height} pixels, and holds an image of {own_width}x{own_height}"))
        }
    }
}
