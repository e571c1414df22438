//! `optimizer` of a phase: what moves weights.

use injerto_recipe::{Adam, Clip, OptimizerConfig, RmsProp, Rule, Sgd};

use crate::limits;
use crate::reader::{
    Field, Section, boolean, count, name_or_table, not_negative, one_or_more, positive, share_below_one, text,
};

/// `"adam"`, or `{ name = "adam", learning_rate = 1e-3 }`.
pub(crate) fn optimizer(field: &Field<'_>) -> Option<OptimizerConfig> {
    let names = [
        ("adam", Rule::Adam(Adam::default())),
        ("adamw", Rule::AdamW(Adam::default())),
        ("sgd", Rule::Sgd(Sgd::default())),
        ("rmsprop", Rule::RmsProp(RmsProp::default())),
    ];
    let (mut s, own) = name_or_table(field, &names, Rule::default())?;
    // Written out, a rule that has a decay of its own says what it takes off.
    let own_decay = own.weight_decay();
    let rule = match own {
        Rule::Adam(own) => adam(&mut s, own).map(Rule::Adam),
        Rule::AdamW(own) => adam(&mut s, own).map(Rule::AdamW),
        Rule::Sgd(own) => sgd(&mut s, own).map(Rule::Sgd),
        Rule::RmsProp(own) => rmsprop(&mut s, own).map(Rule::RmsProp),
    };
    let clip = clip(&mut s);
    let weight_decay = s.optional("weight_decay", not_negative());
    let exclude_from_weight_decay = s.or("exclude_from_weight_decay", Vec::new(), |field| {
        if own_decay.is_none() && weight_decay == Some(None) {
            let message = format!("`{}` does nothing without `weight_decay`", field.path);
            return field.wrong(message, "set `weight_decay`, or take \"adamw\"".to_owned());
        }
        one_or_more(text)(field)
    });
    let ema_momentum = s.optional("ema_momentum", share_below_one());
    let gradient_accumulation_steps = s.or("gradient_accumulation_steps", 1, count(limits::COUNT));
    s.finish();
    Some(OptimizerConfig {
        rule: rule?,
        clip: clip?,
        weight_decay: weight_decay?.or(own_decay),
        exclude_from_weight_decay: exclude_from_weight_decay?,
        ema_momentum: ema_momentum?,
        gradient_accumulation_steps: gradient_accumulation_steps?,
    })
}

fn adam(s: &mut Section<'_>, own: Adam) -> Option<Adam> {
    let learning_rate = s.or("learning_rate", own.learning_rate, positive());
    let beta_1 = s.or("beta_1", own.beta_1, share_below_one());
    let beta_2 = s.or("beta_2", own.beta_2, share_below_one());
    let epsilon = s.or("epsilon", own.epsilon, positive());
    Some(Adam { learning_rate: learning_rate?, beta_1: beta_1?, beta_2: beta_2?, epsilon: epsilon? })
}

fn sgd(s: &mut Section<'_>, own: Sgd) -> Option<Sgd> {
    let learning_rate = s.or("learning_rate", own.learning_rate, positive());
    let momentum = s.or("momentum", own.momentum, share_below_one());
    let nesterov = s.or("nesterov", own.nesterov, boolean);
    Some(Sgd { learning_rate: learning_rate?, momentum: momentum?, nesterov: nesterov? })
}

fn rmsprop(s: &mut Section<'_>, own: RmsProp) -> Option<RmsProp> {
    let learning_rate = s.or("learning_rate", own.learning_rate, positive());
    let rho = s.or("rho", own.rho, share_below_one());
    let momentum = s.or("momentum", own.momentum, share_below_one());
    let epsilon = s.or("epsilon", own.epsilon, positive());
    let centered = s.or("centered", own.centered, boolean);
    Some(RmsProp {
        learning_rate: learning_rate?,
        rho: rho?,
        momentum: momentum?,
        epsilon: epsilon?,
        centered: centered?,
    })
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
