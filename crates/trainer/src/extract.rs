use std::borrow::Cow;
use std::collections::BTreeMap;

use injerto_backbones::network::{Network, Value, to_host};
use injerto_data::{Batch, Loader};
use injerto_graph::{Graph, ParameterId, Split};
use injerto_kernels::inference::Arithmetic;
use injerto_kernels::{inference, training};
use injerto_losses::{CrossEntropy as _, Outputs};

use crate::cache::CacheSettings;
use crate::prefix::Prefix;
use crate::{Event, Model, TrainError, Watch};

/// What a layer puts out for the images of a dataset.
#[derive(Debug, Clone, PartialEq)]
pub struct Extracted {
    /// Positions of the images in the dataset, in its order; those that cannot be read are missing where they are skipped.
    pub images: Vec<usize>,
    /// Values of one image after the other, channels last.
    pub values: Vec<f32>,
}

impl Model {
    /// What `layer` (a position in the graph) puts out for each image of `loader`, without augmentation: read where features
    /// are kept, computed and kept where they are not. `None` if it was stopped; what is done by then is kept. A training whose
    /// prefix ends at the same layer finds these features, and the other way round.
    ///
    /// The observer hears [`Event::Prefix`]. `kernels` is for a model on the CPU.
    ///
    /// # Errors
    /// Images that cannot be read, a network that the kernels cannot compile.
    pub fn extract(
        &self,
        layer: usize,
        loader: &Loader,
        cache: &CacheSettings,
        kernels: bool,
        watch: &mut Watch<'_>,
    ) -> Result<Option<Extracted>, TrainError> {
        self.extract_and_see(layer, loader, cache, kernels, watch, &mut |_| {})
    }

    /// The same, and `see` gets each batch of images whose features are not kept yet, so that a caller who needs their pixels for something
    /// else need not decode them a second time.
    ///
    /// # Errors
    /// Those of [`Model::extract`].
    pub fn extract_and_see(
        &self,
        layer: usize,
        loader: &Loader,
        cache: &CacheSettings,
        kernels: bool,
        watch: &mut Watch<'_>,
        see: &mut dyn FnMut(&Batch),
    ) -> Result<Option<Extracted>, TrainError> {
        let prefix = Prefix::new(self, &Split::at(self.network.graph(), layer), kernels);
        let mut compute = |batch: &Batch| {
            see(batch);
            prefix.run(batch)
        };
        let total = loader.len();
        let mut advance = |done: usize| {
            watch.observer.observe(&Event::Prefix { done, total });
            !watch.is_stopped()
        };
        let found = prefix.gather(loader, None, cache, &mut compute, &mut advance)?;
        let Some(features) = found else { return Ok(None) };
        let images = features.usable(&(0..total).collect::<Vec<_>>());
        Ok(Some(Extracted { values: features.gather(&images, 0)?.0.swap_remove(0), images }))
    }
}

/// Images that pass through the head together.
const TOGETHER: usize = 256;

impl Model {
    /// What `layer` puts out, as [`Model::extract`] says, by way of the features that a phase with this `split` has kept of the
    /// same images: only layers after the cut run. For a model on the CPU, by the kernels.
    ///
    /// The observer hears [`Event::Evaluated`].
    ///
    /// # Errors
    /// Those of [`Model::extract`].
    pub fn extract_from(
        &self,
        split: &Split,
        layer: usize,
        loader: &Loader,
        cache: &CacheSettings,
        watch: &mut Watch<'_>,
    ) -> Result<Option<Extracted>, TrainError> {
        let network = &self.network;
        let between: Vec<usize> = split.tail.iter().copied().filter(|at| *at <= layer).collect();
        let graph = network.graph().truncate(layer)?;
        // A graph with layers that `layer` does not need would have others in their places.
        if between.is_empty() || split.prefix.len() < 2 || graph.len() != layer + 1 {
            return self.extract(layer, loader, cache, true, watch);
        }
        let prefix = Prefix::new(self, split, true);
        let mut go_on = |_| !watch.is_stopped();
        let Some(features) = prefix.gather(loader, None, cache, &mut |batch| prefix.run(batch), &mut go_on)? else {
            return Ok(None);
        };
        if !features.are_kept() {
            return self.extract(layer, loader, cache, true, watch);
        }
        let mut run = between_layers(network, graph, between, split)?;
        let total = loader.len();
        let (images, mut values) = (features.usable(&(0..total).collect::<Vec<_>>()), Vec::new());
        for (at, batch) in (1..).zip(images.chunks(loader.batch_size())) {
            let (boundary, _) = features.gather(batch, 0)?;
            values.extend(run(&boundary, batch.len())?);
            let done = (at * loader.batch_size()).min(total);
            watch.observer.observe(&Event::Evaluated { done, total });
            if watch.is_stopped() {
                return Ok(None);
            }
        }
        Ok(Some(Extracted { images, values }))
    }

