//! `schedule` of a phase: how the learning rate moves.

use injerto_recipe::{Anneal, Curve, Length, OneCycle, Schedule};

use crate::reader::{
    Field, Section, boolean, choice, integer, list, name_or_table, not_negative, number, positive, share,
    share_below_one,
};
use crate::tree::Value;

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
pub(crate) fn schedule(field: &Field<'_>) -> Option<Schedule> {
    let names = [
        ("constant", Curve::Constant),
        ("cosine", Curve::COSINE),
        ("exponential", Curve::EXPONENTIAL),
        ("piecewise", Curve::PIECEWISE),
        ("one_cycle", Curve::OneCycle(OneCycle::default())),
    ];
    let (mut s, own) = name_or_table(field, &names, Curve::Constant)?;
    let is_one_cycle = matches!(own, Curve::OneCycle(_));
    let curve = match own {
        Curve::Constant => Some(Curve::Constant),
        Curve::Cosine { alpha, .. } => {
            let (decay, alpha) = (s.optional("decay", length), s.or("alpha", alpha, share()));
            decay.zip(alpha).map(|(decay, alpha)| Curve::Cosine { decay, alpha })
        }
        Curve::Exponential { rate, staircase, .. } => {
            let rate = s.or("rate", rate, number("a number above 0, up to 1", |rate| rate > 0.0 && rate <= 1.0));
            let (every, staircase) = (s.optional("every", length), s.or("staircase", staircase, boolean));
            rate.zip(every).zip(staircase).map(|((rate, every), staircase)| Curve::Exponential {
                rate,
                every,
                staircase,
            })
        }
        Curve::Piecewise { .. } => piecewise(field, &mut s),
        Curve::OneCycle(own) => one_cycle(&mut s, own),
    };
    let by_itself = |field: &Field<'_>| {
        let message = format!("`{}` does nothing: one_cycle warms up by itself", field.path);
        field.wrong(message, "set `pct_start` and `div_factor`, or leave it out".to_owned())
    };
    let warmup = s.optional("warmup", |field| if is_one_cycle { by_itself(field) } else { length(field) });
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

fn one_cycle(s: &mut Section<'_>, own: OneCycle) -> Option<Curve> {
    let above_one = || number("a number of at least 1", |factor| factor >= 1.0);
    let pct_start = s.or("pct_start", own.pct_start, share());
    let div_factor = s.or("div_factor", own.div_factor, above_one());
    let final_div_factor = s.or("final_div_factor", own.final_div_factor, above_one());
    let anneal = s.or("anneal", own.anneal, choice(&[("cos", Anneal::Cos), ("linear", Anneal::Linear)]));
    let three_phase = s.or("three_phase", own.three_phase, boolean);
    let cycle_momentum = s.or("cycle_momentum", own.cycle_momentum, boolean);
    let max_momentum = s.or("max_momentum", own.max_momentum, share_below_one());
    let base_momentum = s.or("base_momentum", own.base_momentum, share_below_one());
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
