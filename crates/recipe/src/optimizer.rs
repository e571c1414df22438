use serde::{Deserialize, Serialize};

/// An optimiser as an experiment names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OptimizerConfig {
    /// The rule that turns a gradient into a step.
    #[serde(flatten)]
    pub rule: Rule,
    /// The limit of gradients, if there is one.
    #[serde(flatten)]
    pub clip: Option<Clip>,
    /// A step subtracts this share of each weight, times the learning rate; `None` means [`Rule::weight_decay`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// Parameters whose name (`LAYER/PARAMETER`) contains one of these patterns do not decay; `*` stands for any text. As in Keras,
    /// all parameters decay by default; timm and others exclude `["bias", "gamma", "beta"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_from_weight_decay: Vec<String>,
    /// If given, an exponential moving average of the weights is computed with this momentum. Epochs are validated and saved with the average,
    /// which replaces the weights at the end of the phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema_momentum: Option<f64>,
    /// Number of batches whose gradients are combined in one step (the mean over all of their images), at least 1. The last step of an
    /// epoch takes the remaining batches.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub gradient_accumulation_steps: usize,
}

fn one() -> usize {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_one(count: &usize) -> bool {
    *count == 1
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Rule::default().into()
    }
}

impl From<Rule> for OptimizerConfig {
    fn from(rule: Rule) -> Self {
        Self {
            rule,
            clip: None,
            weight_decay: None,
            exclude_from_weight_decay: Vec::new(),
            ema_momentum: None,
            gradient_accumulation_steps: 1,
        }
    }
}

impl OptimizerConfig {
    /// Adam with this learning rate, and Keras's defaults for all other options.
    pub fn adam(learning_rate: f64) -> Self {
        Rule::Adam(Adam { learning_rate, ..Adam::default() }).into()
    }

    /// The share of each weight that a step subtracts, times the learning rate.
    pub fn weight_decay(&self) -> f64 {
        self.weight_decay.or(self.rule.weight_decay()).unwrap_or(0.0)
    }
}

/// The rule by which an optimiser turns a gradient into a step. Its defaults are Keras's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum Rule {
    /// Adam (Kingma and Ba, 2015), with the epsilon of the paper's section 2 ("epsilon hat"), as Keras has it.
    Adam(Adam),
    /// Adam with decoupled weight decay (Loshchilov and Hutter, 2019).
    AdamW(Adam),
    /// Gradient descent with momentum.
    Sgd(Sgd),
    /// RMSprop, whose steps are divided by the root of a running mean of squared gradients.
    RmsProp(RmsProp),
}

impl Default for Rule {
    fn default() -> Self {
        Self::Adam(Adam::default())
    }
}

impl Rule {
    /// The learning rate, before a schedule or a layer's own multiplier.
    pub fn learning_rate(&self) -> f64 {
        match self {
            Self::Adam(Adam { learning_rate, .. })
            | Self::AdamW(Adam { learning_rate, .. })
            | Self::Sgd(Sgd { learning_rate, .. })
            | Self::RmsProp(RmsProp { learning_rate, .. }) => *learning_rate,
        }
    }

    /// The same rule with another learning rate.
    #[must_use]
    pub fn at(&self, rate: f64) -> Self {
        match *self {
            Self::Adam(own) => Self::Adam(Adam { learning_rate: rate, ..own }),
            Self::AdamW(own) => Self::AdamW(Adam { learning_rate: rate, ..own }),
            Self::Sgd(own) => Self::Sgd(Sgd { learning_rate: rate, ..own }),
            Self::RmsProp(own) => Self::RmsProp(RmsProp { learning_rate: rate, ..own }),
        }
    }

    /// The rule's default of the weight decay: Keras's 0.004 for AdamW, and none for the other rules.
    pub fn weight_decay(&self) -> Option<f64> {
        matches!(self, Self::AdamW(_)).then_some(4e-3)
    }
}

