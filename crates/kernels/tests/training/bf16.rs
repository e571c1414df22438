//! Products in bf16: which values are rounded, and that emulations train as their units do.

use injerto_graph::layers::Conv2D;
use injerto_graph::{Builder, Graph, Operator, Padding, ParameterId};
use injerto_kernels::inference::{Arithmetic, Unit};
use injerto_kernels::training::Program;
use injerto_reference::conformance::{Case, Format, Step, Trainer as _, uncut};
use injerto_reference::networks::Random;

use super::memory::every_kind_of_step;
use super::{Training, dense, everything};

/// Both sides of each product are rounded once, forward and backward, and no other value is rounded. A layer by itself, compared with a
/// specification that rounds these values, differs only in the last bits of `f32`, much less than rounding changes.
#[test]
fn a_layer_in_bf16_multiplies_rounded_numbers_and_keeps_the_sums() {
    let one = |shape: [usize; 3], before: Option<Operator>, operator: Operator| {
        let mut net = Builder::new("one");
        let x = net.input(shape);
        let x = before.map_or(x, |before| net.add("before", before, &[x]));
        net.add("layer", operator, &[x]);
        net.finish().expect("a graph")
    };
    let convolutions = [
        Conv2D::new(40, 3).same(),
        Conv2D::new(33, 1),
        Conv2D::new(24, 3).strides(2).same(),
        Conv2D::new(20, 2).groups(2).strides(2),
        Conv2D::new(12, 3).dilation_rate(2).same(),
        Conv2D::new(7, 5),
    ];
    let mut graphs: Vec<(Graph, f64)> =
        convolutions.into_iter().map(|layer| (one([11, 9, 6], None, layer.into()), 2e-6)).collect();
    // Windows over 32 channels are read where they lie; the second has more zeros on two sides than a window covers.
    let wide = [Conv2D::new(40, 3).same(), Conv2D::new(33, 3).padding(Padding::Explicit([[0, 3], [1, 5]]))];
    graphs.extend(wide.into_iter().map(|layer| (one([7, 6, 32], None, layer.into()), 2e-6)));
    graphs.push((one([4, 3, 50], None, dense(35)), 2e-6));
    let tokens = Operator::Reshape { target_shape: vec![9, 3 * 24] };
    // The exponentials of scores are rounded too, and scores that differ in their last bits can be rounded to different numbers.
    graphs.push((one([9, 1, 3 * 24], Some(tokens), Operator::DotProductAttention { num_heads: 3 }), 1e-3));
    for (graph, tolerance) in graphs {
        let case = Case::new(graph, 3, 4);
        let (pass, last, split) = (everything(&case.graph, &[]), case.graph.len() - 1, uncut(&case.graph));
        let dy = Random::new(8).values(3 * case.graph.nodes()[last].shape.count(), -1.0, 1.0);
        let double: Vec<f64> = dy.iter().map(|&dy| f64::from(dy)).collect();
        let [exact, expected] = [Format::F32, Format::Bf16Products].map(|format| {
            let values = case.evaluate_in(format, &pass);
            let slopes = values.backward(&double);
            let kernel = slopes.parameters.get(&ParameterId::new(last, 0)).cloned().unwrap_or_default();
            [values.outputs[last].clone(), kernel, slopes.input]
        });
        // The distance of two vectors, divided by the length of the first.
        let off = |a: &[f64], b: &[f64]| {
            let square = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
            square(&mut a.iter().zip(b).map(|(a, b)| a - b)) / square(&mut a.iter().copied()).max(1e-9)
        };
        for unit in Unit::available() {
            let what = format!("{unit:?}, {:?}", case.graph.nodes()[last].operator());
            let step = Training(Arithmetic::Bf16(unit)).step(&case, &split, &pass, &dy).expect("it compiles");
            let mut towards = Program::compile_towards(Arithmetic::Bf16(unit), &case.graph, &split.tail, &[0], &[0])
                .expect("it compiles");
            for id in towards.parameters().collect::<Vec<_>>() {
                towards.set(id, &case.parameters[id.layer()][id.place()]).expect("its length");
            }
            towards.forward_train(&[&case.input], 3, &mut || 0).expect("memory");
            towards.backward(&dy);
            let input = towards.input_gradient(0).expect("it was asked for").to_vec();
            let kernel = step.gradients.get(&ParameterId::new(last, 0)).cloned().unwrap_or_default();
            for (at, found) in [step.output, kernel, input].into_iter().enumerate() {
                let found: Vec<f64> = found.into_iter().map(f64::from).collect();
                assert_eq!(found.len(), expected[at].len(), "{what}");
                let (right, wrong) = (off(&expected[at], &found), off(&exact[at], &found));
                assert!(right <= tolerance, "{what}, value {at}: off by {right}");
                assert!(found.is_empty() || wrong > 1e-3, "{what}, value {at}: nothing was rounded ({wrong})");
            }
        }
    }
}

/// A unit and its emulation share all code but the operations themselves, and a training must have the same bits with both.
#[test]
fn a_unit_and_its_emulation_train_alike() {
    let case = Case::new(every_kind_of_step(), 3, 5);
    let (pass, split) = (everything(&case.graph, &[2]), uncut(&case.graph));
    let dy = Random::new(9).values(9, -1.0, 1.0);
    let available = Unit::available();
    for [unit, emulated] in [[Unit::Amx, Unit::EmulatedTiles], [Unit::Avx512Bf16, Unit::EmulatedDots]] {
        let step = |unit| Training(Arithmetic::Bf16(unit)).step(&case, &split, &pass, &dy).expect("it compiles");
        let bits = |step: &Step| {
            let values = step.output.iter().chain(step.gradients.values().flatten());
            values.map(|value| value.to_bits()).collect::<Vec<u32>>()
        };
        let found = step(emulated);
        assert!(found.gradients.values().flatten().any(|gradient| *gradient != 0.0));
        if available.contains(&unit) {
            assert_eq!(bits(&step(unit)), bits(&found), "{unit:?}");
        }
    }
}
