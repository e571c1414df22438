//! Reads Keras's HDF5 files, in all layouts that versions of Keras have written:
//!
//! - `layer/…/layer/kernel:0`, with one group per layer, is the layout of Keras's published files and of `save_weights`. Files of
//!   `save` have the same groups under `model_weights`; the layers of a model inside the model are one group deeper.
//! - `layers/conv2d_3/vars/0`, with class and running number, is the layout of Keras 3's `.weights.h5`, also in a `.keras` archive.
//!   Newer files contain the name of the layer beside it.
//!
//! Tensors are found by name if the names fit. The oldest files have other names; for them, this module goes by the order of the layers,
//! as Keras does.

use std::collections::BTreeMap;

use hdf5_pure::{Dataset, File, Group};
use injerto_files::catch_quietly;
use injerto_graph::{Graph, Node};

use super::read::{self, Raw};

/// Limit for the depth of nested groups.
const DEEPEST: usize = 32;

/// Limit for the number of groups and datasets. Groups may contain each other, so a small file may have infinitely many paths.
const MOST_ENTRIES: usize = 100_000;

/// Limit for the number of values in a chunk that is larger than its dataset. HDF5's libraries make chunks of about a thousandth of
/// this.
const LARGEST_CHUNK: u64 = 1 << 24;

/// Limit for the bytes of a value: those of a number in double precision.
const LARGEST_VALUE: u64 = 8;

/// Path in the file of each wanted parameter that was found.
type Places = BTreeMap<String, String>;

/// An open file.
pub(super) struct KerasFile {
    contents: Contents,
    /// Paths of the weights of each layer, in the order of the layers, if the file contains it.
    layers: Vec<Vec<String>>,
}

impl KerasFile {
    /// Opens an HDF5 file, or a `.keras` archive with one in it.
    pub(super) fn open(bytes: Vec<u8>) -> Result<Self, String> {
        let bytes = if bytes.starts_with(b"PK") { read::keras_weights(&bytes)? } else { bytes };
        let open = || {
            let file = File::from_bytes(bytes).map_err(|error| error.to_string())?;
            let mut contents = Contents::default();
            contents.walk("", &file.root(), 0)?;
            let (root, prefix) = match contents.is_whole_model {
                true => (file.group("model_weights").map_err(|error| error.to_string())?, "model_weights/"),
                false => (file.root(), ""),
            };
            let layers = in_order(&root, prefix)?;
            Ok(Self { contents, layers })
        };
        // The reader is tested with damaged files, but even an unforeseen panic must not end the program.
        catch_quietly(open).unwrap_or_else(|| Err("the reader failed on it".to_owned()))
    }

    /// Tensors with the names of `graph`. Of the tensors that the graph does not have, only those are returned, by path, that a network of
    /// another depth would have: a head, other models and the state of an optimiser may lie beside the weights.
    pub(super) fn tensors(&self, graph: &Graph) -> BTreeMap<String, Raw> {
        let contents = &self.contents;
        let wanted = graph.nodes().iter().map(|node| node.parameters.len()).sum::<usize>();
        let mut ways = vec![by_name(contents, graph)];
        ways.extend(by_class(contents, graph));
        ways.extend(by_order(&self.layers, graph));
        let right = |places: &Places| {
            let is_right = |(name, node, at): &(String, &Node, usize)| {
                let shape = places.get(name).and_then(|path| contents.shape(path));
                shape == Some(node.parameters[*at].shape.as_slice())
            };
            parameters(graph).filter(is_right).count()
        };
        // If no way fits, the way that places most parameters gives the best message. Of equals the first one counts, which goes by
        // names.
        let counts: Vec<usize> = ways.iter().map(right).collect();
        let most = counts.iter().copied().max().unwrap_or(0);
        let places = ways.swap_remove(counts.iter().position(|&count| count == most).unwrap_or(0));
        let is_whole = places.len() == wanted;
        let names: BTreeMap<String, String> = places.into_iter().map(|(name, path)| (path, name)).collect();
        let deeper = contents.deeper(&names);
        let mut tensors = BTreeMap::new();
        for (path, (shape, dataset)) in &contents.datasets {
            let name = match names.get(path) {
                Some(name) => name.clone(),
                None if is_whole && !deeper.contains(&module(path)) => continue,
                None => path.clone(),
            };
            let dataset = dataset.clone();
            let data = move || {
                let read = || values(&dataset);
                catch_quietly(read).unwrap_or_else(|| Err("the reader failed on it".to_owned()))
            };
            tensors.insert(name, Raw::lazy(shape.clone(), data));
        }
        tensors
    }
}

