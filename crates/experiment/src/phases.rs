//! The phases of an experiment, resolved to layers: which layers train, in which stage, and at which learning rate.

use injerto_config::{ClassWeights, GradualConfig, LearningRates, PhaseConfig};
use injerto_graph::{FreezePlan, Graph, GraphError, matches_pattern};
use injerto_losses::balanced;
use injerto_recipe::{Callbacks, OptimizerConfig, Swa};
use injerto_trainer::Phase;

use crate::ExperimentError;

/// The phases of an experiment for a network of `layers` layers. The first of these are the layers of `backbone`; the others
/// are the head, which always trains.
pub(crate) fn phases(
    configs: &[PhaseConfig],
    callbacks: &Callbacks,
    backbone: &Graph,
    layers: usize,
) -> Result<Vec<Phase>, GraphError> {
    let mut phases = Vec::new();
    for config in configs {
        let plan = FreezePlan::new(backbone, &config.unfreeze)?;
        let phase = Phase {
            name: config.name.clone(),
            epochs: config.epochs,
            plan: plan.extended(layers - backbone.len()),
            optimizer: config.optimizer.clone(),
            batch_norm: config.batch_norm,
            schedule: config.schedule.clone(),
            callbacks: callbacks.clone(),
            multipliers: multipliers(&config.learning_rates, backbone, layers)?,
            swa: config.swa,
        };
        match &config.gradual {
            Some(gradual) => phases.extend(stages(&phase, gradual, &plan, backbone, layers)),
            None => phases.push(phase),
        }
    }
    Ok(phases)
}

/// Multiplier of each layer's learning rate; empty if the experiment sets none.
fn multipliers(rates: &LearningRates, backbone: &Graph, layers: usize) -> Result<Vec<f64>, GraphError> {
    if rates.is_empty() {
        return Ok(Vec::new());
    }
    let mut multipliers = vec![1.0; layers];
    for (pattern, multiplier) in &rates.0 {
        if pattern == LearningRates::HEAD {
            multipliers[backbone.len()..].fill(*multiplier);
            continue;
        }
        let named = |at: &usize| matches_pattern(pattern, backbone.nodes()[*at].name());
        let matched: Vec<usize> = (0..backbone.len()).filter(named).collect();
        if matched.is_empty() {
            return Err(GraphError::NoMatch { pattern: pattern.clone(), graph: backbone.name().to_owned() });
        }
        matched.into_iter().for_each(|at| multipliers[at] = *multiplier);
    }
    Ok(multipliers)
}

/// Divides `phase` into stages. The first stage trains the last group of the layers of `plan`; each further stage adds the
/// group before.
fn stages(phase: &Phase, gradual: &GradualConfig, plan: &FreezePlan, backbone: &Graph, layers: usize) -> Vec<Phase> {
    let trains: Vec<usize> = (0..backbone.len()).filter(|&at| plan.trains(at)).collect();
    let weighted: Vec<usize> =
        trains.iter().copied().filter(|&at| backbone.nodes()[at].trainable_count() > 0).collect();
    let stages = gradual.stages;
    let stage = |number: usize| {
        // The last stage trains all layers of the plan. An earlier stage begins at its share of the layers with weights.
        let begin = weighted.len() - (weighted.len() * number).div_ceil(stages);
        let first = if number == stages { Some(0) } else { weighted.get(begin).copied() };
        let trained = trains.iter().copied().filter(|&at| first.is_some_and(|first| at >= first));
        let before = (stages - 1) * gradual.epochs_per_stage;
        let rate = phase.optimizer.rule.learning_rate() * gradual.factor.powi(number as i32 - 1);
        let epochs = if number == stages { phase.epochs - before } else { gradual.epochs_per_stage };
        Phase {
            name: format!("{} {number}/{stages}", phase.name),
            epochs,
            plan: FreezePlan::from_layers(backbone.len(), trained).extended(layers - backbone.len()),
            optimizer: OptimizerConfig { rule: phase.optimizer.rule.at(rate), ..phase.optimizer.clone() },
            // Weights are averaged while the same layers train: in the last stage.
            swa: phase
                .swa
                .filter(|_| number == stages)
                .map(|swa| Swa { start_epoch: swa.start_epoch.saturating_sub(before).max(1) }),
            ..phase.clone()
        }
    };
    (1..=stages).map(stage).collect()
}

