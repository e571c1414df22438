use burn_tensor::{Device, FloatDType, Tensor, TensorData};

use super::to_host;

/// A tensor `[batch, …]` with samples of zeros after its own, so that there are `samples`; as it is if there are as many.
///
/// # Panics
/// If there are more.
pub fn filled<const D: usize>(tensor: Tensor<D>, samples: usize) -> Tensor<D> {
    let mut sides = tensor.dims();
    match samples.checked_sub(sides[0]).expect("there are not more samples") {
        0 => tensor,
        missing => {
            sides[0] = missing;
            let zeros = Tensor::zeros(sides, &tensor.device());
            Tensor::cat(vec![tensor, zeros], 0)
        }
    }
}

/// The output of a layer.
#[derive(Debug, Clone)]
pub enum Value {
    /// `[batch, channels, height, width]`.
    Image(Tensor<4>),
    /// `[batch, tokens, channels]`.
    Tokens(Tensor<3>),
    /// `[batch, features]`.
    Features(Tensor<2>),
}

impl Value {
    /// The value as features. An image or tokens are flattened as in Keras, `[batch, height * width * channels]`.
    pub fn into_features(self) -> Tensor<2> {
        match self {
            Self::Features(features) => features,
            Self::Tokens(tokens) => tokens.flatten(1, 2),
            Self::Image(image) => image.permute([0, 2, 3, 1]).flatten(1, 3),
        }
    }

    /// The values on the host in Keras's order, channels last: `[batch, height, width, channels]`, `[batch, tokens, channels]` or
    /// `[batch, features]`.
    pub fn to_host(&self) -> Vec<f32> {
        match self {
            Self::Image(image) => to_host(image.clone().permute([0, 2, 3, 1])),
            Self::Tokens(tokens) => to_host(tokens.clone()),
            Self::Features(features) => to_host(features.clone()),
        }
    }

    /// Makes a value from host values in the order of [`Value::to_host`]. `shape` is that of one sample, channels last.
    pub fn from_host(values: Vec<f32>, batch: usize, shape: &[usize], device: &Device) -> Self {
        match *shape {
            [h, w, c] => {
                let data = TensorData::new(values, [batch, h, w, c]);
                Self::Image(Tensor::<4>::from_data(data, device).permute([0, 3, 1, 2]))
            }
            [tokens, channels] => {
                Self::Tokens(Tensor::from_data(TensorData::new(values, [batch, tokens, channels]), device))
            }
            _ => {
                let features = values.len() / batch.max(1);
                Self::Features(Tensor::from_data(TensorData::new(values, [batch, features]), device))
            }
        }
    }

    /// The values, [`filled`] up.
    ///
    /// # Panics
    /// If there are more samples.
    #[must_use]
    pub fn filled(self, samples: usize) -> Self {
        self.each(|t| filled(t, samples), |t| filled(t, samples), |t| filled(t, samples))
    }

    /// Waits for the device, and returns its error if it has computed no values.
    #[expect(
        clippy::disallowed_methods,
        reason = "only the first batch waits, and a copy ends the process if there is an error"
    )]
    pub(super) fn wait(&self) -> Result<(), String> {
        let one = match self.clone().first(1) {
            Self::Image(image) => image.flatten::<1>(0, 3),
            Self::Tokens(tokens) => tokens.flatten(0, 2),
            Self::Features(features) => features.flatten(0, 1),
        };
        one.narrow(0, 0, 1).try_into_data().map(drop).map_err(|error| error.to_string())
    }

    /// The first `samples` samples.
    #[must_use]
    pub fn first(self, samples: usize) -> Self {
        self.each(|t| t.narrow(0, 0, samples), |t| t.narrow(0, 0, samples), |t| t.narrow(0, 0, samples))
    }

    /// The number format of the values.
    pub(super) fn format(&self) -> FloatDType {
        match self {
            Self::Image(image) => image.dtype(),
            Self::Tokens(tokens) => tokens.dtype(),
            Self::Features(features) => features.dtype(),
        }
        .into()
    }

    /// The same values in another number format.
    pub(super) fn cast(self, format: FloatDType) -> Self {
        self.each(|t| t.cast(format), |t| t.cast(format), |t| t.cast(format))
    }

    pub(super) fn image(self) -> Tensor<4> {
        match self {
            Self::Image(image) => image,
            _ => unreachable!("shape inference gives an image here"),
        }
    }

    pub(super) fn tokens(self) -> Tensor<3> {
        match self {
            Self::Tokens(tokens) => tokens,
            _ => unreachable!("shape inference gives tokens here"),
        }
    }

    /// Applies one of three functions, by the kind of the value.
    pub(super) fn each(
        self,
        image: impl Fn(Tensor<4>) -> Tensor<4>,
        tokens: impl Fn(Tensor<3>) -> Tensor<3>,
        features: impl Fn(Tensor<2>) -> Tensor<2>,
    ) -> Self {
        match self {
            Self::Image(tensor) => Self::Image(image(tensor)),
            Self::Tokens(tensor) => Self::Tokens(tokens(tensor)),
            Self::Features(tensor) => Self::Features(features(tensor)),
        }
    }
}
