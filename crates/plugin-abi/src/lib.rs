//! The C ABI between Injerto and a backbone plugin.
//!
//! A plugin is a shared library that exports one symbol, [`ENTRY_SYMBOL`], which returns a pointer to a static [`Table`].
//! It describes networks as JSON and never runs a tensor. `include/injerto_plugin.h` says the same in C, `CHANGELOG.md`
//! what changed; a test keeps the three together.
//!
//! - [`Table`], [`Str`], [`Sink`], [`Status`], [`WeightsExtension`]: the types that cross;
//! - [`export_plugin!`]: how a Rust plugin is exported, panics caught at the border;
//! - [`check_table`]: what a host checks before it trusts anything;
//! - [`Plugin`]: how a host asks, with every pointer of the border followed in one place.
//!
//! *Architecture invariant:* no memory is allocated on one side and freed on the other, no Rust type without
//! `#[repr(C)]` crosses, and this crate depends on nothing.

mod check;
mod export;
mod host;
mod table;

pub use check::{TableError, check_table};
#[doc(hidden)]
pub use export::{Export, guarded};
pub use host::{CallError, Plugin};
pub use table::{
    ABI_MAJOR, ABI_MINOR, DescribeFn, DescriptorsFn, ENTRY_SYMBOL, EntryFn, ExtensionFn, MAGIC, ScoreFn, Sink, Status,
    Str, Table, WEIGHTS_EXTENSION, WeightsExtension, WeightsReadFn, WriteFn,
};
