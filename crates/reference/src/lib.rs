//! What every operator computes, and the suite that everything that computes operators must pass. For tests only.
//!
//! - [`evaluate`]: the specification. Plain loops in double precision, forward and backward, one arm per operator, with the
//!   semantics of Keras; nothing is folded, fused or reordered. [`evaluate_in_bf16`] rounds what lies between layers,
//!   and [`evaluate_with_bf16_products`] what is multiplied in products of matrices;
//! - [`examples`]: every operator alone, over the grid of its attributes;
//! - [`strategy`]: random networks that hold together, and random wishes about which of their layers train;
//! - [`networks`]: whole networks of the literature, their parameters, and random numbers;
//! - [`conformance`]: what an executor (an inference, a training, Burn's network, …) must do to be right. An executor computes
//!   an operator as the specification says, or refuses a layer by its name; nothing else passes.
//!
//! *Architecture invariant:* no other crate depends on it except for tests, benchmarks and examples, and it knows `graph` alone:
//! what computes a network says so to the suite through the traits of [`conformance`].

mod activations;
pub mod conformance;
mod evaluate;
mod examples;
mod layer;
pub mod networks;
mod norms;
mod operators;
pub mod strategy;
mod tensor;
mod tokens;
mod windows;

pub use evaluate::{Gradients, Pass, Values, bf16, evaluate, evaluate_in_bf16, evaluate_with_bf16_products};
pub use examples::{Example, classes, examples};
