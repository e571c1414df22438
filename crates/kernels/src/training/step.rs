use super::parameters::Parameters;
use crate::memory::{Aligned, OutOfMemory};

/// Values that a step takes.
pub(super) struct Inputs<'a> {
    pub(super) buffers: &'a [Aligned],
    /// For each input, its buffer and how many values of it are used.
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

/// What a forward pass is for.
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

    /// Takes the gradient of `y`, which it may change into the form that [`Step::input_gradient`] wants, and writes the gradients
    /// of its parameters.
    fn backward(&mut self, _parameters: &mut Parameters, _x: &Inputs<'_>, _y: &[f32], _dy: &mut [f32]) {}

    /// Writes, or adds, the gradient of the input at `place`, after [`Step::backward`] has seen `dy`.
    fn input_gradient(&mut self, place: usize, x: &Inputs<'_>, y: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool);

    /// Values per sample that a step keeps for going backward beside inputs and output.
    fn kept(&self) -> usize {
        0
    }

    /// Makes room for what is kept of a batch, before it is trained on. No step is asked through which no gradient goes back.
    fn reserve(&mut self, _batch: usize) -> Result<(), OutOfMemory> {
        Ok(())
    }

    /// Whether going backward reads the inputs.
    fn keeps_inputs(&self, _parameters: &Parameters) -> bool {
        false
    }

    /// Whether going backward reads the output.
    fn keeps_output(&self) -> bool {
        false
    }
}

/// Writes or adds `value`.
#[inline(always)]
pub(super) fn put(out: &mut f32, value: f32, accumulate: bool) {
    *out = if accumulate { *out + value } else { value };
}
