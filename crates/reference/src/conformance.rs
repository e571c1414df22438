//! What everything that computes a network must do, whichever it is: the same checks for all.
//!
//! A test implements [`Executor`] (and [`Trainer`], if it trains) for what it tests, and calls the functions of this module. Each
//! compares with [`evaluate`] and panics with the name of the executor, the layer and the value that is wrong. A layer is
//! computed, or refused with an error that names it and that [`Executor::refuses`] announces; an operator of which an executor
//! has never heard fails the suite.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use injerto_graph::{Cut, CutOptions, FreezePlan, Graph, Node, Operator, ParameterId, Role, Split};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::networks::{self, Random};
use crate::strategy::{graphs, selection};
use crate::{Example, Pass, Values, evaluate, evaluate_in_bf16, evaluate_with_bf16_products, examples};

/// A network with its parameters, and a batch of images.
#[derive(Debug, Clone)]
pub struct Case {
    /// The network.
    pub graph: Graph,
    /// Its parameters in Keras's axes, by layer and place in the layer's list.
    pub parameters: Vec<Vec<Vec<f32>>>,
    /// Images, channels last.
    pub input: Vec<f32>,
    /// How many images.
    pub batch: usize,
}

impl Case {
    /// Draws parameters and images.
    pub fn new(graph: Graph, batch: usize, seed: u64) -> Self {
        let parameters = networks::parameters(&graph, seed);
        let input = Random::new(seed + 1).values(batch * graph.input_shape().count(), -1.0, 1.0);
        Self { graph, parameters, input, batch }
    }

    /// What the specification computes.
    pub fn evaluate(&self, pass: &Pass) -> Values {
        let (parameters, input) = self.in_double();
        evaluate(&self.graph, &parameters, &input, self.batch, pass)
    }

    /// What the specification computes in inference with values of this format.
    pub fn infer(&self, format: Format) -> Values {
        self.evaluate_in(format, &Pass::inference())
    }

    /// What the specification computes with values of this format.
    ///
    /// # Panics
    /// If training is asked for in [`Format::Bf16`], in which nothing trains.
    pub fn evaluate_in(&self, format: Format, pass: &Pass) -> Values {
        let (parameters, input) = self.in_double();
        match format {
            Format::F32 => evaluate(&self.graph, &parameters, &input, self.batch, pass),
            Format::Bf16 => {
                assert!(pass.seed.is_none(), "values in bf16 are for inference");
                evaluate_in_bf16(&self.graph, &parameters, &input, self.batch)
            }
            Format::Bf16Products => evaluate_with_bf16_products(&self.graph, &parameters, &input, self.batch, pass),
        }
    }

    /// The same case with normalisations whose factors are powers of two. An executor that scales a kernel by such a factor before it rounds it
    /// gets what the specification gets, which rounds the kernel alone.
    #[must_use]
    pub fn with_plain_scales(mut self) -> Self {
        for (node, parameters) in self.graph.nodes().iter().zip(&mut self.parameters) {
            let Operator::BatchNormalization { epsilon, .. } = *node.operator() else { continue };
            for (parameter, values) in node.parameters.iter().zip(parameters) {
                for value in values {
                    match parameter.role {
                        Role::Gamma => *value = value.signum() * value.abs().max(0.25).log2().round().exp2(),
                        Role::MovingVariance => *value = (1.0 - epsilon) as f32,
                        _ => {}
                    }
                }
            }
        }
        self
    }

    /// Parameters and images in double precision.
    fn in_double(&self) -> (Vec<Vec<Vec<f64>>>, Vec<f64>) {
        let double = |values: &Vec<f32>| values.iter().map(|&value| f64::from(value)).collect::<Vec<f64>>();
        let parameters = self.parameters.iter().map(|layer| layer.iter().map(double).collect()).collect();
        (parameters, double(&self.input))
    }

