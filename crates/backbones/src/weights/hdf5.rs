//! Keras's HDF5 files, in the layouts that its versions wrote:
//!
//! - `layer/…/layer/kernel:0`, one group a layer, in Keras's own files and those of `save_weights`; what `save` wrote has
//!   the same under `model_weights`, with the layers of a model inside the model one group deeper;
//! - `layers/conv2d_3/vars/0`, Keras 3's `.weights.h5` and, in an archive, `.keras`: class and running number, with the
//!   layer's name beside it in newer files.
//!
//! Names decide where they fit. The oldest files name their tensors otherwise: there Keras goes by the order of the layers,
//! and so does this.

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};

use hdf5_pure::{Dataset, File, Group};
use injerto_graph::{Graph, Node};

use super::read::Raw;

/// Groups inside groups beyond which a file is broken.
const DEEPEST: usize = 32;

/// Path in the file of each wanted parameter, as far as it is found.
type Places = BTreeMap<String, String>;

/// Tensors of a file under the names that `graph` has for them; what it has no use for keeps its path as its name. Of a
/// whole model saved with its head, and of an optimiser's state, only the part of `graph` is given.
pub(super) fn tensors(bytes: Vec<u8>, graph: &Graph) -> Result<BTreeMap<String, Raw>, String> {
    let bytes = if bytes.starts_with(b"PK") { from_archive(bytes)? } else { bytes };
    // The reader is checked against broken files, but a file from anywhere must not end the program.
    std::panic::catch_unwind(|| read(bytes, graph)).unwrap_or_else(|_| Err("the reader failed on it".to_owned()))
}

/// `.keras` is an archive with the weights in a file of their own.
fn from_archive(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|error| error.to_string())?;
    let file = archive.by_name("model.weights.h5").map_err(|error| format!("model.weights.h5: {error}"))?;
    let mut weights = Vec::new();
    file.take(super::fetch::LARGEST_FILE).read_to_end(&mut weights).map_err(|error| error.to_string())?;
    Ok(weights)
}

fn read(bytes: Vec<u8>, graph: &Graph) -> Result<BTreeMap<String, Raw>, String> {
    let file = File::from_bytes(bytes).map_err(|error| error.to_string())?;
    let mut contents = Contents::default();
    contents.walk("", &file.root(), 0)?;
    let root = match contents.is_whole_model {
        true => file.group("model_weights").map_err(|error| error.to_string())?,
        false => file.root(),
    };
    let wanted = graph.nodes().iter().map(|node| node.parameters.len()).sum::<usize>();
    let mut ways = vec![by_name(&contents, graph)];
    ways.extend(by_class(&contents, graph));
    ways.extend(by_order(&contents, &root, graph)?);
    let fits = |places: &Places| {
        places.len() == wanted
            && parameters(graph).all(|(name, node, at)| {
                places.get(&name).is_some_and(|path| contents.shape(path) == Some(node.parameters[at].shape.as_slice()))
            })
    };
    // If none fits, the fullest tells best what is wrong.
    let best = ways.iter().position(fits).or_else(|| (0..ways.len()).max_by_key(|&at| ways[at].len()));
    let places = ways.swap_remove(best.unwrap_or(0));
    let names: BTreeMap<String, String> = places.into_iter().map(|(name, path)| (path, name)).collect();
    let mut tensors = BTreeMap::new();
    for (path, (shape, dataset)) in contents.datasets {
        let name = match names.get(&path) {
            Some(name) => name.clone(),
            None if contents.is_whole_model => continue,
            None => path,
        };
        let data = move || dataset.read_f32().map_err(|error| error.to_string());
        tensors.insert(name, Raw { shape, data: Box::new(data) });
    }
    Ok(tensors)
}

/// What a file holds.
#[derive(Default)]
struct Contents {
    /// By path.
    datasets: BTreeMap<String, (Vec<usize>, Dataset)>,
    /// Keras 3's groups `…/vars` and the layer that each says it belongs to.
    named: Vec<(String, String)>,
    is_whole_model: bool,
}

impl Contents {
    fn walk(&mut self, path: &str, group: &Group, depth: usize) -> Result<(), String> {
        if depth > DEEPEST {
            return Err(format!("{path}: groups lie more than {DEEPEST} deep"));
        }
        let say = |error: hdf5_pure::Error| format!("{path}: {error}");
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
        for (name, dataset) in group.iter_datasets().map_err(say)? {
            let shape = dataset.shape().map_err(say)?.into_iter().map(|side| side as usize).collect();
            self.datasets.insert(below(&name), (shape, dataset));
        }
        for (name, inner) in group.iter_groups().map_err(say)? {
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

    fn shape(&self, path: &str) -> Option<&[usize]> {
        self.datasets.get(path).map(|(shape, _)| shape.as_slice())
    }
}

/// Name, layer and place in it of every parameter.
fn parameters(graph: &Graph) -> impl Iterator<Item = (String, &Node, usize)> {
    let name = |node: &Node, at: usize| format!("{}/{}", node.name(), node.parameters[at].name());
    graph.nodes().iter().flat_map(move |node| (0..node.parameters.len()).map(move |at| (name(node, at), node, at)))
}

/// Layers and parameters are called as the graph calls them.
fn by_name(contents: &Contents, graph: &Graph) -> Places {
    let mut paths: BTreeMap<String, &String> = BTreeMap::new();
    for path in contents.datasets.keys() {
        let mut parts = path.rsplit('/');
        if let (Some(parameter), Some(layer)) = (parts.next(), parts.next()) {
            let parameter = parameter.strip_suffix(":0").unwrap_or(parameter);
            // Keras 2's name of it.
            let parameter = if parameter == "depthwise_kernel" { "kernel" } else { parameter };
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

/// Keras 3 counts the layers of each class, in the order of the model. There may be several models in a file, one in the
/// other.
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

/// The n-th layer with weights in the file is the n-th in the graph, as long as there are as many.
fn by_order(contents: &Contents, root: &Group, graph: &Graph) -> Result<Option<Places>, String> {
    let say = |error: hdf5_pure::Error| error.to_string();
    let prefix = if contents.is_whole_model { "model_weights/" } else { "" };
    let mut layers: Vec<Vec<String>> = Vec::new();
    for layer in strings(root, "layer_names")? {
        let names = strings(&root.group(&layer).map_err(say)?, "weight_names")?;
        if !names.is_empty() {
            layers.push(names.into_iter().map(|name| format!("{prefix}{layer}/{name}")).collect());
        }
    }
    let nodes: Vec<&Node> = graph.nodes().iter().filter(|node| !node.parameters.is_empty()).collect();
    if layers.len() != nodes.len() {
        return Ok(None);
    }
    let of_layer = |(node, paths): (&&Node, Vec<String>)| {
        let name = |at: usize| format!("{}/{}", node.name(), node.parameters[at].name());
        let count = node.parameters.len();
        paths.into_iter().take(count).enumerate().map(|(at, path)| (name(at), path)).collect::<Vec<_>>()
    };
    Ok(Some(nodes.iter().zip(layers).flat_map(of_layer).collect()))
}

/// A list of strings in an attribute, or in several, `NAME0`, `NAME1`, …, where one would be too long for HDF5.
fn strings(group: &Group, name: &str) -> Result<Vec<String>, String> {
    let attributes = group.attrs().map_err(|error| error.to_string())?;
    let list = |name: &str| attributes.get(name).and_then(|value| value.as_strings()).map(<[String]>::to_vec);
    Ok(list(name).unwrap_or_else(|| (0..).map_while(|part| list(&format!("{name}{part}"))).flatten().collect()))
}
