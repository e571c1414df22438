use injerto_files::{memory, printable};
use injerto_graph::{Graph, Role};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use super::{WeightError, Weights, names};

impl Weights {
    /// Fresh weights with Keras's defaults: Glorot uniform kernels (Glorot and Bengio, 2010: uniform within
    /// `±sqrt(6 / (fan_in + fan_out))`), zero biases and betas, gammas of one, statistics of mean 0 and variance 1; and embeddings that are
    /// uniform within ±0.05, as those of Keras's `Embedding`.
    ///
    /// Every tensor is drawn from a separate random stream, which `seed` and the tensor's name decide. Adding or removing a layer therefore
    /// does not change the others.
    ///
    /// # Errors
    /// [`WeightError::NoRoom`] if there is too little memory.
    pub fn initialise(graph: &Graph, seed: u64) -> Result<Self, WeightError> {
        Self::initialise_from(graph, 0, seed)
    }

    /// Like [`Weights::initialise`], for the layers from position `first` on only.
    ///
    /// # Errors
    /// Those of [`Weights::initialise`].
    pub fn initialise_from(graph: &Graph, first: usize, seed: u64) -> Result<Self, WeightError> {
        let nodes = &graph.nodes()[first..];
        let values = nodes.iter().flat_map(|node| &node.parameters).map(injerto_graph::Parameter::count);
        let bytes = values.fold(0, usize::saturating_add).saturating_mul(size_of::<f32>());
        memory::ask(bytes as u64, &format!("fresh weights of '{}'", printable(graph.name())))?;
        let mut weights = Self::default();
        for (name, (role, shape)) in names(nodes) {
            let count = shape.iter().product();
            let data = match role {
                Role::ConvolutionKernel | Role::DepthwiseKernel | Role::DenseKernel => {
                    let digest = Sha256::new_with_prefix(seed.to_le_bytes()).chain_update(&name).finalize();
                    let mut random = ChaCha8Rng::from_seed(digest.into());
                    // Keras takes the last two axes as in and out for every kernel (for a depthwise kernel they are channels and
                    // multiplier).
                    let (outer, inner) = shape.split_at(shape.len() - 2);
                    let field: usize = outer.iter().product();
                    let limit = (6.0 / (field * (inner[0] + inner[1])) as f64).sqrt();
                    let mut uniform = || f64::from(random.next_u32()) / f64::from(u32::MAX);
                    (0..count).map(|_| ((2.0 * uniform() - 1.0) * limit) as f32).collect()
                }
                Role::Embedding => {
                    let digest = Sha256::new_with_prefix(seed.to_le_bytes()).chain_update(&name).finalize();
                    let mut random = ChaCha8Rng::from_seed(digest.into());
                    let mut uniform = || f64::from(random.next_u32()) / f64::from(u32::MAX);
                    (0..count).map(|_| ((2.0 * uniform() - 1.0) * 0.05) as f32).collect()
                }
                Role::Gamma | Role::MovingVariance | Role::Variance => vec![1.0; count],
                Role::Bias | Role::Beta | Role::MovingMean | Role::Mean | Role::Count => vec![0.0; count],
            };
            weights.insert(name, shape, data);
        }
        Ok(weights)
    }
}

#[cfg(test)]
mod tests {
    use injerto_graph::{Activation, Builder, Operator};

    use super::*;

    #[test]
    fn kernels_fill_glorots_range_and_depend_only_on_name_and_seed() {
        let graph = |units: &[usize]| {
            let mut net = Builder::new("net");
            let mut x = net.input([1, 1, 200]);
            for (at, &units) in units.iter().enumerate() {
                let dense = Operator::Dense { units, use_bias: true, activation: Activation::Linear };
                x = net.add(format!("dense_{at}"), dense, &[x]);
            }
            net.finish().expect("a graph")
        };
        let fresh = |graph: &Graph, seed| Weights::initialise(graph, seed).expect("a little memory");
        let small = fresh(&graph(&[100]), 1);
        let large = fresh(&graph(&[100, 3]), 1);
        let kernel = small.get("dense_0/kernel").expect("there");
        assert_eq!(Some(kernel), large.get("dense_0/kernel"));
        assert_ne!(Some(kernel), fresh(&graph(&[100]), 2).get("dense_0/kernel"));
        let limit = (6.0_f32 / 300.0).sqrt();
        let (low, high) = kernel.data.iter().fold((0.0_f32, 0.0_f32), |(a, b), &x| (a.min(x), b.max(x)));
        assert!(low >= -limit && low < -0.99 * limit && high <= limit && high > 0.99 * limit, "{low} {high} {limit}");
        let mean = kernel.data.iter().sum::<f32>() / kernel.data.len() as f32;
        assert!(mean.abs() < 0.01 * limit, "{mean}");
        assert_eq!(small.get("dense_0/bias").expect("there").data, vec![0.0; 100]);
    }
}
