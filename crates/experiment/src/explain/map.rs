/// What an answer rests on, for each place of a grid over an image: 0 for nothing, 1 for the place that counts most.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    rows: usize,
    columns: usize,
    values: Vec<f32>,
}

impl Map {
    /// A map of what counts for a class, `[rows, columns]`: what counts against it becomes 0, and the largest value 1. If nothing counts
    /// for it, all values are 0.
    ///
    /// # Panics
    /// If there are not as many values as places.
    pub fn new(rows: usize, columns: usize, values: Vec<f32>) -> Self {
        assert_eq!(values.len(), rows * columns, "a map has a value for each of its places");
        let positive = |value: f32| if value.is_finite() { value.max(0.0) } else { 0.0 };
        let values: Vec<f32> = values.into_iter().map(positive).collect();
        let largest = values.iter().copied().fold(0.0, f32::max);
        let scaled = |value: f32| if largest > 0.0 { value / largest } else { 0.0 };
        Self { rows, columns, values: values.into_iter().map(scaled).collect() }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Values from 0 to 1, row by row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Whether nothing counts for the class.
    pub fn is_empty(&self) -> bool {
        self.values.iter().all(|value| *value == 0.0)
    }

    /// The map in another size, interpolated bilinearly between the centres of its places, `[height, width]`.
    pub fn resized(&self, height: usize, width: usize) -> Vec<f32> {
        let taps = |from: usize, to: usize| -> Vec<(usize, usize, f32)> {
            let scale = from as f32 / to.max(1) as f32;
            let tap = |at: usize| {
                let centre = ((at as f32 + 0.5) * scale - 0.5).clamp(0.0, (from - 1) as f32);
                let first = centre.floor() as usize;
                (first, (first + 1).min(from - 1), centre - first as f32)
            };
            (0..to).map(tap).collect()
        };
        let (vertical, horizontal) = (taps(self.rows, height), taps(self.columns, width));
        let value = |row: usize, column: usize| self.values[row * self.columns + column];
        let mut resized = Vec::with_capacity(height * width);
        for &(top, bottom, down) in &vertical {
            for &(left, right, across) in &horizontal {
                let along = |row: usize| value(row, left) * (1.0 - across) + value(row, right) * across;
                resized.push(along(top) * (1.0 - down) + along(bottom) * down);
            }
        }
        resized
    }
}
