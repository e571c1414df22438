//! Heads, which are grafted on a backbone: pooling, hidden dense layers, dropout, and the output layer.
//!
//! A [`Head`] is a few more layers of the same [`Graph`]. It has no machinery of its own: the code that runs, freezes, saves or
//! prints a backbone does the same with its head.
//!
//! *Architecture invariant:* a head knows neither data nor loss. The loss checks whether it fits the output of a head.

use injerto_graph::{Activation, Graph, GraphError, Layer, Operator};
use serde::Serialize;

/// A classification head.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// What lies between the backbone and the output layer.
    pub body: Body,
    /// Number of outputs of the last layer.
    pub units: usize,
    /// Activation of the outputs.
    pub activation: Activation,
}

/// The layers between a backbone and the output layer. By default: average pooling alone.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Body {
    /// How `[height, width, channels]`, or `[tokens, channels]`, becomes `[features]`. If the backbone already ends in `[features]`,
    /// there is no pooling.
    pub pooling: Pooling,
    /// Whether a batch normalisation follows the pooling. It helps if the scales of the features differ widely.
    pub batch_norm: bool,
    /// Hidden layers, in order.
    pub dense: Vec<Hidden>,
    /// Fraction of the features that training drops before the output layer; 0 for no dropout.
    pub dropout: f64,
}

/// How a feature map becomes a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// Mean over height and width.
    #[default]
    Avg,
    /// Largest value over height and width.
    Max,
    /// All values in a row.
    Flatten,
}

impl Pooling {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Avg, Self::Max, Self::Flatten];

    /// What users call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avg => "avg",
            Self::Max => "max",
            Self::Flatten => "flatten",
        }
    }
}

/// A hidden dense layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hidden {
    /// Number of outputs.
    pub units: usize,
    /// Activation of the outputs.
    pub activation: Activation,
}

impl Hidden {
    /// A layer with rectified outputs, which is what a hidden layer has by default.
    pub fn relu(units: usize) -> Self {
        Self { units, activation: Activation::Relu }
    }
}

impl Head {
    /// Joins this head to `backbone`. The first layers of the returned network are those of the backbone, in their order.
    ///
    /// The layers get the names that Keras gives to unnamed layers (`global_average_pooling2d`, `dense`, `dropout`, `dense_1`, …). If the
    /// backbone already has such a name, the next free number is added.
    ///
    /// # Errors
    /// [`GraphError`] if there are no units, if the dropout is not a fraction, or if the output of the backbone cannot be pooled.
    pub fn graft(&self, backbone: &Graph) -> Result<Graph, GraphError> {
        let Self { body: Body { pooling, batch_norm, dense: hidden, dropout }, units, activation } = self;
        let mut names = Names { taken: backbone.nodes().iter().map(|node| node.name().to_owned()).collect() };
        let mut layers: Vec<Layer> = Vec::new();
        let mut from = backbone.nodes()[backbone.len() - 1].name().to_owned();
        let mut add = |base: &str, operator: Operator| {
            let name = names.fresh(base);
            let inputs = vec![std::mem::replace(&mut from, name.clone())];
            layers.push(Layer { name, operator, inputs });
        };
        let mut is_map = backbone.output_shape().image().is_some();
        // Tokens are a feature map of one column.
        if let [tokens, channels] = backbone.output_shape().0[..] {
            add("reshape", Operator::Reshape { target_shape: vec![tokens, 1, channels] });
            is_map = true;
        }
        if is_map {
            match pooling {
                Pooling::Avg => add("global_average_pooling2d", Operator::GlobalAveragePooling2D { keepdims: false }),
                Pooling::Max => add("global_max_pooling2d", Operator::GlobalMaxPooling2D { keepdims: false }),
                Pooling::Flatten => add("flatten", Operator::Flatten {}),
            }
        }
        if *batch_norm {
            let norm = Operator::BatchNormalization { epsilon: 1e-3, momentum: 0.99, center: true, scale: true };
            add("batch_normalization", norm);
        }
        let dense = |units, activation| Operator::Dense { units, use_bias: true, activation };
        for layer in hidden {
            add("dense", dense(layer.units, layer.activation));
        }
        if *dropout != 0.0 {
            add("dropout", Operator::Dropout { rate: *dropout, per_sample: false });
        }
        add("dense", dense(*units, *activation));
        backbone.graft(backbone.name(), layers)
    }
}

/// Makes names that are not taken, numbered as in Keras.
struct Names {
    taken: Vec<String>,
}

impl Names {
    fn fresh(&mut self, base: &str) -> String {
        let numbered = (0..).map(|n| if n == 0 { base.to_owned() } else { format!("{base}_{n}") });
        let name = numbered.into_iter().find(|name| !self.taken.contains(name)).expect("numbers do not run out");
        self.taken.push(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use injerto_graph::Builder;

    use super::*;

    fn backbone() -> Graph {
        let mut net = Builder::new("tiny");
        let x = net.input([8, 8, 3]);
        net.add("dense", Operator::Dense { units: 4, use_bias: true, activation: Activation::Relu }, &[x]);
        net.finish().expect("a graph")
    }

    fn check(head: Head, names: &[&str], parameters: usize) {
        let graph = head.graft(&backbone()).expect("fits");
        let grafted: Vec<&str> = graph.nodes()[2..].iter().map(|node| node.name()).collect();
        assert_eq!(grafted, names);
        assert_eq!(graph.parameter_count() - backbone().parameter_count(), parameters);
    }

    #[test]
    fn layers_are_named_as_keras_names_them() {
        let one = |body| Head { body, units: 1, activation: Activation::Sigmoid };
        check(one(Body::default()), &["global_average_pooling2d", "dense_1"], 5);
        let deep = Body { dense: vec![Hidden::relu(6)], dropout: 0.5, ..Body::default() };
        let deep = Head { units: 3, ..one(deep) };
        check(deep, &["global_average_pooling2d", "dense_1", "dropout", "dense_2"], 4 * 6 + 6 + 6 * 3 + 3);
        let normal = ["global_average_pooling2d", "batch_normalization", "dense_1"];
        check(one(Body { batch_norm: true, ..Body::default() }), &normal, 16 + 5);
        check(one(Body { pooling: Pooling::Flatten, ..Body::default() }), &["flatten", "dense_1"], 8 * 8 * 4 + 1);
    }

    #[test]
    fn tokens_are_pooled_as_the_places_of_an_image_are() {
        let mut net = Builder::new("tokens");
        let x = net.input([8, 8, 3]);
        net.add("tokens", Operator::Reshape { target_shape: vec![64, 3] }, &[x]);
        let backbone = net.finish().expect("a graph");
        let head = Head { body: Body::default(), units: 2, activation: Activation::Softmax };
        let graph = head.graft(&backbone).expect("fits");
        let names: Vec<&str> = graph.nodes()[2..].iter().map(|node| node.name()).collect();
        assert_eq!(names, ["reshape", "global_average_pooling2d", "dense"]);
        assert_eq!(graph.output_shape().0, [2]);
    }

    #[test]
    fn an_invalid_head_is_refused_and_the_layer_is_named() {
        let body = Body { pooling: Pooling::Max, dropout: 1.0, ..Body::default() };
        let head = Head { body, units: 2, activation: Activation::Softmax };
        let error = head.graft(&backbone()).expect_err("drops everything").to_string();
        assert!(error.contains("'dropout'") && error.contains("not 1"), "{error}");
        let error =
            Head { body: Body::default(), units: 0, ..head }.graft(&backbone()).expect_err("no units").to_string();
        assert!(error.contains("dense_1"), "{error}");
    }
}
