//! The part of a page that shows a run while it is under way. It is made again after each epoch, with what `report.html` is made of.

use maud::html;

use crate::curves::run_figure;
use crate::html::{advice, chip, tiles};
use crate::page::{figures, section};
use crate::run::Run;
use crate::verdict::verdict;

/// The tiles, the curves and what they say of a run, as the sections of a page that has the style sheet [`style`](crate::style).
pub fn live(run: &Run) -> String {
    let verdict = verdict(&run.history, run.best.epoch, &run.guessing());
    let body = html! {
        p { (chip(&verdict)) }
        div class="tiles" { (tiles(run)) }
        (section("Learning curves", &figures(&run_figure(run).each())))
        (section("What the curves say", &advice(&verdict)))
    };
    body.into_string()
}
