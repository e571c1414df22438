//! A teacher: a trained network whose answers a training learns from as well as from the labels.
//!
//! The teacher sees the image that the student sees, changed and mixed at random in the same way, at its own size and with its own
//! preprocessing (Beyer et al. 2022, "Knowledge distillation: A good teacher is patient and consistent", call this consistent teaching, and
//! find that logits of the unchanged image teach less). It is a second frozen prefix that ends at the logits: where images do not change
//! from epoch to epoch, or come in a few views, its logits are computed once and kept in the cache of features.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use injerto_backbones::network::Network;
use injerto_data::augment::MixOptions;
use injerto_data::{Batch, Loader, Part};
use injerto_graph::Split;
use injerto_recipe::{Distillation, FeaturePrecision, Task};

use crate::cache::{CacheSettings, Features};
use crate::feed::{Feed, Portion, Spent};
use crate::plan::{Kept, Reason};
use crate::prefix::Prefix;
use crate::slopes::logits;
use crate::{Event, Model, ModelCard, Observer, PhasePlan, TrainError};

/// A trained network that teaches another one.
#[derive(Debug, Clone)]
pub struct Teacher {
    /// Its checkpoint.
    pub checkpoint: PathBuf,
    /// The training images in the same order and in the same batches, changed at random in the same way, as the teacher reads them.
    pub images: Loader,
    /// How much its answers count, and the temperature.
    pub distillation: Distillation,
}

/// A teacher that is ready to answer.
pub(crate) struct Lessons {
    prefix: Prefix,
    teacher: Teacher,
    answers: Answers,
    cache: CacheSettings,
    /// What is kept, and how many views of each image; `None` before the first phase.
    kept: Option<(Views, Option<Arc<Features>>)>,
}

/// Which answers can be kept: none, because images change in each epoch, or those of the image itself or of so many views.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Views {
    Changing,
    Same(Option<usize>),
}

/// How a teacher's logits become logits of a student's units.
struct Answers {
    /// Place of each class of the student among those of the teacher.
    places: Vec<usize>,
    /// Whether teacher and student tell two classes apart with one unit.
    one_unit: [bool; 2],
}

impl Answers {
    /// `None` if the teacher does not know a class, or gives images another number of classes.
    fn new(teacher: &ModelCard, student: &ModelCard) -> Option<Self> {
        let place = |class| teacher.classes.iter().position(|known| known == class);
        let places: Vec<usize> = student.classes.iter().map(place).collect::<Option<_>>()?;
        let one_unit = [teacher, student].map(|card| card.loss.is_binary() && card.task() == Task::MultiClass);
        (teacher.task() == student.task() && places.len() == teacher.classes.len()).then_some(Self { places, one_unit })
    }

    /// `[images, units of the student]` of `[images, units of the teacher]`.
    fn of(&self, logits: &[f32]) -> Vec<f32> {
        let (classes, [of_teacher, of_student]) = (self.places.len(), self.one_unit);
        let mut found = Vec::with_capacity(logits.len());
        for row in logits.chunks_exact(if of_teacher { 1 } else { classes }) {
            // With one unit, the logit of the first class is 0.
            let class = |at: usize| match (of_teacher, self.places[at]) {
                (true, 0) => 0.0,
                (true, _) => row[0],
                (false, place) => row[place],
            };
            match of_student {
                true => found.push(class(1) - class(0)),
                false => found.extend((0..classes).map(class)),
            }
        }
        found
    }
}

impl Lessons {
    /// Reads the teacher's checkpoint onto the device of the student.
    ///
    /// # Errors
    /// The checkpoint cannot be read, or has other classes.
    pub(crate) fn new(
        teacher: &Teacher,
        student: &Model,
        cache: &CacheSettings,
        kernels: bool,
    ) -> Result<Self, TrainError> {
        let path = &teacher.checkpoint;
        let Model { network, card, arithmetic } = Model::load(path, student.network.device())?;
        let answers = Answers::new(&card, &student.card).ok_or_else(|| TrainError::Teacher { path: path.clone() })?;
        let graph = logits(network.graph())?;
        let last = graph.len() - 1;
        let network = Network::new(Arc::new(graph.clone()), &network.weights(), network.device())?;
        let model = Model { network, card: ModelCard { graph, ..card }, arithmetic };
        let prefix = Prefix::new(&model, &Split::at(model.network.graph(), last), kernels);
        // A few logits per image need no smaller number format.
        let cache = CacheSettings { precision: FeaturePrecision::F32, ..cache.clone() };
        Ok(Self { prefix, teacher: teacher.clone(), answers, cache, kept: None })
    }

    /// Compiles the teacher.
    ///
    /// # Errors
    /// The kernels cannot compile it.
    pub(crate) fn check_compiles(&self) -> Result<(), TrainError> {
        self.prefix.program().map(drop)
    }

