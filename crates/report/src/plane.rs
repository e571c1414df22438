//! A panel whose axes are shares, or numbers of images and shares: points, lines through them, and their intervals.

use crate::chart::{SMALL, ticks};
use crate::font::{self, Weight};
use crate::scene::{Anchor, Ink, Item, Pen, Scene};
use crate::words::grouped;

/// Height of the space above the area inside the axes, for the title.
const ABOVE: f64 = 30.0;
/// Height of the space below it, for the values and the title of the axis.
const BELOW: f64 = 38.0;
/// Width of the space to the left of it, for the values.
const LEFT: f64 = 42.0;
/// Width of the space to the right of it.
const RIGHT: f64 = 16.0;

/// Width and height of a plane that stands alone, in units of the scene.
const SIZE: (f64, f64) = (460.0, 332.0);

/// A point of a [`Trace`].
#[derive(Debug, Clone, Copy)]
pub struct Point {
    /// Horizontal and vertical value.
    pub at: (f64, f64),
    /// Lower and upper limit of the vertical value.
    pub interval: Option<[f64; 2]>,
    /// Radius of the dot, in units of the scene; 0 for none.
    pub radius: f64,
}

/// Points with a line through them.
#[derive(Debug, Clone)]
pub struct Trace {
    /// What the key says of it; nothing for no entry.
    pub name: String,
    /// Colour of line and dots.
    pub ink: Ink,
    /// Whether the line is dashed.
    pub dashed: bool,
    /// The points, from left to right.
    pub points: Vec<Point>,
}

/// A set of axes whose values are shares, between 0 and 1; those of the horizontal axis may be numbers of images instead.
#[derive(Debug, Clone)]
pub struct Plane {
    /// Title of the panel; it says what the vertical axis is.
    pub title: String,
    /// Title of the horizontal axis.
    pub across: String,
    /// Whether its values are numbers of images, and not shares.
    pub counts: bool,
    /// The traces, in order: each one covers those before it.
    pub traces: Vec<Trace>,
    /// A point that is marked by a ring, and its text.
    pub mark: Option<((f64, f64), String)>,
}

impl Trace {
    /// A line through points without dots and intervals.
    pub fn line(name: &str, ink: Ink, dashed: bool, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let points = points.into_iter().map(|at| Point { at, interval: None, radius: 0.0 }).collect();
        Self { name: name.to_owned(), ink, dashed, points }
    }
}

impl Plane {
    /// Draws the panel into `area`: left, top, width and height in units of the scene. Both axes begin where the values do.
    pub fn draw(&self, scene: &mut Scene, [left, top, width, height]: [f64; 4]) {
        scene.heading((left, top + 13.0), self.title.clone(), 13.0);
        let plot = [left + LEFT, top + ABOVE, width - LEFT - RIGHT, height - ABOVE - BELOW];
        let (right, bottom) = (plot[0] + plot[2], plot[1] + plot[3]);
        let points = || self.traces.iter().flat_map(|trace| &trace.points);
        let (across, decimals_across) = axis(points().map(|point| point.at.0), !self.counts);
        // Few points lie where their intervals are wide; of many points the intervals may be cut.
        let limits = |point: &Point| point.interval.filter(|_| self.counts).into_iter().flatten();
        let (up, decimals_up) = axis(points().flat_map(|point| limits(point).chain([point.at.1])), true);
        let place = |(x, y): (f64, f64)| {
            let share = |value: f64, axis: &[f64]| {
                let (low, high) = (axis[0], axis[axis.len() - 1]);
                ((value - low) / (high - low)).clamp(0.0, 1.0)
            };
            (plot[0] + share(x, &across) * plot[2], bottom - share(y, &up) * plot[3])
        };
        for &value in &up {
            let (at, pen) = (place((across[0], value)).1, Pen { ink: Ink::Grid, width: 1.0, dashed: false });
            scene.line(vec![(plot[0], at), (right, at)], pen);
            scene.text((plot[0] - 8.0, at + 4.0), format!("{value:.decimals_up$}"), SMALL, Ink::Muted, Anchor::End);
        }
        for &value in &across {
            let at = place((value, up[0])).0;
            let text = match self.counts {
                true => grouped(value.round().max(0.0) as usize),
                false => format!("{value:.decimals_across$}"),
            };
            scene.text((at, bottom + 17.0), text, SMALL, Ink::Muted, Anchor::Middle);
        }
        scene.text((plot[0] + plot[2] / 2.0, bottom + 34.0), self.across.clone(), SMALL, Ink::Muted, Anchor::Middle);
        for Trace { ink, dashed, points, .. } in &self.traces {
            let (ink, dashed) = (*ink, *dashed);
            for Point { at: (x, _), interval, .. } in points {
                if let Some([low, high]) = interval {
                    scene.line(vec![place((*x, *low)), place((*x, *high))], Pen { ink, width: 1.0, dashed: false });
                }
            }
            if points.len() > 1 {
                let line = points.iter().map(|point| place(point.at)).collect();
                scene.line(line, Pen { ink, width: if dashed { 1.0 } else { 2.0 }, dashed });
            }
            let dots = points.iter().filter(|point| point.radius > 0.0);
            let dot = |point: &Point| Item::Circle { centre: place(point.at), radius: point.radius, ink, ring: false };
            scene.items.extend(dots.map(dot));
        }
        if let Some((at, text)) = &self.mark {
            let centre = place(*at);
            scene.items.push(Item::Circle { centre, radius: 4.5, ink: Ink::Text, ring: true });
            let fits = centre.0 - plot[0] > font::width(text, SMALL, Weight::Regular) + 10.0;
            let (x, anchor) = if fits { (centre.0 - 8.0, Anchor::End) } else { (centre.0 + 8.0, Anchor::Start) };
            scene.text((x, (centre.1 + 18.0).min(bottom - 6.0)), text.clone(), SMALL, Ink::Text, anchor);
        }
        // The key stands in the lower right corner, which curves of accuracy leave free.
        let named: Vec<&Trace> = self.traces.iter().filter(|trace| !trace.name.is_empty()).collect();
        for (at, trace) in named.iter().rev().enumerate() {
            let y = bottom - 8.0 - at as f64 * 15.0;
            scene.text((right - 6.0, y), trace.name.clone(), SMALL, trace.ink, Anchor::End);
        }
    }
}

/// A plane as a scene of its own. `description` is for screen readers.
pub fn scene(plane: &Plane, description: &str) -> Scene {
    let mut scene = Scene { width: SIZE.0, height: SIZE.1, description: description.to_owned(), items: Vec::new() };
    plane.draw(&mut scene, [0.0, 12.0, SIZE.0, SIZE.1 - 24.0]);
    scene
}

/// Round values that cover shares, or numbers, and the number of decimals that they need.
fn axis(values: impl Iterator<Item = f64> + Clone, are_shares: bool) -> (Vec<f64>, usize) {
    let low = values.clone().fold(f64::INFINITY, f64::min);
    let high = values.fold(f64::NEG_INFINITY, f64::max);
    if !low.is_finite() || !high.is_finite() {
        return (vec![0.0, 1.0], 0);
    }
    let (mut values, decimals) = ticks(low, high);
    values.retain(|value| !are_shares || (-1e-9..=1.0 + 1e-9).contains(value));
    if values.len() < 2 { (vec![0.0, 1.0], 0) } else { (values, decimals) }
}
