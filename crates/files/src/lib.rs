//! Files that survive a crash, folders of the user, and names that are fit for a terminal.
//!
//! - [`write()`], [`Partial`]: writes a file that appears on the disk whole or not at all;
//! - [`unfinished`], [`remove_partial`]: find and remove what killed processes have left of such files;
//! - [`open`]: opens what was named as a file, and neither a pipe nor a device, which may wait for ever;
//! - [`read_at`]: reads at a place of a file that others read from too;
//! - [`Lock`]: lets only one process at a time write into a folder;
//! - [`memory`]: asks how much memory there is, before gigabytes are allocated;
//! - [`user`]: finds the folders where this platform keeps a user's caches and data;
//! - [`shown`], [`printable`]: make a path or a name fit for a terminal;
//! - [`listed`], [`nearest`]: write many names in one line, and find the name that was probably meant; [`hex`]: writes a checksum as text;
//! - [`mistaken`]: says what stands in place of a file that a reader cannot read;
//! - [`catch_quietly`]: turns the panic of a reader of foreign files into an error, and prints nothing;
//! - [`absolute`], [`settled`]: say where a path leads, with and without its links;
//! - [`to_text`], [`from_text`], [`shell_word`]: write a path as text that can be read back, even if it is not UTF-8;
//! - [`csv`]: writes and reads the fields of a table.
//!
//! *Architecture invariant:* this crate knows no other crate of the project, and of file formats only the quoting of CSV, and the first
//! bytes of files that are mistaken for others.

mod at;
pub mod csv;
mod hex;
mod lock;
pub mod memory;
mod mistaken;
mod names;
mod open;
mod place;
mod quiet;
mod shown;
mod text;
mod unfinished;
pub mod user;
mod write;

pub use at::read_at;
pub use hex::hex;
pub use lock::{Lock, LockError};
pub use mistaken::mistaken;
pub use names::{listed, nearest};
pub use open::{is_shortage, open, read_text};
pub use place::{absolute, settled};
pub use quiet::catch_quietly;
pub use shown::{Printable, is_plain, printable, shown};
pub use text::{from_text, shell_word, to_text};
pub use unfinished::{Unfinished, Writer, remove_partial, unfinished};
pub use write::{Partial, write};
