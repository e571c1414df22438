//! AVIF: the boxes of the file (ISO/IEC 23008-12, AVIF 1.1) are read here, and `re_rav1d` decodes the AV1 picture that they hold.
//!
//! Its functions end the process where they panic, because they are C's, so nothing but a whole item of a file with sound boxes is handed to
//! it, with a limit for the picture's size.

use image::metadata::Orientation as Turn;
use image::{ColorType, DynamicImage, ImageDecoder, ImageError, ImageResult, Limits, RgbImage};
use re_rav1d::dav1d::pixel::{MatrixCoefficients, YUVRange};
use re_rav1d::dav1d::{Error, Picture, PixelLayout, PlanarImageComponent as Component, Settings};

use super::av1;

/// Upper limit of the boxes that lie side by side.
const MOST: usize = 1000;

/// Whether a file is AVIF: its brand says so, or one that it is compatible with.
pub(super) fn begins(bytes: &[u8]) -> bool {
    let Some((length, kind)) = bytes.get(..4).zip(bytes.get(4..8)) else { return false };
    let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    let brands = bytes.get(8..length.min(256).min(bytes.len())).unwrap_or_default();
    kind == b"ftyp" && brands.chunks(4).any(|brand| matches!(brand, b"avif" | b"avis"))
}

/// An image whose boxes are read and whose picture is not decoded.
pub(super) struct Decoder {
    /// The AV1 picture.
    picture: Vec<u8>,
    /// Width and height of the picture, before it is turned.
    size: [u32; 2],
    /// How the picture is turned, in this order.
    turns: Vec<Turn>,
    /// The matrix and whether values fill their range, where the file says so and overrules the picture.
    colours: Option<(u16, bool)>,
    /// Bytes that decoding takes beside the image that it gives.
    beside: u64,
}

/// The unread bytes of a box.
#[derive(Clone, Copy)]
struct Unread<'b>(&'b [u8]);

const SHORT: &str = "it ends too early";

impl<'b> Unread<'b> {
    fn bytes(&mut self, count: usize) -> Result<&'b [u8], String> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// A number of so many bytes, at most eight.
    fn number(&mut self, bytes: usize) -> Result<u64, String> {
        Ok(self.bytes(bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// Version and flags of a full box.
    fn version(&mut self) -> Result<(u64, u64), String> {
        Ok((self.number(1)?, self.number(3)?))
    }

    /// All boxes.
    fn boxes(mut self) -> Result<Vec<([u8; 4], Self)>, String> {
        let mut boxes = Vec::new();
        while !self.0.is_empty() {
            let size = self.number(4)?;
            let kind = *self.bytes(4)?.first_chunk().expect("four bytes");
            let body = match size {
                0 => std::mem::take(&mut self.0),
                1 => {
                    let size = self.number(8)?.checked_sub(16).ok_or("a box is shorter than its head")?;
                    self.bytes(usize::try_from(size).map_err(|_| SHORT)?)?
                }
                size => self.bytes(size.checked_sub(8).ok_or("a box is shorter than its head")? as usize)?,
            };
            if boxes.len() == MOST {
                return Err("it has too many boxes".to_owned());
            }
            boxes.push((kind, Self(body)));
        }
        Ok(boxes)
    }
}

/// The first box of a kind.
fn find<'b>(boxes: &[([u8; 4], Unread<'b>)], kind: &[u8; 4]) -> Option<Unread<'b>> {
    boxes.iter().find(|(known, _)| known == kind).map(|(_, body)| *body)
}

