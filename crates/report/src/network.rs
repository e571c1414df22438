//! The table of a network's layers, in the form of Keras's `summary()`.

use std::fmt::Write as _;

use injerto_graph::summary::{Row, Summary};

use crate::words::grouped;

/// The table as text: one line per layer, and the numbers of parameters at the end.
pub fn network(summary: &Summary) -> String {
    let header = ["#", "Layer (type)", "Output shape", "Params", "Connected to", "State"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(header).chain(summary.layers.iter().map(cells)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    let rule = "─".repeat(widths.iter().sum::<usize>() + 10);
    let mut text = format!("{}\n{rule}\n", summary.name);
    for (at, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[column] - cell.chars().count());
            // Numbers are aligned to the right, and words to the left.
            let _ = if matches!(column, 0 | 3) { write!(line, "{pad}{cell}  ") } else { write!(line, "{cell}{pad}  ") };
        }
        text.push_str(line.trim_end());
        text.push('\n');
        if at == 0 {
            let _ = writeln!(text, "{rule}");
        }
    }
    let _ = writeln!(
        text,
        "{rule}\nTotal params:         {:>12}\nTrainable params:     {:>12}\nNon-trainable params: {:>12}",
        grouped(summary.total),
        grouped(summary.trainable),
        grouped(summary.non_trainable),
    );
    text
}

fn cells(row: &Row) -> [String; 6] {
    let sides: Vec<String> = row.output_shape.iter().map(usize::to_string).collect();
    let state = match (row.params, row.frozen) {
        (0, _) => "",
        (_, true) => "frozen",
        (_, false) => "trains",
    };
    [
        row.index.to_string(),
        format!("{} ({})", row.name, row.class),
        format!("(None, {})", sides.join(", ")),
        grouped(row.params),
        row.inputs.join(", "),
        state.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use injerto_graph::{FreezePlan, Graph, GraphSpec, Selection};
    use serde_json::json;

    use super::*;

    #[test]
    fn the_whole_table() {
        let layer = |name, class, config, inputs: &[&str]| json!({"name": name, "class": class, "config": config, "inputs": inputs});
        let layers = [
            layer("input_layer", "InputLayer", json!({"shape": [32, 32, 3]}), &[]),
            layer(
                "Conv1",
                "Conv2D",
                json!({"filters": 16, "kernel_size": [3, 3], "padding": "same"}),
                &["input_layer"],
            ),
            layer("bn_Conv1", "BatchNormalization", json!({}), &["Conv1"]),
            layer("sum", "Add", json!({}), &["Conv1", "bn_Conv1"]),
            layer("flatten", "Flatten", json!({}), &["sum"]),
            layer("dense", "Dense", json!({"units": 10}), &["flatten"]),
        ];
        let spec: GraphSpec = serde_json::from_value(json!({"name": "net", "layers": layers})).expect("well-formed");
        let graph = Graph::new(spec).expect("holds together");
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
        assert_eq!(network(&Summary::new(&graph, &plan)), expected);
    }
}
