use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;

use crate::augment::{Augmentation, MixOptions};
use crate::decode::{Examined, Orientation, Rgb, decode_seen, part_of};
use crate::kept::KeptPhotos;
use crate::read::{Unread, read};
use crate::resize::{Interpolation, Resizing, central_square, middle};
use crate::{DataError, Origin, Sample};

/// What to do with a file that is no image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnCorrupt {
    /// Stop and name it.
    #[default]
    Error,
    /// Leave it out, and remember it.
    Skip,
}

/// How often the images of each class come in a training epoch. An epoch always has as many places as there are images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassSampling {
    /// Each image comes once.
    #[default]
    Natural,
    /// All classes have equally many places, give or take one. An image of a rare class comes several times per epoch, each time
    /// changed anew, and an image of a frequent class in some epochs only. No image of a class comes again before all others of
    /// the class have come.
    Balanced,
}

impl ClassSampling {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Natural, Self::Balanced];

    /// What users call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Natural => "natural",
            Self::Balanced => "balanced",
        }
    }
}

/// How images become batches.
#[derive(Debug, Clone, PartialEq)]
pub struct LoaderOptions {
    /// `[height, width]`.
    pub image_size: [usize; 2],
    /// Images per batch; the last may have fewer.
    pub batch_size: usize,
    /// How images are resized.
    pub interpolation: Interpolation,
    /// Cut images to the aspect ratio of `image_size` instead of squeezing them.
    pub crop_to_aspect_ratio: bool,
    /// Look at the middle of each image only, before resizing: a square of this share of its shorter side.
    pub center_crop: Option<f64>,
    /// Whether photos are turned according to their EXIF data.
    pub orientation: Orientation,
    /// Whether photos that are at least four times as large as what is made of them are resized from means of squares of pixels:
    /// [`decode_scaled`](crate::decode::decode_scaled).
    pub scaled_decoding: bool,
    /// What to do with a file that is no image.
    pub on_corrupt: OnCorrupt,
    /// A new order in each epoch, from this seed; `None` keeps the dataset's.
    pub shuffle: Option<u64>,
    /// How often the images of each class come in an epoch; without effect where `shuffle` keeps the dataset's order.
    pub sampling: ClassSampling,
    /// Random changes, in this order. [`Loader::augmented`] and [`Loader::views`] make them, [`Loader::batches`] does not.
    ///
    /// [`Loader::augmented`]: crate::Loader::augmented
    /// [`Loader::views`]: crate::Loader::views
    /// [`Loader::batches`]: crate::Loader::batches
    pub augment: Vec<Augmentation>,
    /// How the images of a batch are mixed; [`Loader::augmented`](crate::Loader::augmented) alone does it.
    pub mix: MixOptions,
    /// Seed of what `augment` and `mix` draw.
    pub seed: u64,
    /// Decoded and resized images are kept up to this many bytes, so that later epochs need not decode them again; 0
    /// keeps none. The first that come stay: in epochs that run over all images, dropping the oldest would drop each
    /// one just before its turn.
    pub cache_bytes: usize,
    /// Where decoded photos are kept on disk, for images whose files a [look](crate::look) has read. A photo is written by
    /// [`Loader::augmented`](crate::Loader::augmented), whose epochs come again, or when it is decoded for the second time.
    pub kept: Option<KeptPhotos>,
}

/// What was looked at of an image: its rows and columns that resizing needs, and the height and width of the whole.
pub(crate) struct Looked {
    pub of: [usize; 2],
    pub bytes: Vec<u8>,
}

impl LoaderOptions {
    /// Images of this size (`[height, width]`) in batches of so many, as Keras reads them, in the dataset's order, unchanged.
    pub fn new(image_size: [usize; 2], batch_size: usize) -> Self {
        Self {
            image_size,
            batch_size,
            interpolation: Interpolation::default(),
            crop_to_aspect_ratio: false,
            center_crop: None,
            orientation: Orientation::default(),
            scaled_decoding: false,
            on_corrupt: OnCorrupt::default(),
            shuffle: None,
            sampling: ClassSampling::default(),
            augment: Vec::new(),
            mix: MixOptions::default(),
            seed: 0,
            cache_bytes: 0,
            kept: None,
        }
    }

    /// One image as it would stand in a batch: `[height, width, 3]`, 0 to 255.
    ///
    /// # Errors
    /// [`DataError::Corrupt`], also for a file that cannot be read, and [`DataError::Shortage`].
    pub fn load(&self, image: &Origin) -> Result<Vec<f32>, DataError> {
        let mut pixels = vec![0.0; self.values()];
        self.load_into(image, &mut pixels)?;
        Ok(pixels)
    }

