//! Work on shards with a network that says of each photo what its mean colour is.

mod gather;
mod input;
mod work;

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::{ImageFormat, RgbImage};
use injerto_data::{Decoded, LoaderOptions};
use injerto_shards::{
    About, Answer, Done, Gathered, Input, Kind, Network, Outcome, Photos, Precision, Problem, Row, Shard, work,
};

/// A photo of one colour.
pub(crate) fn photo(colour: u8) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let image = RgbImage::from_pixel(4, 4, image::Rgb([colour, 255 - colour, 7]));
    image.write_to(&mut bytes, ImageFormat::Png).expect("encoded");
    bytes.into_inner()
}

pub(crate) fn put(path: PathBuf, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(path, bytes).expect("written");
}

/// A folder `photos` with so many photos of each of two classes.
pub(crate) fn photos(count: u8) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for class in ["cats", "dogs"] {
        for number in 0..count {
            put(
                folder.path().join(format!("photos/{class}/{number:03}.png")),
                &photo(number + 100 * u8::from(class == "dogs")),
            );
        }
    }
    folder
}

/// Says of each photo the mean of its pixels, one value per channel.
pub(crate) struct Colours {
    pub(crate) model: &'static str,
    pub(crate) precision: Precision,
}

pub(crate) const COLOURS: Colours = Colours { model: "0123456789abcdef", precision: Precision::F32 };

impl Network for Colours {
    fn about(&self) -> About {
        let kind = Kind::Features { layer: "mean".to_owned(), width: 3, precision: self.precision };
        About { name: "colours".to_owned(), model: self.model.to_owned(), image_size: None, kind }
    }

    fn answers(&self, photos: Photos) -> Box<dyn Iterator<Item = Result<Answer, Problem>> + '_> {
        let answers = |Decoded { pixels, images }: Decoded| {
            let mut rows = pixels.chunks_exact(2 * 2 * 3).collect::<Vec<_>>().into_iter();
            let mut answer = |image: Result<(), injerto_data::DataError>| {
                image.map_err(|error| Problem::Photo(error.to_string()))?;
                let row = rows.next().expect("a row per image");
                let features = (0..3).map(|at| row.iter().skip(at).step_by(3).sum::<f32>() / 4.0).collect();
                Ok(Answer { features, ..Answer::default() })
            };
            images.into_iter().map(&mut answer).collect::<Vec<_>>()
        };
        Box::new(LoaderOptions::new([2, 2], 4).stream(photos).flat_map(move |batch| answers(batch.expect("decoded"))))
    }
}

/// Computes one shard of some inputs into `out`.
#[track_caller]
pub(crate) fn compute(inputs: &[PathBuf], shard: &str, network: &dyn Network, out: &Path) -> Outcome {
    let share = Input::open(inputs).and_then(|input| input.share(shard.parse()?)).expect("a share");
    work(share, network, out, &mut |_| true).expect("computed")
}

/// All rows of the shards in a folder, sorted by their keys.
#[track_caller]
pub(crate) fn rows(folder: &Path) -> Vec<Row> {
    let gathered = Gathered::open(&[folder.to_owned()]).expect("gathered");
    assert_eq!(gathered.faults(), []);
    let mut rows: Vec<Row> = gathered.rows(true).collect::<Result<_, _>>().expect("read");
    rows.sort_by(|a, b| a.key.cmp(&b.key));
    rows
}

/// The keys of a share, in its order.
#[track_caller]
pub(crate) fn keys(inputs: &[PathBuf], shard: Shard) -> Vec<String> {
    let share = Input::open(inputs).and_then(|input| input.share(shard)).expect("a share");
    share.photos().map(|photo| photo.expect("a photo").key).collect()
}

/// All shards of so many.
pub(crate) fn all(of: u32) -> impl Iterator<Item = Shard> {
    (0..of).map(move |index| Shard::new(index, of).expect("below"))
}

#[track_caller]
pub(crate) fn written(outcome: &Outcome) {
    assert_eq!(outcome.done, Done::Written);
}
