//! The places of values in memory. There is one arena per image, which is planned once; after its last reader, a value's place is used for
//! others.

use injerto_graph::Attention;
use injerto_graph::limits::MOST_VALUES;

use super::Error;
use super::depthwise::Depthwise;
use super::format::Format;
use super::lowering::{Fused, Lowering, Value, Weights, Work};
use super::minimal::Form;
use super::normalise::{Normalise, Over};
use super::simple::{Map, Simple};
use super::strips::{Chain, Inner, Reach};
use super::view::{Epilogue, Placed};
use crate::memory::OutOfMemory;

/// Bytes from which on a value between two steps is large enough for a chain, which keeps it in the cache.
const LARGE: usize = 96 << 10;

/// Upper limit of the bytes of weights in a chain: they are read again for every strip, and must stay in the cache too.
const MOST_WEIGHTS: usize = 512 << 10;

/// Values after each buffer, so that a vector (or the two vectors of bf16 that are loaded at once) may be read beyond its end.
pub(super) const SLACK: usize = 32;

/// The zeros around a value, as runs `(offset, length)`.
pub(crate) type Zeros = Vec<(usize, usize)>;

/// A step that can be run.
#[derive(Debug)]
pub(crate) struct Step<T: Format> {
    pub name: String,
    pub operation: Operation<T>,
    pub inputs: Vec<usize>,
    pub residual: Option<usize>,
    pub output: usize,
    /// The zeros of its output's halo, which are written before the step.
    pub zeros: Zeros,
    /// Number of multiplications for one image.
    pub products: usize,
}

/// The operation of a step, with its parameters in the order in which they are read.
#[derive(Debug)]
pub(crate) enum Operation<T: Format> {
    Product(T::Product),
    Depthwise(Depthwise),
    Normalise(Normalise),
    Attention(Attention),
    Simple(Simple),
}

/// The steps of a program, and the places of their values.
#[derive(Debug)]
pub(crate) struct Layout<T: Format> {
    pub steps: Vec<Step<T>>,
    pub values: Vec<Placed>,
    /// Number of values in an image's arena.
    pub size: usize,
    /// All steps in order, in chains of one step or of several that run strip by strip.
    pub chains: Vec<Chain>,
}

/// For each value, the value whose buffer it is in (the outermost concatenation, or itself), and its first channel there.
fn roots(values: &[Value]) -> Vec<(usize, usize)> {
    let mut roots: Vec<Option<(usize, usize)>> = vec![None; values.len()];
    let mut way = Vec::new();
    for value in 0..values.len() {
        let mut at = value;
        // Concatenations may be nested as deep as there are layers, so what was found once is not searched again.
        let mut found = loop {
            if let Some(found) = roots[at] {
                break found;
            }
            let Some((parent, channel)) = values[at].parent else {
                roots[at] = Some((at, 0));
                break (at, 0);
            };
            way.push((at, channel));
            at = parent;
        };
        while let Some((part, channel)) = way.pop() {
            found.1 += channel;
            roots[part] = Some(found);
        }
    }
    roots.into_iter().flatten().collect()
}

/// Upper limit of the values in an image's arena. It is larger than that of a network, because buffers are rounded up to whole cache lines.
const LARGEST_ARENA: usize = 2 * MOST_VALUES;

