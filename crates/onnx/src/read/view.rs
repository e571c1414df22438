//! Views: how the axes of a value in an ONNX graph are arranged in the output of a layer.
//!
//! Exporters write many nodes that move axes (channels first and last, tokens, heads, merged and split axes), for which there are no layers. For
//! each axis of a value, a [`View`] says which steps it takes in the layer's output, so exchanging, merging and splitting axes changes only
//! the view. A layer is added only if an operator needs its input in an order that the view does not have.

/// A part of an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Factor {
    /// The axis of the samples.
    Batch,
    /// `length` steps of `stride` values in the layer's output for one sample, row by row.
    Part { length: usize, stride: usize },
}

/// A value that depends on the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    /// The layer whose output the value is.
    pub(super) layer: usize,
    /// Factors of each axis, the slowest first. An axis of length 1 has none.
    pub(super) axes: Vec<Vec<Factor>>,
    /// Position of the first value in the layer's output. It is not 0 only if the value is a part of the output.
    pub(super) offset: usize,
}

/// Length of the axis of samples in files that leave it open. It is a prime number and larger than any side of a network, so that it
/// can be recognised after arithmetic with shapes.
pub(super) const BATCH: usize = 2_147_483_629;

/// Length of an axis.
pub(super) fn side(factors: &[Factor], batch: usize) -> usize {
    let length = |factor: &Factor| match factor {
        Factor::Batch => batch,
        Factor::Part { length, .. } => *length,
    };
    factors.iter().map(length).fold(1, usize::saturating_mul)
}

/// Factors of the axes of a layer's output.
pub(super) fn stored(shape: &[usize]) -> Vec<Vec<Factor>> {
    let mut stride = 1;
    let mut axes: Vec<Vec<Factor>> = shape
        .iter()
        .rev()
        .map(|&length| {
            let factor = Factor::Part { length, stride };
            stride *= length;
            if length == 1 { Vec::new() } else { vec![factor] }
        })
        .collect();
    axes.reverse();
    axes
}

impl View {
    /// Lengths of all axes.
    pub(super) fn shape(&self, batch: usize) -> Vec<usize> {
        self.axes.iter().map(|axis| side(axis, batch)).collect()
    }

    /// The axis of the samples; `None` if they are not an axis by themselves.
    pub(super) fn batch_axis(&self) -> Option<usize> {
        self.axes.iter().position(|axis| axis == &[Factor::Batch])
    }

    /// The view with its axes in another order.
    pub(super) fn transposed(&self, order: &[usize]) -> Self {
        let axes = order.iter().map(|&axis| self.axes[axis].clone()).collect();
        Self { layer: self.layer, axes, offset: self.offset }
    }

    /// The view with other axes over the same values in the same order; `None` if the lengths do not fit, or cut through the samples.
    pub(super) fn reshaped(&self, shape: &[usize], batch: usize) -> Option<Self> {
        let mut rest = joined(self.axes.iter().flatten().copied().collect());
        rest.reverse();
        let mut axes = Vec::with_capacity(shape.len());
        for &wanted in shape {
            let (mut axis, mut length) = (Vec::new(), 1_usize);
            loop {
                // A batch of one sample must be taken here, because it would be left over otherwise.
                let takes_batch = batch == 1 && rest.last() == Some(&Factor::Batch) && axis.is_empty();
                if length == wanted && !takes_batch {
                    break;
                }
                match rest.pop()? {
                    Factor::Batch => {
                        length = length.checked_mul(batch).filter(|length| wanted % length == 0)?;
                        axis.push(Factor::Batch);
                    }
                    Factor::Part { length: whole, stride } => {
                        let missing = wanted / length;
                        if missing % whole == 0 {
                            axis.push(Factor::Part { length: whole, stride });
                            length *= whole;
                        } else if whole % missing == 0 {
                            let inner = whole / missing;
                            axis.push(Factor::Part { length: missing, stride: stride * inner });
                            rest.push(Factor::Part { length: inner, stride });
                            length *= missing;
                        } else {
                            return None;
                        }
                    }
                }
            }
            axes.push(joined(axis));
        }
        rest.is_empty().then_some(Self { layer: self.layer, axes, offset: self.offset })
    }

    /// Position in the layer's output of each index of an axis; `None` if the axis has a part of the samples.
    pub(super) fn positions(&self, axis: usize) -> Option<Vec<usize>> {
        let mut positions = vec![self.offset];
        for factor in &self.axes[axis] {
            let Factor::Part { length, stride } = *factor else { return None };
            positions = positions.iter().flat_map(|&at| (0..length).map(move |step| at + step * stride)).collect();
        }
        Some(positions)
    }

