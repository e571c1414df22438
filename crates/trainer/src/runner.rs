use std::borrow::Cow;
use std::collections::BTreeMap;

use burn_tensor::FloatDType;
use injerto_backbones::network::{Network, filled, to_input};
use injerto_graph::{ParameterId, Preprocessing};
use injerto_kernels::inference::{Arithmetic, Input, Program};

use crate::TrainError;
use crate::filling::Filling;

/// What computes a network.
#[derive(Debug)]
enum Computed {
    /// The project's kernels.
    Kernels { program: Program, arithmetic: Arithmetic },
    /// Burn's operators.
    Operators { network: Network, filling: Filling },
}

/// A network for inference only. It is compiled for the CPU with the project's kernels, or run by Burn's operators on any device.
#[derive(Debug)]
pub struct Runner {
    network: Network,
    preprocessing: Preprocessing,
    wanted: Vec<usize>,
    computed: Computed,
    /// Height and width of the input images.
    image_size: [usize; 2],
}

impl Runner {
    /// A runner with the present weights of the network; with `kernels` for a network on the CPU.
    ///
    /// # Errors
    /// The network does not take RGB images, the kernels cannot compile it, or the preprocessing would lose the image.
    pub fn new(network: Network, preprocessing: Preprocessing, kernels: bool) -> Result<Self, TrainError> {
        let last = network.graph().len() - 1;
        Self::at(network, preprocessing, vec![last], kernels)
    }

    /// A runner that returns the outputs of the layers `wanted` (positions in the graph) instead of the last layer.
    ///
    /// # Errors
    /// Those of [`Runner::new`].
    pub fn at(
        network: Network,
        preprocessing: Preprocessing,
        wanted: Vec<usize>,
        kernels: bool,
    ) -> Result<Self, TrainError> {
        let image_size = network.graph().image_size()?;
        preprocessing.check()?;
        let layers = layers_up_to(&wanted);
        let arithmetic = Arithmetic::f32();
        let computed = match kernels {
            true => {
                let program = compile(arithmetic, &network, &preprocessing, &layers, &wanted)?;
                Computed::Kernels { program, arithmetic }
            }
            false => Computed::Operators {
                filling: Filling::on(network.device()),
                network: network.for_inference(&layers[1..], &wanted, FloatDType::F32),
            },
        };
        Ok(Self { network, preprocessing, wanted, computed, image_size })
    }

    /// Compiles the network once more if it is compiled for other arithmetic, which is `f32` at first. On Burn's operators nothing changes.
    ///
    /// # Errors
    /// The kernels cannot compile it.
    pub fn set_arithmetic(&mut self, arithmetic: Arithmetic) -> Result<(), TrainError> {
        let Self { network, preprocessing, wanted, computed, .. } = self;
        if let Computed::Kernels { program, arithmetic: own } = computed
            && *own != arithmetic
        {
            *program = compile(arithmetic, network, preprocessing, &layers_up_to(wanted), wanted)?;
            *own = arithmetic;
        }
        Ok(())
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Whether it is compiled with the project's kernels.
    pub fn is_compiled(&self) -> bool {
        matches!(self.computed, Computed::Kernels { .. })
    }

    /// Height and width of the input images.
    pub fn image_size(&self) -> [usize; 2] {
        self.image_size
    }

    /// Outputs of each wanted layer, channels last, for RGB pixels `[batch, height, width, 3]` with values from 0 to 255.
    ///
    /// # Errors
    /// There is not enough memory for the batch.
    ///
    /// # Panics
    /// If the number of pixels is not that of `batch` images.
    pub fn values(&self, pixels: &[f32], batch: usize) -> Result<Vec<Vec<f32>>, TrainError> {
        let (network, size) = match &self.computed {
            Computed::Kernels { program, .. } => return Ok(program.run(pixels, batch)?),
            Computed::Operators { network, filling } => (network, filling.size(batch)),
        };
        self.network.check_room(&layers_up_to(&self.wanted), &self.wanted, size, false)?;
        let [height, width] = self.image_size;
        let input = to_input(pixels, [batch, height, width], &self.preprocessing, self.network.device());
        let outputs = network.outputs(filled(input, size), &self.wanted);
        Ok(outputs.into_iter().map(|output| output.first(batch).to_host()).collect())
    }
}

/// The layers that are computed for the outputs of `wanted`.
fn layers_up_to(wanted: &[usize]) -> Vec<usize> {
    (0..=wanted.iter().copied().max().unwrap_or(0)).collect()
}

/// Compiles `layers` of a network for the values of `outputs`. The input of the program is pixels from 0 to 255.
pub(crate) fn compile(
    arithmetic: Arithmetic,
    network: &Network,
    preprocessing: &Preprocessing,
    layers: &[usize],
    outputs: &[usize],
) -> Result<Program, TrainError> {
    let own: BTreeMap<ParameterId, Vec<f32>> = network.parameters_of(layers).into_iter().collect();
    let parameters = |layer, place| Cow::Borrowed(own[&ParameterId::new(layer, place)].as_slice());
    let input = Input::from(preprocessing);
    Ok(Program::compile_with(arithmetic, network.graph(), layers, outputs, &parameters, &input)?)
}
