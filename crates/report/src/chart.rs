//! A panel with axes, curves, and a label at the end of each curve.

use crate::font::{self, Weight};
use crate::scene::{Anchor, Ink, Item, Pen, Scene};

/// Font size of most texts, in units of the scene.
pub(crate) const SMALL: f64 = 11.5;
/// Height of the space above the curves, for the title and the names of the phases.
const ABOVE: f64 = 46.0;
/// Height of the space below the curves, for the epochs and the title of the axis.
const BELOW: f64 = 38.0;
/// Width of the space to the left of the curves, for the values.
const LEFT: f64 = 42.0;
/// Vertical distance between labels.
const APART: f64 = 15.0;
/// Upper limit of the width of a label.
const LABEL: f64 = 150.0;

/// The kind of a panel's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Shares between 0 and 1, such as accuracies.
    Share,
    /// Losses, which have no upper limit.
    Loss,
}

/// One curve.
#[derive(Debug, Clone)]
pub struct Series {
    /// Label at the end of the curve.
    pub name: String,
    /// Colour of the curve.
    pub ink: Ink,
    /// Width of the line, in units of the scene.
    pub width: f64,
    /// The points: epochs with their values.
    pub points: Vec<(usize, f64)>,
}

/// A marked epoch.
#[derive(Debug, Clone)]
pub struct Mark {
    /// Number of the epoch.
    pub epoch: usize,
    /// Value of the curve at the epoch.
    pub value: f64,
    /// Colour of the curve.
    pub ink: Ink,
    /// Text beside the mark.
    pub text: String,
}

/// Consecutive epochs of one phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// Name of the phase.
    pub name: String,
    /// Number of the first epoch.
    pub first: usize,
    /// Number of the last epoch.
    pub last: usize,
}

/// A set of axes with curves.
#[derive(Debug, Clone)]
pub struct Panel {
    /// Title of the panel.
    pub title: String,
    /// Kind of the values.
    pub unit: Unit,
    /// The curves, in order: each one covers those before it.
    pub series: Vec<Series>,
    /// The phases, which are drawn if there are at least two.
    pub phases: Vec<Stretch>,
    /// The best epoch, if it is to be marked.
    pub mark: Option<Mark>,
}

/// Four to seven round values that cover the range from `low` to `high`, with the number of decimals that they need.
pub(crate) fn ticks(low: f64, high: f64) -> (Vec<f64>, usize) {
    let span = (high - low).max(1e-6);
    let rough = span / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(10.0 * power);
    let (first, last) = ((low / step + 1e-9).floor() as i64, (high / step - 1e-9).ceil() as i64);
    let decimals = (-(step.log10() + 1e-9).floor()).max(0.0) as usize;
    ((first..=last.max(first + 1)).map(|at| at as f64 * step).collect(), decimals)
}

/// Epochs that are written below an axis of this width, at such distances that the numbers do not overlap.
fn epoch_ticks(first: usize, last: usize, width: f64) -> Vec<usize> {
    let fits = (width / 26.0).floor().max(1.0) as usize;
    let epochs = last - first + 1;
    let steps = (0..).flat_map(|power| [1, 2, 5].map(|times: usize| times * 10usize.pow(power)));
    let step = steps.into_iter().find(|step| epochs.div_ceil(*step) <= fits).expect("some step is large enough");
    match step {
        1 => (first..=last).collect(),
        _ => (first..=last).filter(|epoch| epoch % step == 0).collect(),
    }
}

/// Moves positions that are closer than `gap` apart, and keeps their order. The results lie within `low..=high` if there is
/// enough room.
fn spread(wanted: &[f64], gap: f64, (low, high): (f64, f64)) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|&a, &b| wanted[a].total_cmp(&wanted[b]));
    let mut placed = wanted.to_vec();
    let mut floor = low;
    for &at in &order {
        placed[at] = placed[at].max(floor);
        floor = placed[at] + gap;
    }
    let mut ceiling = high;
    for &at in order.iter().rev() {
        placed[at] = placed[at].min(ceiling);
        ceiling = placed[at] - gap;
    }
    placed
}

/// The mapping of epochs and values to positions in the scene.
struct Axes {
    /// Left, top, width and height of the area inside the axes.
    plot: [f64; 4],
    /// First and last epoch.
    epochs: (usize, usize),
    /// Values that are written at the vertical axis, in ascending order.
    values: Vec<f64>,
    /// Number of decimals of these values.
    decimals: usize,
}

impl Axes {
    fn right(&self) -> f64 {
        self.plot[0] + self.plot[2]
    }

    fn bottom(&self) -> f64 {
        self.plot[1] + self.plot[3]
    }

