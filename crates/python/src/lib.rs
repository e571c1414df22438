//! The Python module `injerto._injerto`: features, predictions and training for Python, on images of any form.
//!
//! Everything is computed below, by the crates that the binary uses too; here Python's values become Rust's and the other way round.
//! The package around it (`python/injerto`) has the classes and functions that users see, with their documentation; they hand over their
//! arguments.
//!
//! - `feed`: images from Python, handed to a thread that computes, while Python can interrupt;
//! - `images`: what an image may be;
//! - `models`: networks that are loaded once and asked often;
//! - `train`: an experiment in this process;
//! - `collective`: other processes that train together with this one;
//! - `values`: JSON, TOML and arrays as Python's values;
//! - `catalog`: where plugins are found from a wheel;
//! - `module`: the module as Python loads it.
//!
//! PyO3's macros are not used: they need more features of `syn` than anything else here, so that Cargo would build serde, Burn and all
//! that depends on them a second time for the sake of this crate. A module of a few functions does without.
//!
//! *Architecture invariant:* a thread that waits for a computation does not hold Python's global lock, and checks for signals at least ten
//! times per second.
//!
//! *Architecture invariant:* nothing is computed in Python.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod catalog;
mod collective;
mod error;
mod feed;
mod images;
mod models;
mod module;
mod train;
mod values;
