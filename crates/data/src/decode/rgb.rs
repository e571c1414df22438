use crate::sight::Sight;

/// A decoded image with 8 bits per channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rgb {
    /// Number of rows.
    pub height: usize,
    /// Pixels per row.
    pub width: usize,
    /// `[height, width, 3]`.
    pub pixels: Vec<u8>,
}

impl Rgb {
    /// The rows and columns that are looked at, one beside the other.
    pub(crate) fn seen(self, sight: &Sight) -> Self {
        if sight.is_all([self.height, self.width]) {
            return self;
        }
        let mut pixels = Vec::with_capacity(sight.bytes());
        for &row in &sight.rows {
            let row = self.pixels[row * self.width * 3..][..self.width * 3].as_chunks::<3>().0;
            pixels.extend(sight.columns.iter().flat_map(|&column| row[column]));
        }
        Self { height: sight.rows.len(), width: sight.columns.len(), pixels }
    }

    /// The mean of each square of `part` by `part` pixels, rounded. At the lower and right edges, the mean of what is there.
    pub(super) fn averaged(&self, part: usize) -> Self {
        let (height, width) = (self.height.div_ceil(part), self.width.div_ceil(part));
        let mut pixels = Vec::with_capacity(height * width * 3);
        for rows in self.pixels.chunks(self.width * 3 * part) {
            let mut sums = vec![[0_u32; 3]; width];
            for row in rows.chunks_exact(self.width * 3) {
                for (sum, square) in sums.iter_mut().zip(row.chunks(part * 3)) {
                    for pixel in square.as_chunks::<3>().0 {
                        sum.iter_mut().zip(pixel).for_each(|(sum, &value)| *sum += u32::from(value));
                    }
                }
            }
            let down = (rows.len() / (self.width * 3)) as u32;
            pixels.extend(sums.iter().enumerate().flat_map(|(at, sum)| {
                let count = down * (self.width - at * part).min(part) as u32;
                sum.map(|sum| ((sum + count / 2) / count) as u8)
            }));
        }
        Self { height, width, pixels }
    }
}
