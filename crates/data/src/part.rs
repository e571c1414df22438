use std::ops::Range;

/// The part of each batch that one of several readers takes, where they read the same images in the same order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    rank: usize,
    size: usize,
}

impl Part {
    /// The whole batch.
    pub const WHOLE: Self = Self { rank: 0, size: 1 };

    /// The part of reader number `rank`, counted from 0, of `size` readers.
    ///
    /// # Panics
    /// If there is no such reader.
    pub fn new(rank: usize, size: usize) -> Self {
        assert!(rank < size, "{rank} is not the number of one of {size} readers");
        Self { rank, size }
    }

    /// Whether there is only one reader.
    pub fn is_whole(self) -> bool {
        self.size == 1
    }

    /// The places of this part in a batch of so many images. The parts follow each other, differ by one image at most, and the first
    /// ones are the larger ones.
    pub fn of(self, images: usize) -> Range<usize> {
        let (each, more) = (images / self.size, images % self.size);
        let start = |rank: usize| rank * each + rank.min(more);
        start(self.rank)..start(self.rank + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other_and_differ_by_one_image_at_most() {
        for (images, size) in [(32, 4), (5, 2), (2, 3), (0, 2), (7, 1)] {
            let parts: Vec<Range<usize>> = (0..size).map(|rank| Part::new(rank, size).of(images)).collect();
            let all: Vec<usize> = parts.iter().cloned().flatten().collect();
            assert_eq!(all, (0..images).collect::<Vec<_>>());
            let sizes: Vec<usize> = parts.iter().map(Range::len).collect();
            assert!(sizes[0] - sizes[size - 1] <= 1 && sizes.is_sorted_by(|a, b| a >= b), "{sizes:?}");
        }
    }
}
