use std::collections::{BTreeMap, BTreeSet};

use crate::{Dataset, Label};

/// The labels that occur in some datasets of the same classes, each as if it were a class of its own. Questions about images that only need
/// to know whether two images are labelled alike are asked of them. Where images have one class each, they are the classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Combinations {
    names: Vec<String>,
    places: BTreeMap<Label, u32>,
}

impl Combinations {
    /// Those of these datasets.
    pub fn of<'d>(datasets: impl IntoIterator<Item = &'d Dataset>) -> Self {
        let (mut names, mut labels) = (Vec::new(), BTreeSet::new());
        for dataset in datasets {
            names.clone_from(&dataset.classes);
            labels.extend(dataset.samples.iter().map(|sample| &sample.label).filter(|label| label.class().is_none()));
        }
        if !labels.is_empty() {
            names = labels.iter().map(|label| label.name(&names).into_owned()).collect();
        }
        Self { places: labels.into_iter().cloned().zip(0..).collect(), names }
    }

    /// What they are called, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Position of a label in [`Combinations::names`]. A label that does not occur has the position of the first.
    pub fn place(&self, label: &Label) -> u32 {
        label.class().unwrap_or_else(|| self.places.get(label).copied().unwrap_or(0))
    }
}