    /// Horizontal position of the middle of an epoch.
    fn x(&self, epoch: f64) -> f64 {
        let (first, last) = self.epochs;
        self.plot[0] + (epoch - first as f64 + 0.5) / (last - first + 1) as f64 * self.plot[2]
    }

    fn y(&self, value: f64) -> f64 {
        let (low, high) = (self.values[0], self.values[self.values.len() - 1]);
        self.bottom() - (value - low) / (high - low) * self.plot[3]
    }
}

/// Points of a curve: epochs with their values.
type Points = Vec<(usize, f64)>;

impl Panel {
    /// Draws the panel into `area`: left, top, width and height in units of the scene.
    pub fn draw(&self, scene: &mut Scene, area: [f64; 4]) {
        let [left, top, width, height] = area;
        scene.heading((left, top + 13.0), self.title.clone(), 13.0);
        let finite = |series: &Series| series.points.iter().copied().filter(|(_, value)| value.is_finite()).collect();
        let curves: Vec<Points> = self.series.iter().map(finite).collect();
        let labels: Vec<String> = self.series.iter().map(|series| font::fitted(&series.name, SMALL, LABEL)).collect();
        let widest = labels.iter().map(|label| font::width(label, SMALL, Weight::Regular)).fold(0.0, f64::max);
        let plot = [left + LEFT, top + ABOVE, width - LEFT - widest - 12.0, height - ABOVE - BELOW];
        let Some(axes) = self.axes(plot, &curves) else {
            scene.text((left, top + ABOVE), "no validation images", SMALL, Ink::Muted, Anchor::Start);
            return;
        };
        self.draw_phases(scene, plot, |epoch| axes.x(epoch));
        self.draw_axes(scene, &axes);
        self.draw_curves(scene, &axes, &curves, &labels);
        self.draw_mark(scene, &axes);
    }

    /// Axes that cover all points; `None` if there are no points.
    fn axes(&self, plot: [f64; 4], curves: &[Points]) -> Option<Axes> {
        let all = || curves.iter().flatten();
        let epochs = (all().map(|p| p.0).min()?, all().map(|p| p.0).max()?);
        let low = all().map(|p| p.1).fold(f64::INFINITY, f64::min);
        let high = all().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
        // The axis of losses begins at zero if the lowest loss is near zero.
        let low = if low > 0.0 && low < 0.4 * high && self.unit == Unit::Loss { 0.0 } else { low };
        let (mut values, decimals) = ticks(low, high);
        if self.unit == Unit::Share {
            values.retain(|value| (-1e-9..=1.0 + 1e-9).contains(value));
            if values.len() < 2 {
                values = vec![0.0, 1.0];
            }
        }
        Some(Axes { plot, epochs, values, decimals })
    }

    /// Draws the grid, the numbers, and the line of the marked epoch.
    fn draw_axes(&self, scene: &mut Scene, axes: &Axes) {
        let Axes { plot, epochs: (first, last), values, decimals } = axes;
        for value in values {
            let (at, pen) = (axes.y(*value), Pen { ink: Ink::Grid, width: 1.0, dashed: false });
            scene.line(vec![(plot[0], at), (axes.right(), at)], pen);
            let text = format!("{value:.decimals$}");
            scene.text((plot[0] - 8.0, at + 4.0), text, SMALL, Ink::Muted, Anchor::End);
        }
        let bottom = axes.bottom();
        let marked = self.mark.as_ref().map(|mark| mark.epoch as f64);
        let clear = |epoch: &usize| marked.is_none_or(|marked| (axes.x(marked) - axes.x(*epoch as f64)).abs() > 20.0);
        for epoch in epoch_ticks(*first, *last, plot[2]).into_iter().filter(clear) {
            scene.text((axes.x(epoch as f64), bottom + 17.0), epoch.to_string(), SMALL, Ink::Muted, Anchor::Middle);
        }
        scene.text((plot[0] + plot[2] / 2.0, bottom + 34.0), "epoch", SMALL, Ink::Muted, Anchor::Middle);
        if let Some(mark) = &self.mark {
            let pen = Pen { ink: Ink::Muted, width: 1.0, dashed: true };
            let at = axes.x(mark.epoch as f64);
            scene.line(vec![(at, plot[1]), (at, bottom)], pen);
            let (text, weight, anchor) = (mark.epoch.to_string(), Weight::Bold, Anchor::Middle);
            scene.items.push(Item::Text { at: (at, bottom + 17.0), text, size: SMALL, weight, ink: Ink::Text, anchor });
        }
    }

