//! From image folders to batches of pixels.
//!
//! - [`folder`]: classes and files of an image folder, and Keras's split into training and validation;
//! - [`decode`]: bytes to RGB, by content and never by extension;
//! - [`resize`]: RGB to `f32` at the size of a network, with TensorFlow's numbers;
//! - [`augment`](mod@augment): random changes of training images, as Keras's layers and torchvision's transforms define them;
//! - [`Origin`]: a file, bytes in memory, pixels in memory or a drawing: all code that reads images takes every kind;
//! - [`Label`]: one class per image, or any number of them;
//! - [`Dataset`], [`Loader`]: batches, decoded in parallel and ahead of use, with bounded memory;
//! - [`LoaderOptions::stream`]: the same for images without labels, however many come;
//! - [`moves`]: moves files from class to class, and takes it back;
//! - [`generated`]: images that are drawn instead of read, so that a first experiment needs no download;
//! - [`thumbnails`]: small pictures of photos, to be shown.
//!
//! *Architecture invariant:* no Burn and no network: pixels are `Vec<f32>`, `[height, width, 3]`, 0 to 255.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod ahead;
pub mod augment;
mod budget;
mod cache;
mod combinations;
mod dataset;
pub mod decode;
mod endings;
mod error;
mod fingerprint;
pub mod folder;
pub mod generated;
mod kept;
mod label;
mod loader;
pub mod look;
pub mod moves;
mod options;
mod order;
mod part;
mod read;
pub mod resize;
mod sight;
mod stamp;
mod thumbnail;

pub use combinations::Combinations;
pub use dataset::{Dataset, Kept, Origin, Sample, Skipped};
pub use error::DataError;
pub use fingerprint::Facts;
pub use kept::{KeptCounts, KeptFile, KeptPhotos, kept_files};
pub use label::{Label, SEPARATOR};
pub use loader::{Batch, Batches, Decoded, Loader};
pub use options::{ClassSampling, LoaderOptions, OnCorrupt};
pub use part::Part;
pub use read::{Content, Unread, read};
pub use stamp::Fingerprint;
pub use thumbnail::{small_jpeg, thumbnails};
