//! The C ABI between Injerto and a backbone plugin.
//!
//! A plugin is a shared library that exports one symbol, [`ENTRY_SYMBOL`], which returns a pointer to a static [`Table`].
//! It describes networks as JSON and computes nothing with tensors. `include/injerto_plugin.h` is the same ABI in C, and
//! `CHANGELOG.md` says what changed. A test keeps the three consistent.
//!
//! - [`Table`], [`Str`], [`Sink`], [`Status`], [`WeightsExtension`]: the types that cross the border;
//! - [`plugin_table!`], [`Linked`]: the table of a Rust plugin, which catches panics at the border and may be linked into a program;
//! - [`export_plugin!`]: exports such a table from a library;
//! - [`check_table`]: the check that a host makes before it trusts a table;
//! - [`Plugin`]: asks as a host does, and follows every pointer of the border in one place.
//!
//! *Architecture invariant:* no memory is allocated on one side and freed on the other; no Rust type without
//! `#[repr(C)]` crosses the border; this crate depends on nothing.

mod check;
mod export;
mod host;
mod table;

pub use check::{TableError, check_table};
pub use export::Linked;
#[doc(hidden)]
pub use export::{Export, guarded};
pub use host::{CallError, Plugin};
pub use table::{
    ABI_MAJOR, ABI_MINOR, DescribeFn, DescriptorsFn, ENTRY_SYMBOL, EntryFn, ExtensionFn, MAGIC, ScoreFn, Sink, Status,
    Str, Table, WEIGHTS_EXTENSION, WeightsExtension, WeightsReadFn, WriteFn,
};
