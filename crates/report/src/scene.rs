//! A drawing before it is SVG or pixels.

use crate::font::Weight;

/// A colour by what it means; [`Ink::light`] and the page's style sheet say what it looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// Behind everything.
    Paper,
    /// Behind every second phase.
    Band,
    /// Lines to read values by.
    Grid,
    /// Words that matter.
    Text,
    /// Words that explain.
    Muted,
    /// Figures of the training images.
    Training,
    /// Figures of the validation images.
    Validation,
    /// One of several runs, by its place.
    Run(usize),
}

/// Colours of several runs, for light and dark paper. They differ in lightness too, for those who see few hues.
const RUNS: [(&str, &str); 6] = [
    ("#2b6cb0", "#6ea8e0"),
    ("#d9822b", "#f0a356"),
    ("#2f8f6b", "#5cc49d"),
    ("#a8477f", "#d983b4"),
    ("#6b5fc0", "#a398ee"),
    ("#7d6650", "#b89b80"),
];

impl Ink {
    /// Its name in a style sheet.
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

    /// On light paper and on dark.
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

    /// On light paper, as `#rrggbb`.
    pub fn light(self) -> &'static str {
        self.colours().0
    }

    /// On dark paper, as `#rrggbb`.
    pub fn dark(self) -> &'static str {
        self.colours().1
    }

    /// All of them, for a style sheet.
    pub fn all() -> impl Iterator<Item = Self> {
        let named = [Self::Paper, Self::Band, Self::Grid, Self::Text, Self::Muted, Self::Training, Self::Validation];
        named.into_iter().chain((0..RUNS.len()).map(Self::Run))
    }
}

/// Which end of a text lies at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// The left.
    Start,
    /// The middle.
    Middle,
    /// The right.
    End,
}

/// A stroke.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pen {
    /// Its colour.
    pub ink: Ink,
    /// Its width in units of the scene.
    pub width: f64,
    /// Whether it is broken.
    pub dashed: bool,
}

/// Something drawn.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// A filled rectangle.
    Rectangle {
        /// Left, top, width, height.
        area: [f64; 4],
        /// Its colour.
        ink: Ink,
    },
    /// Straight lines from point to point.
    Line {
        /// At least two points.
        points: Vec<(f64, f64)>,
        /// How it is drawn.
        pen: Pen,
    },
    /// A disc, or a ring with paper in it.
    Circle {
        /// Where.
        centre: (f64, f64),
        /// How large.
        radius: f64,
        /// Its colour.
        ink: Ink,
        /// Whether there is paper in it.
        ring: bool,
    },
    /// Words, with a rim of paper so that lines under them do not disturb.
    Text {
        /// Where the baseline begins, is half over, or ends.
        at: (f64, f64),
        /// The words.
        text: String,
        /// Height of the font.
        size: f64,
        /// How bold.
        weight: Weight,
        /// Its colour.
        ink: Ink,
        /// Which end lies at the place.
        anchor: Anchor,
    },
}

/// A drawing.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// Width in pixels of a screen.
    pub width: f64,
    /// Height.
    pub height: f64,
    /// What it shows, for those who cannot see it.
    pub description: String,
    /// What is drawn, in order: each item covers those before it.
    pub items: Vec<Item>,
}

impl Scene {
    /// Writes words.
    pub fn text(&mut self, at: (f64, f64), text: impl Into<String>, size: f64, ink: Ink, anchor: Anchor) {
        let text = text.into();
        self.items.push(Item::Text { at, text, size, weight: Weight::Regular, ink, anchor });
    }

    /// Writes bold words that begin at a place.
    pub fn heading(&mut self, at: (f64, f64), text: impl Into<String>, size: f64) {
        let (text, weight, anchor) = (text.into(), Weight::Bold, Anchor::Start);
        self.items.push(Item::Text { at, text, size, weight, ink: Ink::Text, anchor });
    }

    /// Draws a line.
    pub fn line(&mut self, points: Vec<(f64, f64)>, pen: Pen) {
        self.items.push(Item::Line { points, pen });
    }
}
