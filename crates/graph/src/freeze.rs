use serde::{Deserialize, Serialize};

use crate::{Graph, GraphError};

/// A layer by position or by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LayerRef {
    /// Position in the graph, Keras's `base_model.layers[i]`.
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

/// Which layers of a backbone train, as a user says it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// None: the backbone is a feature extractor.
    #[default]
    None,
    /// Every layer.
    All,
    /// This layer and all behind it.
    FromLayer(LayerRef),
    /// Layers whose names match one of these patterns (`*` stands for anything).
    Patterns(Vec<String>),
    /// The last this many layers.
    Last(usize),
    /// The last part of the layers, 0.0 to 1.0.
    Fraction(f64),
}

/// Which layers train, resolved against one graph: plain data that can be printed, saved and applied again.
///
/// It says so of every layer, also of those without parameters. A layer that trains runs in training mode: its parameters
/// change, dropout drops. A layer that does not runs in inference also while the network is trained, which is Keras's
/// `training=False`: its parameters stay, and dropout and stochastic depth are the identity. So a frozen backbone never draws
/// random numbers, and the layers of a head ([`FreezePlan::extended`]) always are in training mode. A dropout layer that a
/// pattern does not match is frozen like any other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FreezePlan {
    trainable: Vec<bool>,
}

impl FreezePlan {
    /// Resolves what a user said.
    ///
    /// # Errors
    /// A layer that is not there, a pattern that matches nothing, a fraction that is none.
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

    /// The plan for a network of `layers` layers, of which those at these positions train.
    pub fn from_layers(layers: usize, trained: impl IntoIterator<Item = usize>) -> Self {
        let mut trainable = vec![false; layers];
        trained.into_iter().for_each(|at| trainable[at] = true);
        Self { trainable }
    }

    /// The plan for this plan's network with `layers` more behind it, which all train.
    pub fn extended(&self, layers: usize) -> Self {
        let mut trainable = self.trainable.clone();
        trainable.resize(trainable.len() + layers, true);
        Self { trainable }
    }

    /// Whether the layer at `index` trains.
    pub fn trains(&self, index: usize) -> bool {
        self.trainable.get(index).copied().unwrap_or(false)
    }

    /// Whether training draws random numbers in the layer at `index` of `graph`.
    pub fn draws(&self, graph: &Graph, index: usize) -> bool {
        self.trains(index) && graph.nodes()[index].operator().is_random()
    }

    /// Number of values that train, and of all others, in a graph that the plan was made for.
    pub fn counts(&self, graph: &Graph) -> (usize, usize) {
        let trainable = graph.nodes().iter().enumerate().filter(|(i, _)| self.trains(*i));
        let trainable = trainable.map(|(_, node)| node.trainable_count()).sum();
        (trainable, graph.parameter_count() - trainable)
    }
}

/// Whether `name` is matched by `pattern`, in which `*` stands for any text and `?` for one character.
pub fn matches_pattern(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where the last star stood and how much of the name it has taken so far.
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
