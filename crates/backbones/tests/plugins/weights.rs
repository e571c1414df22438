//! Files of weights that are valid, damaged, or hostile.

use std::io::Write as _;
use std::path::Path;

use injerto_backbones::weights::{Precision, Rest, WeightError, WeightFile, Weights};
use injerto_graph::{Activation, Builder, Format, Graph, Layout, Operator, TensorMap};
use proptest::prelude::*;

/// A dense layer from three to two.
fn graph() -> Graph {
    let mut net = Builder::new("net");
    let input = net.input([1, 1, 3]);
    net.add("dense", Operator::Dense { units: 2, use_bias: true, activation: Activation::Linear }, &[input]);
    net.finish().expect("a graph")
}

const KERNEL: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];

/// Tensors of a file: name, shape, values.
type Tensors<'a> = &'a [(&'a str, &'a [usize], &'a [f32])];

const GOOD: Tensors<'_> = &[("dense/bias", &[2], &[0.5, -0.5]), ("dense/kernel", &[3, 2], &KERNEL)];

fn safetensors(tensors: Tensors<'_>) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("w.safetensors");
    let mut weights = Weights::default();
    for (name, shape, values) in tensors {
        weights.insert(*name, shape.to_vec(), values.to_vec());
    }
    weights.save(&path, &Default::default(), Default::default()).expect("written");
    std::fs::read(path).expect("read")
}

/// A pickled text.
fn pickled(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A pickled tuple of counts.
fn tuple(counts: &[usize]) -> Vec<u8> {
    let counts = counts.iter().flat_map(|&count| [b'K', u8::try_from(count).expect("small")]);
    [b'('].into_iter().chain(counts).chain([b't']).collect()
}

/// A pickled call of a function of a module, with arguments that are already pickled.
fn call(module: &str, name: &str, arguments: &[u8]) -> Vec<u8> {
    [format!("c{module}\n{name}\n(").as_bytes(), arguments, b"tR"].concat()
}

/// A pickled dictionary with keys as text and values that are already pickled.
fn inner(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entries = entries.iter().flat_map(|(key, value)| [pickled(key), value.clone()].concat());
    b"}(".iter().copied().chain(entries).chain([b'u']).collect()
}

/// A complete pickle of a dictionary.
fn dictionary(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    [b"\x80\x02", &inner(entries)[..], b"."].concat()
}

/// A file as `torch.save` writes it, which is an archive of a pickle and the numbers.
fn archive(pickle: &[u8], storages: &[&[f32]]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut file = |name: &str, bytes: &[u8]| {
        zip.start_file(format!("archive/{name}"), options).expect("begun");
        zip.write_all(bytes).expect("written");
    };
    file("data.pkl", pickle);
    file("byteorder", b"little");
    for (at, values) in storages.iter().enumerate() {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        file(&format!("data/{at}"), &bytes);
    }
    file("version", b"3\n");
    zip.finish().expect("finished").into_inner()
}

/// Tensors as a pickle refers to them.
fn entries<'a>(tensors: Tensors<'a>) -> Vec<(&'a str, Vec<u8>)> {
    let entry = |(at, &(name, shape, values)): (usize, &(_, &[usize], &[f32]))| {
        let strides: Vec<usize> = (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect();
        let count = [b'K', u8::try_from(values.len()).expect("small")];
        let key = pickled(&at.to_string());
        let storage = [&b"("[..], &pickled("storage"), b"ctorch\nFloatStorage\n", &key, &pickled("cpu"), &count, b"tQ"];
        let hooks = call("collections", "OrderedDict", b"");
        let arguments = [&storage.concat()[..], b"K\0", &tuple(shape), &tuple(&strides), b"\x89", &hooks].concat();
        (name, call("torch._utils", "_rebuild_tensor_v2", &arguments))
    };
    tensors.iter().enumerate().map(entry).collect()
}

fn storages<'a>(tensors: Tensors<'a>) -> Vec<&'a [f32]> {
    tensors.iter().map(|(_, _, values)| *values).collect()
}

fn pytorch(tensors: Tensors<'_>) -> Vec<u8> {
    archive(&dictionary(&entries(tensors)), &storages(tensors))
}

fn read(bytes: Vec<u8>, format: Format) -> Result<Weights, WeightError> {
    let map = TensorMap { layout: Layout::Keras, names: Vec::new(), ignore: Vec::new() };
    Weights::read_bytes(bytes, "the file", format, &map, &network(format))
}

/// The network whose weights the test's files of a format hold.
fn network(format: Format) -> Graph {
    if format == Format::KerasHdf5 { crate::published::small() } else { graph() }
}

fn both(tensors: Tensors<'_>) -> [(Vec<u8>, Format); 2] {
    [(safetensors(tensors), Format::Safetensors), (pytorch(tensors), Format::Pytorch)]
}

#[test]
fn good_files_hold_what_was_put_into_them() {
    for (bytes, format) in both(GOOD) {
        let weights = read(bytes, format).expect("good");
        assert_eq!(weights.get("dense/kernel").expect("there").data, KERNEL);
        assert_eq!(weights.get("dense/bias").expect("there").data, [0.5, -0.5]);
    }
    // In PyTorch's axes, outputs come first.
    let torch = pytorch(&[("dense/bias", &[2], &[0.0; 2]), ("dense/kernel", &[2, 3], &[1.0, 3.0, 5.0, 2.0, 4.0, 6.0])]);
    let map = TensorMap { layout: Layout::Torch, names: Vec::new(), ignore: Vec::new() };
    let weights = Weights::read_bytes(torch, "x", Format::Pytorch, &map, &graph()).expect("good");
    assert_eq!(weights.get("dense/kernel").expect("there").data, KERNEL);
}

#[test]
fn a_dictionary_around_the_weights_is_taken_off() {
    const TORCH: Tensors<'_> = &[
        ("net.dense.bias", &[2], &[0.5, -0.5]),
        ("net.dense.weight", &[2, 3], &[1.0, 3.0, 5.0, 2.0, 4.0, 6.0]),
        ("net.head.weight", &[1, 2], &[7.0, 8.0]),
    ];
    let mut map = TensorMap { layout: Layout::Torch, names: Vec::new(), ignore: Vec::new() };
    map.kernel("dense", "dense", true);
    let folder = tempfile::tempdir().expect("a folder");
    let optimizer = || inner(&[("state", inner(&[("lr", b"K\x01".to_vec())]))]);
    let epoch = || ("epoch", b"K\x07".to_vec());
    let containers = [
        dictionary(&entries(TORCH)),
        dictionary(&[epoch(), ("state_dict", inner(&entries(TORCH)))]),
        dictionary(&[("model", inner(&entries(TORCH))), ("optimizer", optimizer()), epoch()]),
        dictionary(&[("checkpoint", inner(&[("model_state_dict", inner(&entries(TORCH)))]))]),
    ];
    for (at, pickle) in containers.into_iter().enumerate() {
        // The extension does not matter.
        let path = folder.path().join(["w.PTH", "w.bin", "w.ckpt", "w"][at]);
        std::fs::write(&path, archive(&pickle, &storages(TORCH))).expect("written");
        let (file, graph) = (WeightFile::open(&path, &[]).expect("opened"), graph());
        let fit = file.fit(&map, &graph, &graph, Rest::Beside);
        let weights = file.take(&fit, &graph).expect("it fits");
        assert_eq!(weights.get("dense/kernel").expect("there").data, KERNEL, "{at}");
    }
}

