//! Products of matrices for inference and training: one table of micro-kernels, and the packing of their inputs.
//!
//! A product is cut into tiles that fit in registers, and the right side into panels as wide as a tile, which are packed so that
//! the innermost loop reads them in one stream. A `MicroKernel` computes one tile. The table has a row for each instruction
//! set and each way to find the rows of the left side (`Addressing`):
//!
//! - `addressed`: each row has an address of its own, and a sum goes over runs of values at given distances from it. Inference uses it
//!   to read the pixels of a convolution where they lie;
//! - `strided`: rows, and the steps in them, are equally far apart. Training uses it to read matrices and packed copies;
//! - `paired`: both sides are in bf16, and a row is read in steps of up to 32 numbers at given distances from its first.
//!
//! Training keeps its matrices in `f32`. A `Multiplier` multiplies them, either with a strided kernel or with a unit for bf16, for which both
//! sides are rounded.
//!
//! To add a kernel, add a row to the table. A kernel for another number format has its own `Packing`: a slot of a packed panel is
//! four bytes, which hold an `f32`, or two numbers in bf16 of consecutive steps.

mod addressed;
mod micro;
mod multiplier;
mod pack;
mod paired;
mod product;
mod strided;
mod transpose;
mod transposed;
mod trial;

pub(crate) use addressed::{Addressed, Shared, Tile as AddressedTile, ZEROS};
pub(crate) use micro::MicroKernel;
pub(crate) use multiplier::{Multiplier, Right};
pub(crate) use pack::{Packed, Panel, Places, Scale};
pub use paired::Unit;
pub(crate) use paired::{
    Bias, COLUMNS, DEPTH, Depth, Frame, Lying, PackedPairs, PresentUnit, ROWS, Ready, Side, Sums, Tile as PairedTile,
    column, round, round_rows, shifted_products,
};
pub(crate) use product::{Epilogue, multiply};
pub(crate) use strided::Strided;
pub(crate) use transpose::transpose;
pub(crate) use transposed::{Matrix, matmul_at_b, matmul_at_b_whole};
pub use trial::{Kernel, Trial, kernels, multiply_registers};
