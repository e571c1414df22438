//! Reads, decodes and resizes every image of a folder, as training does, and says how fast:
//! `cargo run -p injerto-data --example pass photos 160 3` (folder, side, passes). With a fourth argument, a folder, decoded photos are
//! kept there, as in the epochs of a training that changes images at random; `RAYON_NUM_THREADS` sets the number of threads.

use std::path::Path;
use std::time::Instant;

use injerto_data::{KeptPhotos, Loader, LoaderOptions, OnCorrupt, folder};

/// Seconds of processor time of all threads.
fn processor() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit(") ").next()?.split(' ').collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let root = arguments.next().ok_or("which folder?")?;
    let side: usize = arguments.next().map_or(Ok(160), |side| side.parse())?;
    let passes: usize = arguments.next().map_or(Ok(1), |passes| passes.parse())?;
    let kept = arguments.next().map(|folder| KeptPhotos { folder: folder.into(), bytes: 1 << 40 });
    let mut found = folder::open(Path::new(&root), folder::Options::default())?;
    let began = Instant::now();
    let looked = found.look(OnCorrupt::Skip, None, &|_| {})?;
    println!(
        "a look: {} files in {:.2} s, {} of them unreadable",
        looked.files,
        began.elapsed().as_secs_f64(),
        looked.unreadable.len()
    );
    let loaders: Vec<Loader> = [Some(found.train), found.validation]
        .into_iter()
        .flatten()
        .map(|dataset| {
            let options = LoaderOptions { kept: kept.clone(), ..LoaderOptions::new([side, side], 32) };
            Loader::new(dataset, options)
        })
        .collect();
    for pass in 1..=passes {
        let used = processor();
        let (began, before) = (Instant::now(), loaders.iter().map(Loader::decode_time).sum::<std::time::Duration>());
        let mut images = 0;
        for loader in &loaders {
            for batch in loader.augmented(&loader.order(0), pass as u64) {
                images += batch?.labels.len();
            }
        }
        let seconds = began.elapsed().as_secs_f64();
        let busy = loaders.iter().map(Loader::decode_time).sum::<std::time::Duration>() - before;
        println!(
            "pass {pass}: {images} images in {seconds:.2} s, {:.0} a second; {:.2} ms of a thread each, {:.2} ms of processor",
            images as f64 / seconds,
            busy.as_secs_f64() * 1e3 / images as f64,
            processor().zip(used).map_or(f64::NAN, |(after, before)| after - before) * 1e3 / images as f64
        );
    }
    Ok(())
}
