//! Reads classifiers from ONNX models as backbones, and writes trained networks as ONNX models.
//!
//! ONNX describes a network by the elementary operators that its exporter chose; a [`Graph`](injerto_graph::Graph) describes it by
//! layers, which can be frozen, cut and trained. Writing is a lowering of each layer to a few nodes; reading recognises the layers
//! in the nodes.
//!
//! The crate has its own reader and writer of protocol buffers (about 400 lines), because the nodes of a foreign file are hostile
//! input, and only a few of ONNX's messages are needed. No memory is allocated for a length before the bytes have been seen; weights stay
//! slices of the file until they are needed, and are written without a second copy in memory. A generated parser (`prost` with ONNX's
//! schema) copies every tensor and has no limits; `onnx-ir` resolves nodes for an import into Burn and loses their names; `onnx-rs` parses
//! well, but is young and would replace only the smallest part of the code here.
//!
//! *Architecture invariant:* weights are `f32` slices with names; there are no tensors of a framework here, and nothing is executed.

mod error;
mod proto;
pub mod read;
mod tensor;
mod wire;
mod write;

pub use error::{OnnxError, RefusedNode};
pub use write::{Answer, Classifier, Precision};
