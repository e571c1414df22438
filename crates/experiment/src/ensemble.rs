//! Several trained networks that answer together, by the mean of their probabilities (deep ensembles, Lakshminarayanan et al. 2017).

use std::sync::Arc;

use injerto_data::folder::{Folder, composed};
use injerto_data::{OnCorrupt, Origin};
use injerto_insight::stats::Estimate;
use injerto_insight::unknown::Standing;
use injerto_trainer::metrics::{Answers, Figures};
use injerto_trainer::{ModelCard, Watch};

use crate::ExperimentError;
use crate::predict::{FolderEvaluation, Judged, Labelled, Prediction, Predictions, Predictor};

/// Several trained networks of the same classes. Each looks at an image in its own way: their backbones and the sizes of their images
/// may differ.
///
/// Probabilities are the mean of those that the networks would give alone, calibrated where they are. An image is unknown if most of the
/// networks that know their training images find it unknown: an answer has the median of all standings.
#[derive(Debug)]
pub struct Ensemble {
    members: Vec<Member>,
    classes: Arc<[String]>,
    /// The mean of the networks' thresholds for each class, where an image may have several.
    thresholds: Option<Arc<[f32]>>,
}

#[derive(Debug)]
struct Member {
    predictor: Predictor,
    /// For each class of the ensemble, its position among the classes of the network.
    places: Vec<usize>,
}

impl Ensemble {
    /// The networks together, with the classes in the order of the first one.
    ///
    /// # Errors
    /// [`ExperimentError::UnlikeClasses`] if a network has other classes than the first one, and [`ExperimentError::UnlikeTasks`] if only
    /// one of the two gives an image several classes.
    ///
    /// # Panics
    /// If there is no network.
    pub fn new(predictors: Vec<Predictor>) -> Result<Self, ExperimentError> {
        let first = predictors.first().expect("an ensemble has at least one network");
        let classes: Arc<[String]> = first.classes().into();
        let several = first.thresholds().is_some();
        if let Some(other) = predictors.iter().position(|predictor| predictor.thresholds().is_some() != several) {
            return Err(ExperimentError::UnlikeTasks { number: other + 1 });
        }
        let member = |(number, predictor): (usize, Predictor)| {
            // macOS may write accents as characters of their own; it is the same class.
            let place = |class: &String| predictor.classes().iter().position(|own| composed(own) == composed(class));
            let places: Option<Vec<usize>> = classes.iter().map(place).collect();
            match places.filter(|places| places.len() == predictor.classes().len()) {
                Some(places) => Ok(Member { predictor, places }),
                None => Err(ExperimentError::UnlikeClasses {
                    number: number + 1,
                    classes: predictor.classes().to_vec(),
                    expected: classes.to_vec(),
                }),
            }
        };
        let members: Vec<Member> = predictors.into_iter().enumerate().map(member).collect::<Result<_, _>>()?;
        let threshold = |class: usize| {
            let own = |member: &Member| member.predictor.thresholds().map_or(0.0, |own| own[member.places[class]]);
            members.iter().map(own).sum::<f32>() / members.len() as f32
        };
        let thresholds = several.then(|| (0..classes.len()).map(threshold).collect());
        Ok(Self { members, classes, thresholds })
    }

    /// Names of the classes, in the order of the first network's outputs.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Where an image may have several classes: the probability of each class from which on an image has it.
    pub fn thresholds(&self) -> Option<&[f32]> {
        self.thresholds.as_deref()
    }

    /// Classifies images as [`Predictor::predict`] does. Every network reads each image for itself.
    pub fn predict(&self, images: Vec<Origin>) -> impl Iterator<Item = Result<Prediction, ExperimentError>> {
        let mut answers: Vec<Predictions<'_>> =
            self.members.iter().map(|member| member.predictor.predict(images.clone())).collect();
        std::iter::from_fn(move || {
            let each: Vec<_> = answers.iter_mut().filter_map(Iterator::next).collect();
            (each.len() == self.members.len()).then(|| each.into_iter().collect::<Result<Vec<_>, _>>())
        })
        .map(|each| Ok(self.together(&each?)))
    }

