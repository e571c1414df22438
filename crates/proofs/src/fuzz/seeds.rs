//! Valid inputs, from which damaged ones are made. Most are made here; a few are golden files of the repository.

use std::io::{Cursor, Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use image::{ImageFormat, RgbImage};
use injerto_backbones::weights::{Precision, Weights};
use injerto_data::Origin;
use injerto_data::generated::Task;
use injerto_graph::Graph;
use serde_json::{Value, json};

/// Experiments: those of the project, and the example.
pub fn experiments() -> Vec<Vec<u8>> {
    let own = [
        include_str!("../../../../configs/quickstart.toml"),
        include_str!("../../../../configs/cats_vs_dogs/fine_tuning.toml"),
        include_str!("../../../../configs/flowers/inception_v3_early_layers.toml"),
        crate::example::EXPERIMENT,
    ];
    own.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// The network whose weights the golden files of Keras hold.
pub fn network() -> Graph {
    serde_json::from_str(include_str!("../../../backbones/tests/golden/network.json")).expect("a graph")
}

/// Graphs: the network, and a graph with all kinds of layers.
pub fn graphs() -> Vec<Vec<u8>> {
    let layer = |name: &str, class: &str, config: Value, inputs: &[&str]| json!({"name": name, "class": class, "config": config, "inputs": inputs});
    let everything = json!({"name": "everything", "layers": [
        layer("input", "InputLayer", json!({"shape": [16, 16, 3]}), &[]),
        layer("rescaling", "Rescaling", json!({"scale": 0.5, "offset": [1.0, 2.0, 3.0]}), &["input"]),
        layer("norm", "Normalization", json!({}), &["rescaling"]),
        layer("pad", "ZeroPadding2D", json!({"padding": [[1, 1], [0, 1]]}), &["norm"]),
        layer("conv", "Conv2D", json!({"filters": 4, "kernel_size": [3, 3], "strides": [2, 2], "padding": "same"}), &["pad"]),
        layer("grouped", "Conv2D", json!({"filters": 4, "kernel_size": [3, 3], "padding": [[1, 1], [1, 1]], "groups": 2}), &["conv"]),
        layer("wide", "DepthwiseConv2D", json!({"kernel_size": [3, 3], "dilation_rate": [2, 2], "padding": "same", "activation": "relu"}), &["grouped"]),
        layer("bn", "BatchNormalization", json!({"epsilon": 0.001}), &["wide"]),
        layer("relu", "ReLU", json!({"max_value": 6.0}), &["bn"]),
        layer("both", "Concatenate", json!({}), &["relu", "conv"]),
        layer("max", "MaxPooling2D", json!({"pool_size": [3, 3], "strides": [2, 2], "padding": "same"}), &["both"]),
        layer("mean", "AveragePooling2D", json!({"pool_size": [3, 3], "strides": [1, 1], "padding": "same", "count_include_pad": true}), &["max"]),
        layer("sum", "Add", json!({}), &["max", "mean"]),
        layer("squeeze", "GlobalAveragePooling2D", json!({"keepdims": true}), &["sum"]),
        layer("gate", "Activation", json!({"activation": "sigmoid"}), &["squeeze"]),
        layer("gated", "Multiply", json!({}), &["sum", "gate"]),
        layer("reshape", "Reshape", json!({"target_shape": [8, 5, 5]}), &["gated"]),
        layer("most", "GlobalMaxPooling2D", json!({}), &["reshape"]),
        layer("drop", "Dropout", json!({"rate": 0.5}), &["most"]),
        layer("flat", "Flatten", json!({}), &["drop"]),
        layer("dense", "Dense", json!({"units": 3}), &["flat"]),
        layer("softmax", "Softmax", json!({}), &["dense"]),
    ]});
    vec![serde_json::to_vec(&network()).expect("plain data"), everything.to_string().into_bytes()]
}

/// Descriptions: one with all fields, and a short one.
pub fn descriptions() -> Vec<Vec<u8>> {
    let set = |id: &str, source: Value, format: &str| {
        json!({
            "id": id, "summary": "weights", "licence": "MIT", "source": source, "format": format,
            "checksum": {"sha256": "00"}, "tensors": {"layout": "torch", "names": [], "ignore": ["x*"]},
            "requires": {"alpha": 1.0},
        })
    };
    let whole = json!({
        "graph": network(),
        "preprocessing": {"scale": 0.003, "mean": [1.0, 2.0, 3.0], "deviation": [1.0, 1.0, 1.0], "channel_order": "bgr", "crop": 0.9},
        "weights": [
            set("a", json!({"kind": "pypi", "package": "p", "version": "1", "file": "f.h5"}), "keras_hdf5"),
            set("b", json!({"kind": "url", "url": "https://example.org/w.pt"}), "pytorch"),
            set("c", json!({"kind": "path", "path": "w.safetensors"}), "safetensors"),
            set("d", json!({"kind": "embedded"}), "safetensors"),
        ],
    });
    let short = json!({"graph": network(), "preprocessing": {"scale": 1.0, "mean": [0, 0, 0], "deviation": [1, 1, 1]}});
    vec![whole.to_string().into_bytes(), short.to_string().into_bytes()]
}

/// Answers of a plugin: its descriptors and its identity.
pub fn answers() -> Vec<Vec<u8>> {
    let descriptors = json!([{
        "name": "small", "summary": "a network", "weights": ["some"],
        "parameters": {
            "input_shape": {"default": [224, 224], "doc": "size"},
            "alpha": {"default": 1.0, "doc": "width"},
            "include_top": {"default": false, "doc": "classifier"},
        },
    }]);
    let identity = json!({"name": "lib", "version": "1.0", "abi": [1, 0]});
    vec![descriptors.to_string().into_bytes(), identity.to_string().into_bytes()]
}

/// The network's weights as the project writes them.
pub fn safetensors(scratch: &Path) -> Result<Vec<Vec<u8>>> {
    let weights = Weights::initialise(&network(), 7)?;
    let precisions = [Precision::F32, Precision::F16];
    let written = precisions.iter().enumerate().map(|(at, &precision)| {
        let path = scratch.join(format!("seed-{at}.safetensors"));
        weights.save(&path, &Default::default(), precision)?;
        Ok(std::fs::read(path)?)
    });
    written.collect()
}

fn pickled(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

fn tuple(counts: &[usize]) -> Vec<u8> {
    let counts = counts.iter().flat_map(|&count| [&b"J"[..], &(count as u32).to_le_bytes()].concat());
    [b'('].into_iter().chain(counts).chain([b't']).collect()
}

/// The network's weights as `torch.save` writes them: an archive with a pickle and one file per tensor.
pub fn pickles() -> Result<Vec<Vec<u8>>> {
    let weights = Weights::initialise(&network(), 7)?;
    let mut pickle = b"\x80\x02}(".to_vec();
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (at, (name, values)) in weights.iter().enumerate() {
        let key = at.to_string();
        zip.start_file(format!("archive/data/{key}"), options)?;
        zip.write_all(&values.data.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())?;
        let strides: Vec<usize> =
            (0..values.shape.len()).map(|axis| values.shape[axis + 1..].iter().product()).collect();
        pickle.extend(pickled(name));
        pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        pickle.extend([&pickled("storage")[..], b"ctorch\nFloatStorage\n", &pickled(&key), &pickled("cpu")].concat());
        pickle.extend([&b"J"[..], &(values.data.len() as u32).to_le_bytes(), b"tQK\0"].concat());
        pickle.extend([&tuple(&values.shape)[..], &tuple(&strides), b"\x89ccollections\nOrderedDict\n)RtR"].concat());
    }
    pickle.extend(b"u.");
    for (name, bytes) in [("data.pkl", &pickle[..]), ("byteorder", b"little"), ("version", b"3\n")] {
        zip.start_file(format!("archive/{name}"), options)?;
        zip.write_all(bytes)?;
    }
    Ok(vec![zip.finish()?.into_inner(), pickle])
}

/// The network's weights as three versions of Keras wrote them.
pub fn hdf5() -> Vec<Vec<u8>> {
    let files: [&[u8]; 5] = [
        include_bytes!("../../../backbones/tests/golden/keras1.h5"),
        include_bytes!("../../../backbones/tests/golden/keras2.h5"),
        include_bytes!("../../../backbones/tests/golden/keras3.weights.h5"),
        include_bytes!("../../../backbones/tests/golden/keras3.keras"),
        include_bytes!("../../../backbones/tests/golden/whole.h5"),
    ];
    files.iter().map(|file| file.to_vec()).collect()
}

/// Segments that the run left in its cache.
pub fn features(run: &Path) -> Result<Vec<Vec<u8>>> {
    let mut folders = vec![run.parent().context("a run's folder is in a folder")?.join("cache")];
    let mut parts = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder)?.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "features") {
                parts.push(std::fs::read(path)?);
            }
        }
    }
    (!parts.is_empty()).then_some(parts).context("the run left no features in its cache")
}

