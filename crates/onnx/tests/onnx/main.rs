//! ONNX models that are read and written.

mod hostile;
mod networks;
mod small;
mod written;

use injerto_graph::{ChannelOrder, Graph};
use injerto_onnx::read::Network;
use injerto_reference::{Pass, evaluate};

/// Outputs of a network by the specification of its layers. Images are `[batch, height, width, channels]`.
fn outputs(graph: &Graph, parameter: &dyn Fn(&str) -> Option<Vec<f64>>, images: &[f64], batch: usize) -> Vec<f64> {
    let parameters: Vec<Vec<Vec<f64>>> = (graph.nodes().iter())
        .map(|node| {
            let values = |p: &injerto_graph::Parameter| {
                let name = format!("{}/{}", node.name(), p.name());
                parameter(&name).unwrap_or_else(|| panic!("no parameter {name}"))
            };
            node.parameters.iter().map(values).collect()
        })
        .collect();
    evaluate(graph, &parameters, images, batch, &Pass::inference()).outputs.pop().expect("a network has layers")
}

/// Outputs of a network that was read.
fn computed(network: &Network, images: &[f64], batch: usize) -> Vec<f64> {
    let parameter = |name: &str| Some(network.parameter(name)?.iter().map(|&value| f64::from(value)).collect());
    let exchanged = |pixel: &[f64]| [pixel[2], pixel[1], pixel[0]];
    match network.channel_order {
        ChannelOrder::Rgb => outputs(&network.graph, &parameter, images, batch),
        ChannelOrder::Bgr => {
            let images: Vec<f64> = images.chunks_exact(3).flat_map(exchanged).collect();
            outputs(&network.graph, &parameter, &images, batch)
        }
    }
}

/// The Python that `INJERTO_PYTHON` names, or `python3`, if it has these packages.
fn python(packages: &str) -> Option<std::process::Command> {
    let python = std::env::var_os("INJERTO_PYTHON").unwrap_or_else(|| "python3".into());
    let mut ask = std::process::Command::new(&python);
    let has = ask.args(["-c", &format!("import {packages}")]).output().is_ok_and(|output| output.status.success());
    if !has {
        eprintln!("skipped: no Python with {packages}");
    }
    has.then(|| std::process::Command::new(python))
}

/// A script in `golden`.
fn script(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden").join(name)
}

/// Asserts that two rows of numbers are equal, with a tolerance relative to the largest expected number.
fn assert_close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1e-30_f64, |most, value| most.max(value.abs()));
    let worst = found.iter().zip(expected).fold(0_f64, |most, (a, b)| most.max((a - b).abs()));
    assert!(worst <= tolerance * largest, "{what}: {worst} of {largest}\n{found:?}\n{expected:?}");
}
