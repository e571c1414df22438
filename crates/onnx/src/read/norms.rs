//! Reads normalisations.

use injerto_graph::Operator;

use super::layers::Given;
use super::reader::{Reader, Value, Weight};
use super::shapes::{axis, shortest};
use super::view::{Factor, View};
use crate::tensor::Constant;

impl Reader<'_> {
    pub(super) fn batch_normalised(&mut self, given: &Given<'_>) -> Result<Value, String> {
        let Given { node, x, .. } = given;
        let batch = x
            .batch_axis()
            .filter(|&axis| axis == 0 && x.axes.len() > 1)
            .ok_or("it mixes values of different images")?;
        let order: Vec<usize> = x.natural_order().into_iter().filter(|&axis| axis != 1).chain([1]).collect();
        let layer = self.materialise(x, &order)?;
        let channels = self.drafts[layer].shape.channels();
        let mut weights = Vec::with_capacity(4);
        for (at, parameter) in ["gamma", "beta", "moving_mean", "moving_variance"].into_iter().enumerate() {
            let values = given.constant(at + 1).ok_or("its statistics are not constants")?.to_floats();
            if values.len() != channels {
                return Err(format!("its {parameter} has {} values for {channels} channels", values.len()));
            }
            weights.push(Weight { parameter, shape: vec![channels], values });
        }
        let operator = Operator::BatchNormalization {
            epsilon: shortest(node.float("epsilon", 1e-5)),
            momentum: shortest(node.float("momentum", 0.9)),
            center: true,
            scale: true,
        };
        let layer = self.add("", operator, &[layer], weights)?;
        Ok(Value::Seen(self.placed(layer, &order, x.axes.len(), batch)))
    }

    pub(super) fn layer_normalised(&mut self, given: &Given<'_>) -> Result<Value, String> {
        let Given { node, x, shape, .. } = given;
        let along = axis(node.int("axis", -1), given.rank())?;
        if along != given.rank() - 1 {
            return Err("it normalises over several axes".to_owned());
        }
        let mut weights = Vec::new();
        for (at, parameter) in [(1, "gamma"), (2, "beta")] {
            if given.inputs.get(at).is_some_and(Option::is_some) {
                let values = given.needed(at, parameter)?.to_floats();
                if values.len() != shape[along] {
                    return Err(format!("its {parameter} has {} values for {} channels", values.len(), shape[along]));
                }
                weights.push(Weight { parameter, shape: vec![values.len()], values });
            }
        }
        self.standardise(x, along, shortest(node.float("epsilon", 1e-5)), weights)
    }

    pub(super) fn group_normalised(&mut self, given: &Given<'_>) -> Result<Value, String> {
        let Given { node, x, shape, .. } = given;
        let groups = usize::try_from(node.int("num_groups", 0)).map_err(|_| "its number of groups is negative")?;
        let order: Vec<usize> = x.natural_order().into_iter().filter(|&axis| axis != 1).chain([1]).collect();
        let channels = shape.get(1).copied().unwrap_or(0);
        // In old operator sets, there is one scale per group.
        let each = |constant: &Constant| match constant.to_floats() {
            values if values.len() == channels => Ok(values),
            values if groups > 0 && values.len() == groups && channels % groups == 0 => {
                Ok(values.iter().flat_map(|&value| vec![value; channels / groups]).collect())
            }
            _ => Err("its scale has another length"),
        };
        let (scale, shift) = (each(given.needed(1, "scale")?)?, each(given.needed(2, "shift")?)?);
        let batch = x.batch_axis().filter(|&batch| batch != 1).ok_or("it mixes values of different images")?;
        let layer = self.materialise(x, &order)?;
        let weights = [("gamma", scale), ("beta", shift)].map(|(parameter, values)| Weight {
            parameter,
            shape: vec![channels],
            values,
        });
        let epsilon = shortest(node.float("epsilon", 1e-5));
        let operator = Operator::GroupNormalization { groups, epsilon, center: true, scale: true };
        let layer = self.add("", operator, &[layer], weights.into())?;
        Ok(Value::Seen(self.placed(layer, &order, given.rank(), batch)))
    }

    /// Reads an instance normalisation whose channels are groups of the layer's channels; exporters write group normalisations in this
    /// way.
    pub(super) fn instance_normalised(&mut self, given: &Given<'_>) -> Result<Value, String> {
        let Given { node, x, shape, .. } = given;
        let (scale, shift) = (given.needed(1, "scale")?, given.needed(2, "shift")?);
        let stored = self.drafts[x.layer].shape.clone();
        let (channels, groups) = (stored.channels(), shape.get(1).copied().unwrap_or(0));
        let is_group = match x.axes.get(1).map(Vec::as_slice) {
            Some([]) => groups == 1,
            Some(&[Factor::Part { length, stride }]) => length * stride == channels,
            _ => false,
        };
        if x.batch_axis() != Some(0) || !is_group || x.count() != stored.count() {
            return Err("its channels are not groups of a layer's channels".to_owned());
        }
        let (gamma, beta) = (scale.to_floats(), shift.to_floats());
        let has_own = groups == channels && gamma.len() == channels && beta.len() == channels;
        // Untrained parameters are also 1 and 0.
        let is_parameter = has_own && node.inputs.get(1).is_some_and(|name| self.is_stored(name));
        let is_plain = scale.uniform() == Some(1.0) && shift.uniform() == Some(0.0) && !is_parameter;
        let weights = match (is_plain, has_own) {
            (true, _) => Vec::new(),
            (false, true) => [("gamma", gamma), ("beta", beta)]
                .map(|(parameter, values)| Weight { parameter, shape: vec![channels], values })
                .into(),
            (false, false) => return Err("it scales groups of channels".to_owned()),
        };
        let epsilon = shortest(node.float("epsilon", 1e-5));
        let operator = Operator::GroupNormalization { groups, epsilon, center: !is_plain, scale: !is_plain };
        let layer = self.add("", operator, &[x.layer], weights)?;
        Ok(Value::Seen(View { layer, axes: x.axes.clone(), offset: 0 }))
    }
}
