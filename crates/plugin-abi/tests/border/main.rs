//! The border between host and plugin: its layout, what crosses it, and libraries that are loaded as a host loads them.
//!
//! `cargo xtask prove memory` runs this under Miri, which starts no program and loads no library, and under
//! AddressSanitizer, which does both.

mod calls;
mod header;
#[cfg(not(miri))]
mod loaded;

/// Says that a test is skipped. In CI the test fails instead.
#[cfg(not(miri))]
fn missing<T>(what: &str) -> Option<T> {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{what}");
    eprintln!("skipped: {what}");
    None
}
