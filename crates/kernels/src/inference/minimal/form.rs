//! The choice of the convolutions that are computed by minimal filtering, and of their tiles.

use crate::geometry::Geometry;
use crate::transform::{One, Six, points_of_taps};

/// A window for which there are transforms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// 3×3 taps, with 36 products for 4×4 outputs, for which the definition takes 144.
    Square3,
    /// 5×5 taps, with 36 products for 2×2 outputs, for which the definition takes 100.
    Square5,
    /// A line of seven taps, a column if `vertical` and a row otherwise, with 11 products for three outputs, for which the definition takes 21.
    Line7 { vertical: bool },
}

/// The points along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Set {
    One,
    Six,
}

impl Set {
    /// All points but infinity.
    fn numbers(self) -> &'static [f64] {
        match self {
            Self::One => &One::NUMBERS,
            Self::Six => &Six::NUMBERS,
        }
    }

    fn points(self) -> usize {
        self.numbers().len() + 1
    }
}

/// The filtering of a form along one axis.
#[derive(Debug)]
pub(super) struct Axis {
    pub(super) set: Set,
    /// Number of outputs of a tile.
    pub(super) outputs: usize,
    /// The taps, divided into pieces that are short enough for the points. The products of all pieces are added up at the points, before the
    /// transform to outputs.
    pieces: &'static [Piece],
}

/// Consecutive taps.
#[derive(Debug)]
struct Piece {
    first: usize,
    taps: usize,
}

const NONE: Axis = Axis { set: Set::One, outputs: 1, pieces: &[Piece { first: 0, taps: 1 }] };
const THREE: Axis = Axis { set: Set::Six, outputs: 4, pieces: &[Piece { first: 0, taps: 3 }] };
const FIVE: Axis = Axis { set: Set::Six, outputs: 2, pieces: &[Piece { first: 0, taps: 5 }] };
const SEVEN: Axis =
    Axis { set: Set::Six, outputs: 3, pieces: &[Piece { first: 0, taps: 4 }, Piece { first: 4, taps: 3 }] };

impl Axis {
    /// Upper limit of the taps that the points allow.
    fn most(&self) -> usize {
        self.set.points() + 1 - self.outputs
    }

    /// Number of points at which a piece is not zero: all of them, or all except infinity.
    fn points(&self, piece: &Piece) -> usize {
        if piece.taps == self.most() { self.set.points() } else { self.set.points() - 1 }
    }

    /// Number of taps of the whole window.
    fn window(&self) -> usize {
        self.pieces.iter().map(|piece| piece.taps).sum()
    }
}

/// A piece along both axes.
#[derive(Debug)]
pub(super) struct Part {
    /// Row and column of its first tap in the kernel, and of its first value in the input of a tile.
    pub(super) first: [usize; 2],
    /// Rows and columns of its input for a tile.
    pub(super) values: [usize; 2],
    /// For each plane, how many earlier parts are not zero there; `None` if this part is zero there.
    pub(super) slots: Vec<Option<usize>>,
    /// For each axis and tap, its factor at each point.
    factors: [Vec<Vec<f64>>; 2],
}

/// The cost of reading a weight and that of transforming a value, in multiples of the cost of a product. They were measured on a processor
/// with AVX-512.
const WEIGHT: usize = 4;
const TRANSFORM: usize = 6;

impl Form {
    const ALL: [Self; 4] =
        [Self::Square3, Self::Square5, Self::Line7 { vertical: true }, Self::Line7 { vertical: false }];

    /// The form that makes a convolution with so many filters faster, if there is one.
    pub(crate) fn choose(geometry: &Geometry, filters: usize) -> Option<Self> {
        let form = Self::ALL.into_iter().find(|form| form.suits(geometry))?;
        let [height, width] = geometry.output;
        let [rows, columns] = form.tile();
        let (tiles, channels) = (height.div_ceil(rows) * width.div_ceil(columns), geometry.input[2]);
        // The cost of a tile: its products, and the transforms of its values and of its products.
        let parts: usize = form.axes().map(|axis| axis.pieces.len()).into_iter().product();
        let spread = parts * form.planes() * channels;
        let tile = form.depths() * channels * filters + TRANSFORM * (spread + form.planes() * filters);
        let cost = tiles * tile + WEIGHT * form.depths() * channels * filters;
        let taps = geometry.window[0] * geometry.window[1] * channels * filters;
        // With few channels, most of the time would go into the transforms.
        (channels >= 16 && filters >= 16 && cost < (height * width + WEIGHT) * taps).then_some(form)
    }

