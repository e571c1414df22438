use std::borrow::Cow;
use std::collections::BTreeMap;

use burn_tensor::{Tensor, TensorData};
use injerto_backbones::network::{Network, Value, to_input};
use injerto_graph::{ParameterId, Preprocessing};
use injerto_kernels::inference::{Input, Program};

use crate::TrainError;

/// A network that only answers: compiled for the CPU with the project's kernels, or run by Burn's operators on any device.
#[derive(Debug)]
pub struct Runner {
    network: Network,
    preprocessing: Preprocessing,
    wanted: Vec<usize>,
    program: Option<Program>,
    /// Height and width of the images that it takes.
    image_size: [usize; 2],
}

impl Runner {
    /// With the network's weights of now; `kernels` for a network on the CPU.
    ///
    /// # Errors
    /// A network that does not take RGB images, or that the kernels cannot compile; preprocessing that is no use.
    pub fn new(network: Network, preprocessing: Preprocessing, kernels: bool) -> Result<Self, TrainError> {
        let last = network.graph().len() - 1;
        Self::at(network, preprocessing, vec![last], kernels)
    }

    /// One that says what the layers `wanted` (positions in the graph) put out, instead of the last layer.
    ///
    /// # Errors
    /// As [`Runner::new`]'s.
    pub fn at(
        network: Network,
        preprocessing: Preprocessing,
        wanted: Vec<usize>,
        kernels: bool,
    ) -> Result<Self, TrainError> {
        let image_size = network.graph().image_size()?;
        preprocessing.check()?;
        let program = if kernels {
            let layers: Vec<usize> = (0..=wanted.iter().copied().max().unwrap_or(0)).collect();
            Some(compile(&network, &preprocessing, &layers, &wanted)?)
        } else {
            None
        };
        Ok(Self { network, preprocessing, wanted, program, image_size })
    }

    /// What runs.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Height and width of the images that it takes.
    pub fn image_size(&self) -> [usize; 2] {
        self.image_size
    }

    /// What each wanted layer puts out for RGB pixels `[batch, height, width, 3]` with values 0 to 255: channels last.
    ///
    /// # Errors
    /// A batch that there is no memory for.
    ///
    /// # Panics
    /// If there are not as many pixels as `batch` images have.
    pub fn values(&self, pixels: &[f32], batch: usize) -> Result<Vec<Vec<f32>>, TrainError> {
        if let Some(program) = &self.program {
            return Ok(program.run(pixels, batch)?);
        }
        let [height, width] = self.image_size;
        let input = to_input(pixels, [batch, height, width], &self.preprocessing, self.network.device());
        Ok(self.network.outputs(input, &self.wanted).iter().map(Value::to_host).collect())
    }

    /// What the first wanted layer puts out, `[batch, units]`.
    ///
    /// # Errors
    /// As [`Runner::values`]'s.
    ///
    /// # Panics
    /// As [`Runner::values`]'s.
    pub fn outputs(&self, pixels: &[f32], batch: usize) -> Result<Tensor<2>, TrainError> {
        let values = self.values(pixels, batch)?.swap_remove(0);
        let units = values.len() / batch.max(1);
        Ok(Tensor::from_data(TensorData::new(values, [batch, units]), self.network.device()))
    }
}

/// Compiles `layers` of a network, whose input is pixels from 0 to 255, for the values of `outputs`.
pub(crate) fn compile(
    network: &Network,
    preprocessing: &Preprocessing,
    layers: &[usize],
    outputs: &[usize],
) -> Result<Program, TrainError> {
    let own: BTreeMap<ParameterId, Vec<f32>> = network.parameters_of(layers).into_iter().collect();
    let parameters = |layer, place| Cow::Borrowed(own[&ParameterId::new(layer, place)].as_slice());
    Ok(Program::compile(network.graph(), layers, outputs, &parameters, &Input::from(preprocessing))?)
}
