//! What people look at: learning curves, tables, the HTML report.
//!
//! - [`Run`]: what a run's folder says;
//! - [`verdict`]: whether it still improves, has converged or overfits, in words with the numbers;
//! - [`network()`]: the table of a network's layers;
//! - [`plan`]: what is decided about a phase, in words; [`words`]: numbers as people read them;
//! - [`write()`]: `plots/` and `report.html`;
//! - [`Comparison`]: several runs together.
//!
//! *Architecture invariant:* it reads what a run left; it trains nothing and changes nothing.

mod chart;
mod comparison;
pub mod curves;
mod error;
mod font;
mod html;
mod network;
mod page;
pub mod plan;
mod raster;
mod run;
pub mod scene;
mod svg;
pub mod verdict;
pub mod words;
mod write;

pub use comparison::Comparison;
pub use error::ReportError;
pub use html::report;
pub use network::network;
pub use run::{Kept, Run, Stretch};
pub use write::write;
