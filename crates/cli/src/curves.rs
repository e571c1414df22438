//! Learning curves as text.

use std::fmt::Write as _;

/// Marks of the curves, in their order.
const MARKS: [char; 6] = ['●', '○', '▲', '△', '■', '□'];
/// Longer curves are listed by their first, best and last value only.
const LISTED: usize = 12;

/// Draws up to six curves of accuracies (0 to 1, one value an epoch) over each other, with a scale and a legend.
pub fn draw(curves: &[(&str, &[f64])]) -> String {
    let epochs = curves.iter().map(|(_, curve)| curve.len()).max().unwrap_or(0);
    let (rows, step) = (11, (60 / epochs.max(1)).clamp(1, 6));
    let mut canvas = vec![vec![' '; epochs * step + 1]; rows];
    // The first curve is drawn last, over the others.
    for ((_, curve), mark) in curves.iter().zip(MARKS).rev() {
        for (epoch, accuracy) in curve.iter().enumerate() {
            let row = ((1.0 - accuracy.clamp(0.0, 1.0)) * (rows - 1) as f64).round() as usize;
            canvas[row][epoch * step + step / 2] = mark;
        }
    }
    let mut text = String::from("validation accuracy\n");
    for (row, line) in canvas.iter().enumerate() {
        let label = 1.0 - row as f64 / (rows - 1) as f64;
        let line: String = line.iter().collect();
        let _ = writeln!(text, "{label:>5.1} ┤{}", line.trim_end());
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

/// Numbers of the epochs, `step` columns apart: all where they fit, else every fifth, tenth, …
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
    fn all_curves_are_in_the_legend() {
        let long = vec![0.5; 40];
        let text = draw(&[("one", &[0.0, 1.0]), ("another", &long)]);
        assert!(text.contains("● one      0.000 1.000") && text.contains("○ another  first 0.500"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() < 100), "{text}");
    }
}
