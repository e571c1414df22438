//! The page of a run. It can be read without its script, which drops photos and follows the run.

use hyper::body::Bytes;
use maud::{Markup, PreEscaped, html};

use crate::corrections;
use crate::live::{Live, State};
use crate::shared::Shared;

/// The script of the page.
pub(crate) const SCRIPT: &str = include_str!("page.js");

/// The style sheet: that of all pages, and what this one has in addition.
pub(crate) fn style() -> String {
    injerto_report::style() + include_str!("page.css")
}

/// The page as it stands.
pub(crate) fn page(shared: &Shared) -> Bytes {
    let live = shared.live();
    let classes = live.classes.as_deref().unwrap_or_default();
    let changes = shared.options.changes && shared.slot.run.is_some();
    let page = html! {
        (PreEscaped("<!doctype html>\n"))
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (live.name) " – injerto" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="/page.css";
                script src="/page.js" defer {}
            }
            body data-run[shared.slot.run.is_some()] data-changes[changes] data-ready[live.classes.is_some()] data-knows[live.knows] {
                main {
                    h1 { (live.name) " " (chip(&live)) }
                    p #words .muted aria-live="polite" { (live.words) }
                    @if changes { (stop(&live)) }
                    (ask(classes))
                    @if changes { (collected(shared)) }
                    div #live { (PreEscaped(&live.html)) }
                    footer .muted {
                        p {
                            "For programs: " a href="/openapi.json" { "all routes" } ", " a href="/run" { "the run" } ", "
                            a href="/health" { "health" } ", " a href="/metrics" { "metrics" } "."
                        }
                    }
                }
            }
        }
    };
    Bytes::from(page.into_string() + "\n")
}

fn chip(live: &Live) -> Markup {
    let class = match live.state {
        State::Training | State::Finished => "good",
        State::Stopping | State::Stopped => "fair",
        State::Checkpoint => "plain",
    };
    html! { span #state class={ "chip " (class) } { (live.state.name()) } }
}

/// The part that takes photos.
fn ask(classes: &[String]) -> Markup {
    html! {
        section #ask {
            h2 { "What is on a photo?" }
            form #drop method="post" action="/predict" enctype="multipart/form-data" {
                label for="files" { b { "Choose photos" } span { "or drop them anywhere on this page, or paste one" } }
                input #files type="file" name="photo" accept="image/*" multiple;
                noscript { p { button { "Ask" } " (without the script of this page, the answer is JSON)" } }
            }
            p #trouble .bad role="alert" hidden {}
            ol #answers aria-live="polite" {}
            template #classes { @for class in classes { option { (class) } } }
        }
    }
}

/// The button that stops the training, and what is kept then.
fn stop(live: &Live) -> Markup {
    html! {
        section #stop hidden[live.state != State::Training] {
            details {
                summary { "Stop the training" }
                p {
                    "It ends after the current batch. Every finished epoch is kept, with the best network so far, and "
                    code { "injerto train --resume" } " goes on from there. What the epoch under way has learnt is lost."
                }
                p { button #stop-now type="button" { "Stop it" } }
            }
        }
    }
}

/// What has been collected for the next training.
fn collected(shared: &Shared) -> Markup {
    let count = shared.slot.run.as_deref().map_or(0, corrections::count);
    html! {
        section #collected hidden[count == 0] {
            h2 { "Collected for the next training" }
            p { b #count { (count) } " photos with the class that you said, in " a href="/corrections" { code { "corrections/labels.csv" } }
                " of the run's folder." }
            p .muted { "An experiment takes them with " code { "root = \"…/corrections\"" } " and " code { "labels = \"labels.csv\"" }
                " under " code { "[data]" } ". " code { "injerto data apply …/corrections/moves.csv" }
                " moves each photo into a folder of its class." }
        }
    }
}