    fn together(&self, each: &[Prediction]) -> Prediction {
        let rows = each.iter().map(Prediction::probabilities);
        let mut standings: Vec<Standing> = each.iter().filter_map(|answer| answer.standing().cloned()).collect();
        standings.sort_by(|a, b| a.unknown.cmp(&b.unknown).then(b.as_far.total_cmp(&a.as_far)));
        let middle = standings.len().saturating_sub(1) / 2;
        let judged =
            Judged { standing: (middle < standings.len()).then(|| standings.swap_remove(middle)), ..Judged::default() };
        Prediction::new(self.classes.clone(), self.mean(rows), self.thresholds.clone(), judged)
    }

    /// Mean of one image's probabilities by each network.
    fn mean<'r>(&self, rows: impl Iterator<Item = &'r [f32]>) -> Vec<f32> {
        let mut sums = vec![0.0_f64; self.classes.len()];
        for (member, row) in self.members.iter().zip(rows) {
            sums.iter_mut().zip(&member.places).for_each(|(sum, &place)| *sum += f64::from(row[place]));
        }
        sums.into_iter().map(|sum| (sum / self.members.len() as f64) as f32).collect()
    }

    /// Evaluates the networks together, as [`Predictor::evaluate_images`] evaluates one. The loss is the cross-entropy of the mean
    /// probabilities.
    ///
    /// # Errors
    /// Those of [`Predictor::evaluate_images`].
    pub fn evaluate_images(
        &self,
        found: Folder,
        on_corrupt: OnCorrupt,
        watch: &mut Watch<'_>,
    ) -> Result<Option<FolderEvaluation>, ExperimentError> {
        let Labelled { dataset, inventory, looked } =
            Labelled::new(&self.classes, self.thresholds.is_some(), found, on_corrupt)?;
        let mut each = Vec::new();
        for Member { predictor, places } in &self.members {
            let mut own = dataset.clone();
            own.classes = predictor.classes().to_vec();
            let places: Vec<u32> = places.iter().map(|&place| place as u32).collect();
            own.samples.iter_mut().for_each(|sample| sample.label = sample.label.moved(&places));
            let Some(told) = predictor.tell(own, watch)? else { return Ok(None) };
            let said: Vec<Vec<f32>> = told.answers.probabilities().into_iter().map(|row| predictor.said(row)).collect();
            each.push((said, told.standings));
        }
        let labels: Vec<_> = dataset.samples.iter().map(|sample| sample.label.clone()).collect();
        let rows = (0..labels.len()).map(|at| self.mean(each.iter().map(|(said, _)| said[at].as_slice())));
        let card = ModelCard {
            classes: self.classes.to_vec(),
            thresholds: self.thresholds.as_deref().map(<[f32]>::to_vec),
            ..self.members[0].predictor.card().clone()
        };
        let probabilities = rows.collect::<Vec<_>>().concat();
        let (loss, answers) = Answers::together(card.task(), self.classes.len(), &probabilities, &labels)?;
        // An image is unknown if most of the networks that can tell find it unknown.
        let telling: Vec<&Vec<bool>> =
            each.iter().map(|(_, standings)| standings).filter(|them| !them.is_empty()).collect();
        let of = |at: usize| telling.iter().filter(|them| them[at]).count() * 2 > telling.len();
        let unknown = (!telling.is_empty())
            .then(|| Estimate::share((0..labels.len()).filter(|&at| of(at)).count(), labels.len()));
        let figures = Figures::new(&answers, &card, Some(loss)).expect("an evaluation without images is an error");
        let orientation = self.members[0].predictor.network.options.orientation;
        Ok(Some(FolderEvaluation { figures, unknown, calibrated: None, inventory, looked, orientation }))
    }
}
