//! Models that are damaged or hostile, or consist of nodes that are no layers.

use std::path::Path;

use injerto_onnx::read::{Ask, ModelFile, Network};
use injerto_onnx::{OnnxError, RefusedNode};

/// A field of a message: its number and its bytes.
fn field(number: u8, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    [out, bytes.to_vec()].concat()
}

/// A field with a number below 128.
fn number(field: u8, value: u8) -> Vec<u8> {
    vec![field << 3, value]
}

/// A node, with attributes that are written already.
fn node(op: &str, name: &str, inputs: &[&str], output: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
    let inputs: Vec<u8> = inputs.iter().flat_map(|input| field(1, input)).collect();
    let attributes: Vec<u8> = attributes.iter().flat_map(|attribute| field(5, attribute)).collect();
    field(1, [inputs, field(2, output), field(3, name), field(4, op), attributes].concat())
}

/// A list of whole numbers below 128 as an attribute.
fn ints(name: &str, values: &[u8]) -> Vec<u8> {
    [field(1, name), values.iter().flat_map(|&value| number(8, value)).collect()].concat()
}

/// A tensor of zeros in a model.
fn zeros(name: &str, sides: &[u8]) -> Vec<u8> {
    let count: usize = sides.iter().map(|&side| usize::from(side)).product();
    let dims: Vec<u8> = sides.iter().flat_map(|&side| number(1, side)).collect();
    field(5, [dims, number(2, 1), field(8, name), field(9, vec![0; 4 * count])].concat())
}

/// A model of images `[batch, 3, 8, 8]` with these parts of its graph.
fn model(parts: &[Vec<u8>]) -> Vec<u8> {
    let side = |value: Option<u8>| field(1, value.map_or(Vec::new(), |value| number(1, value)));
    let shape: Vec<u8> = [None, Some(3), Some(8), Some(8)].into_iter().flat_map(side).collect();
    let tensor = field(1, [number(1, 1), field(2, shape)].concat());
    let input = field(11, [field(1, "x"), field(2, tensor)].concat());
    let output = field(12, field(1, "y"));
    let graph = [parts.concat(), input, output].concat();
    [number(1, 8), field(7, graph), field(8, number(2, 17))].concat()
}

fn read(parts: &[Vec<u8>], ask: &Ask) -> Result<Network, OnnxError> {
    ModelFile::from_bytes(model(parts), Path::new("model.onnx")).read(ask)
}

fn convolution() -> Vec<Vec<u8>> {
    vec![zeros("w", &[4, 3, 3, 3]), node("Conv", "stem", &["x", "w"], "a", &[ints("pads", &[1, 1, 1, 1])])]
}

#[test]
fn all_nodes_that_are_no_layers_are_named_at_once() {
    let parts = [
        convolution(),
        vec![
            node("GridSample", "grid", &["a", "a"], "b", &[]),
            node("Relu", "between", &["b"], "c", &[]),
            node("Det", "determinant", &["c"], "d", &[]),
            node("MaxPool", "pool", &["a"], "y", &[]),
        ],
    ]
    .concat();
    let error = read(&parts, &Ask::default()).expect_err("not all nodes are layers");
    let OnnxError::Nodes { nodes } = &error else { panic!("{error}") };
    let named: Vec<(&str, &str)> =
        nodes.iter().map(|RefusedNode { operator, node, .. }| (operator.as_str(), node.as_str())).collect();
    assert_eq!(named, [("GridSample", "grid"), ("Det", "determinant"), ("MaxPool", "pool")]);
    assert!(error.to_string().contains("MaxPool 'pool': it has no kernel_shape"), "{error}");
    assert!(error.to_string().contains("name its last node as `backbone.last_layer`"), "{error}");
    // If the name of the last layer is misspelt, the error says so before it lists nodes.
    let asked = |last: &str| Ask { last_layer: Some(last.to_owned()), ..Ask::default() };
    let error = read(&parts, &asked("stemm")).expect_err("there is no such node").to_string();
    assert!(error.contains("it has no node 'stemm' to be its last layer"), "{error}");
    assert!(matches!(read(&parts, &asked("grid")), Err(OnnxError::Nodes { .. })));
}

#[test]
fn nodes_after_the_last_layer_may_be_of_any_kind() {
    let parts = [convolution(), vec![node("Det", "determinant", &["a"], "y", &[])]].concat();
    let ask = Ask { last_layer: Some("stem".to_owned()), ..Ask::default() };
    let network = read(&parts, &ask).expect("the first layers can be read");
    assert_eq!(network.graph.output_shape().0, [8, 8, 4]);
}