#[test]
fn a_flipped_bit_anywhere_in_a_file_of_ours_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("best.safetensors");
    let mut weights = Weights::default();
    weights.insert("dense/bias", vec![2], vec![0.5, -0.5]);
    weights.insert("dense/kernel", vec![3, 2], KERNEL.to_vec());
    let metadata = [("injerto.model".to_owned(), "what it is".to_owned())].into();
    weights.save(&path, &metadata, Precision::F32).expect("written");
    let whole = std::fs::read(&path).expect("read");
    let open = || -> Result<Weights, WeightError> {
        let file = WeightFile::open(&path, &[])?;
        assert_eq!(file.metadata()["injerto.model"], "what it is");
        file.own(&graph(), &[])
    };
    assert_eq!(open().expect("whole"), weights);
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &damaged).expect("written");
        // Only two changes are not noticed: blanks after the header, and the key of the checksum itself, which may be absent.
        let harmless = || -> bool {
            WeightFile::open(&path, &[]).is_ok_and(|file| {
                let same = file.own(&graph(), &[]).is_ok_and(|found| found == weights);
                same && file.metadata().get("injerto.model").is_some_and(|model| model == "what it is")
                    || !file.metadata().contains_key("injerto.sha256")
            })
        };
        assert!(WeightFile::open(&path, &[]).is_err() || harmless(), "bit {bit}");
    }
    let mut damaged = whole.clone();
    *damaged.last_mut().expect("bytes") ^= 1;
    std::fs::write(&path, &damaged).expect("written");
    let error = WeightFile::open(&path, &[]).expect_err("damaged").to_string();
    assert!(
        error.contains("best.safetensors is damaged: its checksum is ") && error.contains("restore a copy"),
        "{error}"
    );
}

