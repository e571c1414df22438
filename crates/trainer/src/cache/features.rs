use std::collections::HashMap;

use injerto_data::{Batch, Fingerprint, Label, Loader, OnCorrupt};
use injerto_recipe::FeaturePrecision;
use sha2::{Digest, Sha256};

use super::Namespace;
use super::namespace::damaged;
use super::segment::{Segment, Writer, decode, encode};
use crate::TrainError;
use crate::boundary::Boundary;

/// Computes the boundary of a batch. A device may still be at work when it returns.
type Compute<'a> = dyn FnMut(&Batch) -> Result<Boundary, TrainError> + 'a;

/// Size in bytes at which a segment is finished. A killed run loses at most this much.
const SEGMENT_BYTES: usize = 64 << 20;

/// Features of the frozen prefix for each image of a dataset.
///
/// If features cannot be kept, they are computed again in every epoch, from the same few views and rounded to the same precision: they
/// are, bit for bit, those that would have been kept. Free space on a disk therefore decides only how long a run takes.
#[derive(Debug)]
pub(crate) struct Features {
    namespace: Namespace,
    /// Number of rows per image of the dataset.
    views: usize,
    /// Row of each view of each image of the dataset; `None` for an image that could not be used.
    rows: Vec<Option<Row>>,
    /// Whether rows are in memory or in segments, and not computed again whenever they are needed.
    kept: bool,
    labels: Vec<Label>,
    memory: Option<Vec<u8>>,
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, Copy)]
enum Row {
    /// The row is in memory, at this position.
    Held(usize),
    /// The row is in this segment, at this position.
    Kept(usize, usize),
    /// The row is not kept.
    Computed,
}