#[test]
fn numbers_in_other_files_must_lie_in_the_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let inside = folder.path().join("inside");
    std::fs::create_dir(&inside).expect("made");
    for place in [inside.join("weights.bin"), folder.path().join("secret.bin")] {
        std::fs::write(place, vec![0; 4 * 4 * 27]).expect("written");
    }
    let check = |location: &str, expected: Result<(), &str>| {
        let entry = field(13, [field(1, "location"), field(2, location)].concat());
        let dims: Vec<u8> = [4, 3, 3, 3].into_iter().flat_map(|side| number(1, side)).collect();
        let tensor = field(5, [dims, number(2, 1), field(8, "w"), entry, number(14, 1)].concat());
        let conv = node("Conv", "stem", &["x", "w"], "y", &[]);
        let file = ModelFile::from_bytes(model(&[tensor, conv]), &inside.join("model.onnx"));
        match (file.read(&Ask::default()), expected) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(reason)) => assert!(error.to_string().contains(reason), "{location}: {error}"),
            (result, _) => panic!("{location}: {result:?}"),
        }
    };
    check("weights.bin", Ok(()));
    let outside = Err("not a file in the folder of the model");
    check("../secret.bin", outside);
    check(&folder.path().join("secret.bin").display().to_string(), outside);
    check("", outside);
    check("missing.bin", outside);
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../secret.bin", inside.join("link.bin")).expect("linked");
        check("link.bin", outside);
    }
    std::fs::write(inside.join("short.bin"), [0; 8]).expect("written");
    check("short.bin", Err("432 bytes"));
}

#[test]
fn constants_that_would_be_huge_are_refused() {
    // A few bytes would become a gigabyte of ones, which would be expanded again and again.
    let shape = [field(1, "value_ints"), vec![8 << 3, 0x80, 0x80, 0x80, 0x80, 0x04]].concat();
    let parts = [
        node("Constant", "side", &[], "n", &[shape]),
        node("ConstantOfShape", "huge", &["n"], "h", &[]),
        node("Add", "sum", &["x", "h"], "y", &[]),
    ];
    let error = read(&parts, &Ask::default()).expect_err("it is too large").to_string();
    assert!(error.contains("ConstantOfShape 'huge': a constant of shape"), "{error}");
}

#[test]
fn damaged_models_are_errors() {
    let whole = model(&[convolution(), vec![node("Relu", "relu", &["a"], "y", &[])]].concat());
    let read = |bytes: Vec<u8>| ModelFile::from_bytes(bytes, Path::new("model.onnx")).read(&Ask::default());
    read(whole.clone()).expect("undamaged it can be read");
    let mut random = injerto_reference::networks::Random::new(5);
    for end in 0..whole.len() {
        let _ = read(whole[..end].to_vec());
    }
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..1 + random.below(3) {
            // Most bytes are numbers of the kernel, and changing these damages nothing.
            let at =
                if random.below(4) == 0 { random.below(bytes.len()) } else { random.below(200) * bytes.len() / 200 };
            bytes[at] = random.bits() as u8;
        }
        if let Ok(network) = read(bytes) {
            assert!(network.graph.image_size().is_ok());
        }
    }
    for text in ["", "<html>", "not a model at all, but a text"] {
        assert!(matches!(read(text.into()), Err(OnnxError::Damaged { .. } | OnnxError::Unsuited { .. })), "{text}");
    }
}

/// Names of the parameters of a convolution of this many channels, on whose output these nodes follow.
fn parameters(channels: u8, nodes: &[Vec<u8>]) -> Vec<String> {
    let stem =
        vec![zeros("w", &[channels, 3, 3, 3]), node("Conv", "stem", &["x", "w"], "a", &[ints("pads", &[1, 1, 1, 1])])];
    let network = read(&[stem, nodes.to_vec()].concat(), &Ask::default()).expect("layers");
    network.weights.into_iter().map(|tensor| tensor.name).collect()
}

#[test]
fn a_constant_per_channel_is_a_parameter_whatever_its_values() {
    let check = |constant: Vec<u8>, expected: &[&str]| {
        let layers = [
            constant,
            node("Add", "sum", &["a", "k"], "b", &[]),
            node("Relu", "relu", &["b"], "c", &[]),
            node("Mul", "scale", &["c", "k"], "y", &[]),
        ];
        assert_eq!(parameters(4, &layers), expected);
    };
    // Before training, the numbers of a bias or of a layer scale are all equal.
    check(zeros("k", &[4, 1, 1]), &["stem/kernel", "stem/bias", "scale/gamma"]);
    // One number for all channels is a constant of the formula.
    check(zeros("k", &[1]), &["stem/kernel"]);
}

