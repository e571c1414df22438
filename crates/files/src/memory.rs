//! How much memory this process has held, and how much it may still take.
//!
//! A system that promises more memory than it has kills a process when it uses that memory, without a message. Code that needs gigabytes
//! asks here first, so that a lack of memory is an error.

use std::fmt;

/// Memory that this process cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no memory for {what}: {} are needed{}", Size(*needed), unless_unknown(*free))]
pub struct NoRoom {
    /// What it is for, such as `fresh weights`.
    pub what: String,
    /// Bytes that are needed.
    pub needed: u64,
    /// Bytes that are free, where the system says so.
    pub free: Option<u64>,
}

/// Less than this many bytes is not worth a question.
const LITTLE: u64 = 16 << 20;

/// Whether this process can have so many bytes more.
///
/// # Errors
/// More bytes than are free, or than this process may take.
pub fn ask(bytes: u64, what: &str) -> Result<(), NoRoom> {
    if bytes < LITTLE {
        return Ok(());
    }
    let free = free_bytes();
    // What is reserved and given back at once costs nothing, and a limit of the process (`ulimit -v`) shows.
    let reserved = usize::try_from(bytes).is_ok_and(|bytes| Vec::<u8>::new().try_reserve_exact(bytes).is_ok());
    match reserved && free.is_none_or(|free| bytes <= free) {
        true => Ok(()),
        false => Err(NoRoom { what: what.to_owned(), needed: bytes, free: free.filter(|&free| free < bytes) }),
    }
}

/// The most memory that this process has held, in bytes; 0 where the system does not say.
pub fn peak() -> u64 {
    std::fs::read_to_string("/proc/self/status").ok().and_then(|text| field(&text, "VmHWM:")).unwrap_or(0)
}

/// Bytes that this process could take now: what the machine has left, or the limit of its group of processes where that is
/// less. `None` where the system does not say.
fn free_bytes() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok()?;
    let machine = field(&machine, "MemAvailable:")? + field(&machine, "SwapFree:").unwrap_or(0);
    Some(group_free().map_or(machine, |group| group.min(machine)))
}

/// What the process's own control group (version 2) has left; pages of files in it are given back when memory is wanted.
fn group_free() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let read = |name: &str| {
        let folder = std::path::Path::new("/sys/fs/cgroup").join(own);
        std::fs::read_to_string(folder.join(name)).ok()
    };
    let limit: u64 = read("memory.max")?.trim().parse().ok()?;
    let held: u64 = read("memory.current")?.trim().parse().ok()?;
    let stat = read("memory.stat")?;
    let of_files =
        |key: &str| stat.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok()).unwrap_or(0);
    Some(limit.saturating_sub(held.saturating_sub(of_files("inactive_file ") + of_files("active_file "))))
}

/// A field of the system's that is written in kilobytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// Bytes as a person reads them.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 as f64 / f64::from(1 << 30) {
            gigabytes if gigabytes < 1.0 => write!(f, "{:.0} MiB", gigabytes * 1024.0),
            gigabytes => write!(f, "{gigabytes:.1} GiB"),
        }
    }
}

fn unless_unknown(bytes: Option<u64>) -> String {
    bytes.map_or(String::new(), |bytes| format!(", {} are free", Size(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_no_machine_has_is_an_error() {
        assert_eq!(ask(20 << 20, "a little"), Ok(()));
        let error = ask(1 << 60, "an ocean").expect_err("too much").to_string();
        assert!(error.starts_with("there is no memory for an ocean: 1073741824.0 GiB are needed"), "{error}");
        assert!(ask(u64::MAX, "everything").is_err());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_free_and_what_was_held_is_known() {
        let free = free_bytes().expect("Linux says it");
        let more = ask(free + (64 << 30), "more than that").expect_err("too much");
        assert!(more.free.is_some_and(|free| free < more.needed), "{more}");
        assert!(peak() > 1 << 20, "{}", peak());
    }

    #[test]
    fn fields_are_found_by_their_name() {
        let text = "MemTotal:       24\nMemAvailable:    3 kB\n";
        assert_eq!((field(text, "MemAvailable:"), field(text, "SwapFree:")), (Some(3072), None));
    }
}