#[test]
fn equal_weights_give_equal_bytes() {
    assert_eq!(safetensors(GOOD), safetensors(GOOD));
}

#[test]
fn values_that_16_bits_cannot_hold_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("half.safetensors");
    let mut weights = Weights::default();
    weights.insert("bn/moving_variance", vec![2], vec![1.0, 1e5]);
    let error = weights.save(&path, &Default::default(), Precision::F16).expect_err("too large").to_string();
    assert!(error.starts_with("tensor 'bn/moving_variance' holds values beyond 65504"), "{error}");
    assert!(!path.exists());
    weights.save(&path, &Default::default(), Precision::F32).expect("written");
}

/// An archive with one file of this number of zeros.
fn bomb(name: &str, megabytes: usize) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    zip.start_file(name, options).expect("begun");
    (0..megabytes).for_each(|_| zip.write_all(&[0; 1 << 20]).expect("written"));
    zip.finish().expect("finished").into_inner()
}

#[test]
fn archives_that_unpack_to_far_more_than_weights_are_refused_before_they_are_unpacked() {
    let error = read(bomb("model.weights.h5", 64), Format::KerasHdf5).expect_err("zeros").to_string();
    assert!(error.contains("unpacked it is larger than "), "{error}");
    let error = read(bomb("archive/data.pkl", 64), Format::Pytorch).expect_err("zeros").to_string();
    assert!(error.contains("its table of tensors has 67108864 bytes, but the limit is "), "{error}");
}

#[test]
fn missing_surplus_misshapen_and_infinite_tensors_are_named() {
    let check = |tensors: Tensors<'_>, expected: &str| {
        for (bytes, format) in both(tensors) {
            let error = read(bytes, format).expect_err(expected).to_string();
            assert_eq!(error, expected, "{format:?}");
        }
    };
    check(
        &[("dense/kernel", &[2, 3], &KERNEL), ("extra", &[1], &[1.0])],
        "the file does not hold the weights of 'net':\n  1 missing: dense/bias [2]\n  \
         1 of another shape: dense/kernel is [2, 3], expected [3, 2]\n  1 not needed: extra",
    );
    check(
        &[("dense/bias", &[2], &[0.5, f32::NAN]), GOOD[1]],
        "the file: tensor 'dense/bias' holds values that are infinite or not a number",
    );
}