/// The values of a dataset whose shape is that of a parameter. Its chunks are unpacked whole, and may claim another size.
fn values(dataset: &Dataset) -> Result<Vec<f32>, String> {
    let say = |error: hdf5_pure::Error| error.to_string();
    let count = |sides: &[u64]| sides.iter().try_fold(1_u64, |count, &side| count.checked_mul(side));
    let own = count(&dataset.shape().map_err(say)?).unwrap_or(u64::MAX);
    if let Some(chunk) = dataset.chunk_shape().map_err(say)?
        && count(&chunk).is_none_or(|chunk| chunk > LARGEST_CHUNK.max(own))
    {
        return Err(format!("its chunks have shape {chunk:?}, far larger than the dataset"));
    }
    // The reader makes room for as many bytes per value as the file claims.
    let size = dataset.element_size().map_err(say)?;
    if size > LARGEST_VALUE {
        return Err(format!("its values have {size} bytes each, and numbers have at most {LARGEST_VALUE}"));
    }
    dataset.read_f32().map_err(say)
}

/// The layer that a dataset belongs to.
fn module(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(module, _)| module)
}

/// Contents of a file.
#[derive(Default)]
struct Contents {
    /// Shapes and datasets by path.
    datasets: BTreeMap<String, (Vec<usize>, Dataset)>,
    /// Keras 3's groups `…/vars`, each with the name of its layer.
    named: Vec<(String, String)>,
    is_whole_model: bool,
    /// Number of groups and datasets so far.
    entries: usize,
}

