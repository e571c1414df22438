//! Photos that are on two sides of the split, or in two classes: what a run finds before it trains.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use injerto_config::OnLeak;
use injerto_data::decode::{Orientation, decode};
use injerto_data::{Combinations, read};
use injerto_files::csv::field;
use injerto_insight::leaks::{Across, Kind, Leak, Limits, exact, find, moves};
use injerto_insight::neighbours::Neighbourhood;
use injerto_insight::picture::Picture;
use injerto_insight::{FeatureTable, Image, InsightError, Matrix, Part, Watch as Look};
use injerto_trainer::Gathered;
use sha2::{Digest, Sha256};

use crate::features::images;
use crate::plan::{Asked, Questions};
use crate::probe::table;
use crate::questions::RowShape;
use crate::source::root;
use crate::split::{Side, name};
use crate::summary::LeakCounts;
use crate::{ExperimentError, Prepared};

/// Pairs that a message names.
const NAMED: usize = 3;

/// The copies among the images of an experiment.
pub(crate) struct Copies {
    /// All images, side by side.
    images: Vec<Image>,
    /// What their labels are positions in.
    labels: Combinations,
    /// Their names in the files of a run.
    names: Vec<String>,
    /// Pairs, the worst first; rows are places in `images`.
    leaks: Vec<Leak>,
}

impl Copies {
    /// Looks for exact copies among all images, and for near copies among those whose features are kept. `None` if it was stopped, or if
    /// the experiment does not ask for it.
    pub fn find(
        prepared: &Prepared,
        gathered: Option<&Gathered>,
        stop: &AtomicBool,
    ) -> Result<Option<Self>, ExperimentError> {
        let Some(root) = root(&prepared.config) else { return Ok(None) };
        let sides = prepared.sides();
        let parts = [
            (Some(&sides.train), Part::Training),
            (sides.validation.as_ref(), Part::Validation),
            (sides.test.as_ref(), Part::Test),
        ];
        let labels = Combinations::of(parts.into_iter().filter_map(|(dataset, _)| dataset));
        let images = images(parts.into_iter().filter_map(|(dataset, part)| Some((dataset?, part))), &labels);
        let names = sides.samples().map(|(_, sample)| name(root, sample)).collect();
        let mut leaks = exact(&images);
        if let (Some(gathered), Some(Questions { near_copies: Asked::Yes, .. })) = (gathered, prepared.plan.insight)
            && let Ok(shape) = RowShape::of(prepared)
        {
            match near(prepared, (&images, &labels), &shape, gathered, stop) {
                Err(ExperimentError::Insight(InsightError::Stopped)) => return Ok(None),
                found => {
                    let known: BTreeSet<(usize, usize)> = leaks.iter().map(|leak| (leak.a, leak.b)).collect();
                    leaks.extend(found?.into_iter().filter(|leak| !known.contains(&(leak.a, leak.b))));
                }
            }
            leaks.sort_by(|a, b| {
                let rank = |leak: &Leak| (leak.across(), leak.kind);
                rank(a).cmp(&rank(b)).then(b.similarity.total_cmp(&a.similarity)).then((a.a, a.b).cmp(&(b.a, b.b)))
            });
        }
        Ok(Some(Self { images, labels, names, leaks }))
    }

    fn count(&self, across: Across) -> usize {
        self.leaks.iter().filter(|leak| leak.across() == across).count()
    }

    /// How many there are.
    pub fn counts(&self) -> LeakCounts {
        let [across_split, across_class, none] = [Across::Split, Across::Class, Across::None].map(|it| self.count(it));
        LeakCounts { across_split, across_class, none, moved: 0 }
    }

    /// Whether no photo is there twice.
    pub fn is_empty(&self) -> bool {
        self.leaks.is_empty()
    }

    /// Whether any pair stands on two sides of the split or under two classes.
    pub fn are_harmful(&self) -> bool {
        self.leaks.iter().any(|leak| leak.across() != Across::None)
    }

    /// The sides of all images after the copies of each photo have gone to one side, and how many images change theirs.
    pub fn moved(&self) -> (Vec<Side>, usize) {
        let mut sides: Vec<Side> = self.images.iter().map(|image| side(image.part)).collect();
        let moves = moves(&self.images, &self.leaks);
        moves.iter().for_each(|&(row, part)| sides[row] = side(part));
        (sides, moves.len())
    }

