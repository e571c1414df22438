use std::borrow::Cow;
use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use injerto_backbones::network::{Network, ParameterId, to_input};
use injerto_graph::Preprocessing;
use injerto_kernels::inference::{Input, Program};

use crate::TrainError;

/// A whole network that only answers: compiled for the CPU with the project's kernels, or run by Burn's operators on another
/// device.
#[derive(Debug)]
pub struct Runner {
    network: Network,
    preprocessing: Preprocessing,
    program: Option<Program>,
}

impl Runner {
    /// With the network's weights of now.
    ///
    /// # Errors
    /// A network that the kernels cannot compile.
    pub fn new(network: Network, preprocessing: Preprocessing) -> Result<Self, TrainError> {
        let program = if *network.device() == Device::flex() {
            let layers: Vec<usize> = (0..network.graph().len()).collect();
            Some(compile(&network, &preprocessing, &layers, &layers[layers.len() - 1..])?)
        } else {
            None
        };
        Ok(Self { network, preprocessing, program })
    }

    /// What runs.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Raw outputs `[batch, units]` for RGB pixels `[batch, height, width, 3]` with values 0 to 255.
    ///
    /// # Panics
    /// If there are not as many pixels as `batch` images have.
    pub fn outputs(&self, pixels: &[f32], batch: usize) -> Tensor<2> {
        let device = self.network.device();
        match &self.program {
            Some(program) => {
                let values = program.run(pixels, batch).swap_remove(0);
                let units = values.len() / batch.max(1);
                Tensor::from_data(TensorData::new(values, [batch, units]), device)
            }
            None => {
                let shape = &self.network.graph().input_shape().0;
                let input = to_input(pixels, [batch, shape[0], shape[1]], &self.preprocessing, device);
                self.network.forward(input).into_features()
            }
        }
    }
}

/// Compiles `layers` of a network, whose input is pixels from 0 to 255, for the values of `outputs`.
pub(crate) fn compile(
    network: &Network,
    preprocessing: &Preprocessing,
    layers: &[usize],
    outputs: &[usize],
) -> Result<Program, TrainError> {
    let own: BTreeMap<ParameterId, Vec<f32>> =
        network.parameters_of(layers).into_iter().map(|(layer, place, values)| ((layer, place), values)).collect();
    let parameters = |layer, place| Cow::Borrowed(own[&(layer, place)].as_slice());
    Ok(Program::compile(network.graph(), layers, outputs, &parameters, &Input::from(preprocessing))?)
}
