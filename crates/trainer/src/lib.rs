//! Training.

pub mod metrics;
pub mod optimizer;
