//! Parallel loops over parts of slices, with the names that Rayon gives them.
//!
//! Rayon's own iterators are compiled again for each combination of slices and each closure, which took a sixth of the time to build this
//! crate. Here one Rayon loop, over numbers, calls the closure for each part through a pointer.

use std::marker::PhantomData;

use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

/// Calls `work` with all numbers below `count`, each once.
pub(crate) fn each(count: usize, work: &(dyn Fn(usize) + Sync)) {
    (0..count).into_par_iter().for_each(work);
}

/// The address of values of which each task writes a part. The parts are disjoint, but not slices: blocks of rows and columns of a matrix.
#[derive(Clone, Copy)]
pub(crate) struct Disjoint(*mut f32);

// SAFETY: a `Disjoint` is an address. A write through it is unsafe code of its own, which guarantees that no other task accesses the value.
unsafe impl Send for Disjoint {}
// SAFETY: sharing it copies the address.
unsafe impl Sync for Disjoint {}

impl Disjoint {
    pub(crate) fn new(values: &mut [f32]) -> Self {
        Self(values.as_mut_ptr())
    }

    /// The address of the value with this number.
    pub(crate) fn at(self, number: usize) -> *mut f32 {
        self.0.wrapping_add(number)
    }
}

/// Something that can be divided into parts, each of which is handed to one task.
pub(crate) trait Parts: Sync + Sized {
    /// A part.
    type Part;

    /// The number of parts.
    fn count(&self) -> usize;

    /// A part by its number.
    ///
    /// # Safety
    /// The number is below [`Parts::count`], and no other call has asked for the same one while its part lives.
    unsafe fn part(&self, at: usize) -> Self::Part;

    /// Pairs of parts with equal numbers; the longer side's last parts have no partner and are left out.
    fn zip<B: Parts>(self, other: B) -> Zip<Self, B> {
        Zip(self, other)
    }

    /// The parts with their numbers.
    fn enumerate(self) -> Enumerate<Self> {
        Enumerate(self)
    }

    /// Hands each part to `work` once, in parallel.
    fn for_each(self, work: impl Fn(Self::Part) + Sync) {
        // SAFETY: `each` calls with numbers below the count, and with each of them once.
        each(self.count(), &|at| work(unsafe { self.part(at) }));
    }
}

/// Slices that are divided into chunks.
pub(crate) trait Divide<T> {
    /// Chunks of `size` values, the last of which may be shorter.
    fn par_chunks(&self, size: usize) -> Chunks<'_, T>;
    /// Chunks of `size` values that may be written.
    fn par_chunks_mut(&mut self, size: usize) -> ChunksMut<'_, T>;
    /// Chunks of `size` values that may be written. The slice is first divided into runs of `whole` values, and no chunk crosses from one run
    /// into the next, so the last chunk of each run may be shorter.
    fn par_chunks_within_mut(&mut self, size: usize, whole: usize) -> ChunksMut<'_, T>;
    /// All values, one at a time, which may be written.
    fn par_iter_mut(&mut self) -> Each<'_, T>;
}

impl<T> Divide<T> for [T] {
    fn par_chunks(&self, size: usize) -> Chunks<'_, T> {
        assert!(size > 0, "chunks have values");
        Chunks { values: self, size }
    }

    fn par_chunks_mut(&mut self, size: usize) -> ChunksMut<'_, T> {
        self.par_chunks_within_mut(size, self.len().max(1))
    }

    fn par_chunks_within_mut(&mut self, size: usize, whole: usize) -> ChunksMut<'_, T> {
        assert!(size > 0 && whole > 0, "chunks have values");
        ChunksMut { first: self.as_mut_ptr(), length: self.len(), size, whole, slice: PhantomData }
    }

    fn par_iter_mut(&mut self) -> Each<'_, T> {
        Each(self.par_chunks_mut(1))
    }
}

/// See [`Divide::par_chunks`].
pub(crate) struct Chunks<'a, T> {
    values: &'a [T],
    size: usize,
}

impl<'a, T: Sync> Parts for Chunks<'a, T> {
    type Part = &'a [T];

    fn count(&self) -> usize {
        self.values.len().div_ceil(self.size)
    }

