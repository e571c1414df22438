//! Which gradients are needed, and which values share a buffer.

use super::super::parameters::Parameters;
use super::{Operation, Value};

/// Finds out which inputs want gradients, and which contribution to each comes first.
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

/// The moments from which on and up to which a value, or its gradient, must be in a buffer.
struct Lifetime {
    value: usize,
    is_gradient: bool,
    from: usize,
    to: usize,
}

/// Gives buffers to values and gradients whose lifetimes do not overlap, and tells the operations.
pub(super) fn assign(
    operations: &mut [Operation],
    values: &mut [Value],
    needs: &[bool],
    parameters: &Parameters,
    inputs: &[usize],
    output: usize,
) -> Vec<usize> {
    // Inputs come at 0, operation i runs forward at i + 1, the output is read at `middle`, and backward in reverse order.
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
        // An input lives from the beginning, together with all others.
        let from = if given[value] { 0 } else { producer.map_or(0, |at| at + 1) };
        lives.push(Lifetime { value, is_gradient: false, from, to });
        if needs[value] {
            let first = users[value].iter().map(|&at| backward(at)).min().unwrap_or(middle);
            let from = if value == output { middle } else { first };
            // The gradient of an input is read when all is done.
            let to = producer.map_or(2 * n + 2, backward);
            lives.push(Lifetime { value, is_gradient: true, from, to });
        }
    }
    lives.sort_by_key(|life| (life.from, life.value, life.is_gradient));
    // Length and end of each buffer.
    let mut buffers: Vec<(usize, usize)> = Vec::new();
    for life in lives {
        let count = values[life.value].count;
        let free = buffers.iter().enumerate().filter(|(_, (_, to))| *to < life.from);
        // The smallest that is large enough, else the largest.
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
