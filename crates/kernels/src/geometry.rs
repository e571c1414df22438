//! Windows that slide over images.

use injerto_graph::{Padding, Window, window_padding};

/// A window that slides over an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Height, width and channels of the input.
    pub(crate) input: [usize; 3],
    /// Height and width of the output.
    pub(crate) output: [usize; 2],
    pub(crate) window: [usize; 2],
    pub(crate) strides: [usize; 2],
    pub(crate) dilation: [usize; 2],
    /// Zeros above and to the left.
    pub(crate) before: [usize; 2],
    /// Zeros below and to the right.
    pub(crate) after: [usize; 2],
}

impl Geometry {
    /// The geometry of a window with these options; shape inference has checked that the window fits into the image.
    pub(crate) fn new(
        input: [usize; 3],
        window: [usize; 2],
        strides: [usize; 2],
        padding: Padding,
        dilation: [usize; 2],
    ) -> Self {
        let axis = |axis: usize| {
            window_padding(padding, axis, input[axis], window[axis], strides[axis], dilation[axis])
                .expect("shape inference has fitted the window")
        };
        let [(vertical, height), (horizontal, width)] = [axis(0), axis(1)];
        let (before, after) = ([vertical.0, horizontal.0], [vertical.1, horizontal.1]);
        Self { input, output: [height, width], window, strides, dilation, before, after }
    }

    /// The geometry of a pooling.
    pub(crate) fn of_window(input: [usize; 3], window: &Window) -> Self {
        Self::new(input, window.pool_size, window.strides, window.padding, [1, 1])
    }

    /// The same window if `[[above, below], [left, right]]` zeros of the input are not stored, and count as padding of the window.
    pub(crate) fn with_padding(self, zeros: [[usize; 2]; 2]) -> Self {
        let mut geometry = self;
        for (axis, [before, after]) in zeros.into_iter().enumerate() {
            geometry.input[axis] -= before + after;
            geometry.before[axis] += before;
            geometry.after[axis] += after;
        }
        geometry
    }

    /// The geometry of a dense layer on `rows` rows: a pointwise convolution on an image that is one pixel wide.
    pub(crate) fn pointwise(rows: usize, channels: usize) -> Self {
        Self {
            input: [rows, 1, channels],
            output: [rows, 1],
            window: [1, 1],
            strides: [1, 1],
            dilation: [1, 1],
            before: [0, 0],
            after: [0, 0],
        }
    }

    /// Whether each output pixel sees the input pixel at the same place and no other.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.window == [1, 1] && self.before == [0, 0] && self.strides == [1, 1] && self.output == self.input[..2]
    }

    /// Input row that tap `tap` reads for output row `at` (on axis 1, the column); `None` in the padding.
    #[inline(always)]
    pub(crate) fn source(&self, axis: usize, at: usize, tap: usize) -> Option<usize> {
        let place = (at * self.strides[axis] + tap * self.dilation[axis]).checked_sub(self.before[axis])?;
        (place < self.input[axis]).then_some(place)
    }

    /// Input row that the first tap reads for output row `at` (on axis 1, the column). It may lie in the padding.
    #[inline(always)]
    pub(crate) fn start(&self, axis: usize, at: usize) -> isize {
        (at * self.strides[axis]) as isize - self.before[axis] as isize
    }

    /// Number of input rows from the first tap to the last (on axis 1, of columns).
    pub(crate) fn extent(&self, axis: usize) -> usize {
        (self.window[axis] - 1) * self.dilation[axis] + 1
    }

    /// The runs of consecutive values that make up a window of one of `groups`: where each starts, counted from the window's first value,
    /// and how many values each has. `row` and `pixel` are the distances in values from one row and from one pixel of the input to the next.
    pub(crate) fn runs(&self, groups: usize, [row, pixel]: [usize; 2]) -> (Vec<usize>, usize) {
        let ([kh, kw], [dy, dx], inner) = (self.window, self.dilation, self.input[2] / groups);
        // Columns of a window that follow one another are one run.
        if groups == 1 && dx == 1 && pixel == inner {
            ((0..kh).map(|i| i * dy * row).collect(), kw * inner)
        } else {
            ((0..kh).flat_map(|i| (0..kw).map(move |j| i * dy * row + j * dx * pixel)).collect(), inner)
        }
    }

    pub(crate) fn pixels(&self) -> usize {
        self.output[0] * self.output[1]
    }

    pub(crate) fn input_values(&self) -> usize {
        self.input.iter().product()
    }
}
