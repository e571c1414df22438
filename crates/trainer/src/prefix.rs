//! The frozen prefix of a network, which runs once per image, and the one loop that keeps what it computes.

use std::sync::OnceLock;

use burn_tensor::{Device, FloatDType};
use injerto_backbones::network::{Network, Value, filled, to_input};
use injerto_data::{Batch, Loader, LoaderOptions};
use injerto_graph::{Preprocessing, Split};
use injerto_kernels::inference::{Arithmetic, Program};

use crate::boundary::Boundary;
use crate::cache::{CacheSettings, Features, Namespace};
use crate::filling::Filling;
use crate::runner::compile;
use crate::{Model, TrainError};

/// The layers before a cut, with their parameters. Executors and extractions run the prefix through this type alone, so that they find
/// each other's features.
pub(crate) struct Prefix {
    network: Network,
    preprocessing: Preprocessing,
    /// Height and width of the images.
    image_size: [usize; 2],
    split: Split,
    /// Whether the project's kernels compute it; otherwise Burn's operators do, on the network's device.
    kernels: bool,
    /// The arithmetic of the kernels.
    arithmetic: Arithmetic,
    /// The number format of Burn's operators.
    format: FloatDType,
    /// The compiled prefix. It is compiled for the first batch: a training whose features are all kept never needs it.
    program: OnceLock<Program>,
    /// The network as Burn's operators compute the prefix. It is kept once the device has computed a batch with it.
    inference: OnceLock<Network>,
    filling: Filling,
}

impl Prefix {
    /// The prefix of `split`. The layers in it do not change afterwards.
    pub(crate) fn new(model: &Model, split: &Split, kernels: bool) -> Self {
        Self {
            network: model.network.clone(),
            preprocessing: model.card.preprocessing.clone(),
            image_size: model.card.image_size(),
            split: split.clone(),
            kernels,
            arithmetic: model.arithmetic().of_kernels().0,
            // Images that no layer has changed are not rounded.
            format: if split.prefix.len() < 2 { FloatDType::F32 } else { model.arithmetic().of_operators() },
            program: OnceLock::new(),
            inference: OnceLock::new(),
            filling: Filling::on(model.network.device()),
        }
    }

    /// Names the code that computes the prefix. Prefixes with different identities may differ in the last bits, and do not share cached
    /// features.
    pub(crate) fn identity(&self) -> String {
        match self.network.device() {
            _ if self.kernels => format!("{} {}", injerto_kernels::REVISION, self.arithmetic),
            device if *device == Device::flex() => format!("burn, folded, {:?}", self.format),
            device => format!("burn, folded, {:?}, {device:?}", self.format),
        }
    }

    /// The compiled prefix; `None` if Burn runs it, or if the prefix is only the input.
    ///
    /// # Errors
    /// The kernels cannot compile the network.
    pub(crate) fn program(&self) -> Result<Option<&Program>, TrainError> {
        if !self.kernels || self.split.prefix.len() < 2 {
            return Ok(None);
        }
        if self.program.get().is_none() {
            let Split { prefix, boundary, .. } = &self.split;
            let program = compile(self.arithmetic, &self.network, &self.preprocessing, prefix, boundary)?;
            // If two threads compile at once, both programs are the same.
            let _ = self.program.set(program);
        }
        Ok(self.program.get())
    }

    /// Runs the prefix on a batch. A device may still be at work when this returns.
    ///
    /// # Errors
    /// There is not enough memory for the batch, or the kernels cannot compile the network.
    pub(crate) fn run(&self, batch: &Batch) -> Result<Boundary, TrainError> {
        self.run_on(&batch.pixels, batch.labels.len())
    }

    /// Runs the prefix on the pixels `[images, height, width, 3]` of so many images.
    ///
    /// # Errors
    /// Those of [`Prefix::run`].
    pub(crate) fn run_on(&self, pixels: &[f32], images: usize) -> Result<Boundary, TrainError> {
        let [height, width] = self.image_size;
        if let Some(program) = self.program()? {
            return Ok(Boundary::Host(program.run(pixels, images)?));
        }
        let (network, how, Split { prefix, boundary, .. }) = (&self.network, &self.preprocessing, &self.split);
        let input = || to_input(pixels, [images, height, width], how, network.device());
        if self.kernels {
            return Ok(Boundary::Host(vec![Value::Image(input()).to_host()]));
        }
        let size = self.filling.size(images);
        network.check_room(prefix, boundary, size, false)?;
        let input = filled(input(), size);
        let values = match self.inference.get() {
            Some(inference) => inference.prefix(&self.split, input),
            None => {
                let inference = network.for_inference(prefix, boundary, self.format);
                let values = inference.prefix(&self.split, input);
                // Not every GPU that has a format has the memory that Burn's kernels for it need. Later batches usually have the same size.
                if self.format != FloatDType::F32 {
                    values.iter().try_for_each(|value| inference.check(value))?;
                }
                // If two threads make a network at once, both are the same.
                let _ = self.inference.set(inference);
                values
            }
        };
        Ok(Boundary::Device(values.into_iter().map(|value| value.first(images)).collect()))
    }

    /// The namespace of the features of images that are read as `pixels` says.
    pub(crate) fn namespace(&self, settings: &CacheSettings, pixels: &LoaderOptions) -> Namespace {
        let Self { network, preprocessing, split, .. } = self;
        Namespace::new(settings, network, split, preprocessing, pixels, &self.identity())
    }

    /// Features of all images of a loader, or of so many random views of each: kept ones are read, and `compute` computes the others, by
    /// [`Prefix::run`] and with whatever the caller counts. `progress` gets the number of images that are done, and returns whether to go
    /// on; `None` if it returned false.
    ///
    /// # Errors
    /// Images that cannot be read, and the errors of `compute`.
    pub(crate) fn gather(
        &self,
        loader: &Loader,
        views: Option<usize>,
        settings: &CacheSettings,
        compute: &mut dyn FnMut(&Batch) -> Result<Boundary, TrainError>,
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<Features>, TrainError> {
        let namespace = self.namespace(settings, loader.options());
        Features::gather_all(namespace, loader, views, compute, progress)
    }
}
