//! Measures which arithmetic trains faster on this machine.

use std::sync::OnceLock;
use std::time::Instant;

use injerto_graph::layers::Conv2D;
use injerto_graph::{Builder, Graph};

use super::Program;
use crate::inference::Arithmetic;

/// The time that a training step of a small network takes in `f32`, divided by its time in bf16, on this machine. The first call measures it,
/// in some milliseconds. `None` if the processor has no unit for bf16. The gain differs from that of inference
/// ([`Arithmetic::gain_of_bf16`]), because in `f32` training computes 3×3 convolutions by minimal filtering, forward and backward, and a unit
/// must be faster than that.
pub fn gain_of_bf16() -> Option<f64> {
    static GAIN: OnceLock<Option<f64>> = OnceLock::new();
    *GAIN.get_or_init(|| measure(Arithmetic::bf16()?))
}

/// bf16 if it makes training at least a quarter faster on this machine ([`gain_of_bf16`]), and `f32` otherwise.
pub fn fastest() -> Arithmetic {
    Arithmetic::where_it_pays(gain_of_bf16())
}

/// The number of images in a batch, and of pixels along a side.
const BATCH: usize = 2;
const SIDE: usize = 16;

/// A network with one 3×3 convolution and two pointwise ones.
fn small() -> Option<Graph> {
    let mut net = Builder::new("measured");
    let x = net.input([SIDE, SIDE, 64]);
    let x = net.add("windows", Conv2D::new(64, 3).same().relu(), &[x]);
    let x = net.add("wider", Conv2D::new(192, 1).relu(), &[x]);
    net.add("narrower", Conv2D::new(64, 1), &[x]);
    net.finish().ok()
}

/// The gain for a training step of [`small`].
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
        // Kernels change, so that they are packed again, as in every step of a training.
        program.trained_mut().for_each(|(_, values, _)| values[0] += 0.01);
        Some(started.elapsed().as_secs_f64())
    })
}
