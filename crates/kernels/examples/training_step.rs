//! Times training steps (forward, backward, and a change of every parameter) of three networks.
//!
//! ```console
//! $ cargo run --release -p injerto-kernels --example training_step -- mobilenet_v2 --steps 20 --profile
//! ```
//!
//! - `small_cnn`: batch 8 at 160×160, filters 128, 256 and 512, batch statistics;
//! - `mobilenet_v2`: batch 32, the layers from block 11 on for images of 160×160, trained from layer 100, running statistics;
//! - `vit_small`: batch 8, the last four blocks of ViT-S/16 for images of 224×224.
//!
//! `--precision bf16` multiplies in bf16 with the best unit of the processor; the default is `--precision f32`.

use std::time::{Duration, Instant};

use injerto_graph::{Activation, Builder, Graph, GraphError, LayerId, Operator, Padding, Role, Window};
use injerto_kernels::inference::Arithmetic;
use injerto_kernels::training::Program;
use injerto_reference::networks::{Random, vit_small_tail};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let after = |flag: &str| arguments.iter().position(|a| a == flag).and_then(|at| arguments.get(at + 1));
    let steps: usize = after("--steps").map_or(Ok(10), |steps| steps.parse())?;
    let arithmetic = match after("--precision").map_or("f32", String::as_str) {
        "f32" => Arithmetic::f32(),
        "bf16" => Arithmetic::bf16().ok_or("this processor has no unit for bf16")?,
        _ => return Err("--precision takes f32 or bf16".into()),
    };
    let profiled = arguments.iter().any(|a| a == "--profile");
    let all = !arguments.iter().any(|a| a == "small_cnn" || a == "mobilenet_v2" || a == "vit_small");
    if all || arguments.iter().any(|a| a == "small_cnn") {
        let graph = small_cnn()?;
        let norm = |&at: &usize| matches!(graph.nodes()[at].operator(), Operator::BatchNormalization { .. });
        let statistics: Vec<usize> = (0..graph.len()).filter(norm).collect();
        time(arithmetic, "small_cnn", &graph, 8, &|_| true, &statistics, steps, profiled)?;
    }
    if all || arguments.iter().any(|a| a == "mobilenet_v2") {
        // The expansion of block 11 and its normalisation are layers 98 and 99.
        time(arithmetic, "mobilenet_v2", &mobilenet_v2_tail()?, 32, &|layer| layer > 2, &[], steps, profiled)?;
    }
    if all || arguments.iter().any(|a| a == "vit_small") {
        time(arithmetic, "vit_small", &vit_small_tail(4), 8, &|_| true, &[], steps, profiled)?;
    }
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "they are what the command line says")]
fn time(
    arithmetic: Arithmetic,
    name: &str,
    graph: &Graph,
    batch: usize,
    trains: &dyn Fn(usize) -> bool,
    statistics: &[usize],
    steps: usize,
    profiled: bool,
) -> Result<(), Box<dyn std::error::Error>> {
    let layers: Vec<usize> = (1..graph.len()).collect();
    let mut program = Program::compile_with(arithmetic, graph, &layers, &[0], trains, statistics)?;
    let mut random = Random::new(1);
    for &layer in &layers {
        for (place, parameter) in graph.nodes()[layer].parameters.iter().enumerate() {
            let fan: usize = parameter.shape.iter().rev().skip(1).product();
            let mut value = || match parameter.role {
                Role::Gamma | Role::MovingVariance => 1.0,
                Role::Beta | Role::Bias | Role::MovingMean => 0.0,
                _ => (2.0 * random.number() - 1.0) * (6.0 / fan.max(1) as f32).sqrt(),
            };
            let values: Vec<f32> = (0..parameter.count()).map(|_| value()).collect();
            program.set((layer, place), &values)?;
        }
    }
    let input = random.values(batch * graph.input_shape().count(), -1.0, 1.0);
    let mut times = Vec::with_capacity(steps);
    let mut before = None;
    for step in 0..steps + 2 {
        // The first two steps are not measured.
        if step == 2 {
            program.profile(profiled);
            before = processor_time();
        }
        let started = Instant::now();
        let output = program.forward_train(&[&input], batch, &mut || random.bits()).unwrap().to_vec();
        let slope: Vec<f32> = output.iter().map(|y| (y - 0.5) / batch as f32).collect();
        program.backward(&slope);
        for (_, values, gradient) in program.trained_mut() {
            values.iter_mut().zip(gradient).for_each(|(value, gradient)| *value -= 1e-5 * *gradient);
        }
        if step >= 2 {
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
    }
    times.sort_by(f64::total_cmp);
    let megabytes = program.buffer_bytes(batch) / 1_000_000;
    let (best, median) = (times[0], times[times.len() / 2]);
    println!(
        "{name}, {arithmetic}: {median:.1} ms per step (fastest {best:.1}, {steps} steps of {batch}, {megabytes} MB of buffers)"
    );
    let rate = |milliseconds: f64| batch as f64 * 1e3 / milliseconds;
    println!("{name}: best {:.2}, median {:.2} images/s", rate(best), rate(median));
    if let (Some(before), Some(after)) = (before, processor_time()) {
        println!("{name}: {:.1} ms of processor time per step", (after - before).as_secs_f64() * 1e3 / steps as f64);
    }
    if profiled {
        println!("{:>28} {:>9} {:>10} {:>9}", "layer", "forward", "parameters", "inputs");
    }
    for time in program.times() {
        let each = |time: Duration| if time == Duration::MAX { 0.0 } else { time.as_secs_f64() * 1e3 };
        let (forward, parameters, inputs) = (each(time.forward), each(time.parameters), each(time.inputs));
        println!("{:>28} {forward:>9.2} {parameters:>10.2} {inputs:>9.2}", time.layer);
    }
    Ok(())
}

/// Processor time of all threads of this process so far, if the system reports it. On a busy machine it says more than the clock.
fn processor_time() -> Option<Duration> {
    let mut all = 0;
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        all += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(all))
}

