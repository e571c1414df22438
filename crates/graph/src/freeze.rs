use serde::{Deserialize, Serialize};

use crate::{Graph, GraphError};

/// A reference to a layer, by position or by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LayerRef {
    /// Position in the graph, as in Keras's `base_model.layers[i]`.
    Index(usize),
    /// Name.
    Name(String),
}

impl LayerRef {
    /// Position of the layer in `graph`.
    ///
    /// # Errors
    /// [`GraphError::NoSuchLayer`], [`GraphError::IndexOutOfRange`].
    pub fn resolve(&self, graph: &Graph) -> Result<usize, GraphError> {
        match self {
            Self::Index(at) if *at < graph.len() => Ok(*at),
            Self::Index(at) => {
                Err(GraphError::IndexOutOfRange { at: *at, graph: graph.name().to_owned(), layers: graph.len() })
            }
            Self::Name(name) => graph.position(name),
        }
    }
}

/// The layers of a backbone that train, as a user says it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// No layer; the backbone is a feature extractor.
    #[default]
    None,
    /// Every layer.
    All,
    /// This layer and all layers after it.
    FromLayer(LayerRef),
    /// Layers whose names match one of these patterns (see [`matches_pattern`]).
    Patterns(Vec<String>),
    /// This number of layers at the end.
    Last(usize),
    /// This fraction of the layers, 0.0 to 1.0, at the end.
    Fraction(f64),
}

/// The layers of one graph that train: plain data that can be printed, saved and applied again.
///
/// The plan says of every layer whether it trains, also of layers without parameters. A layer that trains runs in training mode: its
/// parameters change, and dropout drops values. A layer that does not train runs in inference mode, also while the network is
/// trained, as in Keras with `training=False`: its parameters stay, and dropout and stochastic depth are the identity. Therefore a
/// frozen backbone never draws random numbers, and the layers of a head ([`FreezePlan::extended`]) always run in training mode. A
/// dropout layer that a pattern does not match is frozen like any other layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FreezePlan {
    trainable: Vec<bool>,
}

impl FreezePlan {
    /// Applies a user's selection to `graph`.
    ///
    /// # Errors
    /// A layer that does not exist, a pattern that matches no layer, or a fraction outside 0 to 1.
    pub fn new(graph: &Graph, selection: &Selection) -> Result<Self, GraphError> {
        let n = graph.len();
        let from = |at: usize| (0..n).map(|i| i >= at).collect::<Vec<bool>>();
        let trainable = match selection {
            Selection::None => from(n),
            Selection::All => from(0),
            Selection::FromLayer(layer) => from(layer.resolve(graph)?),
            Selection::Last(count) => from(n.saturating_sub(*count)),
            Selection::Fraction(fraction) => {
                if !(0.0..=1.0).contains(fraction) {
                    return Err(GraphError::Fraction { fraction: *fraction });
                }
                from(n - (n as f64 * fraction).round() as usize)
            }
            Selection::Patterns(patterns) => {
                let mut trainable = from(n);
                for pattern in patterns {
                    let mut found = false;
                    for (node, trains) in graph.nodes().iter().zip(&mut trainable) {
                        if matches_pattern(pattern, node.name()) {
                            (found, *trains) = (true, true);
                        }
                    }
                    if !found {
                        let (pattern, graph) = (pattern.clone(), graph.name().to_owned());
                        return Err(GraphError::NoMatch { pattern, graph });
                    }
                }
                trainable
            }
        };
        Ok(Self { trainable })
    }

    /// The plan for a network of `layers` layers, of which the layers at the positions `trained` train.
    pub fn from_layers(layers: usize, trained: impl IntoIterator<Item = usize>) -> Self {
        let mut trainable = vec![false; layers];
        trained.into_iter().for_each(|at| trainable[at] = true);
        Self { trainable }
    }

    /// The plan for the same network with `layers` further layers at the end, which all train.
    pub fn extended(&self, layers: usize) -> Self {
        let mut trainable = self.trainable.clone();
        trainable.resize(trainable.len() + layers, true);
        Self { trainable }
    }

    /// Whether the layer at `index` trains.
    pub fn trains(&self, index: usize) -> bool {
        self.trainable.get(index).copied().unwrap_or(false)
    }

    /// Whether the layer at `index` of `graph` draws random numbers in training.
    pub fn draws(&self, graph: &Graph, index: usize) -> bool {
        self.trains(index) && graph.nodes()[index].operator().is_random()
    }

    /// Number of parameter values that train and of those that do not, in the graph for which the plan was made.
    pub fn counts(&self, graph: &Graph) -> (usize, usize) {
        let trainable = graph.nodes().iter().enumerate().filter(|(i, _)| self.trains(*i));
        let trainable = trainable.map(|(_, node)| node.trainable_count()).sum();
        (trainable, graph.parameter_count() - trainable)
    }
}

/// Whether `pattern` matches `name`. In a pattern, `*` stands for any text and `?` for one character.
pub fn matches_pattern(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Position of the last star in the pattern, and position in the name up to which the star has matched so far.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == '?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((at, taken)) = star else {
                    return false;
                };
                star = Some((at, taken + 1));
                p = at + 1;
                n = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}
