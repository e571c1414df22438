//! The summary as users see it.

use injerto_graph::summary::Summary;
use injerto_graph::{FreezePlan, Selection};
use serde_json::json;

use crate::graph;

#[test]
fn the_whole_table() {
    let graph = graph(&[
        ("input_layer", "InputLayer", json!({"shape": [32, 32, 3]}), &[]),
        ("Conv1", "Conv2D", json!({"filters": 16, "kernel_size": [3, 3], "padding": "same"}), &["input_layer"]),
        ("bn_Conv1", "BatchNormalization", json!({}), &["Conv1"]),
        ("sum", "Add", json!({}), &["Conv1", "bn_Conv1"]),
        ("flatten", "Flatten", json!({}), &["sum"]),
        ("dense", "Dense", json!({"units": 10}), &["flatten"]),
    ])
    .expect("holds together");
    let plan = FreezePlan::new(&graph, &Selection::Patterns(vec!["bn_*".into(), "dense".into()])).expect("fits");
    let expected = "\
net
──────────────────────────────────────────────────────────────────────────────────────
#  Layer (type)                   Output shape         Params  Connected to     State
──────────────────────────────────────────────────────────────────────────────────────
0  input_layer (InputLayer)       (None, 32, 32, 3)         0
1  Conv1 (Conv2D)                 (None, 32, 32, 16)      448  input_layer      frozen
2  bn_Conv1 (BatchNormalization)  (None, 32, 32, 16)       64  Conv1            trains
3  sum (Add)                      (None, 32, 32, 16)        0  Conv1, bn_Conv1
4  flatten (Flatten)              (None, 16384)             0  sum
5  dense (Dense)                  (None, 10)          163,850  flatten          trains
──────────────────────────────────────────────────────────────────────────────────────
Total params:              164,362
Trainable params:          163,882
Non-trainable params:          480
";
    let text = Summary::new(&graph, &plan).to_text();
    assert_eq!(text, expected);
}