impl Features {
    /// Features of all images of a loader. Kept features are read; `compute` computes the others. `progress` gets the number of images
    /// that are done, and returns whether to go on. Returns `None` if it returned false.
    ///
    /// With `views`, the features are those of this number of randomly changed versions of each image ([`Loader::views`]), and not those
    /// of the image itself.
    pub(crate) fn gather_all(
        namespace: Namespace,
        loader: &Loader,
        views: Option<usize>,
        compute: &mut Compute<'_>,
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<Self>, TrainError> {
        let row_bytes = namespace.header.row_bytes();
        let (each, count) = (views.unwrap_or(1), loader.len() * views.unwrap_or(1));
        let holds = count.saturating_mul(row_bytes) <= namespace.memory;
        let homeless = !holds && namespace.folder.is_none();
        let labels = loader.dataset().samples.iter().map(|sample| sample.label.clone()).collect();
        let memory = holds.then(|| Vec::with_capacity(count * row_bytes));
        let (rows, segments) = (vec![None; count], Vec::new());
        let mut features = Self { namespace, views: each, rows, kept: !homeless, labels, memory, segments };
        if homeless {
            return Ok(features.keep_nothing(loader, progress)?.then_some(features));
        }
        let prints = prints(loader, views);
        features.find(&prints);
        let whole = |image: &usize| features.rows[image * each..(image + 1) * each].iter().all(Option::is_some);
        let missing: Vec<usize> = (0..loader.len()).filter(|image| !whole(image)).collect();
        let mut done = (loader.len() - missing.len()) * each;
        if !progress(done / each) {
            return Ok(None);
        }
        let mut output = Output::new(&features.namespace);
        let mut batches = match views {
            Some(views) => loader.views(&missing, views),
            None => loader.batches(&missing),
        };
        // A device computes one batch while the batch before it is fetched and written.
        let mut ahead: Option<(Boundary, Batch)> = None;
        loop {
            let next = match batches.next().transpose()? {
                Some(batch) => Some((compute(&batch)?, batch)),
                None if ahead.is_none() => break,
                None => None,
            };
            let Some((boundary, batch)) = std::mem::replace(&mut ahead, next) else { continue };
            let boundary = boundary.on_host();
            for (at, (&image, &view)) in batch.indices.iter().zip(&batch.views).enumerate() {
                let place = image * each + view as usize;
                let row = features.encode(&boundary, at);
                output.push(prints[place].as_ref(), &row);
                match &mut features.memory {
                    Some(memory) => {
                        features.rows[place] = Some(Row::Held(memory.len() / row_bytes));
                        memory.extend(row);
                    }
                    None => features.rows[place] = output.last(features.segments.len()),
                }
            }
            done = (done + loader.batch_size()).min(count);
            if !progress(done / each) {
                // The features that are done so far are kept for the next time.
                output.finish();
                return Ok(None);
            }
            if output.broken && features.memory.is_none() {
                break;
            }
        }
        let (segments, broken) = output.finish();
        if features.memory.is_none() {
            if broken {
                tracing::warn!(
                    "features are computed again in every epoch; this takes longer and does not change the result"
                );
                return Ok(features.keep_nothing(loader, progress)?.then_some(features));
            }
            features.segments.extend(segments);
        }
        Ok(Some(features))
    }

    /// Keeps no row, but finds out which images can be used. Returns whether `progress` let it finish.
    fn keep_nothing(&mut self, loader: &Loader, progress: &mut dyn FnMut(usize) -> bool) -> Result<bool, TrainError> {
        (self.kept, self.memory) = (false, None);
        self.segments.clear();
        if loader.options().on_corrupt == OnCorrupt::Error {
            self.rows.fill(Some(Row::Computed));
            return Ok(true);
        }
        // Batches consist of usable images, so the usable images must be known before the first batch.
        self.rows.fill(None);
        let order: Vec<usize> = (0..loader.len()).collect();
        for batch in loader.batches(&order) {
            for image in batch?.indices {
                self.rows[image * self.views..(image + 1) * self.views].fill(Some(Row::Computed));
            }
            if !progress(0) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether [`Features::gather`] can return them. Otherwise they are computed again whenever they are needed.
    pub(crate) fn are_kept(&self) -> bool {
        self.kept
    }

    /// The view of each image that an epoch sees.
    pub(crate) fn view(&self, epoch: u64) -> u64 {
        epoch % self.views as u64
    }

    /// Rounds newly computed features as if they had been kept.
    pub(crate) fn round(&self, boundary: Boundary) -> Boundary {
        rounded(boundary, self.namespace.precision())
    }

    /// Finds rows in the segments of the namespace, checks them, and copies them if rows are held in memory.
    fn find(&mut self, prints: &[Option<Fingerprint>]) {
        let row_bytes = self.namespace.header.row_bytes();
        let mut wanted: HashMap<Fingerprint, Vec<usize>> = HashMap::new();
        for (image, print) in prints.iter().enumerate() {
            if let Some(print) = print {
                wanted.entry(*print).or_default().push(image);
            }
        }
        let mut row = vec![0; row_bytes];
        for segment in self.namespace.segments() {
            let mut found: Vec<(usize, Vec<usize>)> = Vec::new();
            for (at, (print, _)) in segment.index.iter().enumerate() {
                if let Some(images) = wanted.remove(print) {
                    found.push((at, images));
                }
            }
            let held = self.memory.as_ref().map_or(0, Vec::len);
            let mut good = true;
            for (at, images) in &found {
                if let Err(error) = segment.read(*at, &mut row) {
                    damaged(&segment.path, &error.to_string());
                    good = false;
                    break;
                }
                let place = match &mut self.memory {
                    Some(memory) => {
                        memory.extend(&row);
                        Row::Held(memory.len() / row_bytes.max(1) - 1)
                    }
                    None => Row::Kept(self.segments.len(), *at),
                };
                images.iter().for_each(|&image| self.rows[image] = Some(place));
            }
            if !good {
                // No row of a damaged segment is trusted.
                if let Some(memory) = &mut self.memory {
                    memory.truncate(held);
                }
                for (at, images) in found {
                    images.iter().for_each(|&image| self.rows[image] = None);
                    wanted.insert(segment.index[at].0, images);
                }
            } else if self.memory.is_none() && !found.is_empty() {
                self.segments.push(segment);
            }
        }
    }

    fn encode(&self, boundary: &[Vec<f32>], at: usize) -> Vec<u8> {
        let mut row = Vec::with_capacity(self.namespace.header.row_bytes());
        for (shape, values) in self.namespace.shapes().iter().zip(boundary) {
            let width: usize = shape.iter().product();
            encode(self.namespace.precision(), &values[at * width..(at + 1) * width], &mut row);
        }
        row
    }

    /// The images that have features, in the given order.
    pub(crate) fn usable(&self, order: &[usize]) -> Vec<usize> {
        let whole = |image: &usize| self.rows[image * self.views..(image + 1) * self.views].iter().all(Option::is_some);
        order.iter().copied().filter(whole).collect()
    }

    /// Features of these images, with one vector per tensor of the boundary, and their labels. All images must be
    /// [usable](Self::usable). If there are several views per image, each `epoch` gets another one.
    ///
    /// # Errors
    /// A segment has been damaged since it was checked.
    pub(crate) fn gather(&self, images: &[usize], epoch: u64) -> Result<(Vec<Vec<f32>>, Vec<Label>), TrainError> {
        let header = &self.namespace.header;
        let widths: Vec<usize> = header.shapes.iter().map(|shape| shape.iter().product()).collect();
        let mut blocks: Vec<Vec<f32>> = widths.iter().map(|width| Vec::with_capacity(width * images.len())).collect();
        let mut buffer = vec![0; header.row_bytes()];
        for &image in images {
            let place = image * self.views + self.view(epoch) as usize;
            let mut row: &[u8] = match (self.rows[place], &self.memory) {
                (Some(Row::Held(at)), Some(memory)) => &memory[at * buffer.len()..(at + 1) * buffer.len()],
                (Some(Row::Kept(segment, at)), _) => {
                    let segment = &self.segments[segment];
                    let failed = |source| TrainError::Io { path: segment.path.clone(), source };
                    segment.read(at, &mut buffer).map_err(failed)?;
                    &buffer
                }
                _ => unreachable!("callers ask only for usable images of kept features"),
            };
            for (width, block) in widths.iter().zip(&mut blocks) {
                let (values, rest) = row.split_at(width * header.precision.bytes());
                decode(header.precision, values, block);
                row = rest;
            }
        }
        Ok((blocks, images.iter().map(|&image| self.labels[image].clone()).collect()))
    }
}

/// Writes rows into segments of a namespace whose boundary is one tensor, and returns how many there were.
pub(crate) fn keep<E: From<TrainError>>(
    namespace: &Namespace,
    rows: impl Iterator<Item = Result<(Fingerprint, Vec<f32>), E>>,
) -> Result<usize, E> {
    let folder = namespace.folder.as_deref().expect("the caller keeps features in a folder");
    let failed = |source| TrainError::Io { path: folder.to_owned(), source };
    let (header, mut writer, mut count) = (&namespace.header, None::<Writer>, 0);
    let mut bytes = Vec::with_capacity(header.row_bytes());
    for row in rows {
        let (print, values) = row?;
        bytes.clear();
        encode(header.precision, &values, &mut bytes);
        assert_eq!(bytes.len(), header.row_bytes(), "a row has the values of the layer");
        let mut open = match writer.take() {
            Some(writer) => writer,
            None => Writer::new(folder, header).map_err(failed)?,
        };
        open.push(&print, &bytes).map_err(failed)?;
        count += 1;
        match open.rows * bytes.len() >= SEGMENT_BYTES {
            true => drop(open.finish().map_err(failed)?),
            false => writer = Some(open),
        }
    }
    writer.map(Writer::finish).transpose().map_err(failed)?;
    Ok(count)
}

/// The values of a boundary as they are after they have been kept with this precision.
pub(crate) fn rounded(boundary: Boundary, precision: FeaturePrecision) -> Boundary {
    if precision == FeaturePrecision::F32 {
        return boundary;
    }
    let mut rounded = boundary.on_host().into_owned();
    for values in &mut rounded {
        let mut bytes = Vec::with_capacity(values.len() * precision.bytes());
        encode(precision, values, &mut bytes);
        values.clear();
        decode(precision, &bytes, values);
    }
    Boundary::Host(rounded)
}

/// Fingerprints of all views of all images. A fingerprint depends on the image and on the change of the view, if there is one.
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

/// Writes new rows into segments. A full disk ends the writing, but not the run.
struct Output<'a> {
    namespace: &'a Namespace,
    writer: Option<Writer>,
    segments: Vec<Segment>,
    /// Segment and position of the last row.
    last: Option<(usize, usize)>,
    broken: bool,
}

impl<'a> Output<'a> {
    fn new(namespace: &'a Namespace) -> Self {
        Self { namespace, writer: None, segments: Vec::new(), last: None, broken: namespace.folder.is_none() }
    }

    fn push(&mut self, print: Option<&Fingerprint>, row: &[u8]) {
        self.last = None;
        let (Some(print), Some(folder), false) = (print, &self.namespace.folder, self.broken) else { return };
        let mut write = || {
            let mut writer = match self.writer.take() {
                Some(writer) => writer,
                None => Writer::new(folder, &self.namespace.header)?,
            };
            writer.push(print, row)?;
            self.last = Some((self.segments.len(), writer.rows - 1));
            match writer.rows * row.len() >= SEGMENT_BYTES {
                true => self.segments.push(writer.finish()?),
                false => self.writer = Some(writer),
            }
            Ok(())
        };
        if let Err(error) = write() {
            self.give_up(&error);
        }
    }

    /// The last row, given the number of segments before these.
    fn last(&self, before: usize) -> Option<Row> {
        self.last.map(|(segment, at)| Row::Kept(before + segment, at))
    }

    fn give_up(&mut self, error: &std::io::Error) {
        let folder = self.namespace.folder.as_deref().unwrap_or_else(|| std::path::Path::new(""));
        tracing::warn!("{}: features cannot be kept: {error}", injerto_files::shown(folder));
        (self.broken, self.last) = (true, None);
    }

    /// Returns the finished segments, and whether a row could not be kept.
    fn finish(mut self) -> (Vec<Segment>, bool) {
        if let Some(writer) = self.writer.take() {
            match writer.finish() {
                Ok(segment) => self.segments.push(segment),
                Err(error) => self.give_up(&error),
            }
        }
        (self.segments, self.broken)
    }
}