    /// The same network with one of the images.
    pub fn alone(&self, image: usize) -> Self {
        let size = self.graph.input_shape().count();
        Self { input: self.input[image * size..][..size].to_vec(), batch: 1, ..self.clone() }
    }
}

/// What an executor says of its last bits; the suite holds it to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Promises {
    /// An image's values are the same in any batch.
    pub any_batch: bool,
    /// Values are the same with any number of threads of rayon's current pool.
    pub any_threads: bool,
    /// Values are the same wherever the network is cut.
    pub any_cut: bool,
}

/// The number format in which an executor keeps values between layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Single precision.
    #[default]
    F32,
    /// Eight significant bits.
    Bf16,
    /// Single precision, in which both sides of each product of matrices are rounded to eight significant bits.
    Bf16Products,
}

impl Format {
    /// The tolerance for values that single precision computes within `single`. Numbers of bf16 are up to 1/128 of their size apart, and a
    /// sum between two of them may be rounded to either. An executor that computes several layers as one rounds less often than the
    /// specification, so that even after a convolution with its normalisation they can be two numbers apart.
    fn tolerance(self, single: f64) -> f64 {
        match self {
            Self::F32 => single,
            Self::Bf16 => (400.0 * single).max(2.5 / 128.0),
            // A sum whose last bits differ may be rounded to the other side when the next product reads it: few are, but by a part in 256.
            Self::Bf16Products => 20.0 * single,
        }
    }
}

/// What computes networks.
pub trait Executor: Sync {
    /// What it is called in messages.
    fn name(&self) -> String;

    /// Whether it refuses this layer, with an error that names it.
    fn refuses(&self, _node: &Node) -> bool {
        false
    }

    /// What it says of its last bits.
    fn promises(&self) -> Promises {
        Promises::default()
    }

    /// In which format its values are.
    fn format(&self) -> Format {
        Format::F32
    }

    /// The outputs of some layers in inference, `[batch, …]`, channels last.
    ///
    /// # Errors
    /// Why it does not compute the network.
    fn infer(&self, case: &Case, layers: &[usize]) -> Result<Vec<Vec<f32>>, String>;
}

/// What a training step finds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Step {
    /// The last layer's output.
    pub output: Vec<f32>,
    /// Gradients of all parameters that train.
    pub gradients: BTreeMap<ParameterId, Vec<f32>>,
    /// Running statistics that have moved.
    pub statistics: BTreeMap<ParameterId, Vec<f32>>,
}

/// What trains networks.
pub trait Trainer: Executor {
    /// Runs the prefix in inference, then the tail as `pass` says; in training also backward from the gradient `dy` of the
    /// output. In inference there are neither gradients nor statistics.
    ///
    /// # Errors
    /// Why it does not compute the network.
    fn step(&self, case: &Case, split: &Split, pass: &Pass, dy: &[f32]) -> Result<Step, String>;
}

/// All layers but the input in the tail.
pub fn uncut(graph: &Graph) -> Split {
    Split { prefix: vec![0], tail: (1..graph.len()).collect(), boundary: vec![0] }
}

/// Every operator alone, over the grid of its attributes, in inference; one image, and several.
pub fn computes_every_operator(executor: &dyn Executor) {
    for (at, example) in examples().iter().enumerate() {
        let graph = example.alone();
        let last = graph.len() - 1;
        let case = case_for(executor.format(), graph, if at % 2 == 0 { 1 } else { 3 }, at as u64);
        let check = check_values(executor, &case, &[last], 2e-5);
        check.unwrap_or_else(|error| panic!("{error}\n{}", describe(example, &case)));
    }
}