/// A drawn flower.
fn flower(width: u32, height: u32) -> RgbImage {
    let Origin::Drawn(drawing) = &Task::Flowers.dataset(1, 1, 0).samples[0].origin else { unreachable!("drawn") };
    let pixels = drawing.draw([height as usize, width as usize]).pixels;
    RgbImage::from_raw(width, height, pixels).expect("as many pixels as it has")
}

/// Images of a format: in colour, in grey and, if the format has it, with transparency; and those of `pictures/draw.py`, which are
/// of the other kinds that the format has.
pub fn pictures(format: ImageFormat) -> Result<Vec<Vec<u8>>> {
    let flower = image::DynamicImage::ImageRgb8(flower(23, 17));
    let kinds = [
        flower.clone(),
        flower.to_luma8().into(),
        flower.to_rgba8().into(),
        flower.to_luma_alpha8().into(),
        flower.to_rgb16().into(),
    ];
    let written = |picture: &image::DynamicImage| {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).ok().map(|()| bytes.into_inner())
    };
    let mut pictures: Vec<Vec<u8>> = kinds.iter().filter_map(written).collect();
    let mut drawn = zip::ZipArchive::new(Cursor::new(include_bytes!("../../pictures/pictures.zip")))?;
    for at in 0..drawn.len() {
        let mut file = drawn.by_index(at)?;
        let kind = file.name()?.split('/').next().and_then(ImageFormat::from_extension);
        if kind == Some(format) {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            pictures.push(bytes);
        }
    }
    if format == ImageFormat::Jpeg {
        pictures.extend(jpeg());
    }
    Ok(pictures)
}

