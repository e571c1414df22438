//! Whether all the pixel data of a JPEG is there, and the pixels of a file of the common kind.
//!
//! Decoders fill up what is missing with grey, so none of them can answer this. This module walks through a file as a decoder does, symbol
//! by symbol. A file that passes has data for each block of each component. [`check`] makes no pixels. [`draw`] makes those that are
//! needed, in the same pass, for a file with one scan, 8 bits, and grey or the usual colours. Every other kind is left to another decoder,
//! whose pixels are equal for files that both read.

mod scan;

use image::metadata::Orientation;

use super::codes::{Kind, Table};
use super::limits::LARGEST_PIXELS;
use super::picture::{Frame, Picture};
use super::rgb::Rgb;
use crate::sight::Sight;

/// What is known of a file.
#[derive(Debug, Default)]
pub(super) struct Jpeg {
    /// Pixels per row.
    pub width: u32,
    /// Number of rows.
    pub height: u32,
    /// Number of components, such as 1 for grey and 3 for colours.
    pub components: usize,
    /// Bytes of the coefficients that a decoder has to keep until the end of the file; 0 where one row of blocks will do.
    pub kept: u64,
    /// Whether there is an Adobe segment, which says that four components are inverted.
    pub adobe: bool,
    /// The EXIF data, without its first six bytes.
    pub exif: Option<Vec<u8>>,
    /// Whether it is of a kind in which nothing but missing or broken data can be wrong.
    pub ordinary: bool,
    /// What [`draw`] draws of it; after [`header`] alone, unless the first scan lacks a component.
    pub frame: Option<Frame>,
}

impl Jpeg {
    /// How the camera was turned.
    pub fn turn(&self) -> Orientation {
        self.exif.as_deref().and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms)
    }
}

const EARLY: &str = "it ends too early";
const BROKEN: &str = "its compressed data is damaged";

/// A component of the frame.
#[derive(Debug, Clone)]
struct Component {
    id: u8,
    horizontal: u32,
    vertical: u32,
    quantization: u8,
    /// For each coefficient, how many of its low bits are still missing; `None` before the first scan that has it.
    low: [Option<u8>; 64],
    /// Progressive: which coefficients of each block are not zero. Corrections have as many bits as there are of those.
    nonzero: Vec<u64>,
    /// Blocks per row of `nonzero`.
    stride: usize,
}

#[derive(Debug, Default)]
struct Walk<'b> {
    bytes: &'b [u8],
    at: usize,
    dc: [Option<Box<Table>>; 4],
    ac: [Option<Box<Table>>; 4],
    quantizations: u32,
    /// Steps of the coefficients, in the order of the file.
    steps: [Option<Box<[u16; 64]>>; 4],
    /// How an Adobe segment says that colours are stored.
    transform: Option<u8>,
    restart: u32,
    progressive: bool,
    /// What comes after the last scan, if that ends as an encoder ends it.
    rest: Option<&'b [u8]>,
    frame: Vec<Component>,
    seen: Jpeg,
    /// The side of the squares of which each becomes a pixel, and what is looked at of those.
    wanted: Option<(usize, Sight)>,
    /// Whether the first scan has begun.
    scanned: bool,
    drawn: Option<Picture>,
}

/// The first pass over a file: its segments up to the first scan. It decodes nothing.
///
/// # Errors
/// A file that ends there.
pub(super) fn header(bytes: &[u8]) -> Result<Jpeg, String> {
    Walk::new(bytes).run(false).map(|walk| walk.seen)
}

/// Walks through the whole file.
///
/// # Errors
/// A text that says what is wrong: pixel data is missing, or no decoder understands it.
pub(super) fn check(bytes: &[u8]) -> Result<Jpeg, String> {
    Walk::new(bytes).run(true).map(|walk| walk.seen)
}

/// Walks through the whole file, and draws what `sight` says of it, where the mean of each square of `part` by `part` pixels becomes one
/// pixel. `None` for a file that has to be left to another decoder.
///
/// # Errors
/// As [`check`]'s.
pub(super) fn draw(bytes: &[u8], part: usize, sight: Sight) -> Result<Option<Rgb>, String> {
    let walk = Walk { wanted: Some((part, sight)), ..Walk::new(bytes) }.run(true)?;
    Ok(walk.drawn.map(Picture::finish))
}

