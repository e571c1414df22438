//! Work on very many photos, divided over processes and machines that need not know each other.
//!
//! - [`Place`]: where photos and files lie, on this machine or in an object store;
//! - [`Shard`]: one of so many parts of the work, and where SLURM and Kubernetes say which one a process has;
//! - [`Input`]: photos in folders, lists, WebDataset archives and Parquet tables; [`Input::share`] is the part of one shard;
//! - [`Network`]: anything that computes answers about photos; [`work`] runs it on a share, and writes one Parquet file;
//! - [`Gathered`]: the files of all shards, checked; their rows are read again in bounded memory.
//!
//! There is no scheduler here: a process computes the shard that it is told to compute, and a shard is done when its file exists.
//!
//! *Architecture invariant:* this crate knows no network, no Burn and no configuration. Nothing is printed.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod error;
mod gather;
mod input;
mod output;
mod place;
mod shard;
mod work;

pub use error::ShardsError;
pub use gather::{Fault, Gathered, Part, Row, Rows};
pub use input::{Input, Photo, Share};
pub use output::{About, Answer, Kind, Precision};
pub use place::Place;
pub use shard::Shard;
pub use work::{Done, Network, Outcome, Photos, Problem, work};
