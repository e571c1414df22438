use burn_tensor::{Device, FloatDType, Gradients, Tensor, TensorData};
use injerto_graph::Role;

use super::to_host;

/// A parameter on a device, in Burn's axes.
#[derive(Debug, Clone)]
pub enum ParameterTensor {
    /// Bias, gamma, beta, statistics: `[channels]`.
    Vector(Tensor<1>),
    /// Dense kernel: `[in, out]`; embedding: `[positions, channels]`.
    Matrix(Tensor<2>),
    /// Convolution kernel: `[out, in / groups, height, width]`.
    Kernel(Tensor<4>),
}

/// Applies one expression to the tensor of any rank, and wraps the result again.
macro_rules! map {
    ($value:expr, $tensor:ident => $body:expr) => {
        match $value {
            ParameterTensor::Vector($tensor) => ParameterTensor::Vector($body),
            ParameterTensor::Matrix($tensor) => ParameterTensor::Matrix($body),
            ParameterTensor::Kernel($tensor) => ParameterTensor::Kernel($body),
        }
    };
}

impl ParameterTensor {
    /// Converts host values from Keras's axes. `shape` and `data` have been checked to agree with the graph.
    pub(super) fn to_device(role: Role, shape: &[usize], data: &[f32], device: &Device) -> Self {
        // A scalar is a vector of one.
        let rows = if shape.is_empty() { vec![1] } else { shape.to_vec() };
        let rows = match role {
            Role::Embedding => {
                let channels = shape.last().copied().unwrap_or(1);
                vec![data.len() / channels.max(1), channels]
            }
            _ => rows,
        };
        let data = TensorData::new(data.to_vec(), rows);
        match role {
            Role::ConvolutionKernel => Self::Kernel(Tensor::<4>::from_data(data, device).permute([3, 2, 0, 1])),
            Role::DepthwiseKernel => {
                let [h, w, channels, multiplier] = [shape[0], shape[1], shape[2], shape[3]];
                let kernel = Tensor::<4>::from_data(data, device).permute([2, 3, 0, 1]);
                Self::Kernel(kernel.reshape([channels * multiplier, 1, h, w]))
            }
            Role::DenseKernel | Role::Embedding => Self::Matrix(Tensor::from_data(data, device)),
            _ => Self::Vector(Tensor::from_data(data, device)),
        }
    }

    /// Converts back to Keras's axes on the host.
    pub(super) fn to_host(&self, role: Role, shape: &[usize]) -> Vec<f32> {
        match (self, role) {
            (Self::Kernel(kernel), Role::DepthwiseKernel) => {
                let [h, w, channels, multiplier] = [shape[0], shape[1], shape[2], shape[3]];
                to_host(kernel.clone().reshape([channels, multiplier, h, w]).permute([2, 3, 0, 1]))
            }
            (Self::Kernel(kernel), _) => to_host(kernel.clone().permute([2, 3, 1, 0])),
            (Self::Matrix(matrix), _) => to_host(matrix.clone()),
            (Self::Vector(vector), _) => to_host(vector.clone()),
        }
    }

    /// All values in one row, in Burn's order, for element-wise arithmetic such as that of an optimiser.
    pub fn flat(&self) -> Tensor<1> {
        match self {
            Self::Vector(tensor) => tensor.clone(),
            Self::Matrix(tensor) => tensor.clone().flatten(0, 1),
            Self::Kernel(tensor) => tensor.clone().flatten(0, 3),
        }
    }

    /// A tensor of the same shape with the values of this row.
    #[must_use]
    pub fn with_flat(&self, row: Tensor<1>) -> Self {
        match self {
            Self::Vector(_) => Self::Vector(row),
            Self::Matrix(tensor) => Self::Matrix(row.reshape(tensor.dims())),
            Self::Kernel(tensor) => Self::Kernel(row.reshape(tensor.dims())),
        }
    }

    /// Sides of the tensor, in Burn's order.
    pub fn dims(&self) -> Vec<usize> {
        match self {
            Self::Vector(tensor) => tensor.dims().to_vec(),
            Self::Matrix(tensor) => tensor.dims().to_vec(),
            Self::Kernel(tensor) => tensor.dims().to_vec(),
        }
    }

    /// Makes the tensor a leaf of a new autodiff graph.
    pub(super) fn require_grad(self) -> Self {
        map!(self, tensor => tensor.autodiff().require_grad())
    }

    /// Takes the gradient of this leaf out of the result of a backward pass; `None` if no gradient reached it.
    pub fn gradient(&self, gradients: &mut Gradients) -> Option<Self> {
        match self {
            Self::Vector(tensor) => tensor.grad_remove(gradients).map(Self::Vector),
            Self::Matrix(tensor) => tensor.grad_remove(gradients).map(Self::Matrix),
            Self::Kernel(tensor) => tensor.grad_remove(gradients).map(Self::Kernel),
        }
    }

    /// Detaches the tensor from its autodiff graph.
    pub(super) fn inner(self) -> Self {
        map!(self, tensor => tensor.inner())
    }

    /// The same values in another number format.
    pub(super) fn cast(self, format: FloatDType) -> Self {
        map!(self, tensor => tensor.cast(format))
    }

    /// The vector inside.
    ///
    /// # Panics
    /// If it is not a vector, which shape inference has ruled out.
    pub(super) fn vector(&self) -> Tensor<1> {
        match self {
            Self::Vector(tensor) => tensor.clone(),
            _ => unreachable!("shape inference gives vectors here"),
        }
    }

    pub(super) fn matrix(&self) -> Tensor<2> {
        match self {
            Self::Matrix(tensor) => tensor.clone(),
            _ => unreachable!("shape inference gives a matrix here"),
        }
    }

    pub(super) fn kernel(&self) -> Tensor<4> {
        match self {
            Self::Kernel(tensor) => tensor.clone(),
            _ => unreachable!("shape inference gives a kernel here"),
        }
    }
}