impl<'b> Walk<'b> {
    fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 2, ..Self::default() }
    }

    fn run(mut self, whole: bool) -> Result<Self, String> {
        loop {
            let Some(marker) = self.marker() else {
                // A missing end marker alone is no damage.
                return if whole && self.is_complete() { Ok(self) } else { Err(EARLY.to_owned()) };
            };
            match marker {
                0xd9 if self.frame.is_empty() || self.frame.iter().any(|component| component.low[0].is_none()) => {
                    return Err(EARLY.to_owned());
                }
                0xd9 => return Ok(self),
                0x01 | 0xd0..=0xd8 => {}
                0xda if !whole => {
                    self.seen.frame = self.drawable();
                    return Ok(self);
                }
                0xda => {
                    let header = self.segment()?;
                    self.scan(header)?;
                }
                _ => {
                    let segment = self.segment()?;
                    match marker {
                        0xc4 => self.tables(segment)?,
                        0xc0..=0xc2 => self.frame(segment, marker)?,
                        0xc3 => return Err(unread("a lossless one")),
                        0xc5..=0xc7 => return Err(unread("a hierarchical one")),
                        0xc9..=0xcf => return Err(unread("one with arithmetic codes")),
                        0xdb => self.quantization(segment),
                        0xdd => self.restart = u32::from(be16(segment, 0).ok_or(BROKEN)?),
                        0xe1 => {
                            if let Some(exif) = segment.strip_prefix(b"Exif\0\0") {
                                self.seen.exif = Some(exif.to_vec());
                            }
                        }
                        0xee if segment.starts_with(b"Adobe") => {
                            self.seen.adobe = true;
                            self.transform = segment.get(11).copied();
                        }
                        _ => {}
                    }
                    if self.seen.components != 0 && self.frame.is_empty() {
                        // A frame that is not walked through.
                        return Ok(self);
                    }
                }
            }
        }
    }

    /// The next marker, wherever it is.
    fn marker(&mut self) -> Option<u8> {
        loop {
            let ahead = self.bytes.get(self.at..)?;
            self.at += ahead.iter().position(|&byte| byte == 0xff)? + 1;
            while self.bytes.get(self.at) == Some(&0xff) {
                self.at += 1;
            }
            let marker = *self.bytes.get(self.at)?;
            if marker != 0 {
                self.at += 1;
                return Some(marker);
            }
        }
    }

    /// Returns what a segment holds, and goes past it.
    fn segment(&mut self) -> Result<&'b [u8], String> {
        let length = usize::from(be16(self.bytes, self.at).ok_or(EARLY)?);
        if length < 2 {
            return Err(BROKEN.to_owned());
        }
        let segment = self.bytes.get(self.at + 2..self.at + length).ok_or(EARLY)?;
        self.at += length;
        Ok(segment)
    }

    fn tables(&mut self, mut segment: &[u8]) -> Result<(), String> {
        while let Some((&[kind, ref lengths @ ..], rest)) = segment.split_first_chunk::<17>() {
            let values = lengths.iter().map(|&count| usize::from(count)).sum::<usize>();
            let values = rest.get(..values).ok_or(BROKEN)?;
            segment = &rest[values.len()..];
            let (tables, of) =
                if kind >> 4 == 0 { (&mut self.dc, Kind::Constant) } else { (&mut self.ac, Kind::Others) };
            *tables.get_mut(usize::from(kind & 15)).ok_or(BROKEN)? = Some(Box::new(Table::new(of, lengths, values)));
        }
        Ok(())
    }

    fn quantization(&mut self, mut segment: &[u8]) {
        while let [kind, rest @ ..] = segment {
            self.quantizations |= 1 << (kind & 15);
            let length = if kind >> 4 == 0 { 64 } else { 128 };
            if let (Some(steps), Some(values)) = (self.steps.get_mut(usize::from(kind & 15)), rest.get(..length)) {
                let step = |at: usize| match length {
                    64 => u16::from(values[at]),
                    _ => u16::from_be_bytes([values[at * 2], values[at * 2 + 1]]),
                };
                *steps = Some(Box::new(std::array::from_fn(step)));
            }
            segment = rest.get(length..).unwrap_or_default();
        }
    }

    fn frame(&mut self, segment: &[u8], marker: u8) -> Result<(), String> {
        let &[precision, h1, h0, w1, w0, count, ref components @ ..] = segment else { return Err(BROKEN.to_owned()) };
        let (height, width) = (u32::from(u16::from_be_bytes([h1, h0])), u32::from(u16::from_be_bytes([w1, w0])));
        (self.seen.width, self.seen.height, self.seen.components) = (width, height, usize::from(count));
        self.progressive = marker == 0xc2;
        if precision != 8 {
            return Err(unread(&format!("one with {precision} bits per channel")));
        }
        let components = components.as_chunks::<3>().0;
        let pixels = u64::from(width) * u64::from(height);
        let walkable = matches!(count, 1..=4) && pixels > 0 && pixels <= LARGEST_PIXELS;
        let first = self.frame.is_empty();
        self.frame.clear();
        self.seen.ordinary = false;
        if !walkable || !first || components.len() != usize::from(count) {
            return Ok(());
        }
        let component = |&[id, sampling, quantization]: &[u8; 3]| Component {
            id,
            horizontal: u32::from(sampling >> 4),
            vertical: u32::from(sampling & 15),
            quantization,
            low: [None; 64],
            nonzero: Vec::new(),
            stride: 0,
        };
        let frame: Vec<Component> = components.iter().map(component).collect();
        if frame.iter().any(|c| !matches!((c.horizontal, c.vertical), (1..=4, 1..=4))) {
            return Ok(());
        }
        let halves = |c: &Component| c.horizontal <= 2 && c.vertical <= 2;
        let rest_is_plain = frame[1..].iter().all(|c| (c.horizontal, c.vertical) == (1, 1));
        self.seen.ordinary = matches!(count, 1 | 3) && halves(&frame[0]) && rest_is_plain;
        self.frame = frame;
        if self.progressive {
            self.seen.kept = (0..self.frame.len()).map(|at| self.padded(at)).map(|[w, h]| w * h * 128).sum();
        }
        Ok(())
    }

    /// What can be drawn: a frame with one pass per coefficient, of grey, or of luma and chroma.
    fn drawable(&self) -> Option<Frame> {
        let usual = match self.frame.as_slice() {
            [grey] => (grey.horizontal, grey.vertical) == (1, 1),
            [a, b, c] => [a.id, b.id, c.id] != *b"RGB" && matches!(self.transform, None | Some(1)),
            _ => false,
        };
        let has_steps = |part: &Component| self.steps.get(usize::from(part.quantization)).is_some_and(Option::is_some);
        let usual = usual && self.frame.iter().all(has_steps);
        if !usual || !self.seen.ordinary || self.progressive || (self.seen.adobe && self.transform.is_none()) {
            return None;
        }
        let size = [self.seen.height as usize, self.seen.width as usize];
        let sampling = self.frame.iter().map(|part| [part.vertical as usize, part.horizontal as usize]).collect();
        Some(Frame { size, sampling })
    }

    /// The greatest sampling factors.
    fn sampling(&self) -> [u32; 2] {
        let most = |of: fn(&Component) -> u32| self.frame.iter().map(of).max().unwrap_or(1);
        [most(|c| c.horizontal), most(|c| c.vertical)]
    }

    /// Units of a scan with several components, in a row and in a column.
    fn units(&self) -> [u32; 2] {
        let [h, v] = self.sampling();
        [self.seen.width.div_ceil(8 * h), self.seen.height.div_ceil(8 * v)]
    }

    /// Blocks of a component in a scan of its own.
    fn blocks(&self, at: usize) -> [u32; 2] {
        let ([h, v], component) = (self.sampling(), &self.frame[at]);
        let side = |side: u32, own: u32, most: u32| (side * own).div_ceil(most).div_ceil(8);
        [side(self.seen.width, component.horizontal, h), side(self.seen.height, component.vertical, v)]
    }

    /// Blocks of a component with those that only fill up the last units.
    fn padded(&self, at: usize) -> [u64; 2] {
        let ([w, h], component) = (self.units(), &self.frame[at]);
        [u64::from(w * component.horizontal), u64::from(h * component.vertical)]
    }

    /// Whether nothing is missing of a file without an end marker: each component is there to the last bit, and the file ends
    /// with its data.
    fn is_complete(&self) -> bool {
        let whole = |component: &Component| component.low.iter().all(|&low| low == Some(0));
        let is_end = matches!(self.rest, Some([] | [0xff]));
        is_end && !self.frame.is_empty() && self.frame.iter().all(whole)
    }
}

/// What is said of a kind of JPEG that hardly any program writes or reads.
fn unread(kind: &str) -> String {
    format!("it is a JPEG of a kind that is not read, {kind}: save it as a usual JPEG, or as PNG")
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}
