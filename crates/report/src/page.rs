//! The frame of a page, and its small parts.

use std::fmt::Write as _;

use crate::scene::{Ink, Scene};
use crate::svg::{Colours, escaped, to_svg};

/// Colours of a page beside those of its figures: light, then dark.
const COLOURS: [(&str, &str, &str); 4] = [
    ("--page", "#f2f4f6", "#0e1114"),
    ("--good", "#217a54", "#5cc49d"),
    ("--fair", "#96610f", "#e0a650"),
    ("--bad", "#b3352b", "#ef8a80"),
];

/// A page that needs nothing beside itself: no script, no network.
pub fn page(title: &str, body: &str) -> String {
    let (mut light, mut dark) = (String::new(), String::new());
    for (name, bright, dim) in COLOURS {
        let _ = write!(light, "{name}:{bright};");
        let _ = write!(dark, "{name}:{dim};");
    }
    for ink in Ink::all() {
        let _ = write!(light, "{}:{};", ink.variable(), ink.light());
        let _ = write!(dark, "{}:{};", ink.variable(), ink.dark());
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n\
         <style>\n:root{{{light}}}\n@media screen and (prefers-color-scheme: dark){{:root{{{dark}}}}}\n{}</style>\n</head>\n\
         <body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escaped(title),
        include_str!("report.css"),
    )
}

/// A part of the page with its heading; nothing where there is nothing in it.
pub fn section(heading: &str, body: &str) -> String {
    if body.is_empty() {
        return String::new();
    }
    format!("<section>\n<h2>{}</h2>\n{body}\n</section>\n", escaped(heading))
}

/// Figures beside each other, or below each other where the screen is narrow.
pub fn figures(scenes: &[Scene]) -> String {
    let drawn: String = scenes.iter().map(|scene| to_svg(scene, Colours::Page)).collect();
    format!("<div class=\"figures\">\n{drawn}</div>\n")
}

/// One number in large.
pub fn tile(value: &str, what: &str) -> String {
    format!("<div class=\"tile\"><b>{}</b><span>{}</span></div>\n", escaped(value), escaped(what))
}

/// Tables of more columns than this become a list where the screen is narrow.
const COLUMNS: usize = 4;

/// A table; columns whose heading begins with `#` hold numbers. Cells are HTML already.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let class = |at: usize| if headings[at].starts_with('#') { " class=\"number\"" } else { "" };
    let wide = if headings.len() > COLUMNS { " class=\"wide\"" } else { "" };
    let mut table = format!("<div class=\"scroll\"><table{wide}>\n<tr>");
    for (at, heading) in headings.iter().enumerate() {
        let _ = write!(table, "<th{}>{}</th>", class(at), escaped(heading.trim_start_matches('#')));
    }
    table += "</tr>\n";
    for row in rows {
        table += "<tr>";
        for (at, cell) in row.iter().enumerate() {
            let label = escaped(headings[at].trim_start_matches('#'));
            let label = if wide.is_empty() { String::new() } else { format!(" data-label=\"{label}\"") };
            let _ = write!(table, "<td{}{label}>{cell}</td>", class(at));
        }
        table += "</tr>\n";
    }
    table + "</table></div>\n"
}

/// A number with commas, as in 2,257,984.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Seconds as one says them.
pub fn duration(seconds: f64) -> String {
    match seconds {
        ..10.0 => format!("{seconds:.1} s"),
        ..100.0 => format!("{seconds:.0} s"),
        ..6000.0 => format!("{:.0} min {:.0} s", (seconds / 60.0).floor(), (seconds % 60.0).floor()),
        _ => format!("{:.0} h {:.0} min", (seconds / 3600.0).floor(), (seconds % 3600.0 / 60.0).floor()),
    }
}
