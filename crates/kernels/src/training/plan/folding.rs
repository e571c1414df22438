//! The choice of layers that are computed together with the convolution or the dense layer before them.

use injerto_graph::{Activation, Operator, Role};

use super::super::fold::Fold;
use super::super::smooth::Smooth;
use super::Compiler;
use crate::geometry::Geometry;

impl Compiler<'_> {
    /// If a clip follows layer `end`, folds it: `end` becomes the clip's layer, and the limits are returned.
    pub(super) fn absorb_clip(&mut self, end: &mut usize) -> Option<(f32, f32)> {
        let next = self.only_user(*end)?;
        let clip = clip_of(self.node(next).operator())?;
        self.absorbed[next] = true;
        *end = next;
        Some(clip)
    }

    /// If a smooth function follows layer `end`, folds it: `end` becomes the function's layer.
    fn absorb_smooth(&mut self, end: &mut usize) -> Option<Smooth> {
        let next = self.only_user(*end)?;
        let Operator::Activation { activation } = *self.node(next).operator() else { return None };
        let function = Smooth::of(activation)?;
        self.absorbed[next] = true;
        *end = next;
        Some(function)
    }

    /// If a sum follows layer `end` whose other value is computed earlier, folds it: `end` becomes the sum's layer, and the other value is
    /// returned.
    fn absorb_sum(&mut self, end: &mut usize) -> Option<usize> {
        let next = self.only_user(*end)?;
        let node = self.node(next);
        let (Operator::Add {}, [a, b]) = (node.operator(), node.inputs.as_slice()) else {
            return None;
        };
        let other = if a == end { *b } else { *a };
        // Neither value may be repeated, so each must have the shape of the sum.
        let alike = [*end, other].iter().all(|&layer| self.node(layer).shape == node.shape);
        if !alike || !self.value_of.contains_key(&other) {
            return None;
        }
        let value = self.rows_of(other, self.narrow.rows(next), next).ok()?;
        self.absorbed[next] = true;
        *end = next;
        Some(value)
    }

    /// The fold of `layer` with the normalisation and the clip after it, and the layer's own activation if it is not folded.
    pub(super) fn fold(
        &mut self,
        layer: usize,
        channels: usize,
        activation: Activation,
        end: &mut usize,
    ) -> (Fold, Activation) {
        let (mut fold, rest) = self.fold_norm(layer, channels, activation, end);
        if activation == Activation::Linear {
            fold.clip = self.absorb_clip(end);
        }
        (fold, rest)
    }

    /// The fold of a layer that can also add another value, its second input, before the clip, or compute a smooth function instead of sum and
    /// clip.
    pub(super) fn fold_sum(
        &mut self,
        layer: usize,
        geometry: &Geometry,
        activation: Activation,
        end: &mut usize,
        inputs: &mut Vec<usize>,
    ) -> (Fold, Activation) {
        let channels = self.node(layer).shape.channels();
        let (mut fold, rest) = self.fold_norm(layer, channels, activation, end);
        if geometry.is_pointwise() && fold.clip.is_none() {
            fold.function = match rest {
                Activation::Linear => self.absorb_smooth(end),
                rest => Smooth::of(rest),
            };
            if fold.function.is_some() {
                return (fold, Activation::Linear);
            }
        }
        if activation == Activation::Linear {
            let other = self.absorb_sum(end);
            fold.joins = other.is_some();
            inputs.extend(other);
            fold.clip = self.absorb_clip(end);
        }
        (fold, rest)
    }

    /// The fold of a layer with its own clip, or with the normalisation after it.
    fn fold_norm(
        &mut self,
        layer: usize,
        channels: usize,
        activation: Activation,
        end: &mut usize,
    ) -> (Fold, Activation) {
        let mut fold = Fold::new(self.isa, channels, self.parameter(layer, Role::Bias));
        match activation {
            Activation::Relu => fold.clip = Some((0.0, f32::INFINITY)),
            Activation::Relu6 => fold.clip = Some((0.0, 6.0)),
            Activation::Linear => {
                let next = self.only_user(layer).filter(|next| !self.batch_statistics.contains(next));
                if let Some(next) = next
                    && let Operator::BatchNormalization { epsilon, .. } = self.node(next).operator()
                {
                    fold.norm = Some(self.norm(next, *epsilon));
                    self.absorbed[next] = true;
                    *end = next;
                }
            }
            other => return (fold, other),
        }
        (fold, Activation::Linear)
    }
}

/// The limits, if the operator is a clip.
pub(super) fn clip_of(operator: &Operator) -> Option<(f32, f32)> {
    match operator {
        Operator::ReLU { max_value, negative_slope } if *negative_slope == 0.0 => {
            Some((0.0, max_value.map_or(f32::INFINITY, |most| most as f32)))
        }
        Operator::Activation { activation: Activation::Relu } => Some((0.0, f32::INFINITY)),
        Operator::Activation { activation: Activation::Relu6 } => Some((0.0, 6.0)),
        _ => None,
    }
}