impl Contents {
    fn walk(&mut self, path: &str, group: &Group, depth: usize) -> Result<(), String> {
        let shown = injerto_files::printable(path);
        if depth > DEEPEST {
            return Err(format!("{shown}: groups are nested more than {DEEPEST} deep"));
        }
        let say = |error: hdf5_pure::Error| format!("{shown}: {error}");
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
        for (name, dataset) in group.iter_datasets().map_err(say)? {
            self.count()?;
            let shape = dataset.shape().map_err(say)?.into_iter().map(|side| side as usize).collect();
            self.datasets.insert(below(&name), (shape, dataset));
        }
        for (name, inner) in group.iter_groups().map_err(say)? {
            self.count()?;
            match name.as_str() {
                "optimizer" | "optimizer_weights" | "seed_generator" => continue,
                "model_weights" if depth == 0 => self.is_whole_model = true,
                "vars" => {
                    let attributes = inner.attrs().map_err(say)?;
                    if let Some(layer) = attributes.get("name").and_then(|value| value.as_str()) {
                        self.named.push((below(&name), layer.to_owned()));
                    }
                }
                _ => {}
            }
            self.walk(&below(&name), &inner, depth + 1)?;
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), String> {
        self.entries += 1;
        match self.entries > MOST_ENTRIES {
            true => Err(format!("it has more than {MOST_ENTRIES} groups and datasets")),
            false => Ok(()),
        }
    }

    /// Convolutions of the file that the graph does not have, in the same model as those that it has. They show that the saved network is
    /// a deeper one.
    fn deeper(&self, placed: &BTreeMap<String, String>) -> Vec<&str> {
        let (Some((first, _)), Some((last, _))) = (placed.first_key_value(), placed.last_key_value()) else {
            return Vec::new();
        };
        let equal = first.bytes().zip(last.bytes()).take_while(|(a, b)| a == b).count();
        let model = &first[..first[..equal].rfind('/').map_or(0, |at| at + 1)];
        let left = self.datasets.iter().filter(|(path, (shape, _))| {
            shape.len() > 2 && path.starts_with(model) && !placed.contains_key(path.as_str())
        });
        left.map(|(path, _)| module(path)).collect()
    }

    fn shape(&self, path: &str) -> Option<&[usize]> {
        self.datasets.get(path).map(|(shape, _)| shape.as_slice())
    }
}

/// Name of every parameter, with its layer and its place in it.
fn parameters(graph: &Graph) -> impl Iterator<Item = (String, &Node, usize)> {
    let name = |node: &Node, at: usize| format!("{}/{}", node.name(), node.parameters[at].name());
    graph.nodes().iter().flat_map(move |node| (0..node.parameters.len()).map(move |at| (name(node, at), node, at)))
}

/// Places parameters if the file has the graph's names.
fn by_name(contents: &Contents, graph: &Graph) -> Places {
    let mut paths: BTreeMap<String, &String> = BTreeMap::new();
    for path in contents.datasets.keys() {
        let mut parts = path.rsplit('/');
        if let (Some(parameter), Some(layer)) = (parts.next(), parts.next()) {
            let parameter = parameter.strip_suffix(":0").unwrap_or(parameter);
            // This is Keras 2's name of the kernel, and of one of two kernels in all versions.
            if parameter == "depthwise_kernel" {
                paths.entry(format!("{layer}/kernel")).or_insert(path);
            }
            paths.insert(format!("{layer}/{parameter}"), path);
        }
    }
    let layers: BTreeMap<&str, &str> =
        contents.named.iter().map(|(vars, layer)| (layer.as_str(), vars.as_str())).collect();
    let place = |(name, node, at): (String, &Node, usize)| {
        let path = match layers.get(node.name()) {
            Some(vars) => Some(format!("{vars}/{at}")).filter(|path| contents.datasets.contains_key(path)),
            None => paths.get(&name).map(|path| (*path).clone()),
        };
        Some((name, path?))
    };
    parameters(graph).filter_map(place).collect()
}

/// Places parameters by class and number: Keras 3 counts the layers of each class, in the order of the model. A file may contain
/// several nested models.
fn by_class(contents: &Contents, graph: &Graph) -> Vec<Places> {
    let mut models: Vec<&str> = Vec::new();
    for path in contents.datasets.keys() {
        models.extend(path.match_indices("layers/").map(|(at, _)| &path[..at]));
    }
    models.sort_unstable();
    models.dedup();
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    let mut groups: BTreeMap<&str, String> = BTreeMap::new();
    for node in graph.nodes() {
        let class = node.operator().class();
        let number = numbers.entry(class).or_default();
        let suffix = if *number == 0 { String::new() } else { format!("_{number}") };
        groups.insert(node.name(), format!("{}{suffix}", snake_case(class)));
        *number += 1;
    }
    let in_model = |model: &&str| {
        let place = |(name, node, at): (String, &Node, usize)| {
            let path = format!("{model}layers/{}/vars/{at}", groups[node.name()]);
            contents.datasets.contains_key(&path).then_some((name, path))
        };
        parameters(graph).filter_map(place).collect()
    };
    models.iter().map(in_model).collect()
}

/// `DepthwiseConv2D` to `depthwise_conv2d`.
fn snake_case(class: &str) -> String {
    let mut name = String::new();
    let mut after_lower = false;
    for c in class.chars() {
        if c.is_ascii_uppercase() && after_lower {
            name.push('_');
        }
        after_lower = c.is_ascii_lowercase();
        name.push(c.to_ascii_lowercase());
    }
    name
}

/// Paths of the weights of each layer with weights, in the order in which the file lists its layers.
fn in_order(root: &Group, prefix: &str) -> Result<Vec<Vec<String>>, String> {
    let say = |error: hdf5_pure::Error| error.to_string();
    let mut layers: Vec<Vec<String>> = Vec::new();
    for layer in strings(root, "layer_names")? {
        let names = strings(&root.group(&layer).map_err(say)?, "weight_names")?;
        if !names.is_empty() {
            layers.push(names.into_iter().map(|name| format!("{prefix}{layer}/{name}")).collect());
        }
    }
    Ok(layers)
}

/// Places parameters by order: the n-th layer with weights in the file is the n-th in the graph, if their numbers agree.
fn by_order(layers: &[Vec<String>], graph: &Graph) -> Option<Places> {
    let nodes: Vec<&Node> = graph.nodes().iter().filter(|node| !node.parameters.is_empty()).collect();
    if layers.len() != nodes.len() {
        return None;
    }
    let of_layer = |(node, paths): (&&Node, &Vec<String>)| {
        let name = |at: usize| format!("{}/{}", node.name(), node.parameters[at].name());
        let count = node.parameters.len();
        paths.iter().take(count).enumerate().map(|(at, path)| (name(at), path.clone())).collect::<Vec<_>>()
    };
    Some(nodes.iter().zip(layers).flat_map(of_layer).collect())
}

/// A list of strings in an attribute, or in several attributes, `NAME0`, `NAME1`, …, if the list is too long for one.
fn strings(group: &Group, name: &str) -> Result<Vec<String>, String> {
    let attributes = group.attrs().map_err(|error| error.to_string())?;
    let list = |name: &str| attributes.get(name).and_then(|value| value.as_strings()).map(<[String]>::to_vec);
    Ok(list(name).unwrap_or_else(|| (0..).map_while(|part| list(&format!("{name}{part}"))).flatten().collect()))
}
