//! The hot loops on the CPU: graphs compiled for inference, and for training.
//!
//! - [`inference`] compiles a frozen prefix: normalisation is folded, activations are fused, and buffers are planned once;
//! - [`training`] compiles a trainable tail, forward and backward;
//! - [`linalg`] multiplies matrices for both, with a table of micro-kernels.
//!
//! *Architecture invariant:* there is no Burn here and no file. Values come in and go out as `f32` slices, channels last; the owner of a tensor
//! hands over a slice of it.

mod attention;
mod bf16;
mod element;
mod geometry;
pub mod inference;
mod isa;
pub mod linalg;
mod memory;
mod parallel;
mod simd;
pub mod training;
mod transform;

pub use bf16::Bf16;
pub use isa::Isa;
pub use memory::OutOfMemory;

/// Identifies the results of the kernels, to the last bit. Raise the number with each change after which a frozen prefix may compute
/// other bits, so that features that were kept before the change are not mixed with features that are computed after it.
pub const REVISION: &str = "kernels 4";
