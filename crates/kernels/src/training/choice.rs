//! Which arithmetic trains faster on this machine, by a measurement.

use std::sync::OnceLock;
use std::time::Instant;

use injerto_graph::layers::Conv2D;
use injerto_graph::{Builder, Graph};

use super::Program;
use crate::inference::Arithmetic;

/// How many times as fast as in `f32` this machine trains a small network in bf16, by a measurement of some milliseconds when it is first
/// asked for; `None` if its processor has no unit for bf16. The answer is another one than for inference
/// ([`Arithmetic::gain_of_bf16`]): `f32` has minimal filtering for convolutions of 3×3, forward and backward, and a unit has to be faster in
/// spite of that.
pub fn gain_of_bf16() -> Option<f64> {
    static GAIN: OnceLock<Option<f64>> = OnceLock::new();
    *GAIN.get_or_init(|| measure(Arithmetic::bf16()?))
}

/// bf16 where it makes training at least a quarter faster ([`gain_of_bf16`]), and `f32` elsewhere.
pub fn fastest() -> Arithmetic {
    Arithmetic::where_it_pays(gain_of_bf16())
}

/// Images of a batch, and pixels along a side.
const BATCH: usize = 2;
const SIDE: usize = 16;

/// A convolution of 3×3, and two of single pixels.
fn small() -> Option<Graph> {
    let mut net = Builder::new("measured");
    let x = net.input([SIDE, SIDE, 64]);
    let x = net.add("windows", Conv2D::new(64, 3).same().relu(), &[x]);
    let x = net.add("wider", Conv2D::new(192, 1).relu(), &[x]);
    net.add("narrower", Conv2D::new(64, 1), &[x]);
    net.finish().ok()
}

/// How many times as fast as in `f32` a step of [`small`] is.
fn measure(bf16: Arithmetic) -> Option<f64> {
    let graph = small()?;
    let values = vec![0.01; BATCH * SIDE * SIDE * 64];
    let compile = |arithmetic| {
        let mut program = Program::compile_with(arithmetic, &graph, &[1, 2, 3], &[0], &|_| true, &[]).ok()?;
        for id in program.parameters().collect::<Vec<_>>() {
            program.set(id, &vec![0.01; graph.parameter(id).count()]).ok()?;
        }
        Some(program)
    };
    Arithmetic::gain([compile(Arithmetic::f32())?, compile(bf16)?], 8, |program| {
        let started = Instant::now();
        program.forward_train(&[&values], BATCH, &mut || 0).ok()?;
        program.backward(&values);
        // A kernel that has changed is packed anew, as in every step of a training.
        program.trained_mut().for_each(|(_, values, _)| values[0] += 0.01);
        Some(started.elapsed().as_secs_f64())
    })
}
