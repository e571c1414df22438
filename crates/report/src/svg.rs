//! Rendering of a scene as SVG.

use std::fmt::Write as _;

use crate::font::Weight;
use crate::scene::{Anchor, Ink, Item, Pen, Scene};

/// Radius of the place around a point that shows the point's hint, in CSS pixels.
const HINT: f64 = 7.0;

/// The source of the colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colours {
    /// The colours are written into the file, which has a white background.
    Fixed,
    /// The colours come from the style sheet of the page. There is no background.
    Page,
}

/// Text in escaped form for XML and HTML.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            // XML does not allow control characters, not even escaped ones.
            '\n' | '\t' => escaped.push(letter),
            letter if letter.is_control() => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// A coordinate as text, rounded to a tenth of a pixel.
fn short(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// The scene as an `<svg>` element.
pub fn to_svg(scene: &Scene, colours: Colours) -> String {
    let colour = |ink: Ink| match colours {
        Colours::Fixed => ink.light().to_owned(),
        Colours::Page => format!("var({})", ink.variable()),
    };
    let (width, height) = (short(scene.width), short(scene.height));
    let description = escaped(&scene.description);
    // In a page an <svg> needs no namespace, which reads as an address to load.
    let namespace = if colours == Colours::Fixed { "xmlns=\"http://www.w3.org/2000/svg\" " } else { "" };
    let mut svg = format!(
        "<svg {namespace}viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" font-family=\"'Noto Sans', system-ui, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif\">\n\
         <title>{description}</title>\n"
    );
    if colours == Colours::Fixed {
        let _ = writeln!(svg, "<rect width=\"{width}\" height=\"{height}\" fill=\"{}\"/>", colour(Ink::Paper));
    }
    for item in &scene.items {
        let _ = match item {
            Item::Rectangle { area: [x, y, width, height], ink } => writeln!(
                svg,
                "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\"/>",
                short(*x),
                short(*y),
                short(*width),
                short(*height),
                colour(*ink)
            ),
            Item::Line { points, pen: Pen { ink, width, dashed } } => {
                let points: Vec<String> = points.iter().map(|(x, y)| format!("{},{}", short(*x), short(*y))).collect();
                let dashes = if *dashed { " stroke-dasharray=\"3 3\"" } else { "" };
                writeln!(
                    svg,
                    "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" stroke-linejoin=\"round\" \
                     stroke-linecap=\"round\"{dashes}/>",
                    points.join(" "),
                    colour(*ink),
                    short(*width)
                )
            }
            Item::Circle { centre: (x, y), radius, ink, ring } => {
                let (fill, stroke) =
                    if *ring { (colour(Ink::Paper), colour(*ink)) } else { (colour(*ink), "none".into()) };
                writeln!(
                    svg,
                    "<circle cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"{fill}\" stroke=\"{stroke}\" stroke-width=\"2\"/>",
                    short(*x),
                    short(*y),
                    short(*radius)
                )
            }
            Item::Hint { .. } if colours == Colours::Fixed => Ok(()),
            Item::Hint { centre: (x, y), text } => writeln!(
                svg,
                "<circle cx=\"{}\" cy=\"{}\" r=\"{HINT}\" fill=\"transparent\"><title>{}</title></circle>",
                short(*x),
                short(*y),
                escaped(text)
            ),
            Item::Text { at: (x, y), text, size, weight, ink, anchor } => {
                let anchor = match anchor {
                    Anchor::Start => "",
                    Anchor::Middle => " text-anchor=\"middle\"",
                    Anchor::End => " text-anchor=\"end\"",
                };
                let weight = if *weight == Weight::Bold { " font-weight=\"bold\"" } else { "" };
                writeln!(
                    svg,
                    "<text x=\"{}\" y=\"{}\" font-size=\"{}\"{weight}{anchor} fill=\"{}\" stroke=\"{}\" stroke-width=\"3\" \
                     stroke-linejoin=\"round\" paint-order=\"stroke\">{}</text>",
                    short(*x),
                    short(*y),
                    short(*size),
                    colour(*ink),
                    colour(Ink::Paper),
                    escaped(text)
                )
            }
        };
    }
    svg + "</svg>\n"
}
