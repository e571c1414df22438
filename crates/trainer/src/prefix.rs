//! The frozen prefix of a network, which runs once per image, and the one loop that keeps what it computes.

use std::sync::OnceLock;

use burn_tensor::Device;
use injerto_backbones::network::{Network, Value, to_input};
use injerto_data::{Batch, Loader, LoaderOptions};
use injerto_graph::{Preprocessing, Split};
use injerto_kernels::inference::{Arithmetic, Program};

use crate::boundary::Boundary;
use crate::cache::{CacheSettings, Features, Namespace};
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
    /// The compiled prefix. It is compiled for the first batch: a training whose features are all kept never needs it.
    program: OnceLock<Program>,
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
            arithmetic: model.arithmetic().prefix,
            program: OnceLock::new(),
        }
    }

    /// Names the code that computes the prefix. Prefixes with different identities may differ in the last bits, and do not share cached
    /// features.
    pub(crate) fn identity(&self) -> String {
        match self.network.device() {
            _ if self.kernels => format!("{} {}", injerto_kernels::REVISION, self.arithmetic),
            device if *device == Device::flex() => "burn".to_owned(),
            device => format!("burn {device:?}"),
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
        if !self.kernels {
            self.network.check_room(&self.split.prefix, &self.split.boundary, images, false)?;
        }
        let input = to_input(pixels, [images, height, width], &self.preprocessing, self.network.device());
        Ok(match self.kernels {
            true => Boundary::Host(vec![Value::Image(input).to_host()]),
            false => Boundary::Device(self.network.prefix(&self.split, input)),
        })
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