impl Decoder {
    pub(super) fn new(bytes: &[u8]) -> Result<Self, String> {
        let lacks = |what: &str| format!("it has no {what}");
        let mut meta = find(&Unread(bytes).boxes()?, b"meta").ok_or_else(|| lacks("box 'meta'"))?;
        meta.version()?;
        let meta = meta.boxes()?;
        let mut primary = find(&meta, b"pitm").ok_or_else(|| lacks("primary item"))?;
        let wide = |version: u64, from: u64| if version < from { 2 } else { 4 };
        let (version, _) = primary.version()?;
        let item = primary.number(wide(version, 1))?;
        match &kind(find(&meta, b"iinf").ok_or_else(|| lacks("list of items"))?, item)? {
            b"av01" => {}
            b"grid" => return Err("its picture is divided into tiles, which is not read; save it as one".to_owned()),
            _ => return Err("its picture is not AV1".to_owned()),
        }
        let picture = data(find(&meta, b"iloc").ok_or_else(|| lacks("places"))?, item, bytes, find(&meta, b"idat"))?;
        let properties = find(&meta, b"iprp").ok_or_else(|| lacks("properties"))?.boxes()?;
        let all = find(&properties, b"ipco").ok_or_else(|| lacks("properties"))?.boxes()?;
        let (mut size, mut turns, mut colours) = (None, Vec::new(), None);
        for (at, essential) in own(find(&properties, b"ipma").ok_or_else(|| lacks("properties"))?, item)? {
            // Properties are counted from 1, and 0 is none.
            let Some((kind, mut body)) = at.checked_sub(1).and_then(|at| all.get(at)).copied() else { continue };
            match &kind {
                b"ispe" => {
                    body.version()?;
                    size = Some([body.number(4)? as u32, body.number(4)? as u32]);
                }
                b"irot" => turns.push(match body.number(1)? & 3 {
                    // Against the clock.
                    0 => Turn::NoTransforms,
                    1 => Turn::Rotate270,
                    2 => Turn::Rotate180,
                    _ => Turn::Rotate90,
                }),
                b"imir" => turns.push(match body.number(1)? & 1 {
                    0 => Turn::FlipVertical,
                    _ => Turn::FlipHorizontal,
                }),
                b"colr" if body.0.starts_with(b"nclx") => {
                    body.bytes(8)?;
                    colours = Some((body.number(2)? as u16, body.number(1)? >> 7 == 1));
                }
                b"av1C" | b"colr" | b"pixi" | b"pasp" => {}
                // What is decoded is the first operating point, with all of its layers.
                b"a1op" if body.0 == [0] => {}
                b"lsel" if body.0 == [0xff; 2] => {}
                _ if essential => {
                    let kind = String::from_utf8_lossy(&kind).into_owned();
                    return Err(format!("its property '{}' is not read", injerto_files::printable(&kind)));
                }
                _ => {}
            }
        }
        let size = size.ok_or_else(|| lacks("size"))?;
        let pixels = size.iter().map(|&side| u64::from(side)).product::<u64>();
        // The image is made beside the place where it goes, and once more to turn it.
        let images = pixels.saturating_mul(if turns.is_empty() { 3 } else { 6 });
        let beside = av1::memory(&picture, pixels)?.saturating_add(images).saturating_add(picture.len() as u64);
        Ok(Self { picture, size, turns, colours, beside })
    }

    /// Bytes that decoding takes beside the image that it gives.
    pub(super) fn beside(&self) -> u64 {
        self.beside
    }

    fn decode(self) -> Result<DynamicImage, String> {
        let [width, height] = self.size;
        let mut settings = Settings::new();
        settings.set_n_threads(1);
        settings.set_max_frame_delay(1);
        // Of a picture in several layers, only the finest one comes.
        settings.set_all_layers(false);
        settings.set_frame_size_limit(width.saturating_mul(height));
        let say = |error: Error| match error {
            Error::Again => SHORT.to_owned(),
            error => format!("its AV1 picture cannot be decoded: {error}"),
        };
        let mut decoder = re_rav1d::dav1d::Decoder::with_settings(&settings).map_err(say)?;
        let mut sent = decoder.send_data(self.picture, None, None, None);
        let picture = loop {
            match (decoder.get_picture(), sent) {
                (Ok(picture), _) => break picture,
                // There is more to send before there is a picture.
                (Err(Error::Again), Err(Error::Again)) => sent = decoder.send_pending_data(),
                (Err(Error::Again), Err(error)) | (Err(error), _) => return Err(say(error)),
            }
        };
        if [picture.width(), picture.height()] != self.size {
            return Err("its picture has another size than the file says".to_owned());
        }
        let mut image = DynamicImage::ImageRgb8(rgb(&picture, self.colours)?);
        self.turns.into_iter().for_each(|turn| image.apply_orientation(turn));
        Ok(image)
    }
}

/// The kind of an item, such as `av01`.
fn kind(mut items: Unread<'_>, item: u64) -> Result<[u8; 4], String> {
    let (version, _) = items.version()?;
    items.bytes(if version == 0 { 2 } else { 4 })?;
    for (_, mut entry) in items.boxes()? {
        let (version, _) = entry.version()?;
        if version < 2 {
            continue;
        }
        let number = entry.number(if version == 2 { 2 } else { 4 })?;
        entry.bytes(2)?;
        if number == item {
            return Ok(*entry.bytes(4)?.first_chunk().expect("four bytes"));
        }
    }
    Err("its primary item is in no list".to_owned())
}