    fn suits(self, geometry: &Geometry) -> bool {
        let axes = self.axes();
        geometry.dilation == [1, 1] && geometry.window == axes.map(Axis::window) && geometry.strides == [1, 1]
    }

    /// The filtering along the vertical and along the horizontal axis.
    pub(super) fn axes(self) -> [&'static Axis; 2] {
        match self {
            Self::Square3 => [&THREE, &THREE],
            Self::Square5 => [&FIVE, &FIVE],
            Self::Line7 { vertical: true } => [&SEVEN, &NONE],
            Self::Line7 { vertical: false } => [&NONE, &SEVEN],
        }
    }

    /// Rows and columns of a tile of the output.
    pub(crate) fn tile(self) -> [usize; 2] {
        self.axes().map(|axis| axis.outputs)
    }

    /// Number of points of a tile, each of which has a matrix product (a plane).
    pub(super) fn planes(self) -> usize {
        self.axes().map(|axis| axis.set.points()).into_iter().product()
    }

    /// Number of weights per channel and filter at all planes together.
    pub(crate) fn depths(self) -> usize {
        self.axes().map(|axis| axis.pieces.iter().map(|piece| axis.points(piece)).sum::<usize>()).into_iter().product()
    }

    /// All parts, in the order in which the sums of a plane add them up.
    pub(super) fn parts(self) -> Vec<Part> {
        let [vertical, horizontal] = self.axes();
        let width = horizontal.set.points();
        let mut depths = vec![0; self.planes()];
        let pairs = vertical.pieces.iter().flat_map(|y| horizontal.pieces.iter().map(move |x| [y, x]));
        let part = |pieces: [&'static Piece; 2]| {
            let (down, right) = (vertical.points(pieces[0]), horizontal.points(pieces[1]));
            let slots = depths.iter_mut().enumerate().map(|(plane, depth)| {
                let there = plane / width < down && plane % width < right;
                *depth += usize::from(there);
                there.then(|| *depth - 1)
            });
            let slots = slots.collect();
            let values = [0, 1].map(|axis| pieces[axis].taps + self.axes()[axis].outputs - 1);
            let factors = [(vertical, pieces[0]), (horizontal, pieces[1])].map(|(axis, piece)| {
                let one = |tap: usize| (0..piece.taps).map(|at| f64::from(u8::from(at == tap))).collect::<Vec<f64>>();
                (0..piece.taps).map(|tap| points_of_taps(axis.set.numbers(), axis.most(), &one(tap))).collect()
            });
            Part { first: pieces.map(|piece| piece.first), values, slots, factors }
        };
        pairs.map(part).collect()
    }
}

impl Part {
    /// Transforms the part's taps of one channel and filter, `tap(row, column)`, and calls `put(plane, value)` for each plane where the part is
    /// not zero.
    pub(super) fn transform(&self, tap: impl Fn(usize, usize) -> f64, mut put: impl FnMut(usize, f64)) {
        let ([top, left], [vertical, horizontal]) = (self.first, &self.factors);
        // The taps of each row are transformed to the horizontal points first.
        let mut rows = [[0.0; 6]; 7];
        for (i, row) in rows.iter_mut().enumerate().take(vertical.len()) {
            for (j, factors) in horizontal.iter().enumerate() {
                let tap = tap(top + i, left + j);
                row.iter_mut().zip(factors).for_each(|(sum, factor)| *sum += factor * tap);
            }
        }
        let width = horizontal[0].len();
        for (plane, _) in self.slots.iter().enumerate().filter(|(_, slot)| slot.is_some()) {
            let terms = vertical.iter().zip(&rows).map(|(factors, row)| factors[plane / width] * row[plane % width]);
            put(plane, terms.sum());
        }
    }
}
