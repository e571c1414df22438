//! Rendering of a scene as pixels.

use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, Rect, Stroke, StrokeDash, Transform,
};
use ttf_parser::OutlineBuilder;

use crate::font;
use crate::scene::{Anchor, Ink, Item, Pen, Scene};

/// Pixels per unit of the scene. Two make the picture sharp on screens with a high resolution and in print.
pub(crate) const SCALE: f32 = 2.0;

/// The scene as a PNG file with a white background.
///
/// # Errors
/// The reason why the scene cannot be encoded, in words.
pub fn to_png(scene: &Scene) -> Result<Vec<u8>, String> {
    draw(scene)?.encode_png().map_err(|error| error.to_string())
}

/// The scene as pixels on a white background.
///
/// # Errors
/// A scene without a size.
pub fn draw(scene: &Scene) -> Result<Pixmap, String> {
    let pixels = |length: f64| (length as f32 * SCALE).ceil() as u32;
    let pixmap = Pixmap::new(pixels(scene.width), pixels(scene.height)).ok_or("it has no size")?;
    let mut canvas = Canvas { pixmap };
    canvas.pixmap.fill(colour(Ink::Paper));
    scene.items.iter().for_each(|item| canvas.draw(item));
    Ok(canvas.pixmap)
}

fn colour(ink: Ink) -> Color {
    let part = |at: usize| u8::from_str_radix(&ink.light()[at..at + 2], 16).expect("colours are #rrggbb");
    Color::from_rgba8(part(1), part(3), part(5), 255)
}

struct Canvas {
    pixmap: Pixmap,
}

impl Canvas {
    fn paint(ink: Ink) -> Paint<'static> {
        let mut paint = Paint { anti_alias: true, ..Paint::default() };
        paint.set_color(colour(ink));
        paint
    }

    fn fill(&mut self, path: Option<Path>, ink: Ink) {
        if let Some(path) = path {
            let transform = Transform::from_scale(SCALE, SCALE);
            self.pixmap.fill_path(&path, &Self::paint(ink), FillRule::Winding, transform, None);
        }
    }

    fn stroke(&mut self, path: Option<Path>, Pen { ink, width, dashed }: Pen) {
        if let Some(path) = path {
            let stroke = Stroke {
                width: width as f32,
                line_cap: LineCap::Round,
                line_join: LineJoin::Round,
                dash: if dashed { StrokeDash::new(vec![3.0, 3.0], 0.0) } else { None },
                ..Stroke::default()
            };
            self.pixmap.stroke_path(&path, &Self::paint(ink), &stroke, Transform::from_scale(SCALE, SCALE), None);
        }
    }

    fn draw(&mut self, item: &Item) {
        match item {
            Item::Rectangle { area, ink } => {
                let [x, y, width, height] = area.map(|length| length as f32);
                self.fill(Rect::from_xywh(x, y, width, height).map(PathBuilder::from_rect), *ink);
            }
            Item::Line { points, pen } => {
                let mut path = PathBuilder::new();
                for (at, &(x, y)) in points.iter().enumerate() {
                    match at {
                        0 => path.move_to(x as f32, y as f32),
                        _ => path.line_to(x as f32, y as f32),
                    }
                }
                self.stroke(path.finish(), *pen);
            }
            Item::Circle { centre: (x, y), radius, ink, ring } => {
                let circle = PathBuilder::from_circle(*x as f32, *y as f32, *radius as f32);
                self.fill(circle.clone(), if *ring { Ink::Paper } else { *ink });
                if *ring {
                    self.stroke(circle, Pen { ink: *ink, width: 2.0, dashed: false });
                }
            }
            Item::Hint { .. } => {}
            Item::Text { at: (x, y), text, size, weight, ink, anchor } => {
                let width = font::width(text, *size, *weight);
                let left = match anchor {
                    Anchor::Start => *x,
                    Anchor::Middle => x - width / 2.0,
                    Anchor::End => x - width,
                };
                let mut outline = Outline(PathBuilder::new());
                font::outline(text, (left, *y), *size, *weight, &mut outline);
                let path = outline.0.finish();
                self.stroke(path.clone(), Pen { ink: Ink::Paper, width: 3.0, dashed: false });
                self.fill(path, *ink);
            }
        }
    }
}

/// Outlines of letters, collected as one path.
struct Outline(PathBuilder);

impl OutlineBuilder for Outline {
    fn move_to(&mut self, x: f32, y: f32) {
        self.0.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.0.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        self.0.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        self.0.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.0.close();
    }
}