#[test]
fn cut_and_garbled_files_are_errors_that_name_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let map = TensorMap { layout: Layout::Keras, names: Vec::new(), ignore: Vec::new() };
    for (bytes, format) in both(GOOD) {
        let cuts = [0, 4, 9, bytes.len() / 2, bytes.len() - 1].map(|at| bytes[..at].to_vec());
        for (at, bad) in cuts.into_iter().chain([vec![0xff; 300], b"<html>404</html>".to_vec()]).enumerate() {
            let path = folder.path().join(format!("bad-{at}"));
            std::fs::write(&path, bad).expect("written");
            let error = Weights::read(&path, format, &map, &graph()).expect_err("bad").to_string();
            assert!(error.starts_with(&format!("{}: not readable as ", path.display())), "{at}: {error}");
        }
    }
    let nowhere = folder.path().join("nowhere");
    let error = Weights::read(&nowhere, Format::Pytorch, &map, &graph()).expect_err("not there").to_string();
    assert!(error.starts_with(&nowhere.display().to_string()), "{error}");
}

#[test]
fn nothing_in_a_pickle_is_executed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mark = folder.path().join("executed");
    let touch = format!("touch {}", mark.display());
    let code = format!("open({:?}, 'w')", mark.display().to_string());
    let calls = [
        call("os", "system", &pickled(&touch)),
        call("posix", "system", &pickled(&touch)),
        call("subprocess", "getoutput", &pickled(&touch)),
        call("builtins", "eval", &pickled(&code)),
        call("__builtin__", "exec", &pickled(&code)),
        // INST and OBJ are other opcodes that make calls.
        [&b"("[..], &pickled(&touch), b"ios\nsystem\n"].concat(),
        [&b"(cos\nsystem\n"[..], &pickled(&touch), b"o"].concat(),
    ];
    // Where a pickle is executed, these files do harm. This proves that the bait works.
    if let Ok(python) = std::process::Command::new("python3").arg("-c").arg("import pickle").status()
        && python.success()
    {
        let bait = folder.path().join("bait.pkl");
        std::fs::write(&bait, dictionary(&[("x", calls[0].clone())])).expect("written");
        let load = format!("import pickle; pickle.load(open({:?}, 'rb'))", bait.display().to_string());
        std::process::Command::new("python3").arg("-c").arg(load).status().expect("runs");
        assert!(mark.exists(), "the bait is harmless");
        std::fs::remove_file(&mark).expect("removed");
    }
    for harm in calls {
        let pickle = dictionary(&[("dense/bias", harm)]);
        for bytes in [archive(&pickle, &[]), pickle] {
            let error = read(bytes, Format::Pytorch).expect_err("no tensors").to_string();
            assert!(error.starts_with("the file"), "{error}");
            assert!(!Path::exists(&mark), "it was executed");
        }
    }
}

/// Files of each format, which the test damages.
fn files() -> &'static [(Vec<u8>, Format); 5] {
    static FILES: std::sync::OnceLock<[(Vec<u8>, Format); 5]> = std::sync::OnceLock::new();
    FILES.get_or_init(|| {
        let committed = |name: &str| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
            (std::fs::read(path).expect("a golden file"), Format::KerasHdf5)
        };
        let [safetensors, pytorch] = both(GOOD);
        [safetensors, pytorch, committed("keras2.h5"), committed("whole.h5"), committed("keras3.keras")]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// Reading any file gives weights that fit, or an error.
    #[test]
    fn a_mutated_file_never_panics(
        which in 0..5_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let (mut bytes, format) = files()[which].clone();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(weights) = read(bytes, format) {
            prop_assert_eq!(weights.count(), network(format).parameter_count());
        }
    }

    /// Random bytes after the beginning of each format.
    #[test]
    fn arbitrary_bytes_never_panic(
        which in 0..5_usize,
        keep in 0..64_usize,
        bytes in prop::collection::vec(any::<u8>(), 0..512),
    ) {
        let (whole, format) = &files()[which];
        let bytes = [&whole[..keep.min(whole.len())], &bytes].concat();
        if let Ok(weights) = read(bytes, *format) {
            prop_assert_eq!(weights.count(), network(*format).parameter_count());
        }
    }
}