#[test]
fn an_offset_of_equal_numbers_is_a_parameter_if_the_model_has_stored_it() {
    let check = |channels: u8, constant: &[Vec<u8>], expected: &[&str]| {
        let layers = [constant, &[node("Add", "sum", &["a", "k"], "y", &[])]].concat();
        assert_eq!(parameters(channels, &layers), expected);
    };
    let (embeddings, none) = (["stem/kernel", "sum/embeddings"], ["stem/kernel"]);
    check(4, &[zeros("k", &[1, 4, 8, 8])], &embeddings);
    check(4, &[zeros("k", &[8, 8])], &embeddings);
    // Exporters may store it with another order of axes, or with more rows than the image needs.
    let sides = |values: &[u8]| [field(1, "value_ints"), values.iter().flat_map(|&v| number(8, v)).collect()].concat();
    let moved =
        [zeros("stored", &[8, 8, 4]), node("Transpose", "order", &["stored"], "k", &[ints("perm", &[2, 0, 1])])];
    check(4, &moved, &embeddings);
    let computed =
        [node("Constant", "sides", &[], "n", &[sides(&[4, 8, 8])]), node("ConstantOfShape", "zeros", &["n"], "k", &[])];
    check(4, &computed, &none);
    let expanded = [
        node("Constant", "sides", &[], "n", &[sides(&[4, 8, 8])]),
        zeros("one", &[1]),
        node("Expand", "all", &["one", "n"], "k", &[]),
    ];
    check(4, &expanded, &none);
    // The bias of a layer with one channel is one number, for example in a classifier with one sigmoid.
    check(1, &[zeros("k", &[1, 1, 1])], &["stem/kernel", "stem/bias"]);
}

#[test]
fn an_instance_normalisation_has_one_scale_and_one_offset_also_before_training() {
    // In a file, a number 1.0 is the bytes 0, 0, 128, 63.
    let ones = |name: &str, sides: &[u8]| {
        let count: usize = sides.iter().map(|&side| usize::from(side)).product();
        let dims: Vec<u8> = sides.iter().flat_map(|&side| number(1, side)).collect();
        field(5, [dims, number(2, 1), field(8, name), field(9, [0, 0, 128, 63].repeat(count))].concat())
    };
    let alone = [ones("g", &[4]), zeros("b", &[4]), node("InstanceNormalization", "norm", &["a", "g", "b"], "y", &[])];
    let own = ["stem/kernel", "norm/gamma", "norm/beta"];
    assert_eq!(parameters(4, &alone), own);
    // These nodes are a group normalisation with one group per channel, as exporters write it.
    let scaled = [
        ones("g", &[4]),
        zeros("b", &[4]),
        node("InstanceNormalization", "norm", &["a", "g", "b"], "n", &[]),
        ones("gamma", &[4, 1, 1]),
        node("Mul", "scale", &["n", "gamma"], "s", &[]),
        zeros("beta", &[4, 1, 1]),
        node("Add", "shift", &["s", "beta"], "y", &[]),
    ];
    assert_eq!(parameters(4, &scaled), own);
}

/// The fields of a message: their numbers, and all of their bytes.
fn fields(message: &[u8]) -> Vec<(u8, &[u8])> {
    fn variable(bytes: &[u8], at: &mut usize) -> usize {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = bytes[*at];
            *at += 1;
            value |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    }
    let (mut found, mut at) = (Vec::new(), 0);
    while at < message.len() {
        let from = at;
        let key = variable(message, &mut at);
        match key & 7 {
            0 => drop(variable(message, &mut at)),
            1 => at += 8,
            2 => at += variable(message, &mut at),
            _ => at += 4,
        }
        found.push(((key >> 3) as u8, &message[from..at]));
    }
    found
}

/// The content of a field that is a message.
fn content(whole: &[u8]) -> &[u8] {
    let length = whole[1..].iter().position(|&byte| byte < 0x80).expect("a length");
    &whole[length + 2..]
}

/// A message without the field at this place.
fn without(message: &[u8], left_out: usize) -> Vec<u8> {
    let kept = fields(message).into_iter().enumerate().filter(|&(place, _)| place != left_out);
    kept.flat_map(|(_, (_, bytes))| bytes.to_vec()).collect()
}

/// A message with other content of the field at this place.
fn exchanged(message: &[u8], place: usize, other: &[u8]) -> Vec<u8> {
    let of =
        |(at, (number, bytes)): (usize, (u8, &[u8]))| if at == place { field(number, other) } else { bytes.to_vec() };
    fields(message).into_iter().enumerate().flat_map(of).collect()
}

#[test]
fn a_node_that_lacks_an_input_an_output_or_an_attribute_is_refused_or_read_and_never_trusted() {
    let models: [&[u8]; 4] = [
        include_bytes!("../../../../golden/onnx_small_cnn.onnx"),
        include_bytes!("../../../../golden/onnx_small_cnn_folded.onnx"),
        include_bytes!("../../../../golden/onnx_small_transformer.onnx"),
        include_bytes!("../../../../golden/onnx_small_transformer_old.onnx"),
    ];
    let mut tried = 0;
    for model in models {
        let (at, (_, graph)) = fields(model).into_iter().enumerate().find(|(_, (n, _))| *n == 7).expect("a graph");
        let graph = content(graph);
        for (place, (number, node)) in fields(graph).into_iter().enumerate() {
            if number != 1 {
                continue;
            }
            let node = content(node);
            for part in 0..fields(node).len() {
                let broken = exchanged(model, at, &exchanged(graph, place, &without(node, part)));
                // The model may be read or refused, but there must be no panic.
                let _ = ModelFile::from_bytes(broken, Path::new("model.onnx")).read(&Ask::default());
                tried += 1;
            }
        }
    }
    assert!(tried > 500, "{tried} models were tried");
}
