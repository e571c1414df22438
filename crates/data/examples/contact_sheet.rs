//! Draws a sheet of generated images, with one row per class: `cargo run -p injerto-data --example contact_sheet flowers sheet.png`.

use injerto_data::Origin;
use injerto_data::generated::Task;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let task = Task::of_name(&arguments.next().unwrap_or_else(|| "flowers".to_owned()))?;
    let path = arguments.next().unwrap_or_else(|| "sheet.png".to_owned());
    let (size, columns) = (96, 10);
    let dataset = task.dataset(columns, 123, 0);
    let rows = task.classes().len();
    let mut sheet = image::RgbImage::new((columns * size) as u32, (rows * size) as u32);
    for (at, sample) in dataset.samples.iter().enumerate() {
        let Origin::Drawn(drawing) = &sample.origin else { continue };
        let drawn = drawing.draw([size, size]);
        let tile = image::RgbImage::from_raw(size as u32, size as u32, drawn.pixels).ok_or("pixels fill the tile")?;
        image::imageops::replace(&mut sheet, &tile, ((at % columns) * size) as i64, ((at / columns) * size) as i64);
    }
    sheet.save(path)?;
    Ok(())
}
