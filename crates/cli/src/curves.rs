//! Learning curves as text.

use std::fmt::Write as _;

/// Marks of the curves, in their order.
const MARKS: [char; 4] = ['●', '○', '▲', '△'];

/// Draws curves of accuracies (0 to 1, one value an epoch) over each other, with a scale and a legend.
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
    let numbers: String = (1..=epochs).map(|epoch| format!("{epoch:^step$}")).collect();
    let _ = writeln!(text, "       {} epoch", numbers.trim_end());
    for ((name, curve), mark) in curves.iter().zip(MARKS) {
        let values: Vec<String> = curve.iter().map(|value| format!("{value:.3}")).collect();
        let _ = writeln!(text, "  {mark} {name:<13} {}", values.join(" "));
    }
    text
}