/// The bytes of an item, which may be stored in several pieces.
fn data(mut places: Unread<'_>, item: u64, file: &[u8], inner: Option<Unread<'_>>) -> Result<Vec<u8>, String> {
    let (version, _) = places.version()?;
    let sizes = places.number(2)?;
    let [offset, length, base, index] = [12, 8, 4, 0].map(|shift| (sizes >> shift & 15) as usize);
    if [offset, length, base, index].iter().any(|&bytes| bytes > 8) {
        return Err("its places have an unknown form".to_owned());
    }
    let wide = if version < 2 { 2 } else { 4 };
    for _ in 0..places.number(wide)? {
        let number = places.number(wide)?;
        let method = if version == 0 { 0 } else { places.number(2)? & 15 };
        let elsewhere = places.number(2)?;
        let begin = places.number(base)?;
        let pieces = places.number(2)?;
        let index = if version > 0 { index } else { 0 };
        if number != item {
            places.bytes(pieces as usize * (index + offset + length))?;
            continue;
        }
        let mut all = Vec::new();
        for _ in 0..pieces {
            places.number(index)?;
            let (from, length) = (places.number(offset)?, places.number(length)?);
            let source = match (method, inner) {
                (0, _) if elsewhere == 0 => file,
                (1, Some(inner)) => inner.0,
                _ => return Err("its picture is stored in an unknown way".to_owned()),
            };
            let from = begin.checked_add(from).and_then(|from| usize::try_from(from).ok()).ok_or(SHORT)?;
            let rest = source.get(from..).ok_or(SHORT)?;
            let length = if length == 0 { rest.len() } else { usize::try_from(length).map_err(|_| SHORT)? };
            all.extend_from_slice(rest.get(..length).ok_or(SHORT)?);
            if all.len() > file.len() {
                return Err("its pieces overlap".to_owned());
            }
        }
        return if all.is_empty() { Err(SHORT.to_owned()) } else { Ok(all) };
    }
    Err("nothing says where its picture is".to_owned())
}

/// The numbers of an item's properties, and whether each has to be understood.
fn own(mut places: Unread<'_>, item: u64) -> Result<Vec<(usize, bool)>, String> {
    let (version, flags) = places.version()?;
    for _ in 0..places.number(4)? {
        let number = places.number(if version == 0 { 2 } else { 4 })?;
        let count = places.number(1)?;
        let bits = if flags & 1 == 1 { 15 } else { 7 };
        let mut all = Vec::new();
        for _ in 0..count {
            let property = places.number(if bits == 15 { 2 } else { 1 })?;
            all.push(((property & ((1 << bits) - 1)) as usize, property >> bits == 1));
        }
        if number == item {
            return Ok(all);
        }
    }
    Err("its picture has no properties".to_owned())
}

/// How luma and two differences of colour become red, green and blue.
enum Matrix {
    /// They are green, blue and red.
    Identity,
    /// Shares of red and blue in luma (ITU-T H.273, table 4).
    Shares(f32, f32),
    /// Green and orange.
    YCgCo,
}

impl Matrix {
    /// Of a number of H.273.
    fn of(number: u16) -> Option<Self> {
        Some(match number {
            0 => Self::Identity,
            1 => Self::Shares(0.2126, 0.0722),
            4 => Self::Shares(0.3, 0.11),
            // What says nothing is taken for BT.601, as by libavif.
            2 | 5 | 6 => Self::Shares(0.299, 0.114),
            7 => Self::Shares(0.212, 0.087),
            8 => Self::YCgCo,
            9 => Self::Shares(0.2627, 0.0593),
            _ => return None,
        })
    }
}

