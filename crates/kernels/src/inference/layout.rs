//! Where values lie: one arena an image, planned once, a value's place given to the next as soon as its last reader is done.

use injerto_graph::limits::MOST_VALUES;

use super::Error;
use super::convolution::Convolution;
use super::depthwise::{Depthwise, pitch};
use super::draft::{Algorithm, Draft, Plan, Value, Weights, Work};
use super::line::Line;
use super::simple::{Map, Simple};
use super::strips::{Chain, Inner, Reach};
use super::view::{Epilogue, View};
use super::winograd::Winograd;
use crate::isa::Isa;
use crate::memory::{OutOfMemory, filled};

/// Bytes from which on a value between two steps is worth keeping in the cache.
const LARGE: usize = 96 << 10;

/// Bytes of weights that a chain may have: they are read again for every strip, and are to stay in the cache too.
const MOST_WEIGHTS: usize = 256 << 10;

/// Values behind each buffer that a vector may read.
const SLACK: usize = 16;

/// Where a value lies in an image's arena.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed {
    /// Its first value.
    pub offset: usize,
    pub row: usize,
    pub pixel: usize,
    pub shape: [usize; 3],
    /// Only some rows of it exist at a time, and of one image: it is inside a chain.
    pub strip: bool,
}

/// A buffer's zeros, as `(offset, length)` of runs.
pub(crate) type Zeros = Vec<(usize, usize)>;

/// A step that can be run.
#[derive(Debug)]
pub(crate) struct Step {
    pub name: String,
    pub work: Ready,
    pub inputs: Vec<usize>,
    pub residual: Option<usize>,
    pub output: usize,
    /// Halos to be written before.
    pub zeros: Zeros,
    /// Multiplications for one image.
    pub products: usize,
}

/// What a step does.
#[derive(Debug)]
pub(crate) enum Ready {
    Convolution(Convolution),
    Winograd(Winograd),
    Line(Box<Line>),
    Depthwise(Depthwise),
    Simple(Simple),
}

/// Steps, where their values lie, and how much room an image takes.
#[derive(Debug)]
pub(crate) struct Layout {
    pub steps: Vec<Step>,
    pub values: Vec<Placed>,
    /// Values of an image's arena.
    pub size: usize,
    /// All steps in order: alone, or several that run strip by strip.
    pub chains: Vec<Chain>,
}

impl Placed {
    /// Its view in arenas of `size` values that begin at `base`.
    pub fn view(&self, base: *mut f32, size: usize) -> View {
        View { base: base.wrapping_add(self.offset), image: size, row: self.row, pixel: self.pixel }
    }
}