/// Weight of each class, in the order of `classes`. `counts` are the training images per class.
///
/// # Errors
/// [`ExperimentError::NoSuchClass`] if the experiment weights a class that does not exist.
pub(crate) fn class_weights(
    asked: &ClassWeights,
    classes: &[String],
    counts: &[usize],
) -> Result<Vec<f32>, ExperimentError> {
    let weights: Vec<f64> = match asked {
        // A class without training images is weighted as if it had one. A weight of 0 would mean that the class does not
        // matter.
        ClassWeights::Balanced => {
            let most = counts.iter().sum::<usize>() as f64 / counts.len().max(1) as f64;
            balanced(counts)
                .into_iter()
                .zip(counts)
                .map(|(weight, &count)| if count == 0 { most } else { weight })
                .collect()
        }
        ClassWeights::Table(weights) => {
            if let Some(class) = weights.keys().find(|class| !classes.contains(class)) {
                return Err(ExperimentError::NoSuchClass { class: class.clone(), classes: classes.to_vec() });
            }
            classes.iter().map(|class| weights.get(class).copied().unwrap_or(1.0)).collect()
        }
    };
    Ok(weights.into_iter().map(|weight| weight as f32).collect())
}

#[cfg(test)]
mod tests {
    use injerto_graph::{Activation, Builder, Operator, Selection};
    use injerto_recipe::{BatchNorm, Schedule};

    use super::*;

    /// Five dense layers, `dense_0` at 2 to `dense_4` at 10, with an activation after each.
    fn backbone() -> Graph {
        let mut net = Builder::new("tiny");
        let input = net.input([2, 2, 1]);
        let mut x = net.add("flatten", Operator::Flatten {}, &[input]);
        for at in 0..5 {
            let dense = Operator::Dense { units: 4, use_bias: true, activation: Activation::Linear };
            x = net.add(format!("dense_{at}"), dense, &[x]);
            x = net.add(format!("relu_{at}"), Operator::Activation { activation: Activation::Relu }, &[x]);
        }
        net.finish().expect("a graph")
    }

    fn config(unfreeze: Selection) -> PhaseConfig {
        PhaseConfig {
            name: "fine".to_owned(),
            epochs: 7,
            unfreeze,
            batch_norm: BatchNorm::Frozen,
            optimizer: OptimizerConfig::adam(1e-2),
            schedule: Schedule::default(),
            learning_rates: LearningRates::default(),
            swa: None,
            gradual: None,
        }
    }

    fn trained(phase: &Phase, layers: usize) -> Vec<usize> {
        (0..layers).filter(|&at| phase.plan.trains(at)).collect()
    }

