//! Values in double precision, the batch first and channels last.

/// A tensor of a batch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tensor {
    /// How many samples.
    pub(crate) batch: usize,
    /// Shape of one sample.
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f64>,
}

impl Tensor {
    pub(crate) fn new(batch: usize, shape: &[usize], values: Vec<f64>) -> Self {
        assert_eq!(values.len(), batch * shape.iter().product::<usize>(), "{batch} samples of {shape:?}");
        Self { batch, shape: shape.to_vec(), values }
    }

    pub(crate) fn zeros(batch: usize, shape: &[usize]) -> Self {
        Self::new(batch, shape, vec![0.0; batch * shape.iter().product::<usize>()])
    }

    /// Length of the last axis.
    pub(crate) fn channels(&self) -> usize {
        *self.shape.last().expect("shape inference gives at least one axis")
    }

    /// How many values a sample has.
    pub(crate) fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Height, width and channels.
    pub(crate) fn image(&self) -> [usize; 3] {
        self.shape[..].try_into().expect("shape inference has seen an image")
    }

    /// The same values in another shape.
    pub(crate) fn shaped(&self, shape: &[usize]) -> Self {
        Self::new(self.batch, shape, self.values.clone())
    }

    /// `f(channel, value)` of each value.
    pub(crate) fn map(&self, f: impl Fn(usize, f64) -> f64) -> Self {
        let channels = self.channels();
        let values = self.values.iter().enumerate().map(|(at, &x)| f(at % channels, x)).collect();
        Self::new(self.batch, &self.shape, values)
    }

    /// `f(value, other's value)` of each pair.
    pub(crate) fn with(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        assert_eq!(self.shape, other.shape);
        let values = self.values.iter().zip(&other.values).map(|(&a, &b)| f(a, b)).collect();
        Self::new(self.batch, &self.shape, values)
    }

    /// Sum of `f(value, other's value)` over all but the last axis.
    pub(crate) fn sum_by_channel(&self, other: &Self, f: impl Fn(usize, f64, f64) -> f64) -> Vec<f64> {
        let channels = self.channels();
        let mut sums = vec![0.0; channels];
        for (at, (&a, &b)) in self.values.iter().zip(&other.values).enumerate() {
            sums[at % channels] += f(at % channels, a, b);
        }
        sums
    }
}
