//! What an answer rests on, in colours over a photo.

use injerto_data::decode::Rgb;
use injerto_data::resize::{Interpolation, resize};
use injerto_experiment::explain::Map;
use tiny_skia::{ColorU8, Pixmap, PremultipliedColorU8};

use crate::ReportError;
use crate::font;
use crate::raster::{self, SCALE};
use crate::scene::{Anchor, Ink, Scene};

/// Colours from what counts for nothing to what counts most. They also rise in lightness, for readers who distinguish few hues.
const COLOURS: [[f32; 3]; 5] =
    [[20.0, 11.0, 52.0], [101.0, 21.0, 110.0], [189.0, 55.0, 84.0], [237.0, 120.0, 36.0], [252.0, 240.0, 140.0]];
/// Share of the colour over a photo, where nothing counts and where most does.
const COVERS: [f32; 2] = [0.45, 0.62];
/// Side of a map as a picture, in pixels.
const SIDE: usize = 24;

/// The colour of a value from 0 to 1, with its opacity.
fn colour(value: f32) -> ColorU8 {
    let place = value.clamp(0.0, 1.0) * (COLOURS.len() - 1) as f32;
    let (from, part) = (place as usize, place.fract());
    let to = (from + 1).min(COLOURS.len() - 1);
    let [red, green, blue] =
        [0, 1, 2].map(|at| (COLOURS[from][at] * (1.0 - part) + COLOURS[to][at] * part).round() as u8);
    let covers = COVERS[0] + (COVERS[1] - COVERS[0]) * value.clamp(0.0, 1.0);
    ColorU8::from_rgba(red, green, blue, (covers * 255.0).round() as u8)
}

/// A map as a small PNG that is half transparent, to lie over its photo.
///
/// # Errors
/// The reason why it cannot be encoded, in words.
pub fn overlay(map: &Map) -> Result<Vec<u8>, String> {
    let mut pixmap = Pixmap::new(SIDE as u32, SIDE as u32).ok_or("it has no size")?;
    for (pixel, value) in pixmap.pixels_mut().iter_mut().zip(map.resized(SIDE, SIDE)) {
        *pixel = colour(value).premultiply();
    }
    pixmap.encode_png().map_err(|error| error.to_string())
}

/// What is shown of one photo.
#[derive(Debug, Clone)]
pub struct Look<'a> {
    /// The photo.
    pub photo: &'a Rgb,
    /// The part of it that the network sees and the map covers: top, left, height and width.
    pub seen: [usize; 4],
    /// What the answer rests on.
    pub map: &'a Map,
    /// A heading, such as the photo's name.
    pub heading: &'a str,
    /// A line below the photo, such as its class.
    pub truth: &'a str,
    /// A line below the map, such as the class that was predicted.
    pub answer: &'a str,
    /// What the map is, in words.
    pub method: &'a str,
}

/// Longer side of each of the two pictures, in units of the scene.
const LONGER: f64 = 320.0;
/// Space around them.
const MARGIN: f64 = 16.0;
/// Height of the heading.
const ABOVE: f64 = 30.0;
/// Height of the lines below.
const BELOW: f64 = 48.0;

/// A photo, and beside it the same photo with the map over it, as a PNG file.
///
/// # Errors
/// [`ReportError::Look`] if it cannot be drawn.
pub fn picture(look: &Look<'_>) -> Result<Vec<u8>, ReportError> {
    drawn(look).map_err(|reason| ReportError::Look { reason })
}

fn drawn(look: &Look<'_>) -> Result<Vec<u8>, String> {
    let Rgb { height, width, .. } = *look.photo;
    if height == 0 || width == 0 {
        return Err("the photo has no pixels".to_owned());
    }
    let scale = LONGER / height.max(width) as f64;
    let [tall, wide] = [height, width].map(|side| (side as f64 * scale).max(24.0).round());
    // A narrow photo leaves room for its lines.
    let column = wide.max(LONGER * 0.6);
    let mut scene = Scene {
        width: 2.0 * column + 3.0 * MARGIN,
        height: tall + ABOVE + BELOW + MARGIN,
        description: String::new(),
        items: Vec::new(),
    };
    let left = [MARGIN, 2.0 * MARGIN + column];
    let fitted = |text: &str, size: f64, limit: f64| font::fitted(text, size, limit);
    scene.heading((MARGIN, 20.0), fitted(look.heading, 13.0, 1.9 * column), 13.0);
    let base = ABOVE + tall;
    scene.text((left[0], base + 20.0), fitted(look.truth, 13.0, column), 13.0, Ink::Text, Anchor::Start);
    scene.text((left[1], base + 20.0), fitted(look.answer, 13.0, column), 13.0, Ink::Text, Anchor::Start);
    scene.text((left[1], base + 38.0), fitted(look.method, 11.0, column), 11.0, Ink::Muted, Anchor::Start);
    let mut pixmap = raster::draw(&scene)?;
    let whole = |length: f64| (length * f64::from(SCALE)).round() as usize;
    let size = [whole(tall), whole(wide)];
    let photo = resize(look.photo, size, Interpolation::Area, false);
    paste(&mut pixmap, &photo, size, [whole(ABOVE), whole(left[0])]);
    let covered = covered(look, photo, size);
    paste(&mut pixmap, &covered, size, [whole(ABOVE), whole(left[1])]);
    pixmap.encode_png().map_err(|error| error.to_string())
}