/// Every operator over the grid of its attributes in training, forward and backward.
pub fn trains_every_operator(trainer: &dyn Trainer) {
    for (at, example) in examples().iter().enumerate() {
        let graph = example.after_a_convolution();
        let all = (0..graph.len()).collect::<Vec<usize>>();
        let norms = normalisations(&graph);
        // Statistics of one value per channel would tell nothing.
        let statistics = if at % 3 == 0 { Vec::new() } else { norms };
        let pass = Pass { seed: Some(at as u64), trains: all, batch_statistics: statistics };
        let split = uncut(&graph);
        let case = away_from_kinks(trainer.format(), graph, if at % 2 == 0 { 1 } else { 3 }, at as u64, &pass);
        let check = case.map_or(Ok(()), |case| check_step(trainer, &case, &[split], &pass));
        check.unwrap_or_else(|error| panic!("{error}\n{}", describe(example, &Case::new(example.alone(), 1, 0))));
    }
}

/// Random networks in inference: the last layer and any other, batches of one and of odd sizes.
pub fn computes_random_networks(executor: &dyn Executor, cases: u32) {
    let any = (graphs(9), any::<usize>(), prop::sample::select(vec![1_usize, 3, 5]), 0_u64..1_000_000);
    run(cases, any, |(graph, also, batch, seed)| {
        let layers = [graph.len() - 1, also % graph.len()];
        // Sums of products grow with depth; the error of single precision grows with them.
        check_values(executor, &case_for(executor.format(), graph, batch, seed), &layers, 1e-4)
    });
}

/// Random networks in training, cut in any place that the wish about what trains allows: prefix and tail are the whole.
pub fn trains_random_networks(trainer: &dyn Trainer, cases: u32) {
    let batch = prop::sample::select(vec![1_usize, 2, 3, 5]);
    let any = (graphs(8), any::<[u8; 3]>(), 0_u8..60, batch, 0_u64..1_000_000);
    run(cases, any, |(graph, wish, weight, batch, seed)| {
        let plan = FreezePlan::new(&graph, &selection(&graph, wish)).expect("made from the graph");
        let latest = Split::new(&graph, &plan);
        let options = CutOptions { multiply_adds_per_byte: f64::from(weight) / 4.0, ..CutOptions::default() };
        let planned = Cut::new(&graph, &plan, options).split;
        let trained = |at: &usize| plan.trains(*at) && graph.nodes()[*at].trainable_count() > 0;
        prop_assert!(
            (0..graph.len()).filter(trained).all(|at| planned.tail.contains(&at)),
            "what trains is in the tail"
        );
        let mut random = Random::new(seed);
        let statistics = normalisations(&graph).into_iter().filter(|at| latest.tail.contains(at));
        let batch_statistics = statistics.filter(|_| random.below(2) == 0).collect();
        let trains = (0..graph.len()).filter(|&at| plan.trains(at)).collect();
        let training = Pass { seed: Some(seed), trains, batch_statistics };
        let splits = [uncut(&graph), latest, planned];
        let Some(case) = away_from_kinks(trainer.format(), graph, batch, seed, &training) else { return Ok(()) };
        check_step(trainer, &case, &splits, &Pass { seed: None, ..training.clone() })?;
        check_step(trainer, &case, &splits, &training)
    });
}

/// Runs a property: always the same cases, unless `PROPTEST_CASES` asks for more, which are then others each time.
fn run<S: Strategy>(cases: u32, any: S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = Config { failure_persistence: None, ..Config::default() };
    let mut runner = match std::env::var_os("PROPTEST_CASES") {
        Some(_) => TestRunner::new(config),
        None => {
            let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
            TestRunner::new_with_rng(Config { cases, ..config }, random)
        }
    };
    runner.run(&any, test).unwrap_or_else(|error| panic!("{error}"));
}

fn normalisations(graph: &Graph) -> Vec<usize> {
    let norm = |&at: &usize| matches!(graph.nodes()[at].operator(), Operator::BatchNormalization { .. });
    (0..graph.len()).filter(norm).collect()
}

/// A case for an executor with values of this format.
fn case_for(format: Format, graph: Graph, batch: usize, seed: u64) -> Case {
    let case = Case::new(graph, batch, seed);
    if format == Format::Bf16Products { case.with_plain_scales() } else { case }
}

