//! Files that survive a crash, folders of the user, and names that are fit for a terminal.
//!
//! - [`write()`], [`Partial`]: a file appears whole, on the disk, or not at all;
//! - [`Lock`]: one process at a time in a folder;
//! - [`memory`]: how much memory there is, asked before gigabytes are taken;
//! - [`user`]: where this platform keeps a user's caches and data;
//! - [`shown`], [`printable`]: a path or a name, as it may be printed;
//! - [`listed`], [`nearest`]: many names in one line, and the one that was probably meant; [`hex`]: a checksum in words;
//! - [`catch_quietly`]: a reader of foreign files that panics is an error, and prints nothing;
//! - [`absolute`], [`settled`]: where a path leads, with and without its links;
//! - [`to_text`], [`from_text`], [`shell_word`]: a path as text that is read back, also where it is not UTF-8.
//!
//! *Architecture invariant:* this crate knows no other crate of the project and no format of a file.

mod hex;
mod lock;
pub mod memory;
mod names;
mod place;
mod quiet;
mod shown;
mod text;
pub mod user;
mod write;

pub use hex::hex;
pub use lock::{Lock, LockError};
pub use names::{listed, nearest};
pub use place::{absolute, settled};
pub use quiet::catch_quietly;
pub use shown::{Printable, is_plain, printable, shown};
pub use text::{from_text, shell_word, to_text};
pub use write::{Partial, remove_partial, write};