/// Gives each value its place, and prepares the steps.
///
/// # Errors
/// [`Error::Size`] for a value that with its halo takes more memory than a network may: the limits of a graph do not know the halo, which has
/// room for the padding of all readers. After this check, no size here can overflow. [`Error::Memory`] if there is no memory for the weights.
pub(crate) fn lay_out<T: Format>(hardware: T::Hardware, lowering: Lowering) -> Result<Layout<T>, Error> {
    let Lowering { steps: fused, values, outputs } = lowering;
    let roots = roots(&values);
    for step in &fused {
        if checked_buffer(&values[roots[step.output].0]).is_none() {
            return Err(Error::Size { layer: step.name.clone() });
        }
    }
    let chains = chains(&fused, &values, &outputs);
    let (lives, first) = lives(&fused, &chains, &roots, &outputs);
    // For each value inside a chain, how many of its rows exist at a time.
    let mut rows: Vec<Option<usize>> = vec![None; values.len()];
    for chain in &chains {
        for (step, capacity) in fused[chain.steps.clone()].iter().zip(chain.capacities()) {
            rows[step.output] = Some(capacity);
        }
    }
    let lengths: Vec<usize> = (0..values.len()).map(|value| buffer(&values[value], rows[value])).collect();
    let rooms = (0..values.len()).filter(|&value| roots[value].0 == value && lives[value].is_some());
    let (offsets, size) = pack(rooms.collect(), &lengths, &lives).map_err(|value| {
        let holds = |step: &&Fused| roots[step.output].0 == value;
        let layer = fused.iter().find(holds).map_or_else(String::new, |step| step.name.clone());
        Error::Size { layer }
    })?;
    let placed: Vec<Placed> = (0..values.len())
        .map(|value| {
            let (root, channel) = roots[value];
            let Value { shape: [_, width, pixel], halo: [[top, _], [left, right]], .. } = values[root];
            let row = (width + left + right) * pixel;
            let strip = rows[value].is_some();
            let offset = offsets[root] + if strip { 0 } else { top * row } + left * pixel + channel;
            Placed { offset, row, pixel, shape: values[value].shape, strip }
        })
        .collect();
    let made = fused.into_iter().enumerate().map(|(at, fused)| {
        let root = roots[fused.output].0;
        let begins = first[root] == Some(at) && rows[root].is_none();
        let zeros = if begins { zeros(&values[root], offsets[root]) } else { Vec::new() };
        step(hardware, fused, &placed, zeros)
    });
    let steps = made.collect::<Result<_, _>>()?;
    Ok(Layout { steps, values: placed, size, chains })
}

/// The first and the last step at which a value must be in memory; `None` if no step touches it.
type Life = Option<(usize, usize)>;

/// For each value that has a buffer, its life, and the first step that touches it.
fn lives(
    steps: &[Fused],
    chains: &[Chain],
    roots: &[(usize, usize)],
    outputs: &[usize],
) -> (Vec<Life>, Vec<Option<usize>>) {
    let mut lives: Vec<Life> = vec![None; roots.len()];
    let extend = |lives: &mut Vec<Life>, step: &Fused, from: usize, to: usize| {
        for &value in step.inputs.iter().chain(&step.residual).chain([&step.output]) {
            let life = &mut lives[roots[value].0];
            *life = Some(life.map_or((from, to), |life| (life.0.min(from), life.1.max(to))));
        }
    };
    for (at, step) in steps.iter().enumerate() {
        extend(&mut lives, step, at, at);
    }
    for &value in outputs {
        let life = &mut lives[roots[value].0];
        *life = life.map(|life| (life.0, steps.len()));
    }
    let first = lives.iter().map(|life| life.map(|life| life.0)).collect();
    for chain in chains {
        // The steps of a chain run alternately, so a value that one of them touches lives during all of them.
        for step in &steps[chain.steps.clone()] {
            extend(&mut lives, step, chain.steps.start, chain.steps.end - 1);
        }
    }
    (lives, first)
}

/// Gives buffers places in an arena such that two buffers only overlap if they never live at the same time. Returns the offset of each, and
/// the arena's size.
///
/// # Errors
/// The number of the value that does not fit in the largest arena.
fn pack(mut values: Vec<usize>, lengths: &[usize], lives: &[Life]) -> Result<(Vec<usize>, usize), usize> {
    // The buffers that have a place already, in the order of their places: offset, end, and life.
    let mut taken: Vec<(usize, usize, Life)> = Vec::new();
    let (mut offsets, mut size) = (vec![0; lengths.len()], 0);
    // Large buffers come first, so that small ones can fill the gaps.
    values.sort_by_key(|&value| (std::cmp::Reverse(lengths[value]), value));
    let together = |a: Life, b: Life| a.zip(b).is_some_and(|(a, b)| a.0 <= b.1 && b.0 <= a.1);
    for value in values {
        let (length, life) = (lengths[value], lives[value]);
        let mut start = 0;
        for &(from, to, other) in &taken {
            if start + length <= from {
                break;
            }
            if together(life, other) {
                start = start.max(to);
            }
        }
        if start + length > LARGEST_ARENA {
            return Err(value);
        }
        offsets[value] = start;
        let place = taken.partition_point(|&(from, to, _)| (from, to) < (start, start + length));
        taken.insert(place, (start, start + length, life));
        size = size.max(start + length);
    }
    Ok((offsets, size))
}

