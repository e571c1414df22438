//! How much of a core it takes to decode the photos of a folder, and to make images of a side of them, as training does:
//! `cargo run -p injerto-data --example decoding photos 160 5` (folder, side, passes).
//!
//! Files are read before. Each figure is milliseconds of processor time per photo, the median of the passes, which alternate. "Another
//! decoder" is that of files that are not of the common kind (zune-jpeg, through `image`), after the walk through the file that looks
//! whether all its data is there.

use std::path::{Path, PathBuf};

use injerto_data::decode::{Orientation, decode, examine};
use injerto_data::resize::{Interpolation, resize};
use injerto_data::{LoaderOptions, Origin};

type Work<'a> = (&'a str, Box<dyn Fn(&[u8]) -> usize + 'a>);

/// Nanoseconds of processor time that this thread has used.
fn processor() -> u64 {
    let used = std::fs::read_to_string("/proc/self/schedstat").ok();
    let used = used.and_then(|text| text.split(' ').next()?.parse().ok());
    used.unwrap_or_else(|| {
        std::time::UNIX_EPOCH.elapsed().map_or(0, |elapsed| u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    })
}

fn photos(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => photos(&path, found)?,
            false => found.push(path),
        }
    }
    found.sort();
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let root = arguments.next().ok_or("which folder?")?;
    let side: usize = arguments.next().map_or(Ok(160), |side| side.parse())?;
    let passes: usize = arguments.next().map_or(Ok(3), |passes| passes.parse())?;
    let mut paths = Vec::new();
    photos(Path::new(&root), &mut paths)?;
    let files = paths.iter().map(std::fs::read).collect::<Result<Vec<_>, _>>()?;
    let options = LoaderOptions::new([side, side], 1);
    let means = LoaderOptions { scaled_decoding: true, ..options.clone() };
    let origin = |bytes: &[u8]| Origin::from(bytes.to_vec());
    let another = |bytes: &[u8]| {
        examine(bytes).expect("a photo");
        image::load_from_memory(bytes).expect("a photo").into_rgb8()
    };
    let works: [Work<'_>; 6] = [
        ("decoded by another decoder", Box::new(|bytes| another(bytes).len())),
        ("decoded whole", Box::new(|bytes| decode(bytes, Orientation::Ignore).expect("a photo").pixels.len())),
        (
            "decoded by another decoder and resized",
            Box::new(|bytes| {
                let image = another(bytes);
                let (height, width) = (image.height() as usize, image.width() as usize);
                let image = injerto_data::decode::Rgb { height, width, pixels: image.into_raw() };
                resize(&image, [side, side], Interpolation::Bilinear, false).len()
            }),
        ),
        (
            "decoded as far as looked at, and resized",
            Box::new(|bytes| options.load(&origin(bytes)).map_or(0, |p| p.len())),
        ),
        ("decoded to means, and resized", Box::new(|bytes| means.load(&origin(bytes)).map_or(0, |p| p.len()))),
        ("looked at by the look before training", Box::new(|bytes| examine(bytes).map_or(0, |e| e.width as usize))),
    ];
    let mut times = vec![Vec::new(); works.len()];
    for _ in 0..passes {
        for ((_, work), times) in works.iter().zip(&mut times) {
            let before = processor();
            let values: usize = files.iter().map(|bytes| work(bytes)).sum();
            assert!(values > 0, "photos have pixels");
            times.push((processor() - before) as f64 / 1e6 / files.len() as f64);
        }
    }
    let bytes: usize = files.iter().map(Vec::len).sum();
    println!("{} photos of {} KiB, to {side}x{side}", files.len(), bytes / files.len().max(1) / 1024);
    for ((name, _), times) in works.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        let median = times[times.len() / 2];
        println!("{median:8.3} ms  {:7.0} a second and core  {name}", 1e3 / median);
    }
    Ok(())
}
