use std::collections::HashMap;

use injerto_data::{Batch, Fingerprint, Loader, OnCorrupt};
use injerto_recipe::FeaturePrecision;
use sha2::{Digest, Sha256};

use super::Space;
use super::part::{Part, Writer, decode, encode};
use super::space::damaged;
use crate::TrainError;

/// Gives one vector for each tensor that crosses, `[batch, …]`, channels last.
type Compute<'a> = dyn FnMut(&Batch) -> Result<Vec<Vec<f32>>, TrainError> + 'a;

/// A part is finished when it has this many bytes: what a killed run loses at most.
const PART_BYTES: usize = 64 << 20;

/// What crossed from the frozen prefix for each image of a dataset.
///
/// Where features can be kept nowhere, they are still those of a few views and of a precision: what is computed anew in every
/// epoch then is, bit for bit, what would have been kept. So room on a disk decides how long a run takes, and nothing else.
#[derive(Debug)]
pub(crate) struct Features {
    space: Space,
    /// Rows of each image of the dataset.
    views: usize,
    /// Row of each view of each image of the dataset; `None` for one that could not be used.
    rows: Vec<Option<Row>>,
    /// Whether rows are held or kept, and not computed whenever they are wanted.
    kept: bool,
    labels: Vec<u32>,
    memory: Option<Vec<u8>>,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy)]
enum Row {
    /// In memory.
    Held(usize),
    /// In a part: which, and where.
    Kept(usize, usize),
    /// Nowhere.
    Computed,
}

