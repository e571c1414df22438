//! The library through which the processes of a training add up their gradients: an existing collective such as MPI, called through the
//! C interface of `include/injerto_collective.h`.
//!
//! The binary is linked to no collective. To train across processes, one file is compiled against the MPI of the machines
//! (`mpi/injerto_mpi.c`), because MPI has no ABI that all implementations share.
//!
//! *Architecture invariant:* a loaded library is never unloaded, and nothing else follows its pointers.

use std::ffi::{CStr, c_char};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use injerto_files::{printable, shown};
use injerto_trainer::{Collective, Lost};

/// The symbol that a library exports.
const SYMBOL: &[u8] = b"injerto_collective_v1\0";

/// `injerto_collective` of the header.
#[repr(C)]
struct Table {
    table_size: usize,
    rank: u32,
    size: u32,
    all_reduce_sum: Option<unsafe extern "C" fn(*mut f32, usize, f64, *mut c_char, usize) -> i32>,
    leave: Option<unsafe extern "C" fn(i32)>,
}

/// `injerto_collective_v1` of the header.
type Join = unsafe extern "C" fn(*mut c_char, usize) -> *const Table;

/// Why a library cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CollectiveError {
    /// It cannot be loaded.
    #[error(
        "{}: {reason}; compile it from mpi/injerto_mpi.c with the mpicc of this machine, and name it with its folder",
        shown(path)
    )]
    Load {
        /// The library.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// It is not a library of this kind, or it has another version.
    #[error("{}: {reason}; a collective exports what injerto_collective.h describes", shown(path))]
    Table {
        /// The library.
        path: PathBuf,
        /// What is missing.
        reason: &'static str,
    },
    /// The processes cannot be joined.
    #[error("{}: the processes cannot be joined: {}", shown(path), printable(reason))]
    Join {
        /// The library.
        path: PathBuf,
        /// What the library says.
        reason: String,
    },
}

/// The processes that a library has joined. It leaves them when it is dropped.
#[derive(Debug)]
pub struct Library {
    rank: usize,
    size: usize,
    sum: unsafe extern "C" fn(*mut f32, usize, f64, *mut c_char, usize) -> i32,
    leave: unsafe extern "C" fn(i32),
    patience: Duration,
    /// The library is called by one thread at a time.
    turn: Mutex<()>,
    /// Whether this process has lost the others, or its own work has failed.
    failed: AtomicBool,
}

impl Library {
    /// Loads a library and joins the processes. `patience` is how long a process waits for the others, above all for the slowest of them
    /// to read its images.
    ///
    /// # Errors
    /// [`CollectiveError`] if the library cannot be used, or the processes cannot be joined.
    pub fn join(path: &Path, patience: Duration) -> Result<Self, CollectiveError> {
        let bad = |reason| CollectiveError::Table { path: path.to_owned(), reason };
        // SAFETY: loading runs initialisers of a foreign library, which the user has named.
        let handle = match unsafe { libloading::Library::new(path) } {
            Ok(handle) => ManuallyDrop::new(handle),
            Err(error) => {
                let said = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                let reason = said.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&said).to_owned();
                return Err(CollectiveError::Load { path: path.to_owned(), reason });
            }
        };
        // SAFETY: the header fixes the type of the symbol; a library that breaks it crashes its own process.
        let Ok(join) = (unsafe { handle.get::<Join>(SYMBOL) }) else {
            return Err(bad("it does not export injerto_collective_v1"));
        };
        let mut said: [c_char; LONGEST] = [0; LONGEST];
        // SAFETY: the function has the type of the header, and `said` has the length that it is given.
        let table = unsafe { join(said.as_mut_ptr(), said.len()) };
        // SAFETY: the library returns null, or a table that stays valid until the process ends.
        let Some(table) = (unsafe { table.as_ref() }) else {
            return Err(CollectiveError::Join { path: path.to_owned(), reason: text(&mut said) });
        };
        if table.table_size < size_of::<Table>() || table.size == 0 || table.rank >= table.size {
            return Err(bad("its table has another size, or ranks that do not count from 0"));
        }
        let (Some(sum), Some(leave)) = (table.all_reduce_sum, table.leave) else {
            return Err(bad("its table lacks a function"));
        };
        let (rank, size) = (table.rank as usize, table.size as usize);
        Ok(Self { rank, size, sum, leave, patience, turn: Mutex::new(()), failed: AtomicBool::new(false) })
    }

    /// Notes that the work of this process has failed, so that it does not wait for the others when it leaves.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }
}

impl Collective for Library {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn all_reduce_sum(&self, values: &mut [f32]) -> Result<(), Lost> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut said, seconds): ([c_char; LONGEST], f64) = ([0; LONGEST], self.patience.as_secs_f64());
        // SAFETY: the function has the type of the header, both buffers have the lengths that it is given, and it keeps neither.
        let code = unsafe { (self.sum)(values.as_mut_ptr(), values.len(), seconds, said.as_mut_ptr(), said.len()) };
        if code == 0 {
            return Ok(());
        }
        self.fail();
        Err(Lost { reason: printable(&text(&mut said)).to_string() })
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        let complete = i32::from(!*self.failed.get_mut());
        // SAFETY: the function has the type of the header, and no other call is under way, because this is the only reference.
        unsafe { (self.leave)(complete) };
    }
}

/// Length in bytes of the longest message of a library.
const LONGEST: usize = 1024;

/// What a library has written, whether or not it ends with a zero.
fn text(said: &mut [c_char; LONGEST]) -> String {
    said[LONGEST - 1] = 0;
    // SAFETY: the last byte is zero, so the text ends within the buffer.
    unsafe { CStr::from_ptr(said.as_ptr()) }.to_string_lossy().into_owned()
}
