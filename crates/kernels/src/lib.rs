//! The hot loops on the CPU: graphs compiled for inference, and for training.
//!
//! - [`inference`]: a frozen prefix, normalisation folded, activations fused, buffers planned once;
//! - [`training`]: a trainable tail, forward and backward.
//!
//! *Architecture invariant:* no Burn and no files: values are `f32` slices, channels last, and whoever owns a tensor hands
//! over a slice of it.

mod geometry;
pub mod inference;
mod isa;
mod memory;
pub mod training;

pub use isa::Isa;
pub use memory::OutOfMemory;

/// Names what the kernels compute, to the last bit. Raise the number with each change after which a frozen prefix may put out
/// other bits, so that features that were kept before are not mixed with those that are computed after.
pub const REVISION: &str = "kernels 1";