impl Features {
    /// Features of all images of a loader: read where they are kept, computed by `compute` where
    /// they are not. `tell` hears how many images are done and says whether to go on. `None` if it said no.
    ///
    /// With `views`, features are of so many randomly changed versions of each image ([`Loader::views`]) and not of the image
    /// itself.
    pub(crate) fn gather_all(
        space: Space,
        loader: &Loader,
        views: Option<usize>,
        compute: &mut Compute<'_>,
        tell: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<Self>, TrainError> {
        let row_bytes = space.header.row_bytes();
        let (each, count) = (views.unwrap_or(1), loader.len() * views.unwrap_or(1));
        let holds = count.saturating_mul(row_bytes) <= space.memory;
        let homeless = !holds && space.folder.is_none();
        let labels = loader.dataset().samples.iter().map(|sample| sample.label).collect();
        let memory = holds.then(|| Vec::with_capacity(count * row_bytes));
        let (rows, parts) = (vec![None; count], Vec::new());
        let mut features = Self { space, views: each, rows, kept: !homeless, labels, memory, parts };
        if homeless {
            return Ok(features.keep_nothing(loader, tell)?.then_some(features));
        }
        let prints = prints(loader, views);
        features.find(&prints);
        let whole = |image: &usize| features.rows[image * each..(image + 1) * each].iter().all(Option::is_some);
        let missing: Vec<usize> = (0..loader.len()).filter(|image| !whole(image)).collect();
        let mut done = (loader.len() - missing.len()) * each;
        if !tell(done / each) {
            return Ok(None);
        }
        let mut output = Output::new(&features.space);
        let batches = match views {
            Some(views) => loader.views(&missing, views),
            None => loader.batches(&missing),
        };
        for batch in batches {
            let batch = batch?;
            let boundary = compute(&batch)?;
            for (at, (&image, &view)) in batch.indices.iter().zip(&batch.views).enumerate() {
                let place = image * each + view as usize;
                let row = features.encode(&boundary, at);
                output.push(prints[place].as_ref(), &row);
                match &mut features.memory {
                    Some(memory) => {
                        features.rows[place] = Some(Row::Held(memory.len() / row_bytes));
                        memory.extend(row);
                    }
                    None => features.rows[place] = output.last(features.parts.len()),
                }
            }
            done = (done + loader.batch_size()).min(count);
            if !tell(done / each) {
                // What is done so far is kept for the next time.
                output.finish();
                return Ok(None);
            }
            if output.broken && features.memory.is_none() {
                break;
            }
        }
        let (parts, broken) = output.finish();
        if features.memory.is_none() {
            if broken {
                tracing::warn!("features are computed anew in every epoch, which takes longer and trains the same");
                return Ok(features.keep_nothing(loader, tell)?.then_some(features));
            }
            features.parts.extend(parts);
        }
        Ok(Some(features))
    }

    /// Keeps no row, but knows which images can be used. Whether `tell` let it.
    fn keep_nothing(&mut self, loader: &Loader, tell: &mut dyn FnMut(usize) -> bool) -> Result<bool, TrainError> {
        (self.kept, self.memory) = (false, None);
        self.parts.clear();
        if loader.options().on_corrupt == OnCorrupt::Error {
            self.rows.fill(Some(Row::Computed));
            return Ok(true);
        }
        // Batches are made of usable images, so that it must be known which are before the first.
        self.rows.fill(None);
        let order: Vec<usize> = (0..loader.len()).collect();
        for batch in loader.batches(&order) {
            for image in batch?.indices {
                self.rows[image * self.views..(image + 1) * self.views].fill(Some(Row::Computed));
            }
            if !tell(0) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether [`Features::gather`] has them; they are computed whenever they are wanted otherwise.
    pub(crate) fn are_kept(&self) -> bool {
        self.kept
    }

    /// Which view of each image an epoch sees.
    pub(crate) fn view(&self, epoch: u64) -> u64 {
        epoch % self.views as u64
    }

    /// What is left of features that were just computed once they have been kept.
    pub(crate) fn round(&self, boundary: &mut [Vec<f32>]) {
        let precision = self.space.precision();
        for values in boundary.iter_mut().filter(|_| precision != FeaturePrecision::F32) {
            let mut bytes = Vec::with_capacity(values.len() * precision.bytes());
            encode(precision, values, &mut bytes);
            values.clear();
            decode(precision, &bytes, values);
        }
    }

    /// Finds rows in the parts of the space, checks them, and takes them into memory where they are held there.
    fn find(&mut self, prints: &[Option<Fingerprint>]) {
        let row_bytes = self.space.header.row_bytes();
        let mut wanted: HashMap<Fingerprint, Vec<usize>> = HashMap::new();
        for (image, print) in prints.iter().enumerate() {
            if let Some(print) = print {
                wanted.entry(*print).or_default().push(image);
            }
        }
        let mut row = vec![0; row_bytes];
        for part in self.space.parts() {
            let mut found: Vec<(usize, Vec<usize>)> = Vec::new();
            for (at, (print, _)) in part.index.iter().enumerate() {
                if let Some(images) = wanted.remove(print) {
                    found.push((at, images));
                }
            }
            let held = self.memory.as_ref().map_or(0, Vec::len);
            let mut good = true;
            for (at, images) in &found {
                if let Err(error) = part.read(*at, &mut row) {
                    damaged(&part.path, &error.to_string());
                    good = false;
                    break;
                }
                let place = match &mut self.memory {
                    Some(memory) => {
                        memory.extend(&row);
                        Row::Held(memory.len() / row_bytes.max(1) - 1)
                    }
                    None => Row::Kept(self.parts.len(), *at),
                };
                images.iter().for_each(|&image| self.rows[image] = Some(place));
            }
            if !good {
                // Not one row of a damaged part is trusted.
                if let Some(memory) = &mut self.memory {
                    memory.truncate(held);
                }
                for (at, images) in found {
                    images.iter().for_each(|&image| self.rows[image] = None);
                    wanted.insert(part.index[at].0, images);
                }
            } else if self.memory.is_none() && !found.is_empty() {
                self.parts.push(part);
            }
        }
    }

    fn encode(&self, boundary: &[Vec<f32>], at: usize) -> Vec<u8> {
        let mut row = Vec::with_capacity(self.space.header.row_bytes());
        for (shape, values) in self.space.shapes().iter().zip(boundary) {
            let width: usize = shape.iter().product();
            encode(self.space.precision(), &values[at * width..(at + 1) * width], &mut row);
        }
        row
    }

    /// The images that have features, in the given order.
    pub(crate) fn usable(&self, order: &[usize]) -> Vec<usize> {
        let whole = |image: &usize| self.rows[image * self.views..(image + 1) * self.views].iter().all(Option::is_some);
        order.iter().copied().filter(whole).collect()
    }

    /// Features, one vector a tensor that crosses, and labels of these images, all of which must be
    /// [usable](Self::usable); where there are several views of each, of another one each `epoch`.
    ///
    /// # Errors
    /// A part that has been damaged since it was checked.
    pub(crate) fn gather(&self, images: &[usize], epoch: u64) -> Result<(Vec<Vec<f32>>, Vec<u32>), TrainError> {
        let header = &self.space.header;
        let widths: Vec<usize> = header.shapes.iter().map(|shape| shape.iter().product()).collect();
        let mut blocks: Vec<Vec<f32>> = widths.iter().map(|width| Vec::with_capacity(width * images.len())).collect();
        let mut buffer = vec![0; header.row_bytes()];
        for &image in images {
            let place = image * self.views + self.view(epoch) as usize;
            let mut row: &[u8] = match (self.rows[place], &self.memory) {
                (Some(Row::Held(at)), Some(memory)) => &memory[at * buffer.len()..(at + 1) * buffer.len()],
                (Some(Row::Kept(part, at)), _) => {
                    let part = &self.parts[part];
                    let failed = |source| TrainError::Io { path: part.path.clone(), source };
                    part.read(at, &mut buffer).map_err(failed)?;
                    &buffer
                }
                _ => unreachable!("only usable images of features that are kept are asked for"),
            };
            for (width, block) in widths.iter().zip(&mut blocks) {
                let (values, rest) = row.split_at(width * header.precision.bytes());
                decode(header.precision, values, block);
                row = rest;
            }
        }
        Ok((blocks, images.iter().map(|&image| self.labels[image]).collect()))
    }
}

/// Fingerprints of all views of all images: of the image, or of the image and what changes it.
fn prints(loader: &Loader, views: Option<usize>) -> Vec<Option<Fingerprint>> {
    let images = loader.dataset().fingerprints();
    let Some(views) = views else { return images };
    let options = loader.options();
    let of_view = |print: Option<Fingerprint>, view: usize| {
        let about = format!("{:?} {} {view}", options.augment, options.seed);
        Some(Sha256::new_with_prefix(print?).chain_update(about).finalize().into())
    };
    images.into_iter().flat_map(|print| (0..views).map(move |view| of_view(print, view))).collect()
}

/// Writes new rows into parts; a disk that takes no more ends the writing and not the run.
struct Output<'a> {
    space: &'a Space,
    writer: Option<Writer>,
    parts: Vec<Part>,
    /// Part and place of the row that was pushed last.
    last: Option<(usize, usize)>,
    broken: bool,
}

impl<'a> Output<'a> {
    fn new(space: &'a Space) -> Self {
        Self { space, writer: None, parts: Vec::new(), last: None, broken: space.folder.is_none() }
    }

    fn push(&mut self, print: Option<&Fingerprint>, row: &[u8]) {
        self.last = None;
        let (Some(print), Some(folder), false) = (print, &self.space.folder, self.broken) else { return };
        let mut write = || {
            let mut writer = match self.writer.take() {
                Some(writer) => writer,
                None => Writer::new(folder, &self.space.header)?,
            };
            writer.push(print, row)?;
            self.last = Some((self.parts.len(), writer.rows - 1));
            match writer.rows * row.len() >= PART_BYTES {
                true => self.parts.push(writer.finish()?),
                false => self.writer = Some(writer),
            }
            Ok(())
        };
        if let Err(error) = write() {
            self.give_up(&error);
        }
    }

    /// Where the last row is, given how many parts there are before these.
    fn last(&self, before: usize) -> Option<Row> {
        self.last.map(|(part, at)| Row::Kept(before + part, at))
    }

    fn give_up(&mut self, error: &std::io::Error) {
        let folder = self.space.folder.as_deref().unwrap_or_else(|| std::path::Path::new(""));
        tracing::warn!("{}: features cannot be kept: {error}", injerto_files::shown(folder));
        (self.broken, self.last) = (true, None);
    }

    /// The finished parts, and whether some row could not be kept.
    fn finish(mut self) -> (Vec<Part>, bool) {
        if let Some(writer) = self.writer.take() {
            match writer.finish() {
                Ok(part) => self.parts.push(part),
                Err(error) => self.give_up(&error),
            }
        }
        (self.parts, self.broken)
    }
}
