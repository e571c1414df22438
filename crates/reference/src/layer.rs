//! What a layer is computed with, and the way back through it.

use injerto_graph::{Node, Role};
use rand_chacha::ChaCha8Rng;

use crate::tensor::Tensor;

/// Gradients of a layer's inputs, and of its parameters by their place in the layer's list.
pub(crate) type Slopes = (Vec<Tensor>, Vec<(usize, Vec<f64>)>);

/// Takes the gradient of a layer's output to those of its inputs and parameters.
pub(crate) struct Backward(Box<dyn Fn(&Tensor) -> Slopes>);

impl Backward {
    pub(crate) fn new(slopes: impl Fn(&Tensor) -> Slopes + 'static) -> Self {
        Self(Box::new(slopes))
    }

    /// The way back of a layer that has neither inputs nor parameters.
    pub(crate) fn constant() -> Self {
        Self::new(|_| (Vec::new(), Vec::new()))
    }

    /// The way back of a layer with one input and no parameters.
    pub(crate) fn one(slope: impl Fn(&Tensor) -> Tensor + 'static) -> Self {
        Self::new(move |dy| (vec![slope(dy)], Vec::new()))
    }

    /// The way back of a layer whose output goes through another one with one input. Both may have parameters.
    pub(crate) fn then(self, last: Self) -> Self {
        Self::new(move |dy| {
            let (between, of_last) = last.apply(dy);
            let (of_inputs, of_both) = self.apply(&between[0]);
            (of_inputs, of_both.into_iter().chain(of_last).collect())
        })
    }

    pub(crate) fn apply(&self, dy: &Tensor) -> Slopes {
        (self.0)(dy)
    }
}

/// What becomes of a number before it is multiplied in a product of matrices.
pub(crate) type Operand = fn(f64) -> f64;

/// What a layer is computed with, and what it leaves.
pub(crate) struct Context<'a> {
    pub(crate) node: &'a Node,
    pub(crate) parameters: &'a [Vec<f64>],
    /// Whether dropout drops.
    pub(crate) drops: bool,
    /// Whether a batch normalisation uses the batch's statistics.
    pub(crate) uses_batch: bool,
    pub(crate) random: &'a mut ChaCha8Rng,
    /// For both sides of products of matrices.
    pub(crate) operand: Operand,
    /// Running statistics that the layer has moved.
    pub(crate) moved: Vec<(usize, Vec<f64>)>,
    pub(crate) nearest_kink: &'a mut f64,
}

impl Context<'_> {
    /// The parameter with this role, and its place.
    pub(crate) fn parameter(&self, role: Role) -> Option<(usize, Vec<f64>)> {
        let place = self.node.parameters.iter().position(|parameter| parameter.role == role)?;
        Some((place, self.parameters[place].clone()))
    }

    pub(crate) fn needed(&self, role: Role) -> (usize, Vec<f64>) {
        self.parameter(role).expect("shape inference gives the layer its parameters")
    }

    /// Notes how far values are from where a slope changes. On the point itself both precisions take the same side.
    pub(crate) fn kinks(&mut self, values: &[f64], at: &[f64]) {
        for distance in values.iter().flat_map(|x| at.iter().map(move |kink| (x - kink).abs())) {
            if distance > 0.0 {
                *self.nearest_kink = self.nearest_kink.min(distance);
            }
        }
    }
}
