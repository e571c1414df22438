//! The specification against itself (its slopes are those of its values), and the suite against executors that are wrong.

use injerto_graph::layers::{Conv2D, Dense, ReLU};
use injerto_graph::{Activation, Builder, Node, Split};
use injerto_reference::conformance::{
    self, Case, Executor, Format, Promises, Step, Trainer, check_step, check_values, uncut,
};
use injerto_reference::networks::Random;
use injerto_reference::strategy::graphs;
use injerto_reference::{Pass, evaluate, examples};
use proptest::prelude::*;

/// Slopes of a case along random directions through its input and each of its parameters, by differences.
fn check_slopes(case: &Case, pass: &Pass) -> Result<(), TestCaseError> {
    let double = |values: &Vec<f32>| values.iter().map(|&value| f64::from(value)).collect::<Vec<f64>>();
    let mut parameters: Vec<Vec<Vec<f64>>> =
        case.parameters.iter().map(|layer| layer.iter().map(double).collect()).collect();
    let mut input = double(&case.input);
    let run = |parameters: &[Vec<Vec<f64>>], input: &[f64]| evaluate(&case.graph, parameters, input, case.batch, pass);
    let values = run(&parameters, &input);
    let last = case.graph.len() - 1;
    let mut random = Random::new(5);
    let dy = double(&random.values(values.outputs[last].len(), -1.0, 1.0));
    let found = values.backward(&dy);
    let step = 1e-6;
    let mut check = |what: &str, slope: &[f64], loss: &mut dyn FnMut(&[f64], f64) -> f64| {
        let direction = double(&random.values(slope.len(), -1.0, 1.0));
        let expected = (loss(&direction, step) - loss(&direction, -step)) / (2.0 * step);
        loss(&direction, 0.0);
        let along: f64 = slope.iter().zip(&direction).map(|(slope, direction)| slope * direction).sum();
        let size = slope.iter().fold(1.0_f64, |size, slope| size + slope.abs());
        prop_assert!((along - expected).abs() <= 1e-5 * size, "{what}: {along}, by differences {expected}");
        Ok(())
    };
    let loss_of =
        |values: injerto_reference::Values| values.outputs[last].iter().zip(&dy).map(|(y, dy)| y * dy).sum::<f64>();
    let moved = |from: &[f64], direction: &[f64], step: f64| -> Vec<f64> {
        from.iter().zip(direction).map(|(from, direction)| from + step * direction).collect()
    };
    let start = input.clone();
    check("the input", &found.input, &mut |direction, step| {
        input = moved(&start, direction, step);
        loss_of(run(&parameters, &input))
    })?;
    for (id, slope) in &found.parameters {
        let (layer, place) = (id.layer(), id.place());
        let start = parameters[layer][place].clone();
        check(case.graph.nodes()[layer].name(), slope, &mut |direction, step| {
            parameters[layer][place] = moved(&start, direction, step);
            loss_of(run(&parameters, &start_of(case)))
        })?;
    }
    Ok(())
}

fn start_of(case: &Case) -> Vec<f64> {
    case.input.iter().map(|&value| f64::from(value)).collect()
}

/// Everything trains, and each batch normalisation uses the batch's statistics.
fn training(layers: usize, seed: u64) -> Pass {
    Pass { seed: Some(seed), trains: (0..layers).collect(), batch_statistics: (0..layers).collect() }
}

