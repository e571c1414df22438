//! The page in a real browser, where there is one.

#[path = "../../../../serve/examples/page/browser.rs"]
mod driver;

use std::path::Path;

use serde_json::json;

use super::client::Served;
use super::here;
use driver::Browser;

/// Drops the first training photo that the server shows on the page, and waits for the answer.
const DROP: &str = "
    const photo = await (await fetch('/photo?path=' + encodeURIComponent(PATH))).blob();
    const carried = new DataTransfer();
    carried.items.add(new File([photo], 'a <b>photo</b>.jpg', { type: 'image/jpeg' }));
    window.dispatchEvent(new DragEvent('drop', { dataTransfer: carried, bubbles: true, cancelable: true }));
    while (document.querySelector('.waits')) await new Promise(done => setTimeout(done, 20));";

#[test]
fn a_photo_that_is_dropped_on_the_page_is_answered_without_an_error() {
    let Some(mut browser) = Browser::start() else { return eprintln!("skipped: no browser") };
    let at = here();
    let server = Served::start(at.path(), &["out"]);
    let photo = crate::knowledge::training_photos(at.path()).remove(3);
    browser.screen(1100, "light");
    browser.open(server.address);
    let drop = DROP.replace("PATH", &json!(photo.0).to_string());
    let found = browser.run(&format!(
        "{drop}
        const answer = document.querySelector('.answer');
        const near = [...answer.querySelectorAll('.similar img')];
        await Promise.all(near.map(picture => (picture.loading = 'eager', picture.decode())));
        return [answer.querySelector('h3').textContent.length > 3, answer.querySelector('.name').textContent.split(',')[0],
            answer.querySelectorAll('.classes tr').length, near.length, near[0].naturalWidth > 0, near[0].alt,
            document.querySelectorAll('#live svg').length, answer.querySelector('.heat').naturalWidth > 0];"
    ));
    // The nearest training photo of a training photo's picture need not be itself: the picture is smaller.
    let nearest = found[5].clone();
    assert!(nearest.is_string());
    assert_eq!(found, json!([true, "a <b>photo</b>.jpg", 5, 5, true, nearest, 2, true]));

    // What is wrong is said with the keyboard alone.
    let kept = browser.run(
        "const answer = document.querySelector('.answer'), summary = answer.querySelector('summary');
        summary.focus();
        summary.click();
        await new Promise(done => setTimeout(done, 50));
        const chosen = answer.querySelector('select'), send = answer.querySelector('.correct button');
        chosen.value = 'tulips';
        send.click();
        while (!answer.querySelector('[role=status]').textContent) await new Promise(done => setTimeout(done, 20));
        return [document.activeElement === summary, answer.querySelector('[role=status]').textContent,
            document.getElementById('collected').checkVisibility(), document.getElementById('stop').checkVisibility()];",
    );
    assert_eq!(kept, json!([true, "kept as tulips", true, false]));

    assert_eq!(browser.complaints, Vec::<String>::new(), "the console stays empty");

    // What is unlike all training photos is said to be, and a file that is no photo says why it has no answer.
    let odd = browser.run(
        "const canvas = Object.assign(document.createElement('canvas'), { width: 40, height: 40 });
        const context = canvas.getContext('2d');
        context.fillStyle = '#00f';
        context.fillRect(0, 0, 40, 40);
        const sheet = new File([await new Promise(done => canvas.toBlob(done))], 'sheet.png', { type: 'image/png' });
        const carried = new DataTransfer();
        [sheet, new File(['no image'], 'words.jpg', { type: 'image/jpeg' })].forEach(file => carried.items.add(file));
        document.dispatchEvent(Object.assign(new Event('paste', { bubbles: true }), { clipboardData: carried }));
        while (document.querySelector('.waits')) await new Promise(done => setTimeout(done, 20));
        return [document.querySelectorAll('.answer')[1].querySelector('.chip').textContent,
            document.querySelectorAll('.answer')[0].textContent];",
    );
    let why = "words.jpg: this is not an image of a kind that is read: JPEG, PNG, GIF, BMP, WebP or TIFF";
    assert_eq!(odd, json!(["unknown", why]));

    // On a phone nothing is wider than the screen, in the dark as in the light.
    for (width, scheme) in [(1100, "light"), (390, "light"), (390, "dark")] {
        browser.screen(width, scheme);
        let wide = browser
            .run("await new Promise(done => setTimeout(done, 100)); return document.documentElement.scrollWidth;");
        assert!(wide.as_u64().is_some_and(|found| found <= width as u64), "{wide} on {width}");
        // Whoever wants to look at the page names a folder.
        if let Some(folder) = std::env::var_os("INJERTO_SCREENSHOTS") {
            browser.picture(&Path::new(&folder).join(format!("serve-{width}-{scheme}.png")), true);
        }
    }
}
