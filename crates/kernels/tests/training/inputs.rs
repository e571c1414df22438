//! Gradients with respect to the inputs of a program.

use injerto_graph::layers::Conv2D;
use injerto_graph::{Builder, Operator, Split};
use injerto_kernels::inference::Arithmetic;
use injerto_kernels::training::Program;
use injerto_reference::conformance::{self, Format, uncut};
use injerto_reference::networks::Random;
use injerto_reference::{Pass, examples};

use super::memory::every_kind_of_step;
use super::wide;

/// A program of frozen layers computes the gradient of an input, also if several layers take that input.
#[test]
fn the_gradient_of_an_input_is_that_of_the_specification() {
    let alone = examples().into_iter().map(|example| example.alone());
    for graph in alone.chain([every_kind_of_step(), wide()]).filter(|graph| graph.len() > 1) {
        let frozen = Pass { seed: Some(1), ..Pass::default() };
        let Some(case) = conformance::away_from_kinks(Format::F32, graph, 2, 5, &frozen) else { continue };
        let mut program =
            Program::compile_towards(Arithmetic::f32(), &case.graph, &uncut(&case.graph).tail, &[0], &[0]).unwrap();
        for id in program.parameters().collect::<Vec<_>>() {
            program.set(id, &case.parameters[id.layer()][id.place()]).unwrap();
        }
        let output = program.forward_train(&[&case.input], 2, &mut || unreachable!("nothing drops")).unwrap().to_vec();
        let dy = Random::new(8).values(output.len(), -1.0, 1.0);
        program.backward(&dy);
        let expected = case.evaluate(&frozen).backward(&dy.iter().map(|&dy| f64::from(dy)).collect::<Vec<_>>()).input;
        let found = program.input_gradient(0).unwrap();
        assert_eq!(found.len(), expected.len());
        let largest = expected.iter().fold(1e-3_f64, |largest, value| largest.max(value.abs()));
        for (found, expected) in found.iter().zip(&expected) {
            let off = (f64::from(*found) - expected).abs();
            assert!(off <= 1e-3 * largest, "{found}, expected {expected}: {:?}", case.graph.nodes().last());
        }
        assert_eq!(program.gradients().count(), 0, "nothing trains");
    }
}

#[test]
fn an_input_that_nobody_asked_about_has_no_gradient() {
    let mut net = Builder::new("net");
    let image = net.input([2, 2, 3]);
    let a = net.add("a", Conv2D::new(4, 1), &[image]);
    let b = net.add("b", Conv2D::new(4, 1), &[a]);
    net.add("sum", Operator::Add {}, &[a, b]);
    let graph = net.finish().unwrap();
    // What depends on `b` also takes `a`.
    let split = Split::after(&graph, 2);
    assert_eq!((&split.tail[..], &split.boundary[..]), (&[3][..], &[1, 2][..]));
    let mut program = Program::compile_towards(Arithmetic::f32(), &graph, &split.tail, &split.boundary, &[2]).unwrap();
    program.forward_train(&[&[1.0; 16], &[2.0; 16]], 1, &mut || 0).unwrap();
    program.backward(&[3.0; 16]);
    assert_eq!((program.input_gradient(1), program.input_gradient(2)), (None, Some(&[3.0; 16][..])));
}
