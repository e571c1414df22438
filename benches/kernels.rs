//! `cargo xtask bench kernels`: whole networks that are compiled for inference, in images per second, and the
//! micro-kernels under them.
//!
//! `cargo bench -p injerto-kernels -- linalg` is a check: it fails unless each kernel of the table reaches its share of the peak that
//! is measured beside it, and the kernels that programs choose are the fastest for the shapes of our networks.

use std::borrow::Cow;
use std::hint::black_box;
use std::time::Instant;

use criterion::{Criterion, Throughput};
use injerto_graph::Graph;
use injerto_kernels::inference::{Input, Program};
use injerto_kernels::linalg::{Kernel, Trial, kernels, multiply_registers};
use injerto_reference::networks;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    if filters.is_empty() || !filters.iter().any(|filter| *filter == "linalg") {
        let mut criterion = Criterion::default().configure_from_args();
        inference(&mut criterion);
        criterion.final_summary();
    }
    let asked = filters.is_empty() || filters.iter().any(|filter| *filter == "linalg");
    // Without `--bench`, cargo only tries whether the program runs.
    if asked && arguments.iter().any(|argument| argument == "--bench") {
        linalg();
    }
}

fn inference(c: &mut Criterion) {
    let mut group = c.benchmark_group("inference");
    group.sample_size(10);
    let mut network = |name: &str, graph: &Graph, batch: usize| {
        let parameters = networks::parameters(graph, 1);
        let given = |layer: usize, place: usize| Cow::Borrowed(parameters[layer][place].as_slice());
        let layers: Vec<usize> = (0..graph.len()).collect();
        let program = Program::compile(graph, &layers, &[graph.len() - 1], &given, &Input::default())
            .expect("all layers and parameters are given");
        let pixels = networks::Random::new(2).values(batch * graph.input_shape().count(), 0.0, 1.0);
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(name, |b| b.iter(|| program.run(black_box(&pixels), batch).expect("there is memory")));
    };
    network("MobileNetV2 at 160, batch 32", &networks::mobilenet_v2(160), 32);
    network("MobileNetV2 at 160, one image", &networks::mobilenet_v2(160), 1);
    network("InceptionV3 at 224, batch 8", &networks::inception_v3(224), 8);
}

/// Rows, depth and columns of products in our networks, for one task.
const SHAPES: &[(&str, [usize; 3])] = &[
    ("MobileNetV2, expansion of block 3, half", [800, 24, 144]),
    ("MobileNetV2, projection of block 7", [400, 192, 64]),
    ("MobileNetV2, expansion of block 11", [400, 96, 576]),
    ("MobileNetV2, projection of block 13", [100, 576, 160]),
    ("MobileNetV2, last", [100, 320, 1280]),
    ("InceptionV3, 1x1 on 25x25", [625, 288, 64]),
    ("InceptionV3, 1x1 on 12x12, a quarter", [144, 768, 192]),
    ("InceptionV3, a point of minimal filtering", [32, 96, 96]),
    ("small CNN, a point of minimal filtering", [100, 128, 256]),
];

/// How much slower than another kernel the chosen one may be found: what a measurement is off by.
const TOLERANCE: f64 = 0.95;

/// A product to be timed.
struct Timed {
    kernel: Kernel,
    trial: Trial,
    left: Vec<f32>,
    result: Vec<f32>,
    shape: [usize; 3],
    /// Floating-point operations per second, the best so far.
    best: f64,
}

impl Timed {
    fn new(kernel: Kernel, [rows, depth, columns]: [usize; 3]) -> Self {
        let mut random = networks::Random::new(1);
        let right = random.values(depth * columns, -1.0, 1.0);
        let trial = kernel.pack([depth, columns], &right).expect("there is memory");
        let left = random.values(rows * depth, -1.0, 1.0);
        Self { kernel, trial, left, result: vec![0.0; rows * columns], shape: [rows, depth, columns], best: 0.0 }
    }

    /// Runs the product for a fraction of a millisecond: others on the machine interrupt for longer than that, or not at all.
    fn time(&mut self) {
        let operations = 2 * self.shape.iter().product::<usize>();
        let turns = (10_000_000 / operations).max(1);
        let start = Instant::now();
        for _ in 0..turns {
            self.trial.run(self.shape[0], black_box(&self.left), &mut self.result);
        }
        self.best = self.best.max((turns * operations) as f64 / start.elapsed().as_secs_f64());
    }
}

/// Times products in turn, so that whatever else the machine does meets all of them.
fn in_turn(mut timed: Vec<Timed>) -> Vec<Timed> {
    for _ in 0..200 {
        timed.iter_mut().for_each(Timed::time);
    }
    timed
}

/// Floating-point operations per second of one core with a kernel's instructions, on registers alone.
fn peak(kernel: Kernel) -> f64 {
    let start = Instant::now();
    let operations = multiply_registers(kernel.isa()).expect("the table lists what this machine has");
    operations as f64 / start.elapsed().as_secs_f64()
}

fn linalg() {
    let mut wrong = Vec::new();
    println!("\nmicro-kernels on what lies in the first cache, and their share of the peak of one core");
    for kernel in kernels() {
        let [rows, columns] = kernel.tile();
        let mut timed = vec![Timed::new(kernel, [4 * rows, 128, columns])];
        // Whatever else the machine does makes either figure smaller: both are taken often and beside each other.
        let mut most = 0.0_f64;
        for _ in 0..5 {
            most = (0..20).map(|_| peak(kernel)).fold(most, f64::max);
            timed = in_turn(timed);
        }
        let share = timed[0].best / most;
        let (gigaflops, peak) = (timed[0].best * 1e-9, most * 1e-9);
        println!(
            "{:<26} {gigaflops:7.1} of {peak:7.1} GFLOP/s: {share:4.2}, at least {:4.2}",
            kernel.name(),
            kernel.share()
        );
        if share < kernel.share() {
            wrong.push(format!("{} reaches {share:.2} of the peak, not {:.2}", kernel.name(), kernel.share()));
        }
    }
    println!("\nproducts of our networks, GFLOP/s of one core; the chosen kernels are marked");
    for &(name, shape) in SHAPES {
        println!("{name} ({shape:?})");
        let timed = in_turn(kernels().into_iter().map(|kernel| Timed::new(kernel, shape)).collect());
        for one in &timed {
            let mark = if one.kernel.is_chosen() { "*" } else { "" };
            println!("  {:<26} {:7.1} {mark}", one.kernel.name(), one.best * 1e-9);
        }
        for chosen in timed.iter().filter(|timed| timed.kernel.is_chosen()) {
            let rivals = timed.iter().filter(|rival| rival.kernel.rivals(chosen.kernel));
            for rival in rivals.filter(|rival| rival.best * TOLERANCE > chosen.best) {
                let (kernel, other) = (chosen.kernel.name(), rival.kernel.name());
                wrong.push(format!("{name}: {kernel} is chosen, and {other} is faster"));
            }
        }
    }
    assert!(wrong.is_empty(), "on this machine:\n{}", wrong.join("\n"));
}