/// The pixels of a picture. Differences of colour that are stored for pairs of pixels are interpolated, with weights of 3/4 and 1/4.
fn rgb(picture: &Picture, colours: Option<(u16, bool)>) -> Result<RgbImage, String> {
    let bits = picture.bits_per_component().ok_or("it has an unknown number of bits")?.0;
    let layout = picture.pixel_layout();
    let (matrix, full) = colours.unwrap_or_else(|| {
        let number = match picture.matrix_coefficients() {
            MatrixCoefficients::Identity => 0,
            MatrixCoefficients::BT709 => 1,
            MatrixCoefficients::Unspecified => 2,
            MatrixCoefficients::BT470M => 4,
            MatrixCoefficients::BT470BG | MatrixCoefficients::ST170M => 5,
            MatrixCoefficients::ST240M => 7,
            MatrixCoefficients::YCgCo => 8,
            MatrixCoefficients::BT2020NonConstantLuminance => 9,
            _ => u16::MAX,
        };
        (number, picture.color_range() == YUVRange::Full)
    });
    let matrix = Matrix::of(matrix).ok_or("its colours are of a kind that is not read; save it as PNG")?;
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let deep = bits > 8;
    let one = (1_u32 << (bits - 8)) as f32;
    let most = ((1_u32 << bits) - 1) as f32;
    // Where values begin, and the range that they fill.
    let [luma, colour] = match full {
        true => [[0.0, most], [(1_u32 << (bits - 1)) as f32, most]],
        false => [[16.0 * one, 219.0 * one], [128.0 * one, 224.0 * one]],
    };
    // Green, blue and red all lie as luma does.
    let colour = if matches!(matrix, Matrix::Identity) { luma } else { colour };
    let value = |plane: &[u8], stride: usize, x: usize, y: usize, [from, range]: [f32; 2]| {
        let at = y * stride + if deep { 2 * x } else { x };
        let value = if deep { u16::from_ne_bytes([plane[at], plane[at + 1]]).into() } else { f32::from(plane[at]) };
        (value - from) / range
    };
    let plane = |component| (picture.plane(component), picture.stride(component) as usize);
    let (y_plane, y_stride) = plane(Component::Y);
    let chroma = (layout != PixelLayout::I400).then(|| [plane(Component::U), plane(Component::V)]);
    let (halves_x, halves_y) = match layout {
        PixelLayout::I420 => (true, true),
        PixelLayout::I422 => (true, false),
        PixelLayout::I400 | PixelLayout::I444 => (false, false),
    };
    // The nearest stored value and the next one.
    let pair = |at: usize, length: usize, halves: bool| match halves {
        false => [at, at],
        true if at.is_multiple_of(2) => [at / 2, (at / 2).saturating_sub(1)],
        true => [at / 2, (at / 2 + 1).min(length.div_ceil(2) - 1)],
    };
    let mut pixels = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        let rows = pair(y, height, halves_y);
        for x in 0..width {
            let luma = value(&y_plane, y_stride, x, y, luma);
            let Some(chroma) = &chroma else {
                pixels.extend([byte(luma); 3]);
                continue;
            };
            let columns = pair(x, width, halves_x);
            let [u, v] = [0, 1].map(|which| {
                let (plane, stride) = &chroma[which];
                let at = |x: usize, y: usize| value(plane, *stride, columns[x], rows[y], colour);
                match (halves_x, halves_y) {
                    (false, _) => at(0, 0),
                    (true, false) => 0.75 * at(0, 0) + 0.25 * at(1, 0),
                    (true, true) => 0.5625 * at(0, 0) + 0.1875 * (at(1, 0) + at(0, 1)) + 0.0625 * at(1, 1),
                }
            });
            pixels.extend(match matrix {
                Matrix::Identity => [v, luma, u].map(byte),
                Matrix::YCgCo => [luma - u + v, luma + u, luma - u - v].map(byte),
                Matrix::Shares(red, blue) => {
                    let (r, b) = (luma + 2.0 * (1.0 - red) * v, luma + 2.0 * (1.0 - blue) * u);
                    [r, (luma - red * r - blue * b) / (1.0 - red - blue), b].map(byte)
                }
            });
        }
    }
    RgbImage::from_raw(picture.width(), picture.height(), pixels).ok_or_else(|| SHORT.to_owned())
}

/// A share of the full range as a byte.
fn byte(value: f32) -> u8 {
    (value * 255.0 + 0.5).clamp(0.0, 255.0) as u8
}

impl ImageDecoder for Decoder {
    fn dimensions(&self) -> (u32, u32) {
        let swaps = self.turns.iter().filter(|turn| super::turn::swaps_sides(**turn)).count() % 2 == 1;
        let [width, height] = self.size;
        if swaps { (height, width) } else { (width, height) }
    }

    fn color_type(&self) -> ColorType {
        ColorType::Rgb8
    }

    fn read_image(self, buffer: &mut [u8]) -> ImageResult<()> {
        let image = self.decode().map_err(|reason| ImageError::IoError(std::io::Error::other(reason)))?;
        buffer.copy_from_slice(image.as_bytes());
        Ok(())
    }

    fn read_image_boxed(self: Box<Self>, buffer: &mut [u8]) -> ImageResult<()> {
        (*self).read_image(buffer)
    }

    fn orientation(&mut self) -> ImageResult<Turn> {
        Ok(Turn::NoTransforms)
    }

    fn set_limits(&mut self, limits: Limits) -> ImageResult<()> {
        let (width, height) = self.dimensions();
        limits.check_dimensions(width, height)
    }
}
