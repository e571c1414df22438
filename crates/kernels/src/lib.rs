//! The hot loops on the CPU: graphs compiled for inference, and for training.
//!
//! - [`inference`]: a frozen prefix, normalisation folded, activations fused, buffers planned once;
//! - [`training`]: a trainable tail, forward and backward.
//!
//! *Architecture invariant:* no Burn and no files: values are `f32` slices, channels last, and whoever owns a tensor hands
//! over a slice of it.

pub mod inference;
pub mod training;