/// For each value the one that holds it, and from which channel on.
fn roots(values: &[Value]) -> Vec<(usize, usize)> {
    let mut roots: Vec<Option<(usize, usize)>> = vec![None; values.len()];
    let mut way = Vec::new();
    for value in 0..values.len() {
        let mut at = value;
        // Concatenations of concatenations may be as many as layers: what was found once is not walked again.
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

/// Values that an image's arena may have: as many as a network, and some for whole lines of the cache.
const LARGEST_ARENA: usize = 2 * MOST_VALUES;

/// Lays a plan out.
///
/// # Errors
/// [`Error::Size`] for a value that takes more room with its halo than a network may have: a graph's own limits do not see what
/// several readers want around one value. After that no size here can overflow.
pub(crate) fn lay_out(isa: Isa, plan: Plan) -> Result<Layout, Error> {
    let Plan { drafts, values, outputs } = plan;
    let roots = roots(&values);
    for draft in &drafts {
        if checked_buffer(&values[roots[draft.output].0]).is_none() {
            return Err(Error::Size { layer: draft.name.clone() });
        }
    }
    let chains = chains(&drafts, &values, &outputs);
    let mut life = vec![(usize::MAX, 0); values.len()];
    for (at, draft) in drafts.iter().enumerate() {
        for &value in draft.inputs.iter().chain(&draft.residual).chain([&draft.output]) {
            let life = &mut life[roots[value].0];
            *life = (life.0.min(at), life.1.max(at));
        }
    }
    outputs.iter().for_each(|&value| life[roots[value].0].1 = drafts.len());
    let first: Vec<usize> = life.iter().map(|life| life.0).collect();
    let mut rows: Vec<Option<usize>> = vec![None; values.len()];
    for chain in &chains {
        // Steps of a chain take turns: what one of them touches lives as long as all.
        for draft in &drafts[chain.steps.clone()] {
            for &value in draft.inputs.iter().chain(&draft.residual).chain([&draft.output]) {
                let life = &mut life[roots[value].0];
                *life = (life.0.min(chain.steps.start), life.1.max(chain.steps.end - 1));
            }
        }
        for (draft, capacity) in drafts[chain.steps.clone()].iter().zip(chain.capacities()) {
            rows[draft.output] = Some(capacity);
        }
    }
    let buffer = |value: usize| buffer(&values[value], rows[value]);

    // What has its place already, from the front to the back: first value, end, and its life.
    let mut taken: Vec<(usize, usize, (usize, usize))> = Vec::new();
    let mut offsets = vec![0; values.len()];
    let mut size = 0;
    let mut order: Vec<usize> = (0..values.len()).filter(|&v| roots[v].0 == v && life[v].0 != usize::MAX).collect();
    // Large buffers first: small ones fit in between.
    order.sort_by_key(|&v| (std::cmp::Reverse(buffer(v)), v));
    for value in order {
        let length = buffer(value);
        let mut start = 0;
        for &(from, to, other) in &taken {
            if start + length <= from {
                break;
            }
            if other.0 <= life[value].1 && life[value].0 <= other.1 {
                start = start.max(to);
            }
        }
        if start + length > LARGEST_ARENA {
            let holds = |draft: &&Draft| roots[draft.output].0 == value;
            let layer = drafts.iter().find(holds).map_or_else(String::new, |draft| draft.name.clone());
            return Err(Error::Size { layer });
        }
        offsets[value] = start;
        let place = taken.partition_point(|&(from, to, _)| (from, to) < (start, start + length));
        taken.insert(place, (start, start + length, life[value]));
        size = size.max(start + length);
    }

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
    let steps = drafts
        .into_iter()
        .enumerate()
        .map(|(at, draft)| {
            let root = roots[draft.output].0;
            let zeros = if first[root] == at && rows[root].is_none() {
                zeros(&values[root], offsets[root])
            } else {
                Vec::new()
            };
            step(isa, draft, &placed, zeros)
        })
        .collect::<Result<_, _>>()?;
    Ok(Layout { steps, values: placed, size, chains })
}

/// [`buffer`] of a whole value, if that is no more than a network may have.
fn checked_buffer(value: &Value) -> Option<usize> {
    let [[top, bottom], [left, right]] = value.halo;
    let [height, width, channels] = value.shape;
    let row = width.checked_add(left)?.checked_add(right)?.checked_mul(channels)?;
    let all = height.checked_add(top)?.checked_add(bottom)?.checked_mul(row)?;
    (all <= MOST_VALUES).then(|| buffer(value, None))
}

/// Room that a value (or `rows` of it) takes with its halo, in whole cache lines.
fn buffer(value: &Value, rows: Option<usize>) -> usize {
    let [[top, bottom], _] = value.halo;
    (rows.unwrap_or(value.shape[0] + top + bottom) * row(value) + SLACK).next_multiple_of(16)
}

/// Values of a row with its halo.
fn row(value: &Value) -> usize {
    (value.shape[1] + value.halo[1][0] + value.halo[1][1]) * value.shape[2]
}

/// Groups steps: a step joins the one before where it alone reads its output, row by row, and the output is large.
fn chains(drafts: &[Draft], values: &[Value], outputs: &[usize]) -> Vec<Chain> {
    let mut readers = vec![0; values.len()];
    for draft in drafts {
        draft.inputs.iter().chain(&draft.residual).for_each(|&value| readers[value] += 1);
    }
    outputs.iter().for_each(|&value| readers[value] += 1);
    values.iter().filter_map(|value| value.parent).for_each(|(parent, _)| readers[parent] += 2);
    let joins = |at: usize| {
        let value = drafts[at - 1].output;
        let large = buffer(&values[value], None) * size_of::<f32>() >= LARGE;
        large
            && readers[value] == 1
            && drafts[at].inputs == [value]
            && values[value].parent.is_none()
            && reach(&drafts[at], values).is_some()
            && reach(&drafts[at - 1], values).is_some()
    };
    let mut chains = Vec::new();
    let (mut start, mut weights) = (0, weight(&drafts[0]));
    for end in 1..=drafts.len() {
        if let Some(draft) = drafts.get(end) {
            weights += weight(draft);
            if weights <= MOST_WEIGHTS && joins(end) {
                continue;
            }
            weights = weight(draft);
        }
        let inner = (start..end - 1)
            .map(|at| {
                let value = &values[drafts[at].output];
                let reach = reach(&drafts[at + 1], values).expect("checked as it joined");
                let left = value.halo[1][0] * value.shape[2];
                Inner { height: value.shape[0], halo: value.halo[0], reach, row: row(value), left }
            })
            .collect();
        chains.push(Chain::new(start..end, inner, values[drafts[end - 1].output].shape[0]));
        start = end;
    }
    chains
}

/// Bytes of a step's weights.
fn weight(draft: &Draft) -> usize {
    match &draft.work {
        Work::Convolution(weights) if weights.algorithm == Algorithm::Square => {
            weights.kernel.len() * size_of::<f32>() * 16 / 9
        }
        Work::Convolution(weights) | Work::Depthwise(weights) => weights.kernel.len() * size_of::<f32>(),
        _ => 0,
    }
}

/// How a step reaches for rows of its one input; `None` where it is not so simple.
fn reach(draft: &Draft, values: &[Value]) -> Option<Reach> {
    let same = Reach { stride: 1, front: 0, window: 1, pairs: false };
    match &draft.work {
        Work::Convolution(weights) | Work::Depthwise(weights) => Some(Reach {
            stride: weights.strides[0],
            front: weights.front[0],
            window: (weights.kernel_size[0] - 1) * weights.dilation[0] + 1,
            pairs: weights.algorithm.pairs(0),
        }),
        // One window over all rows would hold them all.
        Work::Pool(pool) => (values[draft.output].shape[0] > 1).then_some(Reach {
            stride: pool.strides[0],
            front: pool.front[0],
            window: pool.window[0],
            pairs: false,
        }),
        Work::Map { .. } | Work::Softmax => Some(same),
        Work::Add | Work::Multiply(_) | Work::Place(_) | Work::Reshape => None,
    }
}

/// Runs of zeros around a value that begins at `offset`.
fn zeros(value: &Value, offset: usize) -> Zeros {
    let [height, width, channels] = value.shape;
    let [[top, bottom], [left, right]] = value.halo;
    let row = (width + left + right) * channels;
    let mut runs = Vec::new();
    // From the left of one row back to the right of the one above.
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

fn step(isa: Isa, draft: Draft, placed: &[Placed], zeros: Zeros) -> Result<Step, OutOfMemory> {
    let [height, width, channels] = placed[draft.output].shape;
    let epilogue = draft.epilogue;
    let input = draft.inputs.first().map(|&value| placed[value]);
    let (work, each) = match draft.work {
        Work::Convolution(weights) => {
            let input = input.expect("a convolution has an input");
            let depth = weights.kernel_size[0] * weights.kernel_size[1] * input.shape[2] / weights.groups;
            let shape = [width, input.shape[2], channels];
            match weights.algorithm {
                Algorithm::Direct => {
                    (Ready::Convolution(convolution(isa, weights, input, [width, channels], epilogue)?), depth)
                }
                Algorithm::Square => (Ready::Winograd(winograd(isa, weights, shape, epilogue)?), depth),
                Algorithm::Line { vertical } => {
                    (Ready::Line(Box::new(line(isa, vertical, weights, shape, epilogue)?)), depth)
                }
            }
        }
        Work::Depthwise(weights) => {
            let input = input.expect("a convolution has an input").shape[2];
            let depth = weights.kernel_size[0] * weights.kernel_size[1];
            (Ready::Depthwise(depthwise(weights, [width, input, channels], epilogue)?), depth)
        }
        Work::Map { affine, reverse } => {
            let map =
                affine.map_or_else(|| Map::epilogue(epilogue), |(scale, shift)| Map::affine(&scale, &shift, epilogue));
            (Ready::Simple(Simple::Map(Map { reverse, ..map })), 0)
        }
        Work::Add => (Ready::Simple(Simple::Add(epilogue)), 0),
        Work::Multiply(factors) => (Ready::Simple(Simple::Multiply(factors, epilogue)), 0),
        Work::Pool(pool) => (Ready::Simple(Simple::Pool(pool)), 0),
        Work::Softmax => (Ready::Simple(Simple::Softmax), 0),
        Work::Place(at) => (Ready::Simple(Simple::Place(at)), 0),
        Work::Reshape => (Ready::Simple(Simple::Reshape), 0),
    };
    Ok(Step {
        name: draft.name,
        work,
        inputs: draft.inputs,
        residual: draft.residual,
        output: draft.output,
        zeros,
        products: each * height * width * channels,
    })
}

fn convolution(
    isa: Isa,
    weights: Weights,
    input: Placed,
    [width, filters]: [usize; 2],
    epilogue: Epilogue,
) -> Result<Convolution, OutOfMemory> {
    let Weights { kernel_size: [kh, kw], strides, dilation, front, groups, kernel, scale, bias, .. } = weights;
    let channels = input.shape[2];
    let inner = channels / groups;
    // Columns of a window that follow one another are one run.
    let joined = groups == 1 && dilation[1] == 1 && input.pixel == channels;
    let (taps, run) = if joined {
        ((0..kh).map(|i| i * dilation[0] * input.row).collect(), kw * channels)
    } else {
        let tap = |i: usize, j: usize| i * dilation[0] * input.row + j * dilation[1] * input.pixel;
        ((0..kh).flat_map(|i| (0..kw).map(move |j| tap(i, j))).collect(), inner)
    };
    let bias: Vec<f32> = bias.into_iter().map(|x| x as f32).collect();
    let weight = |k: usize, filter: usize| (f64::from(kernel[k * filters + filter]) * scale[filter]) as f32;
    let panels = Convolution::pack(isa, [groups, channels, filters, kh * kw * inner], &bias, weight)?;
    Ok(Convolution { strides, front, width, taps, run, panels, epilogue })
}

fn winograd(
    isa: Isa,
    weights: Weights,
    [width, channels, filters]: [usize; 3],
    epilogue: Epilogue,
) -> Result<Winograd, OutOfMemory> {
    let Weights { front, kernel, scale, bias, .. } = weights;
    let kernel = |tap: usize, c: usize, filter: usize| {
        f64::from(kernel[(tap * channels + c) * filters + filter]) * scale[filter]
    };
    let bias: Vec<f32> = bias.into_iter().map(|x| x as f32).collect();
    Winograd::new(isa, [width, channels, filters], front, kernel, &bias, epilogue)
}

fn line(
    isa: Isa,
    vertical: bool,
    weights: Weights,
    shape: [usize; 3],
    epilogue: Epilogue,
) -> Result<Line, OutOfMemory> {
    let Weights { front, kernel, scale, bias, .. } = weights;
    let [_, channels, filters] = shape;
    let kernel = |tap: usize, c: usize, filter: usize| {
        f64::from(kernel[(tap * channels + c) * filters + filter]) * scale[filter]
    };
    let bias: Vec<f32> = bias.into_iter().map(|x| x as f32).collect();
    Line::new(isa, vertical, shape, front, kernel, &bias, epilogue)
}

fn depthwise(
    weights: Weights,
    [width, channels, out]: [usize; 3],
    epilogue: Epilogue,
) -> Result<Depthwise, OutOfMemory> {
    let Weights { kernel_size, strides, dilation, front, kernel, scale, bias, .. } = weights;
    let mut rows = filled(0.0, kernel_size[0] * kernel_size[1] * pitch(out), "weights")?;
    for (row, kernel) in rows.chunks_exact_mut(pitch(out)).zip(kernel.chunks_exact(out)) {
        for c in 0..out {
            row[c] = (f64::from(kernel[c]) * scale[c]) as f32;
        }
    }
    let mut padded = vec![0.0; pitch(out)];
    padded.iter_mut().zip(bias).for_each(|(to, from)| *to = from as f32);
    let multiplier = out / channels;
    Ok(Depthwise {
        kernel: kernel_size,
        strides,
        dilation,
        front,
        width,
        channels,
        multiplier,
        weights: rows,
        bias: padded,
        epilogue,
    })
}