    #[test]
    fn stages_unfreeze_from_the_last_layer_to_what_the_phase_asks_for() {
        let (graph, layers) = (backbone(), 14);
        let gradual = Some(GradualConfig { stages: 3, epochs_per_stage: 2, factor: 0.5 });
        let swa = Some(Swa { start_epoch: 6 });
        let config = PhaseConfig { gradual, swa, ..config(Selection::FromLayer(injerto_graph::LayerRef::Index(4))) };
        let phases = phases(&[config], &Callbacks::default(), &graph, layers).expect("phases");
        let names: Vec<&str> = phases.iter().map(|phase| phase.name.as_str()).collect();
        assert_eq!(names, ["fine 1/3", "fine 2/3", "fine 3/3"]);
        assert_eq!(phases.iter().map(|phase| phase.epochs).collect::<Vec<_>>(), [2, 2, 3]);
        let rates: Vec<f64> = phases.iter().map(|phase| phase.optimizer.rule.learning_rate()).collect();
        assert_eq!(rates, [1e-2, 5e-3, 2.5e-3]);
        // The sixth epoch is the second of the last stage.
        assert_eq!([0, 1, 2].map(|stage| phases[stage].swa.map(|swa| swa.start_epoch)), [None, None, Some(2)]);
        // Four dense layers are unfrozen in the end, at 4, 6, 8 and 10: two of them first, then three.
        assert_eq!(trained(&phases[0], layers), (8..14).collect::<Vec<_>>());
        assert_eq!(trained(&phases[1], layers), (6..14).collect::<Vec<_>>());
        assert_eq!(trained(&phases[2], layers), (4..14).collect::<Vec<_>>());
    }

    #[test]
    fn a_layer_whose_name_looks_like_a_pattern_trains_alone() {
        let mut net = Builder::new("stars");
        let input = net.input([2, 2, 1]);
        let input = net.add("flatten", Operator::Flatten {}, &[input]);
        let dense = || Operator::Dense { units: 4, use_bias: true, activation: Activation::Linear };
        let x = ["dense_1", "dense_2", "dense_*"].into_iter().fold(input, |x, name| net.add(name, dense(), &[x]));
        net.add("d?nse_1", dense(), &[x]);
        let graph = net.finish().expect("a graph");
        let gradual = Some(GradualConfig { stages: 4, epochs_per_stage: 1, factor: 1.0 });
        let config = PhaseConfig { gradual, ..config(Selection::All) };
        let phases = phases(&[config], &Callbacks::default(), &graph, 7).expect("phases");
        assert_eq!(trained(&phases[0], 7), [5, 6]);
        assert_eq!(trained(&phases[1], 7), [4, 5, 6]);
    }

    #[test]
    fn each_layer_has_its_learning_rate_and_the_last_pattern_holds() {
        let rates = [("*_4", 0.5), ("dense_*", 0.1), ("dense_3", 0.2), ("head", 2.0)];
        let rates = LearningRates(rates.map(|(pattern, rate)| (pattern.to_owned(), rate)).to_vec());
        let phase = PhaseConfig { learning_rates: rates, ..config(Selection::All) };
        let found = phases(std::slice::from_ref(&phase), &Callbacks::default(), &backbone(), 13).expect("phases");
        assert_eq!(found[0].multipliers, [1.0, 1.0, 0.1, 1.0, 0.1, 1.0, 0.1, 1.0, 0.2, 1.0, 0.1, 0.5, 2.0]);
        let phase = PhaseConfig { learning_rates: LearningRates(vec![("conv*".to_owned(), 1.0)]), ..phase };
        let error = phases(&[phase], &Callbacks::default(), &backbone(), 13).expect_err("no layer").to_string();
        assert!(error.contains("conv*"), "{error}");
    }

    #[test]
    fn class_weights_go_by_name() {
        let classes = ["cats".to_owned(), "dogs".to_owned()];
        assert_eq!(class_weights(&ClassWeights::Balanced, &classes, &[1, 3]).expect("weights"), [2.0, 2.0 / 3.0]);
        // A class without images has the weight of a class with one.
        assert_eq!(class_weights(&ClassWeights::Balanced, &classes, &[4, 0]).expect("weights"), [0.5, 2.0]);
        let table = |name: &str| ClassWeights::Table([(name.to_owned(), 3.0)].into());
        assert_eq!(class_weights(&table("dogs"), &classes, &[1, 3]).expect("weights"), [1.0, 3.0]);
        let error = class_weights(&table("cows"), &classes, &[1, 3]).expect_err("no cows").to_string();
        assert_eq!(error, "loss.class_weights: there is no class 'cows'; the classes are cats, dogs");
    }
}
