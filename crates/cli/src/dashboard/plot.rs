//! Curves in characters: each cell is two points wide and four high.

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::{Color, Style};

/// The colour of scales, borders and less important things.
pub const GREY: Color = Color::Indexed(244);

/// Columns of the scale, with the line after it.
const SCALE: u16 = 8;

/// The dots of a character of Braille by column and row, as bits that are added to the first such character.
const DOTS: [[u32; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
const FIRST: u32 = 0x2800;

/// A curve over epochs.
pub struct Curve {
    pub name: &'static str,
    /// The mark at each of its finished epochs.
    pub mark: char,
    pub colour: Color,
    /// Epochs, which may be fractions, and values. Values that are no numbers leave a gap.
    pub points: Vec<(f64, f64)>,
}

/// Draws curves over each other into `area`, with a title, a legend with the last values, and scales. `epochs` is the last epoch of the
/// scale, and a dotted line stands at each of `borders`.
pub fn plot(buffer: &mut Buffer, area: Rect, title: &str, curves: &[Curve], epochs: usize, borders: &[usize]) {
    if area.width < SCALE + 12 || area.height < 5 {
        return;
    }
    let mut x = buffer.set_stringn(area.x, area.y, title, usize::from(area.width), Style::new().bold()).0;
    for Curve { name, mark, colour, points } in curves {
        let Some((_, last)) = points.last() else { continue };
        let text = format!("  {mark} {name} {last:.4}");
        let room = usize::from(area.right().saturating_sub(x));
        if text.chars().count() <= room {
            x = buffer.set_stringn(x, area.y, text, room, *colour).0;
        }
    }
    let field = Rect { x: area.x + SCALE, y: area.y + 1, width: area.width - SCALE, height: area.height - 2 };
    let values = curves.iter().flat_map(|curve| &curve.points).map(|(_, value)| *value);
    let scale = Scale::of(values, usize::from(field.height));
    for row in 0..field.height {
        let label = scale.label(f64::from(row) / f64::from(field.height - 1));
        let text = label.map_or_else(|| format!("{:>7}│", ""), |label| format!("{label:>6} ┤"));
        buffer.set_string(area.x, field.y + row, text, GREY);
    }
    buffer.set_string(area.x, field.bottom(), format!("{:>7}└{}", "", "─".repeat(usize::from(field.width))), GREY);
    // The first epoch ends at the left edge only if it is the only one.
    let across = |epoch: f64| epoch / epochs.max(1) as f64;
    for &epoch in borders {
        let x = field.x + (across(epoch as f64) * f64::from(field.width - 1)).round() as u16;
        for y in field.y..field.bottom() {
            buffer.set_string(x, y, "┊", GREY);
        }
    }
    for curve in curves {
        draw(buffer, field, curve, across, &scale);
    }
    let end = epochs.to_string();
    buffer.set_string(field.right().saturating_sub(end.len() as u16), field.bottom(), end, GREY);
    buffer.set_string(field.x, field.bottom(), "0 epochs ", GREY);
}

/// Draws the lines of a curve, and its marks over them.
fn draw(buffer: &mut Buffer, field: Rect, curve: &Curve, across: impl Fn(f64) -> f64, scale: &Scale) {
    let (width, height) = (u32::from(field.width) * 2, u32::from(field.height) * 4);
    let dot = |&(epoch, value): &(f64, f64)| {
        value.is_finite().then(|| {
            let right = (across(epoch).clamp(0.0, 1.0) * f64::from(width - 1)).round();
            let down = ((1.0 - scale.share(value)) * f64::from(height - 1)).round();
            [right as i64, down as i64]
        })
    };
    let mut set = |[right, down]: [i64; 2]| {
        let (x, y) = (field.x + (right / 2) as u16, field.y + (down / 4) as u16);
        let cell = &mut buffer[(x, y)];
        let old = cell.symbol().chars().next().map_or(0, u32::from);
        let old = if (FIRST..FIRST + 256).contains(&old) { old - FIRST } else { 0 };
        let bits = FIRST + (old | DOTS[(right % 2) as usize][(down % 4) as usize]);
        cell.set_char(char::from_u32(bits).unwrap_or(' ')).set_fg(curve.colour);
    };
    for pair in curve.points.windows(2) {
        if let [Some(from), Some(to)] = [dot(&pair[0]), dot(&pair[1])] {
            let steps = (to[0] - from[0]).abs().max((to[1] - from[1]).abs());
            let between = |at: i64, axis: usize| {
                from[axis] + ((to[axis] - from[axis]) as f64 * at as f64 / steps.max(1) as f64).round() as i64
            };
            (0..=steps).for_each(|at| set([between(at, 0), between(at, 1)]));
        }
    }
    for point in &curve.points {
        if let Some([right, down]) = dot(point) {
            let (x, y) = (field.x + (right / 2) as u16, field.y + (down / 4) as u16);
            buffer[(x, y)].set_char(curve.mark).set_fg(curve.colour);
        }
    }
}

/// Round numbers around the values.
#[derive(Debug, PartialEq)]
struct Scale {
    low: f64,
    high: f64,
    step: f64,
    decimals: usize,
    /// Number of rows, which limits how close labels may stand.
    rows: usize,
}

impl Scale {
    fn of(values: impl Iterator<Item = f64>, rows: usize) -> Self {
        let range = |(low, high): (f64, f64), value: f64| (low.min(value), high.max(value));
        let (low, high) = values.filter(|value| value.is_finite()).fold((f64::INFINITY, f64::NEG_INFINITY), range);
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        // As many steps as there is room for, at least two rows apart, each 1, 2 or 5 times a power of ten.
        let wanted = ((rows - 1) / 2).clamp(1, 5) as f64;
        let least = ((high - low) / wanted).max(1e-4);
        let power = 10f64.powf(least.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|step| *step >= least * 0.999);
        let step = step.unwrap_or(10.0 * power);
        let (low, high) = ((low / step + 1e-6).floor() * step, (high / step - 1e-6).ceil() * step);
        let high = if high <= low { low + step } else { high };
        Self { low, high, step, decimals: (-step.log10().floor()).clamp(0.0, 4.0) as usize, rows }
    }

    /// Where a value lies between the lowest and the highest, from 0 to 1.
    fn share(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// The label of a row at the height `down`, from the highest (0) to the lowest value (1): the round value that falls on the row, if one
    /// does.
    fn label(&self, down: f64) -> Option<String> {
        let row = |share: f64| (share * (self.rows - 1) as f64).round() as i64;
        let steps = ((self.high - self.low) / self.step).round() as i64;
        let on = (0..=steps).find(|at| row((steps - at) as f64 / steps as f64) == row(down))?;
        Some(format!("{:.*}", self.decimals, self.low + on as f64 * self.step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_has_round_numbers_around_the_values() {
        let check = |values: &[f64], rows: usize, expected: [&str; 2], labels: usize| {
            let scale = Scale::of(values.iter().copied(), rows);
            let all: Vec<String> = (0..rows).filter_map(|row| scale.label(row as f64 / (rows - 1) as f64)).collect();
            assert_eq!([all[0].as_str(), all[all.len() - 1].as_str()], expected, "{values:?}: {all:?}");
            assert_eq!(all.len(), labels, "{values:?}: {all:?}");
        };
        check(&[0.31, 0.98], 11, ["1.0", "0.2"], 5);
        check(&[0.964, 0.977], 11, ["0.980", "0.960"], 5);
        check(&[2.4, 0.1], 9, ["3", "0"], 4);
        check(&[0.5], 9, ["0.5001", "0.5000"], 2);
        check(&[], 9, ["1.0", "0.0"], 3);
        check(&[f64::NAN, 120.0, 3.0], 5, ["200", "0"], 3);
    }
}
