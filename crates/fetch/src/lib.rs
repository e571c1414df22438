//! Files from other machines: downloads that can be continued, and archives that are unpacked with limits and without links.
//!
//! - [`bytes`]: what an address gives, in memory;
//! - [`file`](fn@file): the same as a file, continued where an earlier attempt broke off;
//! - [`exchange`](mod@exchange): single requests, for protocols that a library speaks;
//! - [`unpack`](mod@unpack): zip, tar and tar with gzip;
//! - [`datasets`]: archives of images, fetched once and kept unpacked.
//!
//! *Architecture invariant:* this crate knows neither images nor weights. No other code opens a connection.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod datasets;
mod download;
pub mod exchange;
pub mod unpack;

pub use download::{Patience, Transfer, bytes, collect, file};