/// JPEG files of every kind: progressive, with restarts, CMYK, turned by EXIF.
fn jpeg() -> Vec<Vec<u8>> {
    let golden: Value = serde_json::from_str(include_str!("../../../data/tests/golden/jpeg.json")).expect("JSON");
    let bytes = |text: &str| -> Vec<u8> {
        text.as_bytes()
            .chunks(2)
            .map(|two| u8::from_str_radix(&String::from_utf8_lossy(two), 16).expect("digits"))
            .collect()
    };
    golden["cases"].as_array().expect("a list").iter().filter_map(|case| case["file"].as_str()).map(bytes).collect()
}

/// AVIF of every kind that is read, and frames that are never shown.
#[cfg(feature = "avif")]
pub fn avif() -> Vec<Vec<u8>> {
    let files: [&[u8]; 7] = [
        include_bytes!("../../../../golden/avif_420.avif"),
        include_bytes!("../../../../golden/avif_422_limited.avif"),
        include_bytes!("../../../../golden/avif_444.avif"),
        include_bytes!("../../../../golden/avif_clear.avif"),
        include_bytes!("../../../../golden/avif_grey.avif"),
        include_bytes!("../../../../golden/avif_turned.avif"),
        include_bytes!("../../../../golden/avif_hidden_2.avif"),
    ];
    files.iter().map(|file| file.to_vec()).collect()
}

/// JPEG XL of every kind that is read.
#[cfg(feature = "jxl")]
pub fn jxl() -> Vec<Vec<u8>> {
    let files: [&[u8]; 4] = [
        include_bytes!("../../../../golden/jxl_clear.jxl"),
        include_bytes!("../../../../golden/jxl_grey.jxl"),
        include_bytes!("../../../../golden/jxl_lossless.jxl"),
        include_bytes!("../../../../golden/jxl_lossy.jxl"),
    ];
    files.iter().map(|file| file.to_vec()).collect()
}

/// Networks in ONNX as PyTorch's exporters write them.
pub fn onnx() -> [&'static [u8]; 4] {
    [
        include_bytes!("../../../../golden/onnx_small_cnn.onnx"),
        include_bytes!("../../../../golden/onnx_small_cnn_folded.onnx"),
        include_bytes!("../../../../golden/onnx_small_transformer.onnx"),
        include_bytes!("../../../../golden/onnx_small_transformer_old.onnx"),
    ]
}
