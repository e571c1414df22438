//! Memory whose size depends on a network. Where the machine does not give it, the result is an error and not an abort.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::thread::LocalKey;

/// Memory that this machine does not give.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no memory for {length} values of {what}; a smaller batch or smaller images take less")]
pub struct OutOfMemory {
    /// How many values were asked for.
    pub length: usize,
    /// What they are, such as `the values between layers`.
    pub what: &'static str,
}

/// A vector of `count` copies of `element`.
pub(crate) fn filled<T: Clone>(element: T, count: usize, what: &'static str) -> Result<Vec<T>, OutOfMemory> {
    let mut values = Vec::new();
    grow(&mut values, element, count, what)?;
    Ok(values)
}

/// An empty vector with room for `count` values.
pub(crate) fn room<T>(count: usize, what: &'static str) -> Result<Vec<T>, OutOfMemory> {
    let mut values = Vec::new();
    reserve(&mut values, count, what)?;
    Ok(values)
}

/// Makes room for `count` values, those that are there included.
fn reserve<T>(values: &mut Vec<T>, count: usize, what: &'static str) -> Result<(), OutOfMemory> {
    let more = count.saturating_sub(values.len());
    values.try_reserve_exact(more).map_err(|_| {
        let length = count.saturating_mul(size_of::<T>() / size_of::<f32>());
        OutOfMemory { length, what }
    })
}

/// Makes `values` at least `count` long; new ones are `element`.
pub(crate) fn grow<T: Clone>(
    values: &mut Vec<T>,
    element: T,
    count: usize,
    what: &'static str,
) -> Result<(), OutOfMemory> {
    reserve(values, count, what)?;
    values.resize(count.max(values.len()), element);
    Ok(())
}

/// A line of a cache, as long as the widest vector.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct CacheLine([f32; 16]);

/// Values that begin at the start of a cache line, so that aligned vectors of them never span two lines.
#[derive(Debug, Clone, Default)]
pub(crate) struct Aligned {
    lines: Vec<CacheLine>,
    length: usize,
}

impl Aligned {
    /// Makes it at least `length` values long; new values are zeros.
    pub(crate) fn grow(&mut self, length: usize, what: &'static str) -> Result<(), OutOfMemory> {
        grow(&mut self.lines, CacheLine([0.0; 16]), length.div_ceil(16), what)?;
        self.length = self.length.max(length);
        Ok(())
    }

    /// Makes it at least `length` values long. If it must grow, the old values are freed first, so that both are never in memory together.
    pub(crate) fn replace(&mut self, length: usize, what: &'static str) -> Result<(), OutOfMemory> {
        if self.length < length {
            *self = Self::default();
            self.grow(length, what)?;
        }
        Ok(())
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: a line is 16 values without a gap, and `grow` alone sets `length`, to no more than the lines hold.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.length) }
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: a line is 16 values without a gap, `grow` alone sets `length`, to no more than the lines hold, and they are
        // borrowed for as long as the slice is.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.length) }
    }
}

/// Lends `length` values of the thread's own memory, with arbitrary content.
pub(crate) fn scratch<R>(length: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        static SCRATCH: Spare = RefCell::default();
    }
    lend(&SCRATCH, length, work)
}

/// Lends memory as [`scratch`] does, for work that is spread over other threads, which use their own scratch meanwhile.
pub(crate) fn workspace<R>(length: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        static WORKSPACE: Spare = RefCell::default();
    }
    lend(&WORKSPACE, length, work)
}

/// Buffers that are not lent at the moment. The last one is lent first.
type Spare = RefCell<Vec<Aligned>>;

/// Takes a buffer out of the list while it is lent, so that a nested call gets another one, and the same one every time.
fn lend<R>(own: &'static LocalKey<Spare>, length: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut buffer = own.with_borrow_mut(Vec::pop).unwrap_or_default();
    if buffer.len() < length {
        buffer.grow(length, "one thread's work").unwrap_or_else(|error| panic!("{error}"));
    }
    let result = work(&mut buffer[..length]);
    own.with_borrow_mut(|spare| spare.push(buffer));
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_no_machine_has_is_an_error() {
        // Miri itself ends where it has no memory, so there more is asked for than addresses can count.
        let count = if cfg!(miri) { 1_usize << 62 } else { 1 << 60 };
        let error = filled(0.0_f32, count, "an arena").expect_err("too much").to_string();
        assert!(error.starts_with(&format!("there is no memory for {count} values of an arena")), "{error}");
        assert_eq!(filled(1.0_f32, 3, "an arena").expect("a little"), [1.0; 3]);
    }
}
