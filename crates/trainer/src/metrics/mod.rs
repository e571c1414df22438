//! What training and validation are measured by.
//!
//! [`Accumulator`] sums up loss and accuracy while an epoch runs; [`Predictions`] keeps what a network said of each image,
//! and [`Report`] is all that can be said of them, with scikit-learn's definitions.

mod predictions;
mod report;
mod running;

pub use predictions::Predictions;
pub use report::{ClassReport, Mean, Report};
pub use running::Accumulator;