/// A case in which no value is so near a kink that rounding decides on which side it lies; none if there is none soon.
pub fn away_from_kinks(format: Format, graph: Graph, batch: usize, seed: u64, pass: &Pass) -> Option<Case> {
    let mut cases = (0..20).map(|more| case_for(format, graph.clone(), batch, seed + more * 7919));
    let near = if format == Format::F32 { 1e-5 } else { 2e-4 };
    cases.find(|case| case.evaluate_in(format, pass).nearest_kink > near)
}

/// Compares the outputs of layers in inference, and holds the executor to its promises. `tolerance` is relative to the largest
/// value of a layer, and that of single precision.
///
/// # Errors
/// What is wrong.
pub fn check_values(
    executor: &dyn Executor,
    case: &Case,
    layers: &[usize],
    tolerance: f64,
) -> Result<(), TestCaseError> {
    let name = executor.name();
    let Some(found) = outcome(executor, case, executor.infer(case, layers))? else { return Ok(()) };
    let expected = case.infer(executor.format());
    let tolerance = executor.format().tolerance(tolerance);
    prop_assert_eq!(found.len(), layers.len());
    for (&layer, found) in layers.iter().zip(&found) {
        let what = || format!("{name}: layer {layer} '{}'", case.graph.nodes()[layer].name());
        near(what, found, &expected.outputs[layer], tolerance)?;
    }
    let promises = executor.promises();
    let again = |case: &Case| executor.infer(case, layers).map_err(TestCaseError::fail);
    if promises.any_threads {
        for (threads, pool) in pools() {
            prop_assert!(same(&found, &pool.install(|| infer(executor, case, layers))?), "{name}: {threads} threads");
        }
    }
    if promises.any_batch {
        for image in 0..case.batch {
            for (alone, whole) in again(&case.alone(image))?.iter().zip(&found) {
                let whole = &whole[image * alone.len()..][..alone.len()];
                prop_assert!(bits(alone) == bits(whole), "{name}: image {image} of {} alone", case.batch);
            }
        }
    }
    Ok(())
}

fn infer(executor: &dyn Executor, case: &Case, layers: &[usize]) -> Result<Vec<Vec<f32>>, TestCaseError> {
    executor.infer(case, layers).map_err(TestCaseError::fail)
}

/// Compares a pass over each of the splits: output, statistics and gradients.
///
/// # Errors
/// What is wrong.
pub fn check_step(trainer: &dyn Trainer, case: &Case, splits: &[Split], pass: &Pass) -> Result<(), TestCaseError> {
    let (name, format) = (trainer.name(), trainer.format());
    let expected = case.evaluate_in(format, pass);
    let output = &expected.outputs[case.graph.len() - 1];
    let dy = Random::new(case.batch as u64 + 99).values(output.len(), -1.0, 1.0);
    let trains = |id: &ParameterId| {
        let parameter = &case.graph.nodes()[id.layer()].parameters[id.place()];
        pass.seed.is_some() && pass.trains.contains(&id.layer()) && parameter.trainable()
    };
    let slopes = expected.backward(&dy.iter().map(|&dy| f64::from(dy)).collect::<Vec<_>>());
    let gradients: BTreeMap<_, _> = slopes.parameters.into_iter().filter(|(id, _)| trains(id)).collect();
    let mut first: Option<Step> = None;
    for split in splits {
        let Some(found) = outcome(trainer, case, trainer.step(case, split, pass, &dy))? else { return Ok(()) };
        let cut = if split.prefix.len() > 1 { ", cut" } else { "" };
        near(|| format!("{name}{cut}: output"), &found.output, output, format.tolerance(1e-4))?;
        for (what, found, expected, tolerance) in [
            ("statistics", &found.statistics, &expected.statistics, 1e-4),
            ("gradient", &found.gradients, &gradients, 3e-4),
        ] {
            let (ids, wanted): (Vec<_>, Vec<_>) = (found.keys().collect(), expected.keys().collect());
            prop_assert_eq!(ids, wanted, "{}{}: which {} there are", name, cut, what);
            for ((id, found), expected) in found.iter().zip(expected.values()) {
                let node = &case.graph.nodes()[id.layer()];
                let what =
                    || format!("{name}{cut}: {what} of '{}/{}'", node.name(), node.parameters[id.place()].name());
                near(what, found, expected, format.tolerance(tolerance))?;
            }
        }
        if trainer.promises().any_threads {
            for (threads, pool) in pools() {
                let again = pool.install(|| step(trainer, case, split, pass, &dy))?;
                prop_assert!(same_step(&found, &again), "{name}{cut}: {threads} threads");
            }
        }
        match &first {
            Some(first) if trainer.promises().any_cut => {
                prop_assert!(same_step(first, &found), "{name}: other bits where it is cut: {split:?}");
            }
            Some(_) => {}
            None => first = Some(found),
        }
    }
    Ok(())
}

