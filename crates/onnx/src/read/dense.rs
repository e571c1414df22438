//! Products with a matrix of constants.

use injerto_graph::{Activation, Operator};

use super::reader::{Reader, Value, Weight};
use super::view::{Factor, View};
use crate::tensor::Constant;

impl Reader<'_> {
    /// `x · kernel + bias` over the last axis of the value.
    pub(super) fn dense(&mut self, x: &View, kernel: &Constant, bias: Option<Vec<f32>>) -> Result<Value, String> {
        let &[features, units] = kernel.shape.as_slice() else {
            return Err(format!("its kernel has {} axes, expected 2", kernel.shape.len()));
        };
        let rank = x.axes.len();
        let last = rank.checked_sub(1).ok_or("its input is one number")?;
        let Some(batch) = x.batch_axis() else { return self.dense_of_rows(x, kernel, bias) };
        if last == batch || x.shape(self.batch)[last] != features {
            return Err(format!("its kernel takes {features} features, but its input has another number of them"));
        }
        if bias.as_ref().is_some_and(|bias| bias.len() != units) {
            return Err("its bias has another length".to_owned());
        }
        let own: Vec<usize> = (0..rank).filter(|&axis| axis != batch).collect();
        let count = self.drafts[x.layer].shape.count();
        let mut values = kernel.to_floats();
        let (layer, order) = match own.as_slice() {
            // A flattened image has its channels first, but its layer has them last, so the rows of the kernel are put in another order.
            [_] if !x.lies_in_order(&own, count) => {
                let places = x.positions(last).filter(|_| count == features);
                let places = places.ok_or("its input has axes in an order that no layer makes")?;
                let mut moved = vec![0.0; values.len()];
                for (row, &place) in places.iter().enumerate() {
                    moved[place * units..(place + 1) * units].copy_from_slice(&values[row * units..(row + 1) * units]);
                }
                values = moved;
                (self.with_shape(x.layer, vec![count])?, own)
            }
            _ => {
                let natural = x.natural_order().into_iter().filter(|&axis| axis != last).chain([last]).collect();
                let order = if x.lies_in_order(&own, count) { own } else { natural };
                (self.materialise(x, &order)?, order)
            }
        };
        let operator = Operator::Dense { units, use_bias: bias.is_some(), activation: Activation::Linear };
        let mut weights = vec![Weight { parameter: "kernel", shape: vec![features, units], values }];
        weights.extend(bias.map(|values| Weight { parameter: "bias", shape: vec![units], values }));
        let layer = self.add("", operator, &[layer], weights)?;
        Ok(Value::Seen(self.placed(layer, &order, rank, batch)))
    }

    /// Does the same for a value in which samples and other rows are one axis, as in PyTorch's own attention.
    fn dense_of_rows(&mut self, x: &View, kernel: &Constant, bias: Option<Vec<f32>>) -> Result<Value, String> {
        let mixes = || "it mixes values of different images".to_owned();
        let (last, rows) = x.axes.split_last().ok_or_else(mixes)?;
        let apart: Vec<Vec<Factor>> = rows.iter().flatten().map(|factor| vec![*factor]).collect();
        if apart.iter().filter(|axis| axis[0] == Factor::Batch).count() != 1 || last.contains(&Factor::Batch) {
            return Err(mixes());
        }
        let axes = apart.into_iter().chain([last.clone()]).collect();
        let Value::Seen(mut dense) = self.dense(&View { axes, ..x.clone() }, kernel, bias)? else {
            return Err(mixes());
        };
        let mut apart = std::mem::take(&mut dense.axes).into_iter();
        dense.axes = rows.iter().map(|axis| apart.by_ref().take(axis.len()).flatten().collect()).collect();
        dense.axes.extend(apart);
        Ok(Value::Seen(dense))
    }
}
