//! The curve of a learning rate range test.

use injerto_trainer::{RangeFound, RangePoint, Suggested};

use crate::chart::{SMALL, ticks};
use crate::scene::{Anchor, Ink, Item, Pen, Scene};
use crate::svg::{Colours, to_svg};

/// Width and height of the figure, in units of the scene.
const SIZE: (f64, f64) = (640.0, 380.0);
/// Left, top, width and height of the area inside the axes.
const PLOT: [f64; 4] = [56.0, 48.0, 560.0, 270.0];

/// The losses of a range test over the learning rates, as an SVG file. `phase` names what was tried.
pub fn rates(phase: &str, found: &RangeFound) -> String {
    let points = &found.points;
    let title = format!("Learning rate range test of {phase}");
    let description = format!("{title}: the loss over {} learning rates", points.len());
    let mut scene = Scene { width: SIZE.0, height: SIZE.1, description, items: Vec::new() };
    let whole = [0.0, 0.0, SIZE.0, SIZE.1];
    scene.items.push(Item::Rectangle { area: whole, ink: Ink::Paper });
    scene.heading((16.0, 24.0), title, 13.0);
    let Some((first, last)) = points.first().zip(points.last()) else {
        scene.text((PLOT[0], PLOT[1] + 20.0), "no step had a finite loss", SMALL, Ink::Muted, Anchor::Start);
        return to_svg(&scene, Colours::Fixed);
    };
    let (from, to) = (first.learning_rate.log10(), last.learning_rate.log10().max(first.learning_rate.log10() + 1e-9));
    // The losses after the rise would flatten the rest of the curve.
    let begin = first.smoothed;
    let low = points.iter().map(|point| point.smoothed).fold(f64::INFINITY, f64::min);
    let high =
        points.iter().map(|point| point.smoothed).fold(begin, f64::max).min(low + 3.0 * (begin - low).max(0.1 * low));
    let (values, decimals) = ticks(low.min(high), high.max(low + 1e-6));
    let (bottom_value, top_value) = (values[0], values[values.len() - 1]);
    let (right, bottom) = (PLOT[0] + PLOT[2], PLOT[1] + PLOT[3]);
    let across = |rate: f64| PLOT[0] + (rate.log10() - from) / (to - from) * PLOT[2];
    let up = |loss: f64| {
        let share = (loss - bottom_value) / (top_value - bottom_value);
        bottom - share.clamp(0.0, 1.0) * PLOT[3]
    };
    for value in &values {
        let (at, pen) = (up(*value), Pen { ink: Ink::Grid, width: 1.0, dashed: false });
        scene.line(vec![(PLOT[0], at), (right, at)], pen);
        scene.text((PLOT[0] - 8.0, at + 4.0), format!("{value:.decimals$}"), SMALL, Ink::Muted, Anchor::End);
    }
    for power in (from - 1e-9).ceil() as i32..=(to + 1e-9).floor() as i32 {
        let at = across(10f64.powi(power));
        scene.line(vec![(at, bottom), (at, bottom + 4.0)], Pen { ink: Ink::Muted, width: 1.0, dashed: false });
        scene.text((at, bottom + 18.0), format!("1e{power}"), SMALL, Ink::Muted, Anchor::Middle);
    }
    let title = "learning rate, which grows from step to step; the loss is that of the batch, and its moving average";
    scene.text((PLOT[0] + PLOT[2] / 2.0, bottom + 40.0), title, SMALL, Ink::Muted, Anchor::Middle);
    let line = |value: fn(&RangePoint) -> f64| -> Vec<(f64, f64)> {
        points.iter().map(|point| (across(point.learning_rate), up(value(point)))).collect()
    };
    if points.len() > 1 {
        scene.line(line(|point| point.loss), Pen { ink: Ink::Muted, width: 0.7, dashed: false });
        scene.line(line(|point| point.smoothed), Pen { ink: Ink::Training, width: 2.0, dashed: false });
    }
    if let Some(suggested) = found.suggested() {
        let Suggested { steepest, tenth_of_minimum } = suggested;
        for (rate, name, place) in
            [(steepest, "steepest descent", 0.0), (tenth_of_minimum, "a tenth of the lowest", 15.0)]
        {
            let (at, is_taken) = (across(rate), rate == suggested.taken());
            let (ink, top) = if is_taken { (Ink::Validation, PLOT[1]) } else { (Ink::Muted, PLOT[1]) };
            scene.line(vec![(at, top), (at, bottom)], Pen { ink, width: 1.0, dashed: true });
            let taken = if is_taken { ", suggested" } else { "" };
            let text = format!("{name}: {rate:.1e}{taken}");
            let anchor = if at > PLOT[0] + PLOT[2] / 2.0 { Anchor::End } else { Anchor::Start };
            let beside = if at > PLOT[0] + PLOT[2] / 2.0 { -6.0 } else { 6.0 };
            scene.text((at + beside, PLOT[1] - 6.0 + place), text, SMALL, ink, anchor);
        }
    }
    to_svg(&scene, Colours::Fixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figure_shows_both_rates_and_says_which_is_suggested() {
        let point = |at: i32| {
            let logarithm = -6.0 + f64::from(at) / 5.0;
            let loss = if logarithm < -2.0 { 1.0 / (1.0 + (logarithm + 6.0)) } else { 0.2 + (logarithm + 2.0) };
            RangePoint { learning_rate: 10f64.powf(logarithm), loss, smoothed: loss }
        };
        let found = RangeFound { points: (0..31).map(point).collect(), diverged: true };
        let figure = rates("head", &found);
        for part in
            ["<svg", "range test of head", "1e-6", "steepest descent: ", "a tenth of the lowest: ", ", suggested"]
        {
            assert!(figure.contains(part), "no {part:?} in {figure}");
        }
        let nothing = rates("<head>", &RangeFound { points: Vec::new(), diverged: true });
        assert!(nothing.contains("no step had a finite loss") && !nothing.contains("<head>"), "{nothing}");
    }
}