    unsafe fn part(&self, at: usize) -> &'a [T] {
        &self.values[at * self.size..self.values.len().min((at + 1) * self.size)]
    }
}

/// See [`Divide::par_chunks_within_mut`].
pub(crate) struct ChunksMut<'a, T> {
    first: *mut T,
    length: usize,
    size: usize,
    whole: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: threads share the address and the numbers. `Parts::part` hands each part to one thread, and `T: Send` says that its values may go
// there.
unsafe impl<T: Send> Sync for ChunksMut<'_, T> {}

impl<'a, T: Send> Parts for ChunksMut<'a, T> {
    type Part = &'a mut [T];

    fn count(&self) -> usize {
        self.length / self.whole * self.whole.div_ceil(self.size) + (self.length % self.whole).div_ceil(self.size)
    }

    unsafe fn part(&self, at: usize) -> &'a mut [T] {
        let each = self.whole.div_ceil(self.size);
        let (first, inside) = (at / each * self.whole, at % each * self.size);
        let (start, end) = (first + inside, self.length.min(first + self.whole.min(inside + self.size)));
        let length = end - start;
        // SAFETY: the number is below the count, so the chunk lies in the slice, which is borrowed for as long; chunks do not overlap, and no
        // other call has asked for this one.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(start), length) }
    }
}

/// See [`Divide::par_iter_mut`].
pub(crate) struct Each<'a, T>(ChunksMut<'a, T>);

impl<'a, T: Send> Parts for Each<'a, T> {
    type Part = &'a mut T;

    fn count(&self) -> usize {
        self.0.count()
    }

    unsafe fn part(&self, at: usize) -> &'a mut T {
        // SAFETY: the number is below the count, which is that of the chunks, and no other call asks for the same one.
        let chunk = unsafe { self.0.part(at) };
        &mut chunk[0]
    }
}

/// See [`Parts::zip`].
pub(crate) struct Zip<A, B>(A, B);

impl<A: Parts, B: Parts> Parts for Zip<A, B> {
    type Part = (A::Part, B::Part);

    fn count(&self) -> usize {
        self.0.count().min(self.1.count())
    }

    unsafe fn part(&self, at: usize) -> Self::Part {
        // SAFETY: the number is below both counts, and no other call asks for the same one.
        unsafe { (self.0.part(at), self.1.part(at)) }
    }
}

/// See [`Parts::enumerate`].
pub(crate) struct Enumerate<A>(A);

impl<A: Parts> Parts for Enumerate<A> {
    type Part = (usize, A::Part);

    fn count(&self) -> usize {
        self.0.count()
    }

    unsafe fn part(&self, at: usize) -> Self::Part {
        // SAFETY: the number is below the count, which is that of the inner parts, and no other call asks for the same one.
        (at, unsafe { self.0.part(at) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_chunk_is_handed_out_once_with_its_number_and_its_partners() {
        let (mut sums, values) = (vec![0; 4], [1, 2, 3, 4, 5, 6, 7]);
        sums.par_chunks_mut(1)
            .zip(values.par_chunks(2))
            .enumerate()
            .for_each(|(at, (sum, values))| sum[0] += 100 * at + values.iter().sum::<usize>());
        assert_eq!(sums, [3, 107, 211, 307]);
    }

    #[test]
    fn no_chunk_goes_from_one_whole_to_the_next() {
        let mut all = vec![0; 8];
        all.par_chunks_within_mut(2, 3).enumerate().for_each(|(at, part)| part.fill(at));
        assert_eq!(all, [0, 0, 1, 2, 2, 3, 4, 4]);
    }

    #[test]
    fn pairs_end_with_the_shorter_side_and_nothing_has_no_parts() {
        let mut all = vec![1; 5];
        all.par_iter_mut().enumerate().for_each(|(at, value)| *value += at / 4);
        assert_eq!(all, [1, 1, 1, 1, 2]);
        all.par_chunks_mut(2).zip([0; 2].par_chunks(1)).for_each(|(all, _)| all.fill(9));
        assert_eq!(all, [9, 9, 9, 9, 2]);
        Vec::<usize>::new().par_chunks_mut(3).for_each(|_| panic!("there is none"));
    }
}
