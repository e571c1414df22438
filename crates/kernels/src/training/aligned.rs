use std::ops::{Deref, DerefMut};

use crate::memory::{OutOfMemory, grow};

/// A line of a cache, and a vector of the widest kind.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Values that begin with a line: no vector of a row of them lies in two lines where one would do.
#[derive(Debug, Clone, Default)]
pub(super) struct Aligned {
    lines: Vec<Line>,
    length: usize,
}

impl Aligned {
    /// Makes it at least as long as this; new values are zeros.
    pub(super) fn grow(&mut self, length: usize, what: &'static str) -> Result<(), OutOfMemory> {
        grow(&mut self.lines, Line([0.0; 16]), length.div_ceil(16), what)?;
        self.length = self.length.max(length);
        Ok(())
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: a line is 16 values without a gap, and there are lines enough for `length`.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.length) }
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.length) }
    }
}