fn step(trainer: &dyn Trainer, case: &Case, split: &Split, pass: &Pass, dy: &[f32]) -> Result<Step, TestCaseError> {
    trainer.step(case, split, pass, dy).map_err(TestCaseError::fail)
}

/// What has been computed; nothing if a layer has been refused by its name, as announced.
fn outcome<T>(executor: &dyn Executor, case: &Case, result: Result<T, String>) -> Result<Option<T>, TestCaseError> {
    let name = executor.name();
    let refused: Vec<&Node> = case.graph.nodes().iter().filter(|node| executor.refuses(node)).collect();
    match result {
        Ok(found) => {
            let what = refused.first().map(|node| node.operator().class());
            prop_assert!(what.is_none(), "{} says that it refuses {:?}, and computes it", name, what);
            Ok(Some(found))
        }
        Err(error) => {
            let named = refused.iter().any(|node| error.contains(&format!("'{}'", node.name())));
            prop_assert!(named, "{} neither computes a network nor refuses a layer by its name: {}", name, error);
            Ok(None)
        }
    }
}

/// Every value within `tolerance` of the largest (or of 1).
fn near(what: impl Fn() -> String, found: &[f32], expected: &[f64], tolerance: f64) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.len(), expected.len(), "{}: number of values", what());
    let largest = expected.iter().fold(1.0_f64, |largest, x| largest.max(x.abs()));
    for (at, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let off = (f64::from(found) - expected).abs();
        prop_assert!(off <= tolerance * largest, "{}, value {at}: {found}, expected {expected}", what());
    }
    Ok(())
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn same(a: &[Vec<f32>], b: &[Vec<f32>]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| bits(a) == bits(b))
}

fn same_step(a: &Step, b: &Step) -> bool {
    let equal = |a: &BTreeMap<ParameterId, Vec<f32>>, b: &BTreeMap<ParameterId, Vec<f32>>| {
        a.len() == b.len() && a.iter().zip(b).all(|((i, a), (j, b))| i == j && bits(a) == bits(b))
    };
    bits(&a.output) == bits(&b.output) && equal(&a.gradients, &b.gradients) && equal(&a.statistics, &b.statistics)
}

/// Pools of one, two and seven threads.
fn pools() -> impl Iterator<Item = (usize, &'static ThreadPool)> {
    static POOLS: OnceLock<[ThreadPool; 3]> = OnceLock::new();
    let pool = |threads| ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    POOLS.get_or_init(|| [1, 2, 7].map(pool)).iter().map(|pool| (pool.current_num_threads(), pool))
}

fn describe(example: &Example, case: &Case) -> impl fmt::Display {
    format!("{} on {:?}: {:?}", example.class, example.input, case.graph.nodes().last().map(|node| &node.layer))
}