#[test]
fn slopes_are_those_of_the_values_for_every_operator() {
    for (at, example) in examples().iter().enumerate() {
        let graph = example.alone();
        for pass in [training(graph.len(), 3), Pass::inference()] {
            let case = conformance::away_from_kinks(Format::F32, graph.clone(), 2, at as u64, &pass);
            let Some(case) = case else { continue };
            check_slopes(&case, &pass).unwrap_or_else(|error| panic!("{error}\n{example:?}"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn slopes_are_those_of_the_values_in_random_networks(graph in graphs(8), seed in 0_u64..1_000_000) {
        let pass = training(graph.len(), seed);
        if let Some(case) = conformance::away_from_kinks(Format::F32, graph, 3, seed, &pass) {
            check_slopes(&case, &pass)?;
        }
    }
}

/// Computes by the book, but for what is wrong with it.
#[derive(Default)]
struct Wrong {
    /// Has never heard of this operator.
    ignorant_of: &'static str,
    /// Says that it refuses this operator.
    refuses: &'static str,
    /// Adds this to each value.
    off: f32,
    /// Multiplies each gradient by this less one.
    steep: f32,
}

impl Executor for Wrong {
    fn name(&self) -> String {
        "wrong".to_owned()
    }

    fn refuses(&self, node: &Node) -> bool {
        node.operator().class() == self.refuses
    }

    fn promises(&self) -> Promises {
        Promises { any_batch: true, any_threads: true, any_cut: true }
    }

    fn infer(&self, case: &Case, layers: &[usize]) -> Result<Vec<Vec<f32>>, String> {
        self.step(case, &uncut(&case.graph), &Pass::inference(), &[])?;
        let outputs = case.evaluate(&Pass::inference()).outputs;
        Ok(layers.iter().map(|&layer| outputs[layer].iter().map(|&x| x as f32 + self.off).collect()).collect())
    }
}

impl Trainer for Wrong {
    fn step(&self, case: &Case, _: &Split, pass: &Pass, dy: &[f32]) -> Result<Step, String> {
        let node = case.graph.nodes().iter().find(|node| node.operator().class() == self.ignorant_of);
        if let Some(node) = node {
            return Err(format!("layer '{}' is new to me", node.name()));
        }
        let single = |values: &Vec<f64>| values.iter().map(|&x| x as f32).collect::<Vec<f32>>();
        let values = case.evaluate(pass);
        let output = single(values.outputs.last().expect("a layer"));
        let mut step = Step { output, ..Step::default() };
        if pass.seed.is_some() {
            let slopes = values.backward(&dy.iter().map(|&dy| f64::from(dy)).collect::<Vec<_>>());
            step.gradients = slopes.parameters.iter().map(|(id, slope)| (*id, single(slope))).collect();
            step.gradients.values_mut().flatten().for_each(|slope| *slope *= 1.0 + self.steep);
            step.statistics = values.statistics.iter().map(|(id, values)| (*id, single(values))).collect();
        }
        Ok(step)
    }
}

/// A convolution, a dense layer and what lies between.
fn case() -> Case {
    let mut net = Builder::new("small");
    net.input([4, 4, 2]);
    net.then("conv", Conv2D::new(3, 3));
    net.then("relu", ReLU::new());
    net.then("dense", Dense::new(2).activation(Activation::Softmax));
    Case::new(net.finish().expect("holds together"), 2, 1)
}

fn verdict(executor: &Wrong) -> String {
    let case = case();
    let all = training(case.graph.len(), 1);
    let values = check_values(executor, &case, &[case.graph.len() - 1], 1e-5);
    let checked = values.and_then(|()| check_step(executor, &case, &[uncut(&case.graph)], &all));
    checked.map_or_else(|error| error.to_string(), |()| "conforms".to_owned())
}

#[test]
fn what_computes_by_the_book_conforms_and_what_does_not_is_named() {
    assert_eq!(verdict(&Wrong::default()), "conforms");
    assert_eq!(verdict(&Wrong { ignorant_of: "ReLU", refuses: "ReLU", ..Wrong::default() }), "conforms");
    let ignorant = verdict(&Wrong { ignorant_of: "ReLU", ..Wrong::default() });
    assert!(ignorant.contains("wrong neither computes a network nor refuses a layer by its name"), "{ignorant}");
    assert!(ignorant.contains("layer 'relu' is new to me"), "{ignorant}");
    let boastful = verdict(&Wrong { refuses: "Dense", ..Wrong::default() });
    assert!(boastful.contains("says that it refuses Some(\"Dense\"), and computes it"), "{boastful}");
    let off = verdict(&Wrong { off: 0.01, ..Wrong::default() });
    assert!(off.contains("wrong: layer 3 'dense', value 0: "), "{off}");
    let steep = verdict(&Wrong { steep: 0.1, ..Wrong::default() });
    assert!(steep.contains("wrong: gradient of 'conv/kernel', value "), "{steep}");
}