    /// Probabilities `[images, classes]` of images whose output of `layer` is `values` (as [`Model::extract`] returns them), by
    /// the layers after it, in inference. `kernels` is for a model on the CPU.
    ///
    /// # Errors
    /// Layers after `layer` that take more than its output, or that the kernels cannot compile.
    pub fn classify(&self, layer: usize, values: &[f32], kernels: bool) -> Result<Vec<f32>, TrainError> {
        let (network, loss) = (&self.network, &self.card.loss);
        let (graph, device) = (network.graph(), network.device());
        let (split, shape) = (Split::at(graph, layer), &graph.nodes()[layer].shape);
        let compiles = kernels && !split.tail.is_empty();
        let mut program = compiles.then(|| run_only(network, graph, &split.tail, &split.boundary)).transpose()?;
        let mut probabilities = Vec::new();
        for values in values.chunks(TOGETHER * shape.count()) {
            let images = values.len() / shape.count();
            let outputs = match &mut program {
                Some(program) => program.forward(&[values], images)?.to_vec(),
                None => {
                    let boundary = Value::from_host(values.to_vec(), images, &shape.0, device);
                    to_host(network.tail(&split, vec![boundary], None).into_features())
                }
            };
            probabilities.extend(loss.probabilities(Outputs::new(&outputs, outputs.len() / images)));
        }
        Ok(probabilities)
    }
}

/// A function of the outputs of some layers for so many images.
type Compiled = Box<dyn FnMut(&[Vec<f32>], usize) -> Result<Vec<f32>, TrainError>>;

/// The layers `between` a cut and the last layer of `graph`, compiled in `f32`, as a function of what the cut's layers put out.
fn between_layers(network: &Network, graph: Graph, between: Vec<usize>, split: &Split) -> Result<Compiled, TrainError> {
    if let [first] = split.boundary[..] {
        let own: BTreeMap<ParameterId, Vec<f32>> = network.parameters_of(&between).into_iter().collect();
        let parameters = |layer, place| Cow::Borrowed(own[&ParameterId::new(layer, place)].as_slice());
        let (arithmetic, last) = (Arithmetic::f32(), graph.len() - 1);
        let program = inference::Program::compile_after(arithmetic, &graph, first, &between, &[last], &parameters)?;
        return Ok(Box::new(move |values, images| Ok(program.run(&values[0], images)?.swap_remove(0))));
    }
    let mut program = run_only(network, &graph, &between, &split.boundary)?;
    Ok(Box::new(move |values, images| {
        let inputs: Vec<&[f32]> = values.iter().map(Vec::as_slice).collect();
        Ok(program.forward(&inputs, images)?.to_vec())
    }))
}

/// Layers of a network after those in `inputs`, compiled to be run and not to be trained. `graph` is the network's, or its
/// beginning.
fn run_only(
    network: &Network,
    graph: &Graph,
    layers: &[usize],
    inputs: &[usize],
) -> Result<training::Program, TrainError> {
    let mut program = training::Program::compile(graph, layers, inputs, &|_| false, &[])?;
    for (id, values) in network.parameters_of(layers) {
        program.set(id, &values)?;
    }
    Ok(program)
}