    /// [`load`](Self::load), straight to where the pixels are wanted. Whatever an image holds, it is an error and no panic. Returns what
    /// was looked at of a file.
    pub(crate) fn load_into(&self, image: &Origin, pixels: &mut [f32]) -> Result<Option<Looked>, DataError> {
        let done = catch_unwind(AssertUnwindSafe(|| match image {
            Origin::File(path) => Ok(Some(self.decode_into(&read(path)?, pixels)?)),
            Origin::Bytes(bytes) => Ok(Some(self.decode_into(bytes, pixels)?)),
            Origin::Pixels(image) => {
                whole(image)?;
                self.fit_into(image, pixels);
                Ok(None)
            }
            Origin::Kept(_) => Err("only its features are kept, and this needs its pixels".to_owned().into()),
            Origin::Drawn(drawing) => {
                self.fit_into(&drawing.draw(self.image_size), pixels);
                Ok(None)
            }
        }));
        done.unwrap_or_else(|_| Err("reading it failed".to_owned().into()))
            .map_err(|unread: Unread| unread.of(image.clone()))
    }

    fn decode_into(&self, bytes: &[u8], pixels: &mut [f32]) -> Result<Looked, String> {
        let enough = self.scaled_decoding.then(|| self.enough());
        let (image, resizing, _permit) = decode_seen(bytes, self.orientation, enough, |size| self.resizing(size))?;
        resizing.run(&image.pixels, pixels);
        Ok(Looked { of: resizing.of, bytes: image.pixels })
    }

    /// Makes pixels of what was looked at before; whether it is that.
    pub(crate) fn fit_looked(&self, of: [usize; 2], bytes: &[u8], pixels: &mut [f32]) -> bool {
        if of.contains(&0) {
            return false;
        }
        let resizing = self.resizing(of);
        let fits = resizing.as_ref().bytes() == bytes.len();
        if fits {
            resizing.run(bytes, pixels);
        }
        fits
    }

    fn fit_into(&self, image: &Rgb, pixels: &mut [f32]) {
        let resizing = self.resizing([image.height, image.width]);
        resizing.run(&image.clone().seen(resizing.as_ref()).pixels, pixels);
    }

    /// The side of the squares of pixels whose means stand for an image with [`scaled_decoding`](Self::scaled_decoding): 8 or 4, or 1
    /// for an image that is not at least four times as large as what is made of it. `None` for an image whose file no
    /// [look](crate::look) has read.
    pub fn squares(&self, sample: &Sample) -> Option<usize> {
        let Examined { height, width, turned, .. } = sample.seen.as_ref()?.examined;
        let (upright, stored) = ([height as usize, width as usize], [width as usize, height as usize]);
        let size = if turned && self.orientation == Orientation::Ignore { stored } else { upright };
        Some(part_of(size, Some(self.enough())))
    }

    /// Height and width of which an image may be made smaller before it is resized.
    fn enough(&self) -> [usize; 2] {
        // Of an image whose middle is looked at, the middle has to be large enough.
        match self.center_crop {
            Some(share) => [(self.image_size[0].max(self.image_size[1]) as f64 / share).ceil() as usize; 2],
            None => self.image_size,
        }
    }

    /// How an image of this height and width is resized.
    fn resizing(&self, size: [usize; 2]) -> Resizing {
        Resizing::new(size, self.seen(size), self.image_size, self.interpolation)
    }

    /// The part of an image of this height and width that is seen after resizing: top, left, height and width in pixels.
    pub fn seen(&self, size: [usize; 2]) -> [usize; 4] {
        let [top, left, height, width] = match self.center_crop {
            Some(share) => central_square(size, share),
            None => [0, 0, size[0], size[1]],
        };
        match self.crop_to_aspect_ratio {
            true => {
                let [down, across, height, width] = middle([height, width], self.image_size);
                [top + down, left + across, height, width]
            }
            false => [top, left, height, width],
        }
    }

    /// Numbers that make up an image.
    pub(crate) fn values(&self) -> usize {
        self.image_size.iter().product::<usize>() * 3
    }
}

/// Whether an image has the pixels that its height and width promise.
fn whole(image: &Rgb) -> Result<(), String> {
    let Rgb { height, width, pixels } = image;
    let promised = height.checked_mul(*width).and_then(|count| count.checked_mul(3)).filter(|count| *count > 0);
    match promised == Some(pixels.len()) {
        true => Ok(()),
        false => {
            Err(format!("{} values are not those of {height} x {width} pixels of red, green and blue", pixels.len()))
        }
    }
}
