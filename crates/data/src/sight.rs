use image::metadata::Orientation as Turn;

/// The rows and columns of an image that are needed, each in order and none twice. An image that is made for it consists of these alone,
/// side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sight {
    pub rows: Vec<usize>,
    pub columns: Vec<usize>,
}

impl Sight {
    /// All of an image of `[height, width]`.
    pub fn all([height, width]: [usize; 2]) -> Self {
        Self { rows: (0..height).collect(), columns: (0..width).collect() }
    }

    /// Whether it is all of an image of `[height, width]`.
    pub fn is_all(&self, [height, width]: [usize; 2]) -> bool {
        self.rows.len() == height && self.columns.len() == width
    }

    /// Number of bytes that are looked at.
    pub fn bytes(&self) -> usize {
        self.rows.len() * self.columns.len() * 3
    }

    /// What has to be looked at before an image of `[height, width]` is turned, so that this is seen after it.
    pub fn before(&self, turn: Turn, [height, width]: [usize; 2]) -> Self {
        let same = |places: &[usize]| places.to_vec();
        let mirrored = |places: &[usize], length: usize| places.iter().rev().map(|at| length - 1 - at).collect();
        let (rows, columns) = (&self.rows, &self.columns);
        // An image that stands has its rows for columns.
        let (rows, columns) = match turn {
            Turn::NoTransforms => (same(rows), same(columns)),
            Turn::FlipHorizontal => (same(rows), mirrored(columns, width)),
            Turn::Rotate180 => (mirrored(rows, height), mirrored(columns, width)),
            Turn::FlipVertical => (mirrored(rows, height), same(columns)),
            Turn::Rotate90FlipH => (same(columns), same(rows)),
            Turn::Rotate90 => (mirrored(columns, height), same(rows)),
            Turn::Rotate270FlipH => (mirrored(columns, height), mirrored(rows, width)),
            Turn::Rotate270 => (same(columns), mirrored(rows, width)),
        };
        Self { rows, columns }
    }
}

impl AsRef<Sight> for Sight {
    fn as_ref(&self) -> &Sight {
        self
    }
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, Rgb, RgbImage};

    use super::*;

    fn seen(image: &DynamicImage, sight: &Sight) -> DynamicImage {
        let image = image.to_rgb8();
        let pixel = |x: u32, y: u32| *image.get_pixel(sight.columns[x as usize] as u32, sight.rows[y as usize] as u32);
        RgbImage::from_fn(sight.columns.len() as u32, sight.rows.len() as u32, pixel).into()
    }

    #[test]
    fn what_is_seen_after_a_turn_is_looked_at_before_it() {
        let image: DynamicImage = RgbImage::from_fn(5, 3, |x, y| Rgb([x as u8, y as u8, 0])).into();
        for exif in 1..=8 {
            let turn = Turn::from_exif(exif).expect("there are eight");
            let mut whole = image.clone();
            whole.apply_orientation(turn);
            let sight = Sight { rows: vec![0, 2], columns: vec![1, 2] };
            let mut part = seen(&image, &sight.before(turn, [3, 5]));
            part.apply_orientation(turn);
            assert_eq!(part, seen(&whole, &sight), "{turn:?}");
        }
    }
}