    /// Draws the curves, each with its label at its end.
    fn draw_curves(&self, scene: &mut Scene, axes: &Axes, curves: &[Points], labels: &[String]) {
        let (first, last) = axes.epochs;
        for (series, points) in self.series.iter().zip(curves) {
            let place = |&(epoch, value): &(usize, f64)| (axes.x(epoch as f64), axes.y(value));
            let places: Vec<(f64, f64)> = points.iter().map(place).collect();
            if last - first < 30 {
                let dot = |&centre| Item::Circle { centre, radius: series.width * 1.2, ink: series.ink, ring: false };
                scene.items.extend(places.iter().map(dot));
            }
            let hint = |(&(epoch, value), &centre): (&(usize, f64), &(f64, f64))| Item::Hint {
                centre,
                text: format!("epoch {epoch}: {value:.4}"),
            };
            let hints: Vec<Item> = points.iter().zip(&places).map(hint).collect();
            if places.len() > 1 {
                scene.line(places, Pen { ink: series.ink, width: series.width, dashed: false });
            }
            scene.items.extend(hints);
        }
        let bottom = axes.bottom();
        let end = |points: &Points| points.last().map_or(bottom, |point| axes.y(point.1) + 4.0);
        let ends = spread(&curves.iter().map(end).collect::<Vec<_>>(), APART, (axes.plot[1] + 4.0, bottom + 4.0));
        for ((series, label), end) in self.series.iter().zip(labels).zip(ends) {
            scene.text((axes.right() + 10.0, end), label.clone(), SMALL, series.ink, Anchor::Start);
        }
    }

    /// Draws a ring around the marked point, with its text.
    fn draw_mark(&self, scene: &mut Scene, axes: &Axes) {
        let Some(Mark { epoch, value, ink, text }) = &self.mark else { return };
        let at = axes.x(*epoch as f64);
        scene.items.push(Item::Circle { centre: (at, axes.y(*value)), radius: 4.5, ink: *ink, ring: true });
        // Curves of accuracy leave the lower edge free, and curves of loss the upper one.
        let line = if self.unit == Unit::Share { axes.bottom() - 8.0 } else { axes.plot[1] + 16.0 };
        let beside = font::width(text, SMALL, Weight::Regular) + 8.0;
        match at + beside < axes.right() {
            true => scene.text((at + 7.0, line), text.clone(), SMALL, Ink::Text, Anchor::Start),
            false => scene.text((at - 7.0, line), text.clone(), SMALL, Ink::Text, Anchor::End),
        }
    }

    fn draw_phases(&self, scene: &mut Scene, plot: [f64; 4], x: impl Fn(f64) -> f64) {
        if self.phases.len() < 2 {
            return;
        }
        let strip = 20.0;
        for (place, phase) in self.phases.iter().enumerate() {
            let (from, to) = (x(phase.first as f64 - 0.5), x(phase.last as f64 + 0.5));
            if place % 2 == 1 {
                let area = [from, plot[1] - strip, to - from, plot[3] + strip];
                scene.items.push(Item::Rectangle { area, ink: Ink::Band });
            }
            if place > 0 {
                let pen = Pen { ink: Ink::Muted, width: 1.0, dashed: false };
                scene.line(vec![(from, plot[1] - strip), (from, plot[1] + plot[3])], pen);
            }
            let name = font::fitted(&phase.name, 11.0, to - from - 8.0);
            scene.text((from + 6.0, plot[1] - 7.0), name, 11.0, Ink::Muted, Anchor::Start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_values() {
        let check = |low, high, expected: &[f64], decimals| {
            let (found, places) = ticks(low, high);
            assert_eq!(places, decimals, "{low} to {high}: {found:?}");
            assert_eq!(found.len(), expected.len(), "{low} to {high}: {found:?}");
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{low} to {high}: {found:?}");
        };
        check(0.0, 1.0, &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0], 1);
        check(0.91, 0.98, &[0.90, 0.92, 0.94, 0.96, 0.98], 2);
        check(0.0, 7.3, &[0.0, 2.0, 4.0, 6.0, 8.0], 0);
        // The axis of a single value has at least two ticks.
        assert!(ticks(0.5, 0.5).0.len() >= 2);
    }

    #[test]
    fn epochs_are_numbered_as_far_as_they_fit() {
        assert_eq!(epoch_ticks(1, 5, 300.0), [1, 2, 3, 4, 5]);
        assert_eq!(epoch_ticks(1, 15, 300.0), [2, 4, 6, 8, 10, 12, 14]);
        assert_eq!(epoch_ticks(1, 100, 300.0), [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]);
        assert_eq!(epoch_ticks(7, 7, 10.0), [7]);
    }

    #[test]
    fn labels_do_not_overlap() {
        assert_eq!(spread(&[10.0, 50.0], 15.0, (0.0, 100.0)), [10.0, 50.0]);
        assert_eq!(spread(&[50.0, 48.0, 49.0], 15.0, (0.0, 100.0)), [78.0, 48.0, 63.0]);
        assert_eq!(spread(&[99.0, 98.0], 15.0, (0.0, 100.0)), [100.0, 85.0]);
    }
}
