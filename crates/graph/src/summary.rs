//! The table that Keras prints: layers, output shapes, parameters, and what each layer is connected to.

use std::fmt::Write as _;

use serde::Serialize;

use crate::{FreezePlan, Graph, Node};

/// A network as a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Name of the network.
    pub name: String,
    /// One row per layer.
    pub layers: Vec<Row>,
    /// Number of values in all parameters.
    pub total: usize,
    /// Number of values that train.
    pub trainable: usize,
    /// Number of values that do not train.
    pub non_trainable: usize,
}

/// One layer of a [`Summary`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Position in the graph.
    pub index: usize,
    /// Name.
    pub name: String,
    /// Keras's class.
    pub class: String,
    /// `[height, width, channels]` or `[features]`.
    pub output_shape: Vec<usize>,
    /// Number of values in its parameters.
    pub params: usize,
    /// Number of values that train.
    pub trainable: usize,
    /// Whether the layer is frozen.
    pub frozen: bool,
    /// The layers that feed it.
    pub inputs: Vec<String>,
}

impl Summary {
    /// The table of `graph` under `plan`.
    pub fn new(graph: &Graph, plan: &FreezePlan) -> Self {
        let row = |(index, node): (usize, &Node)| Row {
            index,
            name: node.name().to_owned(),
            class: node.operator().class().to_owned(),
            output_shape: node.shape.0.clone(),
            params: node.parameter_count(),
            trainable: if plan.trains(index) { node.trainable_count() } else { 0 },
            frozen: !plan.trains(index),
            inputs: node.layer.inputs.clone(),
        };
        let (trainable, non_trainable) = plan.counts(graph);
        Self {
            name: graph.name().to_owned(),
            layers: graph.nodes().iter().enumerate().map(row).collect(),
            total: graph.parameter_count(),
            trainable,
            non_trainable,
        }
    }

    /// The table as text, with one line per layer and the counts at the end.
    pub fn to_text(&self) -> String {
        let header = ["#", "Layer (type)", "Output shape", "Params", "Connected to", "State"].map(str::to_owned);
        let rows: Vec<[String; 6]> = std::iter::once(header).chain(self.layers.iter().map(cells)).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..6).map(width).collect();
        let rule = "─".repeat(widths.iter().sum::<usize>() + 10);
        let mut text = format!("{}\n{rule}\n", self.name);
        for (at, row) in rows.iter().enumerate() {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let pad = " ".repeat(widths[column] - cell.chars().count());
                // Numbers are aligned to the right, words to the left.
                let _ =
                    if matches!(column, 0 | 3) { write!(line, "{pad}{cell}  ") } else { write!(line, "{cell}{pad}  ") };
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
            grouped(self.total),
            grouped(self.trainable),
            grouped(self.non_trainable),
        );
        text
    }
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

/// A number with commas between thousands.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
