//! An average pooling and a pointwise convolution after it can be exchanged. The convolution goes first if it leaves fewer channels to pool.

use super::{Lowering, Work};
use crate::inference::view::Epilogue;

/// Puts pointwise convolutions before the average poolings that they read, if they have fewer filters than input channels.
///
/// Both operations are linear, so only the activation must stay last. A bias may be added before the mean, because the mean of equal numbers
/// is that number. This is not so if the mean counts zeros of the padding, so such a pooling is not exchanged.
pub(super) fn pool_fewer_channels(lowering: &mut Lowering) {
    let Lowering { steps, values, outputs } = lowering;
    let mut readers = vec![0_usize; values.len()];
    steps.iter().flat_map(|step| step.inputs.iter().chain(&step.residual)).for_each(|&value| readers[value] += 1);
    outputs.iter().for_each(|&value| readers[value] += 1);
    for late in 0..steps.len() {
        let (before, rest) = steps.split_at_mut(late);
        let late = &mut rest[0];
        let Work::Convolution(weights) = &late.work else { continue };
        let (between, filters) = (late.inputs[0], weights.bias.len());
        let pointwise = weights.geometry.is_pointwise() && weights.groups == 1;
        let fewer = filters < weights.geometry.input[2];
        let alone = readers[between] == 1 && values[between].parent.is_none() && late.residual.is_none();
        let Some(early) = before.iter_mut().find(|step| step.output == between) else { continue };
        let Work::Pool(pool) = &mut early.work else { continue };
        let [height, width, _] = values[between].shape;
        let same = pool.geometry.input[..2] == [height, width] && pool.geometry.output == [height, width];
        if !(pointwise && fewer && alone && same) || pool.largest || pool.include_padding {
            continue;
        }
        pool.geometry.input[2] = filters;
        pool.epilogue = std::mem::replace(&mut late.epilogue, Epilogue::None);
        values[between].shape[2] = filters;
        std::mem::swap(&mut early.work, &mut late.work);
        std::mem::swap(&mut early.name, &mut late.name);
    }
}
