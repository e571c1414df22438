//! Measures how many images per second whole networks classify:
//! `cargo run --profile bench -p injerto-kernels --example throughput -- NETWORK [SECONDS]`.
//!
//! NETWORK is `mobilenet_v2` (160×160, batch 32), `inception_v3`, `vit_small` or `convnext_tiny` (224×224, batch 8). `--profile` prints
//! the time of each step. `--precision bf16` computes in bf16 with the best unit of the processor; the default is `--precision f32`.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use injerto_kernels::inference::{Arithmetic, Input, Program};
use injerto_reference::networks;

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let arithmetic = match precision(&mut arguments) {
        Ok(arithmetic) => arithmetic,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(2);
        }
    };
    let profiled =
        arguments.iter().position(|argument| argument == "--profile").map(|at| arguments.remove(at)).is_some();
    let network = arguments.first().map_or("mobilenet_v2", String::as_str);
    let (graph, batch) = match network {
        "mobilenet_v2" => (networks::mobilenet_v2(160), 32),
        "inception_v3" => (networks::inception_v3(224), 8),
        "vit_small" => (networks::vit_small(224), 8),
        "convnext_tiny" => (networks::convnext_tiny(224), 8),
        other => {
            eprintln!("no network '{other}': use mobilenet_v2, inception_v3, vit_small or convnext_tiny");
            std::process::exit(2);
        }
    };
    let parameters = networks::parameters(&graph, 1);
    let layers: Vec<usize> = (0..graph.len()).collect();
    let given = |layer: usize, place: usize| Cow::Borrowed(parameters[layer][place].as_slice());
    let outputs = [graph.len() - 1];
    let program = match Program::compile_with(arithmetic, &graph, &layers, &outputs, &given, &Input::default()) {
        Ok(program) => program,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    };
    let pixels = networks::Random::new(2).values(batch * graph.input_shape().count(), 0.0, 1.0);
    if profiled {
        return profile(&program, &pixels);
    }
    let seconds = arguments.get(1).and_then(|text| text.parse().ok()).unwrap_or(3.0);
    program.run(&pixels, batch).expect("there is memory");
    let start = Instant::now();
    let (mut times, mut processor) = (Vec::new(), Vec::new());
    while times.len() < 3 || start.elapsed() < Duration::from_secs_f64(seconds) {
        let (start, cpu) = (Instant::now(), cpu_seconds());
        program.run(&pixels, batch).expect("there is memory");
        times.push(start.elapsed().as_secs_f64());
        processor.extend(cpu.zip(cpu_seconds()).map(|(start, end)| end - start));
    }
    let rates = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        format!("best {:.1}, median {:.1}", batch as f64 / times[0], batch as f64 / times[times.len() / 2])
    };
    println!(
        "{network}, {arithmetic}: {} images/s ({} KiB per image)",
        rates(&mut times),
        program.bytes_per_image() / 1024
    );
    if !processor.is_empty() {
        println!("{network}, {arithmetic}: {} images per processor second", rates(&mut processor));
    }
}

/// Takes `--precision WHICH` out of the arguments.
fn precision(arguments: &mut Vec<String>) -> Result<Arithmetic, String> {
    let Some(at) = arguments.iter().position(|argument| argument == "--precision") else {
        return Ok(Arithmetic::f32());
    };
    match arguments.drain(at..arguments.len().min(at + 2)).nth(1).as_deref() {
        Some("f32") => Ok(Arithmetic::f32()),
        Some("bf16") => Arithmetic::bf16().ok_or_else(|| "this processor has no unit for bf16".to_owned()),
        _ => Err("--precision takes f32 or bf16".to_owned()),
    }
}

/// Processor time of this process so far, in seconds, if the system reports it. Other programs on the machine disturb it less than the clock.
fn cpu_seconds() -> Option<f64> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        nanoseconds += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(nanoseconds as f64 / 1e9)
}

/// Prints the shortest time of each step in some runs.
fn profile(program: &Program, pixels: &[f32]) {
    let mut best = program.profile(pixels, 4).expect("there is memory");
    for _ in 0..20 {
        for (best, step) in best.iter_mut().zip(program.profile(pixels, 4).expect("there is memory")) {
            best.seconds = best.seconds.min(step.seconds);
        }
    }
    let total: f64 = best.iter().map(|step| step.seconds).sum();
    for step in &best {
        println!(
            "{:<24} {:8.1} us {:5.1} % {:7.1} GFLOP/s",
            step.name,
            step.seconds * 1e6,
            100.0 * step.seconds / total,
            2e-9 * step.products as f64 / step.seconds,
        );
    }
    println!("{:<24} {:8.1} us for 4 images in one thread: {:.1} images/s", "all", total * 1e6, 4.0 / total);
}
