//! The features of the first phase, gathered before the training, so that questions can be asked about them.

use std::time::Instant;

use crate::executor::Executor;
use crate::feed::{KeptFeatures, Spent};
use crate::{PhasePlan, TrainError};

/// The features that the first phase keeps. [`Fit::run_on`](crate::Fit::run_on) goes on from them, so that they are computed once.
pub struct Gathered {
    pub(crate) kept: KeptFeatures,
    pub(crate) spent: Spent,
    /// When the gathering began. The time of the training counts from here.
    pub(crate) began: Instant,
    /// What has computed them. It holds the model's parameters.
    pub(crate) executor: Option<Box<dyn Executor>>,
}

/// Features of the images of one dataset.
#[derive(Debug, Clone, Copy)]
pub struct KeptRows<'g>(&'g crate::cache::Features);

impl Gathered {
    /// Features of the training images; `None` if they are not kept.
    pub fn training(&self) -> Option<KeptRows<'_>> {
        self.kept.training.as_deref().filter(|features| features.are_kept()).map(KeptRows)
    }

    /// Features of the validation images; `None` if they are not kept.
    pub fn validation(&self) -> Option<KeptRows<'_>> {
        self.kept.validation.as_deref().filter(|features| features.are_kept()).map(KeptRows)
    }

    /// The features alone, to be shared by several trainings.
    pub fn shared(&self) -> SharedFeatures {
        SharedFeatures(self.kept.clone())
    }

    /// The same features for a model whose parameters after the boundary have changed.
    #[must_use]
    pub fn for_another_head(self) -> Self {
        Self { executor: None, ..self }
    }
}

/// Features that several trainings share: trainings on the same images, whose first phases keep the same outputs of the same layers.
/// Clones share them too.
#[derive(Debug, Clone)]
pub struct SharedFeatures(KeptFeatures);

impl SharedFeatures {
    /// The features for one of the trainings, which spends no time on them. `plan` is its first phase; `None` if that phase keeps the
    /// outputs of other layers.
    pub fn gathered(&self, plan: &PhasePlan) -> Option<Gathered> {
        let (kept, spent, began) = (self.0.clone(), Spent::default(), Instant::now());
        self.0.are_of(plan).then_some(Gathered { kept, spent, began, executor: None })
    }
}

impl KeptRows<'_> {
    /// Positions in the dataset of the images that have features, in its order.
    pub fn images(&self, total: usize) -> Vec<usize> {
        self.0.usable(&(0..total).collect::<Vec<_>>())
    }

    /// Values of these images at the boundary, channels last, with one vector per tensor of the boundary; of the first view where
    /// several views of an image are kept.
    ///
    /// # Errors
    /// A file of the cache has been damaged since it was checked.
    pub fn values(&self, images: &[usize]) -> Result<Vec<Vec<f32>>, TrainError> {
        Ok(self.0.gather(images, 0)?.0)
    }
}
