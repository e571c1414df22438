//! Reports for people: learning curves, tables and the HTML report.
//!
//! - [`Run`]: the contents of a run's folder;
//! - [`verdict`]: whether a run still improves, has converged or overfits, in words and with the numbers;
//! - [`network()`]: the table of a network's layers;
//! - [`plan`]: the plan of a phase, in words; [`words`]: numbers in readable form;
//! - [`write()`]: writes `plots/` and `report.html`;
//! - [`ahead()`]: what is under way in a training, and how long it will take;
//! - [`live()`], [`style`]: the part of a live page that shows a run under way, and the style sheet of all pages;
//! - [`Comparison`]: a comparison of several runs;
//! - [`heat`]: what an answer rests on, in colours over a photo;
//! - [`Standings`]: the trials of a sweep; [`rates()`]: the curve of a learning rate range test;
//! - [`inspection`](mod@inspection): what was found about images before any training, in sentences and as a page.
//!
//! *Architecture invariant:* this crate reads the files of a run, and the photos that the run or an inspection names. It does not train, and it changes none
//! of these files.

mod ahead;
mod album;
mod chart;
mod classes;
mod comparison;
pub mod curves;
mod decisions;
mod elsewhere;
mod error;
mod font;
pub mod heat;
mod html;
mod images;
pub mod inspection;
mod judged;
mod live;
mod looks;
mod more;
mod network;
mod next;
mod page;
mod paired;
pub mod plan;
mod plane;
mod ranking;
mod raster;
mod rates;
mod run;
pub mod scene;
mod several;
mod strip;
mod svg;
mod sweep;
mod tagged;
pub mod verdict;
mod wall;
pub mod words;
mod write;

pub use ahead::{Stage, UnderWay, ahead, kept};
pub use chart::Stretch;
pub use comparison::Comparison;
pub use error::ReportError;
pub use html::report;
pub use judged::{Judged, Pair, Placed};
pub use live::live;
pub use network::network;
pub use page::style;
pub use paired::{Answers, Duel};
pub use rates::rates;
pub use run::{Kept, Run};
pub use sweep::{Standing, Standings};
pub use tagged::Tagged;
pub use write::write;