/// The pixels of a resized photo with the map over what the network sees of it.
fn covered(look: &Look<'_>, mut pixels: Vec<f32>, [height, width]: [usize; 2]) -> Vec<f32> {
    let [top, left, rows, columns] = look.seen;
    let along = |at: usize, whole: usize, size: usize| (at * size).checked_div(whole).unwrap_or(0).min(size);
    let [top, bottom] = [top, top + rows].map(|at| along(at, look.photo.height, height));
    let [left, right] = [left, left + columns].map(|at| along(at, look.photo.width, width));
    let values = look.map.resized(bottom - top, right - left);
    for (row, values) in (top..bottom).zip(values.chunks_exact((right - left).max(1))) {
        let line = &mut pixels[(row * width + left) * 3..(row * width + right) * 3];
        for (pixel, value) in line.chunks_exact_mut(3).zip(values) {
            let colour = colour(*value);
            let covers = f32::from(colour.alpha()) / 255.0;
            for (channel, over) in pixel.iter_mut().zip([colour.red(), colour.green(), colour.blue()]) {
                *channel = *channel * (1.0 - covers) + f32::from(over) * covers;
            }
        }
    }
    pixels
}

/// Puts RGB pixels into a picture, as far as they lie inside.
fn paste(pixmap: &mut Pixmap, pixels: &[f32], [height, width]: [usize; 2], [top, left]: [usize; 2]) {
    let (rows, columns) = (pixmap.height() as usize, pixmap.width() as usize);
    let to = pixmap.pixels_mut();
    for row in 0..height.min(rows.saturating_sub(top)) {
        for column in 0..width.min(columns.saturating_sub(left)) {
            let pixel = &pixels[(row * width + column) * 3..][..3];
            let [red, green, blue] = [0, 1, 2].map(|at| pixel[at].round().clamp(0.0, 255.0) as u8);
            let opaque = PremultipliedColorU8::from_rgba(red, green, blue, 255);
            to[(top + row) * columns + left + column] = opaque.expect("an opaque colour is premultiplied");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_photo_stands_beside_what_the_answer_rests_on() {
        let photo = Rgb { height: 60, width: 120, pixels: vec![200; 60 * 120 * 3] };
        // The network sees the middle alone, and its answer rests on the right of it.
        let map = Map::new(1, 2, vec![0.0, 1.0]);
        let look = Look {
            photo: &photo,
            seen: [0, 30, 60, 60],
            map: &map,
            heading: "a <photo>",
            truth: "cats",
            answer: "dogs",
            method: "occlusion",
        };
        let png = Pixmap::decode_png(&picture(&look).expect("drawn")).expect("a PNG");
        let wide = LONGER * f64::from(SCALE);
        let at = |panel: f64, across: f64| {
            let left = f64::from(SCALE) * MARGIN * (1.0 + panel) + panel * wide;
            let [x, y] = [left + wide * across, f64::from(SCALE) * ABOVE + wide / 4.0].map(|place| place as u32);
            png.pixel(x, y).expect("inside").demultiply()
        };
        let plain = ColorU8::from_rgba(200, 200, 200, 255);
        assert_eq!([at(0.0, 0.3), at(0.0, 0.7), at(1.0, 0.1), at(1.0, 0.9)], [plain; 4]);
        let (nothing, most) = (at(1.0, 0.3), at(1.0, 0.7));
        assert!(nothing.red() < 140 && most.red() > 220 && most.green() > 200, "{nothing:?} {most:?}");
    }

    #[test]
    fn an_overlay_lets_the_photo_through() {
        let png = overlay(&Map::new(1, 2, vec![0.0, 1.0])).expect("drawn");
        let pixmap = Pixmap::decode_png(&png).expect("a PNG");
        assert_eq!((pixmap.width(), pixmap.height()), (24, 24));
        assert!(png.len() < 1500, "{}", png.len());
        let [left, right] = [0, 23].map(|x| pixmap.pixel(x, 9).expect("inside").alpha());
        assert!(left < right && right < 200, "{left} {right}");
    }
}
