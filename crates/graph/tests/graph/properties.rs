//! Properties of every network.

use injerto_graph::summary::Summary;
use injerto_graph::{Activation, FreezePlan, Graph, Layer, Operator, Split};
use injerto_reference::strategy::{graphs, selection};
use proptest::prelude::*;

proptest! {
    #[test]
    fn json_and_back(graph in graphs(12)) {
        let text = serde_json::to_string(&graph).expect("plain data");
        prop_assert_eq!(serde_json::from_str::<Graph>(&text).expect("its own text"), graph);
    }

    #[test]
    fn truncating_keeps_what_a_layer_needs(graph in graphs(12), at in any::<prop::sample::Index>()) {
        let at = at.index(graph.len());
        let cut = graph.truncate(at).expect("a layer");
        let last = &cut.nodes()[cut.len() - 1];
        prop_assert_eq!(&last.layer, &graph.nodes()[at].layer);
        prop_assert_eq!(&last.shape, &graph.nodes()[at].shape);
        // The remaining layers are unchanged and in the old order.
        let mut from = 0;
        for node in cut.nodes() {
            let place = graph.position(node.name()).expect("a layer of the whole");
            prop_assert!(place >= from);
            prop_assert_eq!(&node.parameters, &graph.nodes()[place].parameters);
            from = place;
        }
        prop_assert_eq!(cut.truncate(cut.len() - 1).expect("all of it"), cut);
    }

    #[test]
    fn grafting_adds_layers_at_the_end(graph in graphs(12), units in 1_usize..5) {
        let dense = Operator::Dense { units, use_bias: true, activation: Activation::Linear };
        let layer = |name: &str| Layer { name: name.to_owned(), operator: dense.clone(), inputs: Vec::new() };
        let whole = graph.graft("whole", vec![layer("grafted")]).expect("fits");
        prop_assert_eq!(&whole.nodes()[..graph.len()], graph.nodes());
        prop_assert_eq!(&whole.output_shape().0, &vec![units]);
        prop_assert_eq!(whole.parameter_count(), graph.parameter_count() + 3 * units);
        prop_assert!(graph.graft("whole", vec![layer("output_x"), layer("output_x")]).is_err());
        let taken = graph.nodes()[0].name().to_owned();
        prop_assert!(graph.graft("whole", vec![layer(&taken)]).is_err());
    }

    #[test]
    fn counts_add_up(graph in graphs(12), wish in any::<[u8; 3]>()) {
        let plan = FreezePlan::new(&graph, &selection(&graph, wish)).expect("made from the graph");
        let (trainable, rest) = plan.counts(&graph);
        prop_assert_eq!(trainable + rest, graph.parameter_count());
        let summary = Summary::new(&graph, &plan);
        prop_assert_eq!((summary.total, summary.trainable), (graph.parameter_count(), trainable));
        prop_assert_eq!(summary.layers.iter().map(|row| row.trainable).sum::<usize>(), trainable);
        prop_assert_eq!(summary.layers.len(), graph.len());
        let extended = plan.extended(2);
        prop_assert!(extended.trains(graph.len()) && extended.trains(graph.len() + 1));
        prop_assert!(!extended.trains(graph.len() + 2));
        let text = serde_json::to_string(&plan).expect("plain data");
        prop_assert_eq!(serde_json::from_str::<FreezePlan>(&text).expect("its own text"), plan);
    }

    #[test]
    fn the_latest_split(graph in graphs(16), wish in any::<[u8; 3]>()) {
        let plan = FreezePlan::new(&graph, &selection(&graph, wish)).expect("made from the graph");
        let split = Split::new(&graph, &plan);
        check_split(&graph, &plan, &split)?;
        // Every layer of the tail trains, draws random numbers, or reads a layer of the tail.
        for &at in &split.tail {
            let node = &graph.nodes()[at];
            let trains = plan.trains(at) && node.trainable_count() > 0;
            let reads = node.inputs.iter().any(|input| split.tail.contains(input));
            prop_assert!(trains || plan.draws(&graph, at) || reads, "{} is in the tail", node.name());
        }
    }
}

/// Checks the rules of every split.
pub fn check_split(graph: &Graph, plan: &FreezePlan, split: &Split) -> Result<(), TestCaseError> {
    let mut all: Vec<usize> = split.prefix.iter().chain(&split.tail).copied().collect();
    all.sort_unstable();
    prop_assert_eq!(all, (0..graph.len()).collect::<Vec<_>>(), "prefix and tail are not a partition");
    prop_assert!(split.prefix.is_sorted() && split.tail.is_sorted() && split.prefix[0] == 0);
    for &at in &split.prefix {
        let node = &graph.nodes()[at];
        prop_assert!(!plan.trains(at) || node.trainable_count() == 0, "{} trains in the prefix", node.name());
        prop_assert!(!plan.draws(graph, at), "{} draws in the prefix", node.name());
        prop_assert!(node.inputs.iter().all(|input| split.prefix.contains(input)), "{} reads the tail", node.name());
    }
    let read = |at: &usize| split.tail.iter().any(|&reader| graph.nodes()[reader].inputs.contains(at));
    let expected: Vec<usize> = match split.tail.is_empty() {
        true => vec![graph.len() - 1],
        false => split.prefix.iter().copied().filter(read).collect(),
    };
    prop_assert_eq!(&split.boundary, &expected);
    Ok(())
}
