//! What the outputs of a batch should be.

use injerto_data::Label;
use injerto_losses::Targets;
use injerto_recipe::Task;

use crate::TrainError;

/// The labels of a batch in the form that its task asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Wanted {
    /// The class of each image.
    Classes(Vec<u32>),
    /// For each image and class 1 if the image has the class and 0 if it has not, `[batch, classes]`.
    Sets(Vec<f32>),
}

impl Wanted {
    /// For images of these labels. Where images may have several classes, one class is a set of one.
    ///
    /// # Errors
    /// Several classes per image where the task is to give one.
    pub(crate) fn new(task: Task, classes: usize, labels: &[Label]) -> Result<Self, TrainError> {
        match task {
            Task::MultiClass => {
                let own: Option<Vec<u32>> = labels.iter().map(Label::class).collect();
                own.map(Self::Classes).ok_or(TrainError::SeveralClasses)
            }
            Task::MultiLabel => {
                let mut values = vec![0.0; labels.len() * classes];
                for (row, label) in values.chunks_exact_mut(classes.max(1)).zip(labels) {
                    label.classes().iter().for_each(|&class| row[class as usize] = 1.0);
                }
                Ok(Self::Sets(values))
            }
        }
    }

    /// The targets of a loss; `mixed` are those of images that were mixed.
    pub(crate) fn targets<'t>(&'t self, mixed: Option<&'t [f32]>) -> Targets<'t> {
        match (self, mixed) {
            (Self::Classes(labels), None) => Targets::Labels(labels),
            (Self::Classes(_), Some(mixed)) => Targets::Distributions(mixed),
            (Self::Sets(values), None) => Targets::Independent(values),
            (Self::Sets(_), Some(mixed)) => Targets::Independent(mixed),
        }
    }
}
