use super::Change;

/// Most views that [`test_views`] makes.
pub const MOST_VIEWS: usize = 12;

/// Side of a piece as a share of the image's, as Krizhevsky et al. (2012) cut 224 of 256 pixels.
const PIECE: (usize, usize) = (7, 8);

/// What is done to an image of `[height, width]` for each of `count` views of it, whose answers are averaged (test-time augmentation).
/// Nothing is random.
///
/// The first view is the image itself, and the second its mirror image. They are followed by the ten views of Krizhevsky et al. (2012):
/// a piece from the middle and one from each corner, seven eighths as long and as wide as the image, each followed by its mirror image. A
/// `count` above [`MOST_VIEWS`] makes these.
pub fn test_views([height, width]: [usize; 2], count: usize) -> Vec<Vec<Change>> {
    let piece = |length: usize| (length * PIECE.0 / PIECE.1).max(1);
    let (rows, columns) = (piece(height), piece(width));
    let (down, right) = (height.saturating_sub(rows), width.saturating_sub(columns));
    let places = [[down / 2, right / 2], [0, 0], [0, right], [down, 0], [down, right]];
    let pieces = places.map(|[top, left]| vec![Change::Crop { top, left, rows, columns }]);
    let mirror = Change::Flip { horizontal: true, vertical: false };
    let both = |changes: Vec<Change>| [changes.clone(), [changes, vec![mirror]].concat()];
    [Vec::new()].into_iter().chain(pieces).flat_map(both).take(count.max(1)).collect()
}