fn conv(filters: usize, kernel: usize, use_bias: bool, activation: Activation) -> Operator {
    Operator::Conv2D {
        filters,
        kernel_size: [kernel, kernel],
        strides: [1, 1],
        padding: Padding::Same,
        dilation_rate: [1, 1],
        groups: 1,
        use_bias,
        activation,
    }
}

fn norm() -> Operator {
    Operator::BatchNormalization { epsilon: 1e-3, momentum: 0.99, center: true, scale: true }
}

fn dense(units: usize, activation: Activation) -> Operator {
    Operator::Dense { units, use_bias: true, activation }
}

fn small_cnn() -> Result<Graph, GraphError> {
    let mut net = Builder::new("small_cnn");
    let mut x = net.input([160, 160, 3]);
    for (stage, filters) in [128, 256, 512].into_iter().enumerate() {
        for half in 0..2 {
            x = net.add(format!("conv_{stage}_{half}"), conv(filters, 3, true, Activation::Relu), &[x]);
            x = net.add(format!("norm_{stage}_{half}"), norm(), &[x]);
        }
        if stage < 2 {
            let window =
                Window { pool_size: [2, 2], strides: [2, 2], padding: Padding::Valid, count_include_pad: false };
            x = net.add(format!("pool_{stage}"), Operator::MaxPooling2D(window), &[x]);
        }
    }
    x = net.add("pool", Operator::GlobalAveragePooling2D { keepdims: false }, &[x]);
    x = net.add("dense", dense(128, Activation::Relu), &[x]);
    net.add("output", dense(1, Activation::Sigmoid), &[x]);
    net.finish()
}

/// Blocks 11 to 16 and the layers after them, for the 10×10×96 values that enter block 11.
fn mobilenet_v2_tail() -> Result<Graph, GraphError> {
    let mut net = Builder::new("mobilenet_v2_tail");
    let relu = || Operator::ReLU { max_value: Some(6.0), negative_slope: 0.0 };
    let mut x = net.input([10, 10, 96]);
    let mut channels = 96;
    let blocks = [(11, 96, 1), (12, 96, 1), (13, 160, 2), (14, 160, 1), (15, 160, 1), (16, 320, 1)];
    for (block, filters, stride) in blocks {
        let entry = x;
        let mut add = |name: &str, operator: Operator, inputs: &[LayerId]| {
            net.add(format!("block_{block}_{name}"), operator, inputs)
        };
        x = add("expand", conv(6 * channels, 1, false, Activation::Linear), &[x]);
        x = add("expand_norm", norm(), &[x]);
        x = add("expand_relu", relu(), &[x]);
        if stride == 2 {
            x = add("pad", Operator::ZeroPadding2D { padding: [[0, 1], [0, 1]] }, &[x]);
        }
        let depthwise = Operator::DepthwiseConv2D {
            kernel_size: [3, 3],
            strides: [stride, stride],
            padding: if stride == 2 { Padding::Valid } else { Padding::Same },
            dilation_rate: [1, 1],
            depth_multiplier: 1,
            use_bias: false,
            activation: Activation::Linear,
        };
        x = add("depthwise", depthwise, &[x]);
        x = add("depthwise_norm", norm(), &[x]);
        x = add("depthwise_relu", relu(), &[x]);
        x = add("project", conv(filters, 1, false, Activation::Linear), &[x]);
        x = add("project_norm", norm(), &[x]);
        if channels == filters {
            x = add("add", Operator::Add {}, &[entry, x]);
        }
        channels = filters;
    }
    x = net.add("conv_1", conv(1280, 1, false, Activation::Linear), &[x]);
    x = net.add("conv_1_norm", norm(), &[x]);
    x = net.add("out_relu", relu(), &[x]);
    x = net.add("pool", Operator::GlobalAveragePooling2D { keepdims: false }, &[x]);
    net.add("output", dense(1, Activation::Sigmoid), &[x]);
    net.finish()
}