    /// Whether the values of one sample, with its axes in this order, are in the order of the layer's output.
    pub(super) fn lies_in_order(&self, axes: &[usize], count: usize) -> bool {
        let factors: Vec<Factor> = axes.iter().flat_map(|&axis| self.axes[axis].iter().copied()).collect();
        let mut expected = 1;
        for factor in factors.iter().rev() {
            match *factor {
                Factor::Part { length, stride } if stride == expected => expected *= length,
                _ => return false,
            }
        }
        expected == count && self.offset == 0
    }

    /// Number of values of one sample.
    pub(super) fn count(&self) -> usize {
        self.axes.iter().map(|axis| side(axis, 1)).product()
    }

    /// The view of a part of an axis; `None` if the part does not consist of whole steps of its slowest factor.
    pub(super) fn part(&self, axis: usize, start: usize, length: usize) -> Option<Self> {
        let Some((first, rest)) = self.axes[axis].split_first() else {
            return (start == 0 && length == 1).then(|| self.clone());
        };
        let Factor::Part { stride, .. } = *first else { return None };
        let inner = side(rest, 1);
        if !start.is_multiple_of(inner) || !length.is_multiple_of(inner) || length == 0 {
            return None;
        }
        let mut view = self.clone();
        view.offset += start / inner * stride;
        let own = (length > inner).then_some(Factor::Part { length: length / inner, stride });
        view.axes[axis] = own.into_iter().chain(rest.iter().copied()).collect();
        Some(view)
    }

    /// All axes except that of the samples, in the order of the layer's output. An axis of length 1 stays after the axis before it.
    pub(super) fn natural_order(&self) -> Vec<usize> {
        let stride = |axis: &usize| {
            let of = |factor: &Factor| match factor {
                Factor::Batch => None,
                Factor::Part { stride, .. } => Some(*stride),
            };
            self.axes[*axis].first().and_then(of).unwrap_or(usize::MAX)
        };
        let batch = self.batch_axis();
        let mut axes: Vec<usize> = (0..self.axes.len()).filter(|axis| Some(*axis) != batch).collect();
        axes.sort_by_key(|axis| std::cmp::Reverse(stride(axis)));
        axes
    }
}

/// Joins neighbouring factors that together are one part.
fn joined(factors: Vec<Factor>) -> Vec<Factor> {
    let mut joined: Vec<Factor> = Vec::with_capacity(factors.len());
    for factor in factors {
        match (joined.last_mut(), factor) {
            (Some(Factor::Part { length: outer, stride: far }), Factor::Part { length, stride })
                if *far == length * stride =>
            {
                *outer *= length;
                *far = stride;
            }
            _ => joined.push(factor),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(height: usize, width: usize, channels: usize) -> View {
        let axes = stored(&[height, width, channels]);
        let view = View { layer: 0, axes: [vec![vec![Factor::Batch]], axes].concat(), offset: 0 };
        view.transposed(&[0, 3, 1, 2])
    }

    #[test]
    fn tokens_of_an_image_lie_as_the_image_does() {
        let tokens = image(7, 5, 3).reshaped(&[BATCH, 3, 35], BATCH).expect("fits").transposed(&[0, 2, 1]);
        assert_eq!(tokens.shape(BATCH), [BATCH, 35, 3]);
        assert!(tokens.lies_in_order(&[1, 2], 105));
        assert!(!tokens.lies_in_order(&[2, 1], 105));
    }

    #[test]
    fn a_flattened_image_runs_through_its_channels_first() {
        let flat = image(2, 2, 3).reshaped(&[BATCH, 12], BATCH).expect("fits");
        assert_eq!(flat.positions(1), Some(vec![0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]));
    }

    #[test]
    fn groups_of_channels_are_exchanged_and_come_back() {
        let shape = [BATCH, 2, 3, 4, 5];
        let groups = image(4, 5, 6).reshaped(&shape, BATCH).expect("splits");
        let shuffled = groups.transposed(&[0, 2, 1, 3, 4]).reshaped(&[BATCH, 6, 4, 5], BATCH).expect("joins");
        assert_eq!(shuffled.positions(1), Some(vec![0, 3, 1, 4, 2, 5]));
        let back = shuffled.reshaped(&[BATCH, 3, 2, 4, 5], BATCH).expect("splits").transposed(&[0, 2, 1, 3, 4]);
        assert_eq!(back.reshaped(&[BATCH, 6, 4, 5], BATCH), Some(image(4, 5, 6)));
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        assert_eq!(image(4, 4, 6).reshaped(&[BATCH, 5, 4, 4], BATCH), None);
        assert_eq!(image(4, 4, 6).reshaped(&[BATCH, 6, 4], BATCH), None);
        assert_eq!(image(4, 4, 6).reshaped(&[6, BATCH, 4, 4], BATCH), None);
    }

    #[test]
    fn a_batch_of_one_is_the_first_axis() {
        let flat = image(2, 2, 3).reshaped(&[1, 12], 1).expect("fits");
        assert_eq!(flat.batch_axis(), Some(0));
    }
}
