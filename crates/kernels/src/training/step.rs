use super::parameters::Parameters;
use crate::memory::{Aligned, OutOfMemory};

/// The inputs of a step.
pub(super) struct Inputs<'a> {
    pub(super) buffers: &'a [Aligned],
    /// For each input, its buffer and its length for one sample.
    pub(super) places: &'a [(usize, usize)],
    pub(super) batch: usize,
}

impl<'a> Inputs<'a> {
    pub(super) fn get(&self, at: usize) -> &'a [f32] {
        let (buffer, values) = self.places[at];
        &self.buffers[buffer][..values * self.batch]
    }

    pub(super) fn count(&self) -> usize {
        self.places.len()
    }
}

/// The mode of a forward pass.
pub(super) enum Pass<'a> {
    /// Inference.
    Inference,
    /// Training, with a source of random numbers.
    Training(&'a mut dyn FnMut() -> u32),
}

/// One step of a program: a layer, or several that are computed together.
pub(super) trait Step: Send + Sync + std::fmt::Debug {
    /// Computes `y`.
    fn forward(&mut self, parameters: &mut Parameters, x: &Inputs<'_>, y: &mut [f32], pass: &mut Pass<'_>);

    /// Writes the gradients of the step's parameters. `dy` is the gradient of `y`, which the step may change into the form that its
    /// [`Step::input_gradient`] needs.
    fn backward(&mut self, _parameters: &mut Parameters, _x: &Inputs<'_>, _y: &[f32], _dy: &mut [f32]) {}

    /// Writes or adds the gradient of the input at `place`. [`Step::backward`] has been called with `dy` before.
    fn input_gradient(&mut self, place: usize, x: &Inputs<'_>, y: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool);

    /// The number of values per sample that the step keeps for the backward pass, in addition to inputs and output.
    fn kept(&self) -> usize {
        0
    }

    /// Makes room for the values that are kept of a batch. It is called before a training pass, if a gradient goes back through the step.
    fn reserve(&mut self, _batch: usize) -> Result<(), OutOfMemory> {
        Ok(())
    }

    /// Whether the backward pass reads the inputs.
    fn keeps_inputs(&self, _parameters: &Parameters) -> bool {
        false
    }

    /// Whether the backward pass reads the output.
    fn keeps_output(&self) -> bool {
        false
    }
}

/// Writes or adds `value`.
#[inline(always)]
pub(super) fn put(out: &mut f32, value: f32, accumulate: bool) {
    *out = if accumulate { *out + value } else { value };
}
