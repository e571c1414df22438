//! How the dashboard is drawn.

use std::time::Duration;

use injerto_files::printable;
use injerto_report::words::{counted, duration};
use injerto_trainer::history::EpochRecord;
use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::{Color, Style};

use super::board::Board;
use super::plot::{Curve, GREY, plot};
use crate::output::Said;
use crate::progress::Step;

/// Upper limit of the lines of output that are looked at.
pub const MESSAGES: usize = 200;

const TRAINING: Color = Color::Indexed(39);
const VALIDATION: Color = Color::Indexed(214);
const WARNING: Color = Color::Indexed(203);

/// Numbers of lines: of the lower part, of the curves at least, and of what stands around both.
const LOWER: u16 = 7;
const CURVES: u16 = 6;
const AROUND: u16 = 6;

/// Draws `board` over the whole of `buffer`, with the last lines of output and the time that the training has taken.
pub fn draw(buffer: &mut Buffer, board: &Board, said: &[Said], spent: Duration) {
    let area = buffer.area;
    buffer.reset();
    if area.width < 20 || area.height <= AROUND {
        let most = usize::from(area.height);
        for (y, line) in (0..).zip(folded(&board.words(), usize::from(area.width)).iter().take(most)) {
            buffer.set_stringn(0, y, line, usize::from(area.width), Style::new());
        }
        return;
    }
    let (wide, bottom) = (usize::from(area.width), area.bottom() - 1);
    // What is under way.
    let state = if board.stopping { "stopping" } else { "training" };
    let right = format!("{state}, {}", duration(spent.as_secs_f64().floor()));
    let title = format!("injerto  {}", printable(&board.title));
    buffer.set_stringn(0, 0, title, wide.saturating_sub(right.len() + 1), Style::new().bold());
    buffer.set_stringn(area.right().saturating_sub(right.len() as u16), 0, &right, wide, GREY);
    let lines = folded(&board.words(), wide);
    let words = if lines.len() > 2 { &lines[..2] } else { &lines[..] };
    let style = if board.stopping { Style::new().fg(WARNING) } else { Style::new() };
    for (row, line) in (1..).zip(words) {
        buffer.set_stringn(0, row, line, wide, style);
    }
    let mut y = 1 + words.len() as u16;
    if let Some(step) = &board.step {
        bar(buffer, y, step);
    }
    y += 2;
    buffer.set_stringn(0, bottom, keys(board), wide, GREY);
    // The curves take the lines that the lower part leaves. If there is no room for both, the output is left out.
    let lower = match area.height.saturating_sub(AROUND) {
        room if room >= LOWER + CURVES => LOWER + (room - LOWER - CURVES) / 4,
        room => room,
    };
    let curves = Rect { y, height: (bottom.saturating_sub(y)).saturating_sub(lower + 1), ..area };
    if curves.height >= CURVES - 1 {
        figures(buffer, curves, board);
        y = curves.bottom() + 1;
    }
    let rest = Rect { y, height: bottom.saturating_sub(y), ..area };
    if board.shows_phases { phases(buffer, rest, board) } else { messages(buffer, rest, said) }
}

/// What the keys do, and how the training goes on.
fn keys(board: &Board) -> String {
    let other = if board.shows_phases { "p  what was said" } else { "p  the phases" };
    match board.stopping {
        true => format!("Ctrl-C  stop at once    {other}    injerto train --resume {} goes on", board.folder),
        false => format!("q  stop after this batch; every finished epoch is kept    {other}"),
    }
}

/// How far the current count has come.
fn bar(buffer: &mut Buffer, y: u16, step: &Step) {
    let wide = usize::from(buffer.area.width);
    let length = (wide / 4).clamp(10, 30);
    let full = (length * step.done).checked_div(step.total).unwrap_or(0).min(length);
    let (x, _) = buffer.set_stringn(0, y, format!("{}  ", printable(&step.what)), wide, Style::new());
    let (x, _) = buffer.set_stringn(x, y, "━".repeat(full), wide, TRAINING);
    let (x, _) = buffer.set_stringn(x, y, "─".repeat(length - full), wide, GREY);
    let text = format!("  {} of {}  {}", step.done, step.total, step.message);
    buffer.set_stringn(x, y, text, wide.saturating_sub(usize::from(x)), Style::new());
}