    /// What can be done about the pairs that do harm.
    pub fn advice(&self) -> &'static str {
        match (self.count(Across::Split), self.count(Across::Class)) {
            (_, 0) => "data.on_leak = \"move\" keeps copies on one side",
            // No side is the right one for a photo that has the wrong class.
            (0, _) => "keep each photo in its own class alone",
            _ => "keep each photo in its own class alone; data.on_leak = \"move\" keeps copies on one side",
        }
    }

    /// The error where `data.on_leak` is `error`.
    pub fn refusal(&self) -> ExperimentError {
        ExperimentError::Leaks { findings: self.in_words(), advice: self.advice() }
    }

    /// What was found, in a few lines.
    pub fn in_words(&self) -> String {
        let pairs = |across: Across| self.leaks.iter().filter(move |leak| leak.across() == across);
        let mut lines = Vec::new();
        for (across, what) in [(Across::Split, "on two sides of the split"), (Across::Class, "under two classes")] {
            let count = self.count(across);
            if count == 0 {
                continue;
            }
            let exact = pairs(across).filter(|leak| leak.kind == Kind::Exact).count();
            let kinds = match (exact, count - exact) {
                (exact, 0) => format!("{exact} exact"),
                (0, near) => format!("{near} near"),
                (exact, near) => format!("{exact} exact, {near} near"),
            };
            let pair = |leak: &Leak| format!("{} and {}", self.names[leak.a], self.names[leak.b]);
            let named: Vec<String> = pairs(across).take(NAMED).map(pair).collect();
            let more = if count > NAMED { format!("; and {} more", count - NAMED) } else { String::new() };
            let pairs = if count == 1 { "pair of copies stands" } else { "pairs of copies stand" };
            lines.push(format!("{count} {pairs} {what} ({kinds}): {}{more}", named.join("; ")));
        }
        lines.join("\n")
    }

    /// The content of `leaks.csv`: a line per pair, the worst first.
    pub fn to_csv(&self) -> String {
        let classes = self.labels.names();
        let mut text = "a,b,kind,similarity,across,a_side,b_side,a_class,b_class\n".to_owned();
        for leak in &self.leaks {
            let kind = if leak.kind == Kind::Exact { "exact" } else { "near" };
            let across = match leak.across() {
                Across::Split => "split",
                Across::Class => "class",
                Across::None => "none",
            };
            let [a, b] = [leak.a, leak.b].map(|at| (field(&self.names[at]), &self.images[at]));
            let [side_a, side_b] = [a.1, b.1].map(|image| side(image.part).name());
            let [class_a, class_b] = [a.1, b.1].map(|image| field(&classes[image.label as usize]));
            let (similarity, a, b) = (leak.similarity, a.0, b.0);
            let _ = writeln!(text, "{a},{b},{kind},{similarity:.4},{across},{side_a},{side_b},{class_a},{class_b}");
        }
        text
    }
}

impl Prepared {
    /// Refuses exact copies that do harm if `data.on_leak` is `error`. They are known before any features are computed; a run finds near
    /// copies among the features of its first phase.
    ///
    /// # Errors
    /// [`ExperimentError::Leaks`], which names the first pairs.
    pub fn check_copies(&self) -> Result<(), ExperimentError> {
        if self.config.data.on_leak != OnLeak::Error {
            return Ok(());
        }
        match Copies::find(self, None, &AtomicBool::new(false))? {
            Some(copies) if copies.are_harmful() => Err(copies.refusal()),
            _ => Ok(()),
        }
    }
}

fn side(part: Part) -> Side {
    match part {
        Part::Training => Side::Train,
        Part::Validation => Side::Validation,
        Part::Test => Side::Test,
    }
}

/// Near copies among the training and the validation images, by places in `images`. Pairs whose decoded pixels are equal are exact.
fn near(
    prepared: &Prepared,
    (images, labels): (&[Image], &Combinations),
    shape: &RowShape,
    gathered: &Gathered,
    stop: &AtomicBool,
) -> Result<Vec<Leak>, ExperimentError> {
    let training = prepared.train.samples.len();
    let (mut values, mut places) = (Vec::new(), Vec::new());
    let parts = [
        (Some(&prepared.train), gathered.training(), Part::Training, 0),
        (prepared.validation.as_ref(), gathered.validation(), Part::Validation, training),
    ];
    for (dataset, rows, part, first) in parts {
        let (Some(dataset), Some(rows)) = (dataset, rows) else { continue };
        let usable = rows.images(dataset.samples.len());
        values.extend_from_slice(table((dataset, labels), rows, &usable, shape, part)?.features().values());
        places.extend(usable.into_iter().map(|at| first + at));
    }
    let rows = places.iter().map(|&at| images[at].clone()).collect();
    let table = FeatureTable::new(Matrix::new(shape.width(), values)?, rows, labels.names().to_vec())?;
    let pixels: Mutex<HashMap<usize, [u8; 32]>> = Mutex::new(HashMap::new());
    let picture = |row: usize| {
        let bytes = read(table.path(row)).ok()?;
        let image = decode(&bytes, Orientation::Ignore).ok()?;
        let hash = Sha256::new_with_prefix(format!("{} ", image.width)).chain_update(&image.pixels).finalize();
        pixels.lock().unwrap_or_else(PoisonError::into_inner).insert(row, hash.into());
        Picture::new(image.width, image.height, &image.pixels).ok()
    };
    let look = Look::none().stopped_by(stop);
    let around = Neighbourhood::of(&table, look)?;
    let found = find(&table, &around, Limits::default(), picture, look)?;
    let pixels = pixels.into_inner().unwrap_or_else(PoisonError::into_inner);
    let placed = |leak: Leak| {
        let same = pixels.get(&leak.a).is_some_and(|one| pixels.get(&leak.b) == Some(one));
        let kind = if same { Kind::Exact } else { leak.kind };
        Leak { a: places[leak.a], b: places[leak.b], kind, ..leak }
    };
    Ok(found.into_iter().map(placed).collect())
}
