//! Takes a picture of a server's page on which photos were dropped.
//!
//! ```sh
//! injerto serve runs/mine &
//! cargo build -p injerto-cli -p injerto-serve --example page
//! target/debug/examples/page 127.0.0.1:8080 page.png photo.jpg
//! ```

mod browser;

use std::error::Error;
use std::path::Path;

use base64::Engine as _;
use serde_json::json;

use browser::Browser;

/// Drops the photos of `PHOTOS`, pairs of a name and the content in base64, and waits until all is there to be seen.
const DROP: &str = "
    const carried = new DataTransfer();
    for (const [name, content] of PHOTOS) {
        const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0));
        carried.items.add(new File([bytes], name));
    }
    window.dispatchEvent(new DragEvent('drop', { dataTransfer: carried, bubbles: true, cancelable: true }));
    while (document.querySelector('.waits')) await new Promise(done => setTimeout(done, 20));
    for (const picture of document.querySelectorAll('#answers img')) {
        picture.loading = 'eager';
        await picture.decode();
    }
    await new Promise(done => setTimeout(done, 200));";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, picture, photos @ ..] = &arguments[..] else {
        return Err("expected an address, a file for the picture, and photos".into());
    };
    let mut browser = Browser::start().ok_or("there is no browser: Chromium or Chrome is needed")?;
    browser.screen(1100, "light");
    browser.open(address.parse()?);
    // The page may fetch from its own server alone, so the photos come with the script.
    let photo = |path: &String| -> Result<_, Box<dyn Error>> {
        let name = Path::new(path).file_name().ok_or("a photo without a name")?.to_string_lossy();
        let content = base64::engine::general_purpose::STANDARD.encode(std::fs::read(path)?);
        Ok(json!([name, content]))
    };
    let photos = photos.iter().map(photo).collect::<Result<Vec<_>, _>>()?;
    browser.run(&DROP.replace("PHOTOS", &json!(photos).to_string()));
    browser.picture(Path::new(picture), false);
    match &browser.complaints[..] {
        [] => Ok(()),
        complaints => Err(complaints.join("\n").into()),
    }
}
