//! Adds layers for parts of a layer's output: for some positions of a sequence, and for channels in any selection and order.

use injerto_graph::Operator;

use super::reader::Reader;
use super::view::{Factor, View};

impl Reader<'_> {
    /// If the value is a part of a layer's output, or has its channels in another order, adds a layer for it. Returns the value's view.
    pub(super) fn whole(&mut self, view: &View) -> Result<View, String> {
        let view = self.cropped(view)?;
        Ok(self.picked(&view)?.unwrap_or(view))
    }

    /// The view of a part of an axis; `None` if no layer makes it.
    pub(super) fn part(
        &mut self,
        view: &View,
        axis: usize,
        start: usize,
        length: usize,
    ) -> Result<Option<View>, String> {
        match view.part(axis, start, length) {
            Some(part) => Ok(Some(part)),
            None => self.pick(view, axis, (start..start + length).collect()),
        }
    }

    /// The view of these places of an axis; `None` if the axis cannot be the channels of a layer.
    pub(super) fn pick(&mut self, view: &View, axis: usize, places: Vec<usize>) -> Result<Option<View>, String> {
        let view = self.whole(view)?;
        let order: Vec<usize> = view.natural_order().into_iter().filter(|&at| at != axis).chain([axis]).collect();
        let is_apart = view.batch_axis().is_some_and(|batch| batch != axis);
        if !is_apart || !view.lies_in_order(&order, self.drafts[view.layer].shape.count()) {
            return Ok(None);
        }
        // In a layer of this shape, the axis is the channels.
        let layer = self.materialise(&view, &order)?;
        self.take(&View { layer, ..view }, Some(axis), places).map(Some)
    }

    /// Adds a layer that selects the view's channels from its layer, and returns the layer's view. `None` if no axis of the view consists of
    /// channels only, or it has all channels in their order.
    fn picked(&mut self, view: &View) -> Result<Option<View>, String> {
        let stored = &self.drafts[view.layer].shape;
        let (all, count) = (stored.channels(), stored.count());
        let is_channel = |factor: &Factor| matches!(factor, Factor::Part { stride, .. } if *stride < all);
        let mut own = (0..view.axes.len()).filter(|&axis| view.axes[axis].iter().any(is_channel));
        let (axis, positions) = match (own.next(), own.next()) {
            // A single channel has no axis.
            (None, _) if all > 1 && view.count() * all == count => (None, Some(vec![view.offset])),
            (Some(axis), None) => (Some(axis), view.positions(axis)),
            _ => return Ok(None),
        };
        match positions.filter(|at| at.iter().all(|&at| at < all)) {
            Some(indices) if !indices.iter().copied().eq(0..all) => self.take(view, axis, indices).map(Some),
            _ => Ok(None),
        }
    }

    /// Adds a layer that selects these channels of the view's layer, and returns its view, in which they are `axis`.
    fn take(&mut self, view: &View, axis: Option<usize>, indices: Vec<usize>) -> Result<View, String> {
        let all = self.drafts[view.layer].shape.channels();
        let count = indices.len();
        let key = (view.layer, indices);
        let layer = match self.taken.get(&key) {
            Some(&layer) => layer,
            None => {
                let operator = Operator::Take { indices: key.1.clone() };
                let layer = self.add("channels", operator, &[view.layer], Vec::new())?;
                self.taken.insert(key, layer);
                layer
            }
        };
        let mut axes = view.axes.clone();
        for factor in axes.iter_mut().flatten() {
            if let Factor::Part { stride, .. } = factor {
                *stride = *stride / all * count;
            }
        }
        if let Some(axis) = axis {
            axes[axis] = if count == 1 { Vec::new() } else { vec![Factor::Part { length: count, stride: 1 }] };
        }
        Ok(View { layer, axes, offset: 0 })
    }

    /// If the value is what a crop leaves of a sequence, adds the crop. Returns the value's view.
    fn cropped(&mut self, view: &View) -> Result<View, String> {
        let stored = self.drafts[view.layer].shape.clone();
        let (all, count) = (stored.count(), view.count());
        let is_part = |factor: &Factor| match *factor {
            Factor::Batch => None,
            Factor::Part { length, stride } => Some((stride, length)),
        };
        let mut factors: Vec<(usize, usize)> = view.axes.iter().flatten().filter_map(is_part).collect();
        factors.sort_unstable();
        let mut expected = 1;
        for (stride, length) in factors {
            if stride != expected {
                return Ok(view.clone());
            }
            expected *= length;
        }
        if count == all || view.offset + count > all {
            return Ok(view.clone());
        }
        // A position may have any length that divides the part, its place and the whole.
        let own = stored.channels();
        let fits = count.is_multiple_of(own) && view.offset.is_multiple_of(own);
        let channels = if fits { own } else { divisor(divisor(count, view.offset), all) };
        let layer = self.with_shape(view.layer, vec![all / channels, channels])?;
        let (before, after) = (view.offset / channels, (all - view.offset - count) / channels);
        let layer = self.add("part", Operator::Cropping1D { cropping: [before, after] }, &[layer], Vec::new())?;
        Ok(View { layer, axes: view.axes.clone(), offset: 0 })
    }
}

/// The greatest common divisor.
fn divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { divisor(b, a % b) }
}
