//! A small model of a server: one thread trains on drawn images, then several threads at once classify images that are not
//! files.
//!
//! ```sh
//! cargo run -p injerto-cli -p injerto-experiment --example in_memory
//! ```

use std::error::Error;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use injerto_backbones::plugin::{Catalog, Probe, SearchPath, answer_if_asked};
use injerto_backbones::weights::Cache;
use injerto_config::{Config, Device};
use injerto_data::Origin;
use injerto_data::decode::Rgb;
use injerto_data::generated::Task;
use injerto_experiment::{Predictor, Prepared, RunFolder, Session};
use injerto_trainer::Watch;

/// Trains the tiny experiment, whose backbone is a plugin of `catalog`, and writes all files into `folder`. Then classifies
/// six images, each as a PNG in memory, as decoded pixels and as bytes that are not an image. Returns one line per answer.
pub fn train_and_predict(catalog: &mut Catalog, folder: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let config = Config::parse(include_str!("tiny.toml"), Path::new("tiny.toml"), &["phases.1.epochs=1".to_owned()])?;
    let prepared = Prepared::new(config, catalog, &Cache::new(folder.join("cache")))?;
    let session = Session::begin(prepared, RunFolder::create(Some(&folder.join("run")), "tiny")?)?;

    // A session owns its data, so that it can move to another thread. Only the observer is borrowed for the call.
    let training = thread::spawn(move || session.run(&mut Watch { observer: &mut (), stop: &AtomicBool::new(false) }));
    let outcome = training.join().expect("training does not panic")?;
    // Beside the checkpoint lies what the run knows of its images: which images are unlike all of them, and which resemble one
    // most. `Predictor::new(outcome.model, …)` would do without.
    let mut predictor = Predictor::load(&folder.join("run").join(&outcome.summary.best.checkpoint), Device::Flex)?;
    predictor.set_neighbours(1)?;
    let predictor = Arc::new(predictor);

    let asking = images()?.into_iter().map(|forms| {
        let predictor = predictor.clone();
        thread::spawn(move || {
            let said = predictor.predict(forms).map(|answer| match answer {
                Ok(prediction) => {
                    let (class, probability) = prediction.ranked().next().expect("there are classes");
                    let unknown = prediction.standing().is_some_and(|standing| standing.unknown);
                    let (known, near) = (if unknown { "unknown" } else { "known" }, &prediction.neighbours()[0].path);
                    format!("{known}, most like {near}: {class} {:.1} %", probability * 100.0)
                }
                Err(error) => error.to_string(),
            });
            said.collect::<Vec<_>>()
        })
    });
    let asking: Vec<_> = asking.collect();
    Ok(asking.into_iter().flat_map(|asked| asked.join().expect("predicting does not panic")).collect())
}

/// Images in the forms in which a server may receive them.
fn images() -> Result<Vec<[Origin; 3]>, Box<dyn Error>> {
    let drawn = Task::Flowers.dataset(2, 1, 9).samples.into_iter().take(6);
    let forms = drawn.map(|sample| {
        let Origin::Drawn(drawing) = sample.origin else { unreachable!("it is drawn") };
        let image = drawing.draw([48, 40]);
        Ok([png(&image)?.into(), image.into(), b"no image".to_vec().into()])
    });
    forms.collect()
}

fn png(image: &Rgb) -> Result<Vec<u8>, Box<dyn Error>> {
    let pixels = image::RgbImage::from_raw(image.width as u32, image.height as u32, image.pixels.clone());
    let mut bytes = Cursor::new(Vec::new());
    pixels.ok_or("pixels fill an image")?.write_to(&mut bytes, image::ImageFormat::Png)?;
    Ok(bytes.into_inner())
}

#[allow(dead_code, reason = "a test includes this file as a module")]
fn main() -> Result<(), Box<dyn Error>> {
    answer_if_asked();
    let path = SearchPath::usual([]).with_linked(injerto_standard::PLUGINS);
    let mut catalog = Catalog::scan(path, Probe::this_program()?);
    let folder = std::env::temp_dir().join(format!("injerto-in-memory-{}", std::process::id()));
    for line in train_and_predict(&mut catalog, &folder)? {
        println!("{line}");
    }
    Ok(std::fs::remove_dir_all(folder)?)
}
