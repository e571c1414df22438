//! Files that survive a crash, folders of the user, and names that are fit for a terminal.
//!
//! - [`write()`], [`Partial`]: a file appears whole, on the disk, or not at all;
//! - [`Lock`]: one process at a time in a folder;
//! - [`memory`]: how much memory there is, asked before gigabytes are taken;
//! - [`user`]: where this platform keeps a user's caches and data;
//! - [`shown`], [`printable`]: a path or a name, as it may be printed;
//! - [`catch_quietly`]: a reader of foreign files that panics is an error, and prints nothing;
//! - [`to_text`], [`from_text`], [`shell_word`]: a path as text that is read back, also where it is not UTF-8.
//!
//! *Architecture invariant:* this crate knows no other crate of the project and no format of a file.

mod lock;
pub mod memory;
mod quiet;
mod shown;
mod text;
pub mod user;
mod write;

pub use lock::{Lock, LockError};
pub use quiet::catch_quietly;
pub use shown::{Printable, is_plain, printable, shown};
pub use text::{from_text, shell_word, to_text};
pub use write::{Partial, remove_partial, write};