    /// Computes or finds the logits that can be kept in this phase; none if `stop` was set meanwhile.
    pub(crate) fn gather(
        &mut self,
        plan: &PhasePlan,
        observer: &mut dyn Observer,
        stop: &AtomicBool,
        spent: &mut Spent,
    ) -> Result<(), TrainError> {
        let images = &self.teacher.images;
        let options = images.options();
        let changes = !options.augment.is_empty() || options.mix != MixOptions::default();
        let views = match plan.keeps.training {
            Kept::Features { views, .. } => Views::Same(views),
            Kept::Nothing(Reason::NoPrefix) if !changes => Views::Same(None),
            Kept::Nothing(_) => Views::Changing,
        };
        if self.kept.as_ref().is_some_and(|(kept, _)| *kept == views) {
            return Ok(());
        }
        let features = match views {
            Views::Changing => None,
            Views::Same(views) => {
                let total = images.len();
                let mut compute = |batch: &Batch| spent.teacher(&self.prefix, batch);
                let mut progress = |done: usize| {
                    observer.observe(&Event::Prefix { done, total });
                    !stop.load(Ordering::Relaxed)
                };
                self.prefix.gather(images, views, &self.cache, &mut compute, &mut progress)?
            }
        };
        self.kept = Some((views, features.map(Arc::new)));
        Ok(())
    }

    /// The teacher's answers in this epoch, counted from 0 over the whole run.
    pub(crate) fn epoch(&self, epoch: u64, part: Part) -> Lesson<'_> {
        let features = self.kept.as_ref().and_then(|(_, features)| features.as_deref());
        Lesson { lessons: self, feed: Feed::new(&self.teacher.images, Some(epoch), features, part) }
    }
}

/// A teacher's answers in one epoch.
pub(crate) struct Lesson<'a> {
    lessons: &'a Lessons,
    feed: Feed<'a>,
}

/// A teacher's answers for a batch.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) distillation: Distillation,
    /// Logits `[images, units of the student]`.
    pub(crate) logits: Vec<f32>,
}

impl Lesson<'_> {
    /// The teacher's answers for the next batch, which has these images.
    ///
    /// # Errors
    /// Images cannot be read, or the teacher could not read the same ones.
    pub(crate) fn on(&mut self, images: &[usize]) -> Result<Answer, TrainError> {
        let Lessons { prefix, teacher, answers, .. } = self.lessons;
        let seen = self.feed.of(images, prefix)?.ok_or(TrainError::OtherImages)?;
        let logits = seen.boundary.on_host().first().map_or_else(Vec::new, |logits| answers.of(logits));
        Ok(Answer { distillation: teacher.distillation, logits })
    }

    /// Seconds that the teacher has spent.
    pub(crate) fn seconds(&self) -> f64 {
        self.feed.spent().prefix
    }
}

/// One pass over the training images, with a teacher's answers for each batch, if there is one.
pub(crate) struct TaughtFeed<'a> {
    feed: Feed<'a>,
    lesson: Option<Lesson<'a>>,
}

impl<'a> TaughtFeed<'a> {
    /// Starts the pass of training epoch `epoch`, counted from 0 over the whole run. Of each batch, `part` comes.
    pub(crate) fn new(
        loader: &'a Loader,
        epoch: u64,
        features: Option<&'a Features>,
        part: Part,
        lessons: Option<&'a Lessons>,
    ) -> Self {
        Self {
            feed: Feed::new(loader, Some(epoch), features, part),
            lesson: lessons.map(|lessons| lessons.epoch(epoch, part)),
        }
    }

    /// Number of batches, if no image is left out.
    pub(crate) fn batches(&self) -> usize {
        self.feed.batches
    }

    /// Cost of the pass so far, that of the teacher included.
    pub(crate) fn spent(&self) -> Spent {
        let spent = self.feed.spent();
        Spent { prefix: spent.prefix + self.lesson.as_ref().map_or(0.0, Lesson::seconds), ..spent }
    }

    /// Returns the next batch with the teacher's answers, or `None` after the last one.
    ///
    /// # Errors
    /// Those of [`Feed::next`] and [`Lesson::on`].
    pub(crate) fn next(&mut self, prefix: &Prefix) -> Result<Option<(Portion, Option<Answer>)>, TrainError> {
        let Some(portion) = self.feed.next(prefix)? else { return Ok(None) };
        let answer = self.lesson.as_mut().map(|lesson| lesson.on(&portion.images)).transpose()?;
        Ok(Some((portion, answer)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_teachers_logits_are_those_of_the_students_classes_in_the_students_units() {
        let check = |places: &[usize], one_unit: [bool; 2], logits: &[f32], expected: &[f32]| {
            assert_eq!(Answers { places: places.to_vec(), one_unit }.of(logits), expected);
        };
        check(&[2, 0, 1], [false, false], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[3.0, 1.0, 2.0, 6.0, 4.0, 5.0]);
        check(&[0, 1], [true, false], &[1.5, -2.0], &[0.0, 1.5, 0.0, -2.0]);
        check(&[0, 1], [false, true], &[1.0, 4.0], &[3.0]);
        // The classes of the teacher are in the other order.
        check(&[1, 0], [true, true], &[1.5], &[-1.5]);
        check(&[1, 0], [false, true], &[1.0, 4.0], &[-3.0]);
    }
}
