//! Learning curves as text.

use std::fmt::Write as _;

/// Marks of the curves, in their order.
const MARKS: [char; 6] = ['●', '○', '▲', '△', '■', '□'];
/// Longer curves are listed by their first, best and last value only.
const LISTED: usize = 12;

/// Lines of a drawing.
const ROWS: usize = 11;

/// The values that the rows of a drawing stand for: round ones, close around those that are drawn, so that small differences show.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Axis {
    /// Value of the last row, in steps.
    low: f64,
    /// Steps from 0 to 1.
    per_one: f64,
    /// Decimals that a step needs.
    decimals: usize,
}

impl Axis {
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let values = values.filter(|value| value.is_finite()).map(|value| value.clamp(0.0, 1.0));
        let (low, high) = values.fold((1.0f64, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
        let steps = (ROWS - 1) as f64;
        let axis = |(per_one, decimals): (f64, usize)| {
            // The rows lie around the values, but not above 1.
            let free = (steps - (high - low) * per_one).max(0.0);
            let first = (low * per_one - free / 2.0).floor().clamp(0.0, per_one - steps);
            Self { low: first, per_one, decimals }
        };
        let fits =
            |axis: &Self| axis.low <= low * axis.per_one + 1e-9 && high * axis.per_one <= axis.low + steps + 1e-9;
        if low > high {
            return Self { low: 0.0, per_one: steps, decimals: 1 };
        }
        let finer = [(200.0, 3), (100.0, 2), (50.0, 2), (20.0, 2)].into_iter().map(axis).find(fits);
        finer.unwrap_or(Self { low: 0.0, per_one: steps, decimals: 1 })
    }

    fn value(self, row: usize) -> f64 {
        (self.low + (ROWS - 1 - row) as f64) / self.per_one
    }

    fn row(self, value: f64) -> usize {
        let above = (value * self.per_one - self.low).round().clamp(0.0, (ROWS - 1) as f64);
        ROWS - 1 - above as usize
    }
}

/// Draws up to six curves of accuracies (0 to 1, one value per epoch) over each other, with a scale and a legend.
pub fn draw(curves: &[(&str, &[f64])]) -> String {
    let epochs = curves.iter().map(|(_, curve)| curve.len()).max().unwrap_or(0);
    let (rows, step) = (ROWS, (60 / epochs.max(1)).clamp(1, 6));
    let axis = Axis::of(curves.iter().flat_map(|(_, curve)| *curve).copied());
    let mut canvas = vec![vec![' '; epochs * step + 1]; rows];
    // The first curve is drawn last, over the others.
    for ((_, curve), mark) in curves.iter().zip(MARKS).rev() {
        for (epoch, accuracy) in curve.iter().enumerate() {
            canvas[axis.row(*accuracy)][epoch * step + step / 2] = mark;
        }
    }
    let mut text = String::from("validation accuracy\n");
    for (row, line) in canvas.iter().enumerate() {
        let line: String = line.iter().collect();
        let _ = writeln!(text, "{:>5.*} ┤{}", axis.decimals, axis.value(row), line.trim_end());
    }
    let _ = writeln!(text, "      └{}", "─".repeat(epochs * step + 1));
    let _ = writeln!(text, "       {} epoch", numbers(epochs, step));
    let width = curves.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for ((name, curve), mark) in curves.iter().zip(MARKS) {
        let values = if curve.len() <= LISTED {
            curve.iter().map(|value| format!("{value:.3}")).collect::<Vec<_>>().join(" ")
        } else {
            let best = curve.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            format!("first {:.3}, best {best:.3}, last {:.3}", curve[0], curve[curve.len() - 1])
        };
        let _ = writeln!(text, "  {mark} {name:<width$}  {values}");
    }
    text
}

/// Values as a line of blocks of different height, at most `width` of them: of more values, evenly spaced ones are taken. Values that are
/// no numbers leave a gap.
pub fn sparkline(values: &[f64], width: usize) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let (low, high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    let block = |value: f64| match value.is_finite() {
        true => BLOCKS[((value - low) / (high - low).max(f64::MIN_POSITIVE) * 7.0).round() as usize],
        false => ' ',
    };
    let columns = values.len().min(width);
    (0..columns).map(|column| block(values[column * values.len() / columns])).collect()
}

/// Numbers of the epochs, `step` columns apart: all of them where they fit, else every fifth, every tenth and so on
fn numbers(epochs: usize, step: usize) -> String {
    let every = [1, 5, 10, 50, 100].into_iter().find(|every| every * step > epochs.to_string().len()).unwrap_or(1000);
    let mut line = String::new();
    for epoch in (1..=epochs).filter(|epoch| epoch % every == 0) {
        let middle = (epoch - 1) * step + step / 2;
        let number = epoch.to_string();
        let left = middle.saturating_sub((number.len() - 1) / 2);
        line += &" ".repeat(left.saturating_sub(line.len()));
        line += &number;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_numbered_below_their_marks() {
        assert_eq!(numbers(3, 6), "   1     2     3");
        assert_eq!(numbers(12, 1), "    5    10");
        // The mark of epoch 50 stands in column 49, from 0.
        let line = numbers(100, 1);
        assert!(line[46..].starts_with("   50 "), "{line}");
    }

    #[test]
    fn a_sparkline_rises_and_falls_with_its_values_and_fits_its_width() {
        assert_eq!(sparkline(&[0.0, 0.5, 1.0, f64::NAN, 0.0], 60), "▁▅█ ▁");
        assert_eq!(sparkline(&(0..100).map(f64::from).collect::<Vec<_>>(), 10).chars().count(), 10);
        assert_eq!((sparkline(&[2.0], 5), sparkline(&[], 5)), ("▁".to_owned(), String::new()));
    }

    #[test]
    fn the_axis_lies_around_the_values() {
        let check = |values: &[f64], top: f64, bottom: f64| {
            let axis = Axis::of(values.iter().copied());
            let close = |row: usize, value: f64| (axis.value(row) - value).abs() < 1e-9;
            assert!(
                close(0, top) && close(ROWS - 1, bottom),
                "{values:?}: {} to {}",
                axis.value(0),
                axis.value(ROWS - 1)
            );
            assert!(values.iter().all(|value| (axis.value(axis.row(*value)) - value).abs() <= 0.5001 / axis.per_one));
        };
        check(&[0.0, 1.0], 1.0, 0.0);
        check(&[0.2, 0.9], 1.0, 0.0);
        check(&[0.964, 0.977], 0.995, 0.945);
        check(&[0.999, 1.0], 1.0, 0.95);
        check(&[0.5], 0.525, 0.475);
        check(&[0.6, 0.95], 1.0, 0.5);
        check(&[], 1.0, 0.0);
        assert_eq!(Axis::of([f64::NAN, 0.5].into_iter()), Axis::of([0.5].into_iter()));
    }

    #[test]
    fn all_curves_are_in_the_legend() {
        let long = vec![0.5; 40];
        let text = draw(&[("one", &[0.0, 1.0]), ("another", &long)]);
        assert!(text.contains("● one      0.000 1.000") && text.contains("○ another  first 0.500"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() < 100), "{text}");
    }
}
