//! Limits the memory of this process, so that an unchecked size becomes a visible fault.

/// Allows the address space of this process to grow by this number of megabytes. On a system without such a limit, there is none.
#[cfg(target_os = "linux")]
pub fn memory(megabytes: u64) -> std::io::Result<()> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = pages.split(' ').next().and_then(|size| size.parse().ok()).unwrap_or(0);
    let bytes = pages * 4096 + (megabytes << 20);
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: the struct is of the type that the call reads, and it lives as long as the call.
    match unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Allows the address space of this process to grow by this number of megabytes. On a system without such a limit, there is none.
#[cfg(not(target_os = "linux"))]
pub fn memory(_: u64) -> std::io::Result<()> {
    Ok(())
}
