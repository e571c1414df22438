//! The frame of a page, and its small parts. All of it is [`Markup`], so that text cannot become a tag.

use std::fmt::Write as _;

use maud::{Markup, PreEscaped, html};

use crate::scene::{Ink, Scene};
use crate::svg::{Colours, to_svg};

/// Colours of a page beside those of its figures: light, then dark.
const COLOURS: [(&str, &str, &str); 4] = [
    ("--page", "#f2f4f6", "#0e1114"),
    ("--good", "#217a54", "#5cc49d"),
    ("--fair", "#96610f", "#e0a650"),
    ("--bad", "#b3352b", "#ef8a80"),
];

/// A page that needs nothing beside itself: no script, no network.
pub fn page(title: &str, body: &Markup) -> String {
    let page = html! {
        (PreEscaped("<!doctype html>\n"))
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(style())) }
            }
            body { main { (body) } }
        }
    };
    // Control characters have no place in HTML, not even escaped.
    let shown = |letter: char| matches!(letter, '\n' | '\t') || !letter.is_control();
    let mut text = page.into_string();
    if !text.chars().all(shown) {
        text = text.chars().map(|letter| if shown(letter) { letter } else { char::REPLACEMENT_CHARACTER }).collect();
    }
    text + "\n"
}

/// The style sheet, with the colours as variables.
fn style() -> String {
    let (mut light, mut dark) = (String::new(), String::new());
    for (name, bright, dim) in COLOURS {
        let _ = write!(light, "{name}:{bright};");
        let _ = write!(dark, "{name}:{dim};");
    }
    for ink in Ink::all() {
        let _ = write!(light, "{}:{};", ink.variable(), ink.light());
        let _ = write!(dark, "{}:{};", ink.variable(), ink.dark());
    }
    let dark = format!("@media screen and (prefers-color-scheme: dark){{:root{{{dark}}}}}");
    format!("\n:root{{{light}}}\n{dark}\n{}", include_str!("report.css"))
}

/// A part of the page with its heading; nothing where there is nothing in it.
pub fn section(heading: &str, body: &Markup) -> Markup {
    html! {
        @if !body.0.is_empty() {
            section { h2 { (heading) } (body) }
        }
    }
}

/// Figures beside each other, or below each other where the screen is narrow.
pub fn figures(scenes: &[Scene]) -> Markup {
    html! {
        div class="figures" {
            @for scene in scenes { (PreEscaped(to_svg(scene, Colours::Page))) }
        }
    }
}

/// One number in large.
pub fn tile(value: &str, what: &str) -> Markup {
    html! { div class="tile" { b { (value) } span { (what) } } }
}

/// What stands for a figure that there is none of.
pub const NONE: &str = "–";

/// Text as a cell of a table.
pub fn cell(text: impl maud::Render) -> Markup {
    text.render()
}

/// Tables of more columns than this become a list where the screen is narrow.
const COLUMNS: usize = 4;

/// A table, or nothing without rows; columns whose heading begins with `#` hold numbers.
pub fn table(headings: &[&str], rows: &[Vec<Markup>]) -> Markup {
    let name = |at: usize| headings[at].trim_start_matches('#');
    let number = |at: usize| headings[at].starts_with('#').then_some("number");
    let wide = (headings.len() > COLUMNS).then_some("wide");
    html! {
        @if !rows.is_empty() {
            div class="scroll" {
                table class=[wide] {
                    tr {
                        @for at in 0..headings.len() { th class=[number(at)] { (name(at)) } }
                    }
                    @for row in rows {
                        tr {
                            @for (at, cell) in row.iter().enumerate() {
                                td class=[number(at)] data-label=[wide.map(|_| name(at))] { (cell) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A table of two columns without headings: what, and how much or which. `class` is that of the second column.
pub fn facts(class: Option<&str>, rows: &[(&str, String)]) -> Markup {
    html! {
        @if !rows.is_empty() {
            div class="scroll" {
                table {
                    @for (what, value) in rows {
                        tr { td { (what) } td class=[class] { (value) } }
                    }
                }
            }
        }
    }
}
