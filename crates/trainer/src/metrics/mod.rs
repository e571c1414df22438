//! Metrics of training and validation.
//!
//! [`Accumulator`] sums loss and accuracy while an epoch runs. [`Predictions`] holds the prediction for each image, and [`Report`]
//! computes all metrics of them, with scikit-learn's definitions.

mod predictions;
mod report;
mod running;

pub use predictions::Predictions;
pub use report::{ClassReport, Mean, Report};
pub use running::Accumulator;
