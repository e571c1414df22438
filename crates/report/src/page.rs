//! The frame of a page, and its small parts. All parts are [`Markup`], which escapes text, so that text cannot become a tag.

use std::fmt::Write as _;

use maud::{Markup, PreEscaped, html};

use crate::scene::{Ink, Scene};
use crate::svg::{Colours, to_svg};

/// Colours of a page in addition to those of its figures: name, colour on a light page, colour on a dark page.
const COLOURS: [(&str, &str, &str); 6] = [
    ("--page", "#f2f4f6", "#0e1114"),
    ("--good", "#217a54", "#5cc49d"),
    ("--fair", "#96610f", "#e0a650"),
    ("--bad", "#b3352b", "#ef8a80"),
    ("--link", "#225d9c", "#83b7ea"),
    ("--still", "#b9c2cb", "#5a6570"),
];

/// A complete page. It contains its styles and figures, so that it needs no network, and can be read without scripts.
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
    // HTML does not allow control characters, not even escaped ones.
    let shown = |letter: char| matches!(letter, '\n' | '\t') || !letter.is_control();
    let mut text = page.into_string();
    if !text.chars().all(shown) {
        text = text.chars().map(|letter| if shown(letter) { letter } else { char::REPLACEMENT_CHARACTER }).collect();
    }
    text + "\n"
}

/// The style sheet of all pages, which defines the colours as variables.
pub fn style() -> String {
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

/// A section of the page with its heading; empty if `body` is empty.
pub fn section(heading: &str, body: &Markup) -> Markup {
    html! {
        @if !body.0.is_empty() {
            section id=(anchor(heading)) { h2 { (heading) } (body) }
        }
    }
}

/// The name by which a link finds a section.
pub fn anchor(heading: &str) -> String {
    let kept = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
    heading.chars().map(kept).collect()
}

/// A share as a bar, with its interval as a line. The number must stand beside it, because screen readers pass over the bar.
pub fn bar(share: f64, interval: Option<[f64; 2]>) -> Markup {
    let percent = |share: f64| format!("{:.1}%", share.clamp(0.0, 1.0) * 100.0);
    html! {
        span class="bar" aria-hidden="true" {
            span class="fill" style={ "width:" (percent(share)) } {}
            @if let Some([low, high]) = interval {
                span class="whisker" style={ "left:" (percent(low)) ";width:" (percent(high - low)) } {}
            }
        }
    }
}

/// Figures side by side, or one below the other on a narrow screen.
pub fn figures(scenes: &[Scene]) -> Markup {
    html! {
        div class="figures" {
            @for scene in scenes { (PreEscaped(to_svg(scene, Colours::Page))) }
        }
    }
}

/// A large number with a short description.
pub fn tile(value: &str, what: &str) -> Markup {
    html! { div class="tile" { b { (value) } span { (what) } } }
}

/// Placeholder for a missing figure.
pub const NONE: &str = "–";

/// Content of a table's cell.
pub fn cell(text: impl maud::Render) -> Markup {
    text.render()
}

/// A table with more columns than this becomes a list on a narrow screen.
const COLUMNS: usize = 3;

/// A table; empty if there are no rows. Columns whose heading begins with `#` contain numbers.
pub fn table(headings: &[&str], rows: &[Vec<Markup>]) -> Markup {
    let name = |at: usize| headings[at].trim_start_matches('#');
    let number = |at: usize| headings[at].starts_with('#').then_some("number");
    let wide = (headings.len() > COLUMNS).then_some("wide");
    html! {
        @if !rows.is_empty() {
            div class="scroll" {
                table class=[wide] {
                    thead {
                        tr {
                            @for at in 0..headings.len() { th class=[number(at)] scope="col" { (name(at)) } }
                        }
                    }
                    tbody {
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
}

/// A table of two columns without headings: names and values. `class` is the CSS class of the second column.
pub fn facts(class: Option<&str>, rows: &[(&str, String)]) -> Markup {
    html! {
        @if !rows.is_empty() {
            div class="scroll" {
                table {
                    tbody {
                        @for (what, value) in rows {
                            tr { td { (what) } td class=[class] { (value) } }
                        }
                    }
                }
            }
        }
    }
}
