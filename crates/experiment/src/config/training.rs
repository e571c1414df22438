//! The keys of what moves weights: optimisers, schedules, callbacks, class weights.

use injerto_trainer::optimizer::{Clip, Rule};
use injerto_trainer::schedule::{Anneal, Curve, Length, OneCycle};

use super::reader::{Field, Section, boolean, choice, count, integer, list, number, one_or_more, text};
use super::schema::{MAX_COUNT, METRICS, mode_for};
use super::tree::Value;
use super::{
    Callbacks, ClassWeights, EarlyStopping, GradualConfig, LearningRates, Metric, Mode, OptimizerConfig, PhaseConfig,
    ReduceOnPlateau, Schedule,
};

/// A number above 0.
pub(super) fn positive() -> impl Fn(&Field<'_>) -> Option<f64> {
    number("a number above 0", |value| value > 0.0)
}

fn not_negative() -> impl Fn(&Field<'_>) -> Option<f64> {
    number("a number of at least 0", |value| value >= 0.0)
}

fn part() -> impl Fn(&Field<'_>) -> Option<f64> {
    number("a number from 0 to below 1", |part| (0.0..1.0).contains(&part))
}

/// A name alone, or a table with a `name` and what belongs to it. Which other keys there are depends on the name, so a wrong
/// one ends the reading.
fn named<'n, T: Clone>(field: &Field<'n>, names: &[(&'static str, T)], default: T) -> Option<(Section<'n>, T)> {
    match &field.node.value {
        Value::String(_) => Some((Section::root(&[], field.problems), choice(names)(field)?)),
        _ => {
            let mut s = field.section()?;
            let name = s.or("name", default, choice(names))?;
            Some((s, name))
        }
    }
}

/// `"adam"`, or `{ name = "adam", learning_rate = 1e-3 }`.
pub(super) fn optimizer(field: &Field<'_>) -> Option<OptimizerConfig> {
    #[derive(Clone, Copy, PartialEq)]
    enum Name {
        Adam,
        AdamW,
        Sgd,
        RmsProp,
    }
    let names = [("adam", Name::Adam), ("adamw", Name::AdamW), ("sgd", Name::Sgd), ("rmsprop", Name::RmsProp)];
    let (mut s, name) = named(field, &names, Name::Adam)?;
    let rate = if name == Name::Sgd { 1e-2 } else { 1e-3 };
    let learning_rate = s.or("learning_rate", rate, positive());
    let rule = match name {
        Name::Adam => adam(&mut s, learning_rate).map(|(learning_rate, beta_1, beta_2, epsilon)| Rule::Adam {
            learning_rate,
            beta_1,
            beta_2,
            epsilon,
        }),
        Name::AdamW => adam(&mut s, learning_rate).map(|(learning_rate, beta_1, beta_2, epsilon)| Rule::AdamW {
            learning_rate,
            beta_1,
            beta_2,
            epsilon,
        }),
        Name::Sgd => sgd(&mut s, learning_rate),
        Name::RmsProp => rmsprop(&mut s, learning_rate),
    };
    let clip = clip(&mut s);
    let weight_decay = s.optional("weight_decay", not_negative());
    let exclude_from_weight_decay = s.or("exclude_from_weight_decay", Vec::new(), |field| {
        if name != Name::AdamW && weight_decay == Some(None) {
            let message = format!("`{}` does nothing without `weight_decay`", field.path);
            return field.wrong(message, "set `weight_decay`, or take \"adamw\"".to_owned());
        }
        one_or_more(text)(field)
    });
    let ema_momentum = s.optional("ema_momentum", part());
    s.finish();
    // Written out, AdamW says what it takes off.
    let default = (name == Name::AdamW).then_some(4e-3);
    Some(OptimizerConfig {
        rule: rule?,
        clip: clip?,
        weight_decay: weight_decay?.or(default),
        exclude_from_weight_decay: exclude_from_weight_decay?,
        ema_momentum: ema_momentum?,
    })
}

/// Learning rate, both betas, epsilon.
fn adam(s: &mut Section<'_>, learning_rate: Option<f64>) -> Option<(f64, f64, f64, f64)> {
    let [beta_1, beta_2] = [("beta_1", 0.9), ("beta_2", 0.999)].map(|(key, value)| s.or(key, value, part()));
    let epsilon = s.or("epsilon", 1e-7, positive());
    Some((learning_rate?, beta_1?, beta_2?, epsilon?))
}

fn sgd(s: &mut Section<'_>, learning_rate: Option<f64>) -> Option<Rule> {
    let momentum = s.or("momentum", 0.0, part());
    let nesterov = s.or("nesterov", false, boolean);
    Some(Rule::Sgd { learning_rate: learning_rate?, momentum: momentum?, nesterov: nesterov? })
}

fn rmsprop(s: &mut Section<'_>, learning_rate: Option<f64>) -> Option<Rule> {
    let [rho, momentum] = [("rho", 0.9), ("momentum", 0.0)].map(|(key, value)| s.or(key, value, part()));
    let epsilon = s.or("epsilon", 1e-7, positive());
    let centered = s.or("centered", false, boolean);
    let (learning_rate, rho, momentum) = (learning_rate?, rho?, momentum?);
    Some(Rule::RmsProp { learning_rate, rho, momentum, epsilon: epsilon?, centered: centered? })
}

/// One of Keras's three keys, or none.
fn clip(s: &mut Section<'_>) -> Option<Option<Clip>> {
    type Make = fn(f64) -> Clip;
    let keys: [(&'static str, Make); 3] =
        [("clipnorm", Clip::Norm), ("global_clipnorm", Clip::GlobalNorm), ("clipvalue", Clip::Value)];
    let mut given: Option<Option<Clip>> = Some(None);
    for (key, make) in keys {
        let found = s.optional(key, |field| {
            if let Some(Some(first)) = given {
                let message = format!("`{}` and `{}` exclude each other", field.path, first.name());
                return field.wrong(message, "keep one of the two".to_owned());
            }
            positive()(field).map(make)
        });
        given = match (given, found) {
            (Some(before), Some(found)) => Some(before.or(found)),
            _ => None,
        };
    }
    given
}

/// `500` steps, or `{ epochs = 2 }`.
fn length(field: &Field<'_>) -> Option<Length> {
    match &field.node.value {
        Value::Integer(_) => integer(1, i64::MAX)(field).map(Length::Steps),
        Value::Table(_) => {
            let mut s = field.section()?;
            let epochs = s.required("epochs", "`epochs = 2`", positive());
            s.finish();
            Some(Length::Epochs { epochs: epochs? })
        }
        _ => field.must_be("a number of steps, such as 500, or { epochs = 2 }", None),
    }
}

/// `"cosine"`, or `{ name = "cosine", warmup = { epochs = 1 } }`.
pub(super) fn schedule(field: &Field<'_>) -> Option<Schedule> {
    #[derive(Clone, Copy, PartialEq)]
    enum Name {
        Constant,
        Cosine,
        Exponential,
        Piecewise,
        OneCycle,
    }
    let names = [
        ("constant", Name::Constant),
        ("cosine", Name::Cosine),
        ("exponential", Name::Exponential),
        ("piecewise", Name::Piecewise),
        ("one_cycle", Name::OneCycle),
    ];
    let (mut s, name) = named(field, &names, Name::Constant)?;
    let curve = match name {
        Name::Constant => Some(Curve::Constant),
        Name::Cosine => {
            let (decay, alpha) = (s.optional("decay", length), s.or("alpha", 0.0, share()));
            decay.zip(alpha).map(|(decay, alpha)| Curve::Cosine { decay, alpha })
        }
        Name::Exponential => {
            let rate = s.or("rate", 0.9, number("a number above 0, up to 1", |rate| rate > 0.0 && rate <= 1.0));
            let (every, staircase) = (s.optional("every", length), s.or("staircase", false, boolean));
            rate.zip(every).zip(staircase).map(|((rate, every), staircase)| Curve::Exponential {
                rate,
                every,
                staircase,
            })
        }
        Name::Piecewise => piecewise(field, &mut s),
        Name::OneCycle => one_cycle(&mut s),
    };
    let by_itself = |field: &Field<'_>| {
        let message = format!("`{}` does nothing: one_cycle warms up by itself", field.path);
        field.wrong(message, "set `pct_start` and `div_factor`, or leave it out".to_owned())
    };
    let warmup = s.optional("warmup", |field| if name == Name::OneCycle { by_itself(field) } else { length(field) });
    let without = warmup == Some(None);
    let warmup_start = s.or("warmup_start", 0.0, |field| {
        if without {
            let message = format!("`{}` does nothing without `warmup`", field.path);
            return field.wrong(message, "set `warmup`, such as `warmup = { epochs = 1 }`".to_owned());
        }
        not_negative()(field)
    });
    s.finish();
    Some(Schedule { curve: curve?, warmup: warmup?, warmup_start: warmup_start? })
}

fn share() -> impl Fn(&Field<'_>) -> Option<f64> {
    number("a number from 0 to 1", |share| (0.0..=1.0).contains(&share))
}

fn piecewise(field: &Field<'_>, s: &mut Section<'_>) -> Option<Curve> {
    let boundaries = s.required("boundaries", "`boundaries = [500, { epochs = 3 }]`", list(length));
    let values = s.required("values", "`values = [1e-4, 1e-5]`, one for each boundary", list(positive()));
    let (boundaries, values) = (boundaries?, values?);
    if boundaries.len() != values.len() {
        let message = format!("`{}` has {} boundaries and {} values", field.path, boundaries.len(), values.len());
        let help = "give one value for each boundary; up to the first, the optimiser's own learning rate holds";
        return field.wrong(message, help.to_owned());
    }
    Some(Curve::Piecewise { boundaries, values })
}

fn one_cycle(s: &mut Section<'_>) -> Option<Curve> {
    let own = OneCycle::default();
    let above_one = || number("a number of at least 1", |factor| factor >= 1.0);
    let pct_start = s.or("pct_start", own.pct_start, share());
    let div_factor = s.or("div_factor", own.div_factor, above_one());
    let final_div_factor = s.or("final_div_factor", own.final_div_factor, above_one());
    let anneal = s.or("anneal", own.anneal, choice(&[("cos", Anneal::Cos), ("linear", Anneal::Linear)]));
    let three_phase = s.or("three_phase", own.three_phase, boolean);
    let cycle_momentum = s.or("cycle_momentum", own.cycle_momentum, boolean);
    let max_momentum = s.or("max_momentum", own.max_momentum, part());
    let base_momentum = s.or("base_momentum", own.base_momentum, part());
    Some(Curve::OneCycle(OneCycle {
        pct_start: pct_start?,
        div_factor: div_factor?,
        final_div_factor: final_div_factor?,
        anneal: anneal?,
        three_phase: three_phase?,
        cycle_momentum: cycle_momentum?,
        max_momentum: max_momentum?,
        base_momentum: base_momentum?,
    }))
}

/// `{ "block_16_*" = 0.1, head = 1.0 }`.
pub(super) fn multipliers(field: &Field<'_>) -> Option<LearningRates> {
    let Some(entries) = field.node.table() else {
        let expected = "a table of layers and what their learning rate is multiplied by";
        return field.must_be(expected, "write { \"block_16_*\" = 0.1, head = 1.0 }".to_owned());
    };
    let rules = entries.iter().map(|entry| {
        let multiplier = not_negative()(&field.child(&entry.key, &entry.node))?;
        Some((entry.key.clone(), multiplier))
    });
    // Every entry is looked at, even behind a wrong one.
    let rules: Vec<Option<(String, f64)>> = rules.collect();
    rules.into_iter().collect::<Option<Vec<_>>>().map(LearningRates)
}

/// `{ stages = 3, epochs_per_stage = 1 }`.
pub(super) fn gradual(field: &Field<'_>, epochs: Option<usize>, frozen: bool) -> Option<GradualConfig> {
    if frozen {
        let message = format!("`{}` does nothing to a backbone that is frozen", field.path);
        return field.wrong(message, "set `unfreeze` to what is trained in the end".to_owned());
    }
    let mut s = field.section()?;
    let stages = s.or("stages", 3, integer(2, 1000));
    let epochs_per_stage = s.or("epochs_per_stage", 1, count(MAX_COUNT));
    let factor = s.or("factor", 1.0, positive());
    s.finish();
    let (stages, epochs_per_stage): (usize, usize) = (stages?, epochs_per_stage?);
    let needed = (stages - 1) * epochs_per_stage + 1;
    if epochs.is_some_and(|epochs| epochs < needed) {
        let message = format!("{stages} stages of {epochs_per_stage} epoch(s) leave nothing for the last");
        return field.wrong(message, format!("set `epochs` to {needed} or more, or take fewer stages"));
    }
    Some(GradualConfig { stages, epochs_per_stage, factor: factor? })
}

/// `[callbacks]`.
pub(super) fn callbacks(field: &Field<'_>, phases: &[PhaseConfig]) -> Option<Callbacks> {
    let mut s = field.section()?;
    let early_stopping = s.optional("early_stopping", early_stopping);
    let scheduled = phases.iter().position(|phase| phase.schedule.curve != Curve::Constant);
    let reduce_lr_on_plateau = s.optional("reduce_lr_on_plateau", |field| match scheduled {
        Some(phase) => {
            let message = format!("`{}` and `phases.{phase}.schedule` exclude each other", field.path);
            field.wrong(message, "both say what the learning rate is: keep one of the two".to_owned())
        }
        None => reduce_on_plateau(field),
    });
    s.finish();
    Some(Callbacks { early_stopping: early_stopping?, reduce_lr_on_plateau: reduce_lr_on_plateau? })
}

fn early_stopping(field: &Field<'_>) -> Option<EarlyStopping> {
    let mut s = field.section()?;
    let monitor = s.or("monitor", Metric::ValLoss, choice(METRICS));
    let mode = s.or("mode", Mode::Auto, mode_for(monitor));
    let patience = s.or("patience", 0, integer(0, MAX_COUNT));
    let min_delta = s.or("min_delta", 0.0, not_negative());
    let baseline = s.optional("baseline", number("a number", |_| true));
    let restore_best_weights = s.or("restore_best_weights", false, boolean);
    let start_from_epoch = s.or("start_from_epoch", 0, integer(0, MAX_COUNT));
    s.finish();
    Some(EarlyStopping {
        monitor: monitor?,
        mode: mode?,
        patience: patience?,
        min_delta: min_delta?,
        baseline: baseline?,
        restore_best_weights: restore_best_weights?,
        start_from_epoch: start_from_epoch?,
    })
}

fn reduce_on_plateau(field: &Field<'_>) -> Option<ReduceOnPlateau> {
    let mut s = field.section()?;
    let monitor = s.or("monitor", Metric::ValLoss, choice(METRICS));
    let mode = s.or("mode", Mode::Auto, mode_for(monitor));
    let factor = s.or("factor", 0.1, number("a number between 0 and 1", |factor| factor > 0.0 && factor < 1.0));
    let patience = s.or("patience", 10, integer(0, MAX_COUNT));
    let min_delta = s.or("min_delta", 1e-4, not_negative());
    let cooldown = s.or("cooldown", 0, integer(0, MAX_COUNT));
    let min_lr = s.or("min_lr", 0.0, not_negative());
    s.finish();
    Some(ReduceOnPlateau {
        monitor: monitor?,
        mode: mode?,
        factor: factor?,
        patience: patience?,
        min_delta: min_delta?,
        cooldown: cooldown?,
        min_lr: min_lr?,
    })
}

/// `"balanced"`, or `{ cats = 1.0, dogs = 2.5 }`.
pub(super) fn class_weights(field: &Field<'_>) -> Option<ClassWeights> {
    match (&field.node.value, field.node.table()) {
        (Value::String(_), _) => choice(&[("balanced", ClassWeights::Balanced)])(field),
        (_, Some(entries)) => {
            let weight = |(key, node)| not_negative()(&field.child(key, node));
            let weights: Vec<(String, Option<f64>)> =
                entries.iter().map(|entry| (entry.key.clone(), weight((&entry.key, &entry.node)))).collect();
            let weights = weights.into_iter().map(|(class, weight)| Some((class, weight?)));
            weights.collect::<Option<_>>().map(ClassWeights::Table)
        }
        _ => field.must_be("\"balanced\", or a table such as { cats = 1.0, dogs = 2.5 }", None),
    }
}
