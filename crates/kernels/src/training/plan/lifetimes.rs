//! Decides which gradients are needed, and which values share a buffer.

use super::super::parameters::Parameters;
use super::{Operation, Value};

/// Finds the inputs whose gradients are needed, and for each of them the operation that contributes first; the others add to its contribution.
pub(super) fn contributions(operations: &mut [Operation], needs: &[bool]) {
    let mut seen = vec![false; needs.len()];
    for operation in operations.iter_mut().rev() {
        for &input in &operation.inputs {
            let wanted = needs[input] && needs[operation.output];
            operation.wants.push(wanted.then_some(seen[input]));
            seen[input] |= wanted;
        }
    }
}

/// The first and the last moment at which a value or its gradient must be in a buffer.
struct Lifetime {
    value: usize,
    is_gradient: bool,
    from: usize,
    to: usize,
}

/// Assigns buffers such that only values and gradients share one whose lifetimes do not overlap. Returns the length of each buffer for one
/// sample.
pub(super) fn assign(
    operations: &mut [Operation],
    values: &mut [Value],
    needs: &[bool],
    parameters: &Parameters,
    inputs: &[usize],
    output: usize,
) -> Vec<usize> {
    // Moments are counted as follows: inputs come at 0, operation i runs forward at i + 1, the output is read at `middle`, and then the
    // operations run backward in reverse order.
    let n = operations.len();
    let (middle, backward) = (n + 1, |at: usize| 2 * n + 1 - at);
    let mut producers: Vec<Option<usize>> = vec![None; values.len()];
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); values.len()];
    for (at, operation) in operations.iter().enumerate() {
        producers[operation.output] = Some(at);
        operation.inputs.iter().for_each(|&input| users[input].push(at));
    }
    let mut given = vec![false; values.len()];
    inputs.iter().for_each(|&value| given[value] = true);
    let mut lives: Vec<Lifetime> = Vec::new();
    for value in 0..values.len() {
        let producer = producers[value];
        let mut to = producer.map_or(0, |at| at + 1);
        for &at in &users[value] {
            let user = &operations[at];
            to = to.max(at + 1);
            if needs[user.output] && user.step.keeps_inputs(parameters) {
                to = to.max(backward(at));
            }
        }
        if value == output {
            to = to.max(middle);
        }
        if let Some(at) = producer.filter(|&at| needs[value] && operations[at].step.keeps_output()) {
            to = to.max(backward(at));
        }
        // All inputs live from the beginning.
        let from = if given[value] { 0 } else { producer.map_or(0, |at| at + 1) };
        lives.push(Lifetime { value, is_gradient: false, from, to });
        if needs[value] {
            let first = users[value].iter().map(|&at| backward(at)).min().unwrap_or(middle);
            let from = if value == output { middle } else { first };
            // The gradient of an input is read after the backward pass.
            let to = producer.map_or(2 * n + 2, backward);
            lives.push(Lifetime { value, is_gradient: true, from, to });
        }
    }
    lives.sort_by_key(|life| (life.from, life.value, life.is_gradient));
    // The length of each buffer, and the end of the last lifetime in it.
    let mut buffers: Vec<(usize, usize)> = Vec::new();
    for life in lives {
        let count = values[life.value].count;
        let free = buffers.iter().enumerate().filter(|(_, (_, to))| *to < life.from);
        // The best free buffer is the smallest one that is large enough, or else the largest one.
        let best = free.min_by_key(|(_, (length, _))| (*length < count, length.abs_diff(count))).map(|(at, _)| at);
        let at = best.unwrap_or_else(|| {
            buffers.push((0, 0));
            buffers.len() - 1
        });
        buffers[at] = (buffers[at].0.max(count), life.to);
        if life.is_gradient {
            values[life.value].gradient = Some(at);
        } else {
            values[life.value].buffer = at;
        }
    }
    for operation in operations {
        operation.places = operation.inputs.iter().map(|&at| (values[at].buffer, values[at].count)).collect();
    }
    buffers.into_iter().map(|(length, _)| length).collect()
}
