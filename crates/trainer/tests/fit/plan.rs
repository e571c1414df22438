//! The decisions about a phase before its first batch.

use injerto_graph::layers::Conv2D;
use injerto_graph::{Activation, Builder, FreezePlan, Graph, Operator};
use injerto_recipe::{FeaturePrecision, OptimizerConfig};
use injerto_trainer::cache::CacheSettings;
use injerto_trainer::plan::{Kept, Place, Reason};
use injerto_trainer::{Feeding, Phase, PhasePlan};

/// A network that widens an image in two frozen steps before the head, so that the later boundary is wider and an earlier cut repeats
/// work.
fn widening() -> Graph {
    let conv = |filters| Conv2D::new(filters, 5).same().use_bias(false);
    let mut net = Builder::new("widening");
    let x = net.input([4, 4, 8]);
    let x = net.add("narrow", conv(2), &[x]);
    let x = net.add("wide", conv(8), &[x]);
    let x = net.add("flatten", Operator::Flatten {}, &[x]);
    net.add("output", Operator::Dense { units: 2, use_bias: true, activation: Activation::Linear }, &[x]);
    net.finish().expect("holds together")
}

/// Ten training images without augmentation and three to validate.
fn fed(precision: FeaturePrecision) -> Feeding {
    let cache = CacheSettings { folder: None, memory: 1 << 20, precision };
    Feeding { training: 10, validation: Some(3), augments: false, mixes: false, views: None, cache }
}

fn planned(feeding: &Feeding) -> PhasePlan {
    let graph = widening();
    // The backbone ends before its flattened output.
    let plan = FreezePlan::from_layers(graph.len(), [4]);
    PhasePlan::resolve(&Phase::new("head", 1, plan, OptimizerConfig::adam(1e-2)), &graph, 3, feeding)
}

#[test]
fn half_precision_halves_the_bytes_and_may_move_the_cut() {
    let (single, half) = (planned(&fed(FeaturePrecision::F32)), planned(&fed(FeaturePrecision::F16)));
    // With four bytes per value, 96 saved values are worth the 6,400 multiply-adds of an earlier cut; with two bytes they are not.
    assert_eq!((single.cut.before.as_deref(), single.cut.bytes, single.cut.multiply_adds), (Some("wide"), 128, 6400));
    assert_eq!((half.cut.before.as_deref(), half.cut.bytes, half.cut.multiply_adds), (Some("output"), 256, 0));
    assert_eq!((single.cut.latest_bytes, half.cut.latest_bytes), (512, 256));
}

#[test]
fn bytes_that_are_not_kept_cost_nothing() {
    let fed = fed(FeaturePrecision::F32);
    let once = Kept::Features { views: None, place: Place::Memory };
    let check = |feeding: &Feeding, training, validation, before| {
        let plan = planned(feeding);
        assert_eq!((plan.keeps.training, plan.keeps.validation), (training, validation));
        assert_eq!(plan.cut.before.as_deref(), Some(before));
    };
    check(&fed, once, once, "wide");
    let mixed = Feeding { mixes: true, ..fed.clone() };
    check(&mixed, Kept::Nothing(Reason::Mixed), once, "wide");
    check(
        &Feeding { validation: None, ..mixed },
        Kept::Nothing(Reason::Mixed),
        Kept::Nothing(Reason::NoImages),
        "output",
    );
    let changed = Feeding { augments: true, validation: None, ..fed.clone() };
    check(&changed, Kept::Nothing(Reason::Augmented), Kept::Nothing(Reason::NoImages), "output");
    let views = Kept::Features { views: Some(4), place: Place::Memory };
    check(&Feeding { views: Some(4), ..changed }, views, Kept::Nothing(Reason::NoImages), "wide");
    // Free space decides only how long a run takes, so the cut does not change.
    let nowhere = Kept::Features { views: None, place: Place::Nowhere };
    let cache = CacheSettings { memory: 300, ..fed.cache.clone() };
    check(&Feeding { cache, ..fed }, nowhere, Kept::Features { views: None, place: Place::Nowhere }, "wide");
}

#[test]
fn a_plan_is_read_back_from_its_text() {
    let plan = planned(&fed(FeaturePrecision::F16));
    let text = serde_json::to_string(&plan).expect("plain data");
    assert_eq!(serde_json::from_str::<PhasePlan>(&text).expect("its own text"), plan);
}