/// [`buffer`] of a whole value; `None` if that is more than a network may have.
fn checked_buffer(value: &Value) -> Option<usize> {
    let [[top, bottom], [left, right]] = value.halo;
    let [height, width, channels] = value.shape;
    let row = width.checked_add(left)?.checked_add(right)?.checked_mul(channels)?;
    let all = height.checked_add(top)?.checked_add(bottom)?.checked_mul(row)?;
    (all <= MOST_VALUES).then(|| buffer(value, None))
}

/// Number of values that a value's buffer has, halo and slack included: for the whole value, or for `rows` of it.
fn buffer(value: &Value, rows: Option<usize>) -> usize {
    let [[top, bottom], _] = value.halo;
    (rows.unwrap_or(value.shape[0] + top + bottom) * row(value) + SLACK).next_multiple_of(SLACK)
}

/// Number of values in a row with its halo.
fn row(value: &Value) -> usize {
    (value.shape[1] + value.halo[1][0] + value.halo[1][1]) * value.shape[2]
}

/// Divides the steps into chains. A step joins the chain of the step before it if it is the only reader of that step's output, reads it row by
/// row, and the output is large.
fn chains(steps: &[Fused], values: &[Value], outputs: &[usize]) -> Vec<Chain> {
    let mut readers = vec![0; values.len()];
    for step in steps {
        step.inputs.iter().chain(&step.residual).for_each(|&value| readers[value] += 1);
    }
    outputs.iter().for_each(|&value| readers[value] += 1);
    values.iter().filter_map(|value| value.parent).for_each(|(parent, _)| readers[parent] += 2);
    let joins = |at: usize| {
        let value = steps[at - 1].output;
        let large = buffer(&values[value], None) * size_of::<f32>() >= LARGE;
        large
            && readers[value] == 1
            && steps[at].inputs == [value]
            && values[value].parent.is_none()
            && reach(&steps[at], values).is_some()
            && reach(&steps[at - 1], values).is_some()
    };
    let mut chains = Vec::new();
    let (mut start, mut weights) = (0, weight(&steps[0]));
    for end in 1..=steps.len() {
        if let Some(step) = steps.get(end) {
            weights += weight(step);
            if weights <= MOST_WEIGHTS && joins(end) {
                continue;
            }
            weights = weight(step);
        }
        let inner = (start..end - 1)
            .map(|at| {
                let value = &values[steps[at].output];
                let reach_of = |at: usize| reach(&steps[at], values);
                let reach = reach_of(at + 1).expect("each step of a chain has a reach");
                let tile = reach_of(at).map_or(1, |reach| reach.tile);
                let left = value.halo[1][0] * value.shape[2];
                Inner { height: value.shape[0], halo: value.halo[0], tile, reach, row: row(value), left }
            })
            .collect();
        chains.push(Chain::new(start..end, inner, values[steps[end - 1].output].shape[0]));
        start = end;
    }
    chains
}

/// Bytes of a step's weights.
fn weight(step: &Fused) -> usize {
    match &step.work {
        Work::Convolution(weights) | Work::Depthwise(weights) => {
            let [height, width] = weights.geometry.window;
            let each = weights.form.map_or(height * width, Form::depths);
            weights.kernel.len() / (height * width) * each * size_of::<f32>()
        }
        _ => 0,
    }
}

/// Which rows of its only input a step reads for a row of its output; `None` if it has several inputs, or reads all rows.
fn reach(step: &Fused, values: &[Value]) -> Option<Reach> {
    let same = Reach { stride: 1, front: 0, window: 1, tile: 1 };
    match &step.work {
        Work::Convolution(weights) | Work::Depthwise(weights) => {
            Some(Reach::new(&weights.geometry, weights.form.map_or(1, |form| form.tile()[0])))
        }
        // A window over all rows would need all of them at once.
        Work::Pool(pool) => (values[step.output].shape[0] > 1).then(|| Reach::new(&pool.geometry, 1)),
        Work::Map { .. } | Work::Softmax | Work::Normalise(Normalise { over: Over::Pixel, .. }) => Some(same),
        Work::Add
        | Work::Join(..)
        | Work::Normalise(_)
        | Work::Attention(_)
        | Work::Place(_)
        | Work::Reshape
        | Work::Prepend(_)
        | Work::Embed(_)
        | Work::Crop(_) => None,
        Work::Take(_) => Some(same),
    }
}

