use std::path::Path;

use injerto_data::SEPARATOR;
use injerto_experiment::{RunFolder, Summary};
use injerto_files::{csv, printable};
use injerto_trainer::metrics::MultiLabelPredictions;

/// The best epoch's prediction for each validation image: the content of `predictions.csv`, if an image may have several classes.
#[derive(Debug, Clone)]
pub struct Tagged {
    /// Path of each image below the root, as the file writes it.
    pub paths: Vec<String>,
    /// The classes of each image, with `|` between them.
    pub(crate) labels: Vec<String>,
    /// Truth and probability of each class.
    pub(crate) predictions: MultiLabelPredictions,
}

impl Tagged {
    /// Reads the file in the folder of a run; `None` if it is missing or damaged, if it names no image or other classes, or if its images
    /// have one class each.
    pub(crate) fn load(folder: &Path, summary: &Summary) -> Option<Self> {
        summary.multi_label.as_ref()?;
        let text = std::fs::read_to_string(folder.join(RunFolder::PREDICTIONS)).ok()?;
        let mut rows = csv::lines(&text).ok()?.into_iter().map(|(_, row)| row);
        let classes: Vec<String> = summary.classes.iter().map(|class| printable(class).to_string()).collect();
        let header = rows.next()?;
        if header.get(1)? != "labels" || header.get(3..)? != classes {
            return None;
        }
        let (mut paths, mut labels, mut predictions) = (vec![], vec![], MultiLabelPredictions::new(classes.len()));
        for row in rows {
            let [path, label, _] = row.get(..3)? else { return None };
            let own: Vec<&str> = label.split(SEPARATOR).collect();
            let truth: Vec<bool> = classes.iter().map(|class| own.contains(&class.as_str())).collect();
            let probability = |text: &String| text.parse::<f32>().ok().filter(|value| value.is_finite());
            let probabilities: Vec<f32> = row[3..].iter().map(probability).collect::<Option<_>>()?;
            if probabilities.len() != classes.len() {
                return None;
            }
            predictions.push(&probabilities, &truth);
            paths.push(path.clone());
            labels.push(label.clone());
        }
        (!paths.is_empty()).then_some(Self { paths, labels, predictions })
    }
}
