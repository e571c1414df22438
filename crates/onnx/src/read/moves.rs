//! Reads nodes that only change the view of a value: its shape, the order of its axes, or a part of it.

use std::rc::Rc;

use injerto_graph::ChannelOrder;

use super::known::{axes_of, slice, slices, squeezed, unsqueezed};
use super::layers::Given;
use super::reader::{Reader, Value};
use super::shapes::{axis, sides, target};
use super::view::{Factor, View};
use crate::proto::Node;
use crate::tensor::Constant;

/// The view as a value; an error if there is none.
fn moved(view: Option<View>) -> Result<Value, String> {
    view.map(Value::Seen).ok_or_else(|| "it cuts through samples or axes in a way that no layer does".to_owned())
}

impl Reader<'_> {
    pub(super) fn measured(&mut self, given: &Given<'_>) -> Result<Value, String> {
        let length = given.rank() as i64;
        let (start, end) = (given.node.int("start", 0), given.node.int("end", length));
        let (start, _, number) = slice(given.rank(), start, end, 1)?;
        let sides = given.shape.iter().skip(start as usize).take(number).map(|&side| side as i64).collect();
        Ok(Value::Known(Rc::new(Constant::ints(sides))))
    }

    pub(super) fn transposed(&mut self, given: &Given<'_>) -> Result<Value, String> {
        let rank = given.rank();
        let order = match given.node.ints("perm") {
            Some(order) => order.iter().map(|&at| axis(at, rank)).collect::<Result<Vec<_>, _>>()?,
            None => (0..rank).rev().collect(),
        };
        if order.len() != rank || !(0..rank).all(|axis| order.contains(&axis)) {
            return Err("its axes are not a permutation".to_owned());
        }
        Ok(Value::Seen(given.x.transposed(&order)))
    }

    pub(super) fn reshaped(&mut self, given: &Given<'_>) -> Result<Value, String> {
        let allow_zero = given.node.int("allowzero", 0) == 1;
        let wanted = target(&given.needed(1, "shape")?.to_ints(), &given.shape, allow_zero)?;
        moved(given.x.reshaped(&wanted, self.batch))
    }

    pub(super) fn flattened(&mut self, given: &Given<'_>) -> Result<Value, String> {
        let rank = given.rank();
        let at = given.node.int("axis", 1);
        let at = if at == rank as i64 { rank } else { axis(at, rank)? };
        let product = |sides: &[usize]| sides.iter().fold(1_usize, |all, &side| all.saturating_mul(side));
        let (before, after) = given.shape.split_at(at);
        moved(given.x.reshaped(&[product(before), product(after)], self.batch))
    }

    pub(super) fn squeezed(&mut self, given: &Given<'_>) -> Result<Value, String> {
        let axes = axes_of(given.node, given.constant(1));
        moved(given.x.reshaped(&squeezed(&given.shape, axes.as_deref())?, self.batch))
    }

    pub(super) fn unsqueezed(&mut self, given: &Given<'_>) -> Result<Value, String> {
        let axes = axes_of(given.node, given.constant(1)).ok_or("its axes are not constants")?;
        moved(given.x.reshaped(&unsqueezed(&given.shape, &axes)?, self.batch))
    }

    pub(super) fn sliced(&mut self, given: &Given<'_>) -> Result<Value, String> {
        let parts = slices(given.node, &given.all(), given.rank()).ok_or("its limits are not constants")?;
        let mut view = given.x.clone();
        for (axis, start, end, step) in parts {
            let all = given.shape[axis];
            match slice(all, start, end, step)? {
                (0, 1, length) if length == all => {}
                (start, -1, length) if length == all && start + 1 == all as i64 && self.is_colours(&view, axis) => {
                    self.exchange_colours()?;
                }
                (start, 1, length) => {
                    let part = self.part(&view, axis, start as usize, length)?;
                    view = part.ok_or_else(|| format!("it cuts a part of axis {axis} out, which no layer does"))?;
                }
                (start, step, length) => {
                    let places = (0..length as i64).map(|at| (start + at * step) as usize).collect();
                    let picked = self.pick(&view, axis, places)?;
                    view = picked.ok_or_else(|| format!("it picks parts of axis {axis}, which no layer does"))?;
                }
            }
        }
        Ok(Value::Seen(view))
    }

    pub(super) fn gathered(&mut self, given: &Given<'_>) -> Result<Value, String> {
        let Given { node, x, shape, .. } = given;
        let axis = axis(node.int("axis", 0), given.rank())?;
        let choice = given.needed(1, "choice")?;
        match choice.to_ints().as_slice() {
            [2 | -1, 1 | -2, 0 | -3] if self.is_colours(x, axis) => {
                self.exchange_colours()?;
                Ok(Value::Seen(x.clone()))
            }
            &[index] => {
                let all = shape[axis] as i64;
                let index = usize::try_from(if index < 0 { index + all } else { index });
                let index = index.ok().filter(|&index| index < all as usize).ok_or("there is no such index")?;
                let mut view = x.part(axis, index, 1).ok_or("it picks samples, or a part that no layer has")?;
                if choice.shape.is_empty() {
                    view.axes.remove(axis);
                }
                Ok(Value::Seen(view))
            }
            indices if choice.shape.len() == 1 => {
                let all = shape[axis] as i64;
                let place = |&index: &i64| usize::try_from(if index < 0 { index + all } else { index }).ok();
                let places = indices.iter().map(place).collect::<Option<Vec<_>>>();
                let picked = self.pick(x, axis, places.ok_or("there is no such index")?)?;
                picked.map(Value::Seen).ok_or_else(|| format!("it picks parts of axis {axis}, which no layer does"))
            }
            _ => Err(format!("it picks parts of axis {axis} in several axes, which no layer does")),
        }
    }

    /// The parts of a value along an axis.
    pub(super) fn split(&mut self, node: &Node<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>, String> {
        let Some(Some(Value::Seen(x))) = inputs.first() else {
            return Err("it splits by values of the image".to_owned());
        };
        let along = axis(node.int("axis", 0), x.axes.len())?;
        let all = x.shape(self.batch)[along];
        let lengths = match (inputs.get(1), node.ints("split")) {
            (Some(Some(Value::Known(lengths))), _) => sides(&lengths.to_ints())?,
            (_, Some(lengths)) => sides(lengths)?,
            _ => {
                // The parts are equal, but the last one may be shorter.
                let parts = usize::try_from(node.int("num_outputs", node.outputs.len() as i64))
                    .unwrap_or(0)
                    .clamp(1, node.outputs.len().max(1));
                let length = all.div_ceil(parts);
                (0..parts).map(|at| length.min(all.saturating_sub(at * length))).collect()
            }
        };
        let wrong = || format!("it splits axis {along} in a way that no layer does");
        let (mut start, mut parts) = (0_usize, Vec::with_capacity(lengths.len()));
        for length in lengths {
            let end = start.checked_add(length).filter(|&end| end <= all).ok_or_else(wrong)?;
            parts.push(Value::Seen(self.part(x, along, start, length)?.ok_or_else(wrong)?));
            start = end;
        }
        Ok(parts)
    }

    /// Whether an axis of the value is the colours of the input image.
    fn is_colours(&self, x: &View, axis: usize) -> bool {
        x.layer == 0 && x.axes[axis] == [Factor::Part { length: 3, stride: 1 }]
    }

    /// Records that the network takes blue first, which must hold for the whole network.
    fn exchange_colours(&mut self) -> Result<(), String> {
        if self.drafts.len() > 1 || self.channel_order == ChannelOrder::Bgr {
            return Err("it exchanges the colours of the image a second time, or for a part of the network".to_owned());
        }
        self.channel_order = ChannelOrder::Bgr;
        Ok(())
    }
}
