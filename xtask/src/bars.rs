//! The picture of `docs/benchmarks.md`: the three pieces of work in which the lead over the fastest peer is largest, as bars.

use std::fmt::Write as _;

use crate::workspace::root;

/// How many pieces of work are shown.
const SHOWN: usize = 3;

/// What a row of the page's tables says.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    name: String,
    value: f64,
}

/// A section of the page: its title, its unit, and its rows; ours is the first.
#[derive(Debug, Clone, PartialEq)]
struct Section {
    title: String,
    /// Whether more is better: images per second, and not seconds.
    rates: bool,
    rows: Vec<Row>,
}

impl Section {
    /// Speed of a row relative to another.
    fn speed(&self, row: &Row, other: &Row) -> f64 {
        if self.rates { row.value / other.value } else { other.value / row.value }
    }

    /// The fastest of the rows that are ours, or of those that are not.
    fn fastest(&self, ours: bool) -> Option<&Row> {
        let rows = self.rows.iter().filter(|row| is_ours(row) == ours);
        rows.max_by(|a, b| self.speed(a, b).total_cmp(&1.0))
    }

    /// How many times as fast as the fastest peer we are.
    fn lead(&self) -> Option<f64> {
        Some(self.speed(self.fastest(true)?, self.fastest(false)?))
    }
}

/// Whether a row is ours. A second run with kept features is no measure of the work.
fn is_ours(row: &Row) -> bool {
    row.name.starts_with("injerto")
}

/// Draws the picture from the page.
///
/// # Errors
/// The page cannot be read or holds no table of work, or the picture cannot be written.
pub(crate) fn draw() -> Result<(), String> {
    let (page, picture) = (root().join("docs/benchmarks.md"), root().join("docs/pictures/benchmarks.svg"));
    let text = std::fs::read_to_string(&page).map_err(|error| format!("{}: {error}", page.display()))?;
    let best = best(sections(&text));
    if best.is_empty() {
        return Err(format!(
            "{}: no work that we and a peer have done; `cargo xtask bench peers` does it",
            page.display()
        ));
    }
    std::fs::write(&picture, svg(&best)).map_err(|error| format!("{}: {error}", picture.display()))?;
    println!("written: {}", picture.display());
    Ok(())
}

/// The sections in which the lead over the fastest peer is largest, largest first.
fn best(mut sections: Vec<Section>) -> Vec<Section> {
    sections.retain(|section| section.lead().is_some());
    sections.sort_by(|a, b| b.lead().unwrap_or(0.0).total_cmp(&a.lead().unwrap_or(0.0)));
    sections.truncate(SHOWN);
    sections
}

/// The sections of a page that have a table of work, with the rows that were measured.
fn sections(page: &str) -> Vec<Section> {
    page.split("\n## ").skip(1).filter_map(section).collect()
}

fn section(text: &str) -> Option<Section> {
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let mut lines = text.lines();
    let title = lines.next()?.to_owned();
    let mut table = lines.filter(|line| line.starts_with('|'));
    let head = cells(table.next()?);
    let column = head.iter().position(|name| name.ends_with("(median)"))?;
    let row = |line: &str| {
        let cells = cells(line);
        let name = cells.first()?.clone();
        let value = cells.get(column)?.parse().ok()?;
        (name != "injerto, again").then_some(Row { name, value })
    };
    let rows = table.filter_map(row).collect();
    Some(Section { title, rates: head[column].starts_with("images/s"), rows })
}

/// Bars of the speed of each row, relative to the fastest peer of its section.
fn svg(sections: &[Section]) -> String {
    let (width, left, right, line) = (860.0, 300.0, 170.0, 24.0);
    let count: usize = sections.iter().map(|section| section.rows.len()).sum();
    let height = count as f64 * line + sections.len() as f64 * 54.0 + 20.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" role=\"img\" \
         font-family=\"system-ui, 'DejaVu Sans', sans-serif\" font-size=\"13\">\n\
         <title>Speed beside other frameworks; docs/benchmarks.md has the figures</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    let mut y = 10.0;
    for section in sections {
        y += 26.0;
        let title = escaped(&section.title);
        let _ = writeln!(svg, "<text x=\"16\" y=\"{y}\" font-weight=\"bold\" fill=\"#1c2733\">{title}</text>");
        y += 10.0;
        let Some((fastest, peer)) = section.fastest(true).zip(section.fastest(false)) else { continue };
        let most = section.speed(fastest, peer).max(1.0);
        let mut rows: Vec<&Row> = section.rows.iter().collect();
        rows.sort_by(|a, b| section.speed(b, a).total_cmp(&1.0));
        for row in rows {
            let speed = section.speed(row, peer);
            let long = (width - left - right) * speed / most;
            let (fill, name) = (if is_ours(row) { "#c8553d" } else { "#8fa3b5" }, escaped(&row.name));
            let unit = if section.rates { "images/s" } else { "s" };
            let _ = writeln!(
                svg,
                "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\" fill=\"#1c2733\">{name}</text>\
                 <rect x=\"{left}\" y=\"{y:.0}\" width=\"{long:.1}\" height=\"16\" rx=\"2\" fill=\"{fill}\"/>\
                 <text x=\"{:.0}\" y=\"{:.0}\" fill=\"#1c2733\">{:.1} {unit}, {speed:.2}×</text>",
                left - 8.0,
                y + 13.0,
                left + long + 8.0,
                y + 13.0,
                row.value,
            );
            y += line;
        }
        y += 18.0;
    }
    svg + "</svg>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Benchmarks

## Forward <a>

| | runs | images/s (median) | spread |
|---|---|---|---|
| injerto | 5 | 30.0 | |
| one (One 1) | 5 | 20.0 | |
| two | 5 | 25.0 | |
| three | 0 | not run: no module | |

## Training

| | runs | seconds (median) | spread |
|---|---|---|---|
| injerto | 5 | 10.0 | |
| injerto, again | 5 | 1.0 | |
| one | 5 | 40.0 | |

## By hand

| work | result |
|---|---|
| a | 3 |
";

    #[test]
    fn the_largest_leads_over_the_fastest_peer_come_first() {
        let best = best(sections(PAGE));
        let leads: Vec<(&str, f64)> =
            best.iter().map(|section| (section.title.as_str(), section.lead().unwrap_or(0.0))).collect();
        assert_eq!(leads, [("Training", 4.0), ("Forward <a>", 1.2)]);
    }

    #[test]
    fn a_bar_is_as_long_as_its_row_is_fast() {
        let svg = svg(&best(sections(PAGE)));
        assert!(
            svg.contains(">Forward &lt;a&gt;<")
                && svg.contains(">one (One 1)<")
                && svg.contains("30.0 images/s, 1.20×"),
            "{svg}"
        );
        assert!(svg.contains("40.0 s, 1.00×") && svg.contains("10.0 s, 4.00×"), "{svg}");
        let widths: Vec<&str> = svg
            .match_indices("\" width=\"")
            .map(|(at, _)| &svg[at + 9..])
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert!(
            widths.windows(2).any(|pair| pair == ["390.0", "97.5"]),
            "four times as fast, four times as long: {widths:?}"
        );
    }
}
