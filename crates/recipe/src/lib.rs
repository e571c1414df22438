//! How a network is trained, as values: the loss, the optimiser, the schedule of its learning rate, callbacks, and what is
//! watched.
//!
//! - [`Loss`]: a cross-entropy, and whether a head's output fits it;
//! - [`Distillation`]: how much of a loss is that of a teacher's answers;
//! - [`Task`]: one class per image, or any number of them;
//! - [`OptimizerConfig`]: an optimiser with its options;
//! - [`Schedule`]: how the learning rate moves from step to step;
//! - [`Callbacks`]: what watches a phase and steps in;
//! - [`Metric`], [`Mode`]: a figure of an epoch, and which direction is better;
//! - [`BatchNorm`], [`FeaturePrecision`]: what happens to running statistics, and the number type of stored features.
//!
//! Each type knows its defaults, which are Keras's (one-cycle: PyTorch's), and how it is written in JSON and TOML.
//!
//! *Architecture invariant:* nothing is computed on tensors here, and there is no Burn: whoever reads an experiment, or shows
//! one, compiles in seconds. A default stands on its type and nowhere else.

mod agreement;
mod callbacks;
mod distillation;
mod loss;
mod metric;
mod optimizer;
mod phase;
mod schedule;
mod task;

pub use agreement::Mismatch;
pub use callbacks::{Callbacks, EarlyStopping, ReduceOnPlateau};
pub use distillation::Distillation;
pub use loss::{Focus, Loss, LossName};
pub use metric::{Metric, Mode};
pub use optimizer::{Adam, Clip, OptimizerConfig, RmsProp, Rule, Sgd};
pub use phase::{BatchNorm, FeaturePrecision, Swa};
pub use schedule::{Anneal, Curve, Length, OneCycle, Schedule, StepCount, StepSize};
pub use task::Task;
