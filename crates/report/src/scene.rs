//! A drawing that can be rendered as SVG or as pixels.

use crate::font::Weight;

/// A colour by its purpose. [`Ink::light`], [`Ink::dark`] and the style sheet of the page define the actual colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// The background.
    Paper,
    /// The background of every second phase.
    Band,
    /// Grid lines.
    Grid,
    /// Important text.
    Text,
    /// Explanatory text.
    Muted,
    /// Curves of the training images.
    Training,
    /// Curves of the validation images.
    Validation,
    /// The curve of one of several runs, by its position.
    Run(usize),
}

/// Colours of several runs, on a light and on a dark background. They also differ in lightness, for readers who distinguish few
/// hues.
const RUNS: [(&str, &str); 6] = [
    ("#2b6cb0", "#6ea8e0"),
    ("#d9822b", "#f0a356"),
    ("#2f8f6b", "#5cc49d"),
    ("#a8477f", "#d983b4"),
    ("#6b5fc0", "#a398ee"),
    ("#7d6650", "#b89b80"),
];

impl Ink {
    /// Name of the colour's variable in a style sheet.
    pub fn variable(self) -> String {
        match self {
            Self::Paper => "--paper".to_owned(),
            Self::Band => "--band".to_owned(),
            Self::Grid => "--grid".to_owned(),
            Self::Text => "--text".to_owned(),
            Self::Muted => "--muted".to_owned(),
            Self::Training => "--training".to_owned(),
            Self::Validation => "--validation".to_owned(),
            Self::Run(place) => format!("--run-{}", place % RUNS.len()),
        }
    }

    /// The colour on a light and on a dark background.
    fn colours(self) -> (&'static str, &'static str) {
        match self {
            Self::Paper => ("#ffffff", "#15191e"),
            Self::Band => ("#f5f7f9", "#1b2027"),
            Self::Grid => ("#e4e8ec", "#2c343d"),
            Self::Text => ("#1f2933", "#e4e8ec"),
            Self::Muted => ("#66717d", "#98a3af"),
            Self::Training => RUNS[0],
            Self::Validation => RUNS[1],
            Self::Run(place) => RUNS[place % RUNS.len()],
        }
    }

    /// The colour on a light background, as `#rrggbb`.
    pub fn light(self) -> &'static str {
        self.colours().0
    }

    /// The colour on a dark background, as `#rrggbb`.
    pub fn dark(self) -> &'static str {
        self.colours().1
    }

    /// All colours, for a style sheet.
    pub fn all() -> impl Iterator<Item = Self> {
        let named = [Self::Paper, Self::Band, Self::Grid, Self::Text, Self::Muted, Self::Training, Self::Validation];
        named.into_iter().chain((0..RUNS.len()).map(Self::Run))
    }
}

/// The point of a text that lies at its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// The left end.
    Start,
    /// The middle.
    Middle,
    /// The right end.
    End,
}

/// Style of a line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pen {
    /// Colour of the line.
    pub ink: Ink,
    /// Width in units of the scene.
    pub width: f64,
    /// Whether the line is dashed.
    pub dashed: bool,
}

/// An element of a drawing. All lengths are in units of the scene.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// A filled rectangle.
    Rectangle {
        /// Left, top, width and height.
        area: [f64; 4],
        /// Colour of the rectangle.
        ink: Ink,
    },
    /// Straight lines from point to point.
    Line {
        /// At least two points.
        points: Vec<(f64, f64)>,
        /// Style of the lines.
        pen: Pen,
    },
    /// A disc, or a ring that is filled with the background.
    Circle {
        /// Centre.
        centre: (f64, f64),
        /// Radius.
        radius: f64,
        /// Colour of the disc or ring.
        ink: Ink,
        /// Whether it is a ring.
        ring: bool,
    },
    /// A place that says something when a pointer rests on it. Only a page has pointers; files and pixels pass over it.
    Hint {
        /// Centre of the place.
        centre: (f64, f64),
        /// What it says.
        text: String,
    },
    /// Text with an outline in the colour of the background, so that it can be read over lines.
    Text {
        /// Position of the baseline at the anchor.
        at: (f64, f64),
        /// The text.
        text: String,
        /// Font size.
        size: f64,
        /// Thickness of the letters.
        weight: Weight,
        /// Colour of the text.
        ink: Ink,
        /// The point of the text that lies at `at`.
        anchor: Anchor,
    },
}

/// A drawing.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// Width, in CSS pixels.
    pub width: f64,
    /// Height, in CSS pixels.
    pub height: f64,
    /// Description of the drawing for screen readers.
    pub description: String,
    /// The elements, in order: each one covers those before it.
    pub items: Vec<Item>,
}

impl Scene {
    /// Adds text with regular letters.
    pub fn text(&mut self, at: (f64, f64), text: impl Into<String>, size: f64, ink: Ink, anchor: Anchor) {
        let text = text.into();
        self.items.push(Item::Text { at, text, size, weight: Weight::Regular, ink, anchor });
    }

    /// Adds bold text that begins at `at`.
    pub fn heading(&mut self, at: (f64, f64), text: impl Into<String>, size: f64) {
        let (text, weight, anchor) = (text.into(), Weight::Bold, Anchor::Start);
        self.items.push(Item::Text { at, text, size, weight, ink: Ink::Text, anchor });
    }

    /// Adds straight lines through `points`.
    pub fn line(&mut self, points: Vec<(f64, f64)>, pen: Pen) {
        self.items.push(Item::Line { points, pen });
    }
}