/// The runs of zeros around a value whose buffer begins at `offset`.
fn zeros(value: &Value, offset: usize) -> Zeros {
    let [height, width, channels] = value.shape;
    let [[top, bottom], [left, right]] = value.halo;
    let row = (width + left + right) * channels;
    let mut runs = Vec::new();
    // A run goes from the right side of one row to the left side of the next.
    let mut start = 0;
    for y in 0..height {
        let end = (top + y) * row + left * channels;
        runs.push((offset + start, end - start));
        start = end + width * channels;
    }
    runs.push((offset + start, (height + top + bottom) * row - start));
    debug_assert!(bottom > 0 || runs.last().is_some_and(|run| run.1 == right * channels));
    runs.retain(|run| run.1 > 0);
    runs
}

fn step<T: Format>(
    hardware: T::Hardware,
    fused: Fused,
    placed: &[Placed],
    zeros: Zeros,
) -> Result<Step<T>, OutOfMemory> {
    let epilogue = fused.epilogue;
    let (operation, each) = match fused.work {
        Work::Convolution(weights) => {
            let each = weights.kernel.len() / weights.bias.len().max(1);
            (Operation::Product(T::prepare(hardware, weights, placed[fused.inputs[0]], epilogue)?), each)
        }
        Work::Depthwise(weights) => {
            let [kh, kw] = weights.geometry.window;
            (depthwise(weights, epilogue)?, kh * kw)
        }
        Work::Map { affine, reverse } => {
            let map =
                affine.map_or_else(|| Map::epilogue(epilogue), |(scale, shift)| Map::affine(&scale, &shift, epilogue));
            (Operation::Simple(Simple::Map(Map { reverse, ..map })), 0)
        }
        Work::Add => (Operation::Simple(Simple::Add(epilogue)), 0),
        Work::Join(join, factors) => (Operation::Simple(Simple::Join(join, factors, epilogue)), 0),
        Work::Normalise(normalise) => (Operation::Normalise(normalise), 0),
        Work::Attention(sizes) => {
            // The multiplications of both products, divided by the number of output values.
            let Attention { others, channels, value_channels, .. } = sizes;
            (Operation::Attention(sizes), others * (channels + value_channels) / value_channels.max(1))
        }
        Work::Pool(pool) => (Operation::Simple(Simple::Pool(pool)), 0),
        Work::Softmax => (Operation::Simple(Simple::Softmax), 0),
        Work::Place(at) => (Operation::Simple(Simple::Place(at)), 0),
        Work::Reshape => (Operation::Simple(Simple::Reshape), 0),
        Work::Prepend(rows) => (Operation::Simple(Simple::Prepend(rows)), 0),
        Work::Embed(values) => (Operation::Simple(Simple::Embed(values)), 0),
        Work::Crop(first) => (Operation::Simple(Simple::Crop(first)), 0),
        Work::Take(runs) => (Operation::Simple(Simple::Take(runs)), 0),
    };
    let Fused { name, inputs, residual, output, .. } = fused;
    let products = each * placed[output].shape.iter().product::<usize>();
    Ok(Step { name, operation, inputs, residual, output, zeros, products })
}

fn depthwise<T: Format>(weights: Weights, epilogue: Epilogue) -> Result<Operation<T>, OutOfMemory> {
    let Weights { geometry, kernel, scale, bias, .. } = weights;
    let channels = bias.len();
    let bias: Vec<f32> = bias.into_iter().map(|x| x as f32).collect();
    let weight = |tap: usize, c: usize| (f64::from(kernel[tap * channels + c]) * scale[c]) as f32;
    Ok(Operation::Depthwise(Depthwise::new(T::DEPTHWISE, geometry, weight, &bias, epilogue)?))
}