/// Loss and accuracy, side by side.
fn figures(buffer: &mut Buffer, area: Rect, board: &Board) {
    let now = board.epoch.as_ref();
    let curve = |name, mark, colour, value: &dyn Fn(&EpochRecord) -> Option<f64>, now: Option<(f64, f64)>| Curve {
        name,
        mark,
        colour,
        points: board
            .history
            .iter()
            .filter_map(|record| Some((record.epoch as f64, value(record)?)))
            .chain(now)
            .collect(),
    };
    // A figure of the epoch under way is drawn at the share of the epoch that is done. The figures of its first batches are those of a few
    // images and are left out.
    let at = |value: f64| now.filter(|now| now.share >= 0.25).map(|now| ((now.number - 1) as f64 + now.share, value));
    let loss = [
        curve("training", '•', TRAINING, &|record| Some(record.loss), now.and_then(|now| at(now.loss))),
        curve("validation", '◦', VALIDATION, &|record| record.val_loss, None),
    ];
    let accuracy = [
        curve("training", '•', TRAINING, &|record| Some(record.accuracy), now.and_then(|now| at(now.accuracy))),
        curve("validation", '◦', VALIDATION, &|record| record.val_accuracy, None),
    ];
    // The scale grows with the curves, up to the epochs of the plan.
    let done = board.history.len() + 1;
    let epochs = board.epochs().min((2 * done).max(6)).max(done);
    let half = (area.width.saturating_sub(3)) / 2;
    let left = Rect { width: half, ..area };
    let right = Rect { x: area.x + area.width - half, width: half, ..area };
    plot(buffer, left, "loss", &loss, epochs, &board.borders());
    plot(buffer, right, "accuracy", &accuracy, epochs, &board.borders());
}

/// The last lines of output, as many as there is room for.
fn messages(buffer: &mut Buffer, area: Rect, said: &[Said]) {
    let lines: Vec<(String, bool)> = said
        .iter()
        .map(Said::text)
        .filter(|(text, _)| !text.trim().is_empty())
        .flat_map(|(text, warns)| {
            folded(text.trim_start_matches('\n'), usize::from(area.width)).into_iter().map(move |line| (line, warns))
        })
        .collect();
    let from = lines.len().saturating_sub(usize::from(area.height));
    for (y, (line, warns)) in (area.y..).zip(&lines[from..]) {
        let style = if *warns { Style::new().fg(WARNING) } else { Style::new() };
        buffer.set_stringn(area.x, y, line, usize::from(area.width), style);
    }
}

/// The phases, and what is decided about each.
fn phases(buffer: &mut Buffer, area: Rect, board: &Board) {
    let done = |name: &str| board.history.iter().filter(|record| record.phase == name).count();
    let mut lines = Vec::new();
    for (number, (stage, about)) in (1..).zip(&board.phases) {
        let name = printable(&stage.name);
        let head = format!("phase {number}  {name}: {} of {}", done(&stage.name), counted(stage.epochs, "epoch"));
        lines.push((head, Style::new().bold()));
        let about = about.iter().flat_map(|line| folded(line, usize::from(area.width).saturating_sub(9)));
        lines.extend(about.map(|line| (format!("         {line}"), Style::new())));
    }
    if let Some(best) = board.best {
        lines.push((format!("best     epoch {best} so far"), Style::new()));
    }
    for (y, (line, style)) in (area.y..area.bottom()).zip(lines) {
        buffer.set_stringn(area.x, y, line, usize::from(area.width), style);
    }
}

/// Lines of at most `width` columns.
fn folded(text: &str, width: usize) -> Vec<String> {
    crate::output::fold(text, width).lines().map(str::to_owned).collect()
}
