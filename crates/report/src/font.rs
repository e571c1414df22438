//! The font Noto Sans. It is part of the program, because a machine may have no fonts.
//!
//! The font is Google's, under the SIL Open Font License 1.1; the text of the licence is in the crate `notosans`.

use std::sync::LazyLock;

use ttf_parser::{Face, GlyphId, OutlineBuilder};

/// Thickness of the letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Letters of text.
    Regular,
    /// Letters of headings.
    Bold,
}

static REGULAR: LazyLock<Face<'static>> = LazyLock::new(|| face(notosans::REGULAR_TTF));
static BOLD: LazyLock<Face<'static>> = LazyLock::new(|| face(notosans::BOLD_TTF));

fn face(bytes: &'static [u8]) -> Face<'static> {
    Face::parse(bytes, 0).expect("the font was parsed when this was tested")
}

fn of(weight: Weight) -> &'static Face<'static> {
    match weight {
        Weight::Regular => &REGULAR,
        Weight::Bold => &BOLD,
    }
}

/// Glyphs of a text, each with its distance from the beginning of the text in units of the font. A letter that the font does
/// not have becomes the font's empty box.
fn glyphs(face: &'static Face<'static>, text: &str) -> impl Iterator<Item = (GlyphId, f64)> {
    let mut x = 0.0;
    text.chars().map(move |letter| {
        let glyph = face.glyph_index(letter).unwrap_or(GlyphId(0));
        let at = x;
        x += f64::from(face.glyph_hor_advance(glyph).unwrap_or(0));
        (glyph, at)
    })
}

/// Width of a text, in the unit of `size` (the font size).
pub fn width(text: &str, size: f64, weight: Weight) -> f64 {
    let face = of(weight);
    let units: f64 = glyphs(face, text).map(|(glyph, _)| f64::from(face.glyph_hor_advance(glyph).unwrap_or(0))).sum();
    units * size / f64::from(face.units_per_em())
}

/// The text if it is not wider than `limit`; otherwise its beginning and its end with an ellipsis between them. Empty if not
/// even three letters fit. The end is kept because the names of related runs often differ there.
pub fn fitted(text: &str, size: f64, limit: f64) -> String {
    if width(text, size, Weight::Regular) <= limit {
        return text.to_owned();
    }
    let letters: Vec<char> = text.chars().collect();
    let mut shortened = (3..letters.len()).rev().map(|count| {
        let end = count / 3;
        let beginning: String = letters[..count - end].iter().collect();
        let end: String = letters[letters.len() - end..].iter().collect();
        format!("{}…{}", beginning.trim_end(), end.trim_start())
    });
    shortened.find(|text| width(text, size, Weight::Regular) <= limit).unwrap_or_default()
}

/// Moves and scales outlines and passes them to another builder. The y axis of a font points up, that of a picture down.
struct Placed<'a, B> {
    to: &'a mut B,
    x: f32,
    y: f32,
    scale: f32,
}

impl<B: OutlineBuilder> OutlineBuilder for Placed<'_, B> {
    fn move_to(&mut self, x: f32, y: f32) {
        self.to.move_to(self.x + x * self.scale, self.y - y * self.scale);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.to.line_to(self.x + x * self.scale, self.y - y * self.scale);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let (s, left, base) = (self.scale, self.x, self.y);
        self.to.quad_to(left + x1 * s, base - y1 * s, left + x * s, base - y * s);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let (s, left, base) = (self.scale, self.x, self.y);
        self.to.curve_to(left + x1 * s, base - y1 * s, left + x2 * s, base - y2 * s, left + x * s, base - y * s);
    }

    fn close(&mut self) {
        self.to.close();
    }
}

/// Passes the outlines of a text to `to`. The baseline of the text begins at `at`.
pub fn outline(text: &str, at: (f64, f64), size: f64, weight: Weight, to: &mut impl OutlineBuilder) {
    let face = of(weight);
    let scale = size / f64::from(face.units_per_em());
    for (glyph, x) in glyphs(face, text) {
        let mut placed = Placed { to, x: (at.0 + x * scale) as f32, y: at.1 as f32, scale: scale as f32 };
        face.outline_glyph(glyph, &mut placed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_measured_and_cut() {
        // Advance widths in Noto Sans, with 2048 units per em: n 1266, o 1239.
        assert!((width("no", 10.0, Weight::Regular) - 10.0 * 2505.0 / 2048.0).abs() < 1e-9);
        assert!(width("no", 10.0, Weight::Bold) > width("no", 10.0, Weight::Regular));
        assert_eq!(fitted("fine-tuning", 10.0, 60.0), "fine-tuning");
        let cut = fitted("fine-tuning", 10.0, 40.0);
        assert!(
            cut.starts_with("fin")
                && cut.contains('…')
                && cut.ends_with('g')
                && width(&cut, 10.0, Weight::Regular) <= 40.0,
            "{cut}"
        );
        assert_eq!(fitted("fine-tuning", 10.0, 5.0), "");
    }

    #[test]
    fn the_font_has_all_letters_of_spanish() {
        let face = of(Weight::Regular);
        let missing: Vec<char> = "áéíóúüñ¿¡×±…–".chars().filter(|&c| face.glyph_index(c).is_none()).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
