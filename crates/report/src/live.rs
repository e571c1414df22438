//! The part of a page that shows a run while it is under way. It is made again after each epoch, with what `report.html` is made of.

use maud::html;

use crate::curves::run_figure;
use crate::html::{advice, chip, tiles};
use crate::page::{figures, section};
use crate::run::Run;
use crate::verdict::verdict;

/// The tiles, the curves and the verdict of a run, as the sections of a page that has the style sheet [`style`](crate::style). The verdict
/// on a run that is `under_way` would be premature, so it is left out then. Unlike the report, these sections suggest no command, because a
/// command names folders of this machine.
pub fn live(run: &Run, under_way: bool) -> String {
    let verdict = verdict(&run.history, run.best.epoch, &run.guessing());
    let body = html! {
        @if !under_way { p { (chip(&verdict)) } }
        div class="tiles" { (tiles(run)) }
        (section("Learning curves", &figures(&run_figure(run).each())))
        @if under_way {
            (section("So far", &html! { @if !verdict.evidence.is_empty() { ul { @for line in &verdict.evidence { li { (line) } } } } }))
        } @else {
            (section("What the curves say", &advice(&verdict, None)))
        }
    };
    body.into_string()
}