/// The options of Adam and AdamW.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Adam {
    /// Learning rate.
    pub learning_rate: f64,
    /// Decay of the first moment, the running mean of gradients.
    pub beta_1: f64,
    /// Decay of the second moment, the running mean of squared gradients.
    pub beta_2: f64,
    /// Number that is added to the root of the second moment.
    pub epsilon: f64,
}

impl Default for Adam {
    fn default() -> Self {
        Self { learning_rate: 1e-3, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7 }
    }
}

/// The options of gradient descent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sgd {
    /// Learning rate.
    pub learning_rate: f64,
    /// Share of the last step that is added to this one.
    pub momentum: f64,
    /// Whether to use Nesterov's momentum, which takes the gradient at the point after the momentum's step.
    pub nesterov: bool,
}

impl Default for Sgd {
    fn default() -> Self {
        Self { learning_rate: 1e-2, momentum: 0.0, nesterov: false }
    }
}

/// The options of RMSprop.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RmsProp {
    /// Learning rate.
    pub learning_rate: f64,
    /// Decay of the running mean of squared gradients.
    pub rho: f64,
    /// Share of the last step that is added to this one.
    pub momentum: f64,
    /// Number that is added to the running mean of squared gradients, under the root.
    pub epsilon: f64,
    /// Whether steps are divided by the root of the gradients' variance instead of their mean square.
    pub centered: bool,
}

impl Default for RmsProp {
    fn default() -> Self {
        Self { learning_rate: 1e-3, rho: 0.9, momentum: 0.0, epsilon: 1e-7, centered: false }
    }
}

/// The limit of gradients, as one of Keras's three keys.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Clip {
    /// The gradient of each parameter is scaled down to a norm of at most this.
    #[serde(rename = "clipnorm")]
    Norm(f64),
    /// All gradients are scaled down together, to a norm of at most this over all of them.
    #[serde(rename = "global_clipnorm")]
    GlobalNorm(f64),
    /// Each value of a gradient is clipped to an absolute value of at most this.
    #[serde(rename = "clipvalue")]
    Value(f64),
}

impl Clip {
    /// Its key in an experiment.
    pub fn name(self) -> &'static str {
        match self {
            Self::Norm(_) => "clipnorm",
            Self::GlobalNorm(_) => "global_clipnorm",
            Self::Value(_) => "clipvalue",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_keras_default() {
        let check = |text: &str, expected: OptimizerConfig, decay: f64| {
            let read: OptimizerConfig = serde_json::from_str(text).expect("an optimiser");
            assert_eq!(read, expected);
            assert_eq!(read.weight_decay(), decay, "{text}");
        };
        check(r#"{"name":"adam"}"#, OptimizerConfig::default(), 0.0);
        check(r#"{"name":"adam","learning_rate":0.5}"#, OptimizerConfig::adam(0.5), 0.0);
        check(r#"{"name":"adamw"}"#, Rule::AdamW(Adam::default()).into(), 0.004);
        check(r#"{"name":"sgd","momentum":0.9}"#, Rule::Sgd(Sgd { momentum: 0.9, ..Sgd::default() }).into(), 0.0);
        check(r#"{"name":"rmsprop"}"#, Rule::RmsProp(RmsProp::default()).into(), 0.0);
    }

    #[test]
    fn what_is_written_out_is_read_as_the_same_optimiser() {
        let text = r#"{"name":"adamw","learning_rate":0.01,"beta_1":0.9,"beta_2":0.999,"epsilon":1e-7,"clipnorm":1.0,"weight_decay":0.1,"exclude_from_weight_decay":["bias"],"ema_momentum":0.99,"gradient_accumulation_steps":4}"#;
        let config: OptimizerConfig = serde_json::from_str(text).expect("an optimiser");
        assert_eq!((config.clip, config.weight_decay()), (Some(Clip::Norm(1.0)), 0.1));
        assert_eq!(serde_json::to_string(&config).expect("plain data"), text);
    }
}
