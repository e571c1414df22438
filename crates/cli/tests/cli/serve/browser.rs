//! The page in a real browser, where there is one: Chromium without a window, driven through its debugging pipe.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::client::Served;
use super::here;

/// A browser with one page.
struct Browser {
    child: Child,
    orders: File,
    answers: BufReader<File>,
    /// The page that orders are for.
    session: Value,
    number: u64,
    /// What the page wrote into its console, and errors that nobody caught.
    complaints: Vec<String>,
    _folder: tempfile::TempDir,
}

impl Browser {
    /// Starts the browser; `None` where there is none.
    fn start() -> Option<Self> {
        let names = ["chromium", "chromium-browser", "google-chrome"];
        let name = names.into_iter().find(|name| Command::new(name).arg("--version").output().is_ok())?;
        let folder = tempfile::tempdir().expect("a folder");
        let [orders, answers] = ["orders", "answers"].map(|name| folder.path().join(name));
        assert!(Command::new("mkfifo").args([&orders, &answers]).status().expect("mkfifo is there").success());
        let profile = format!("--user-data-dir={}", folder.path().join("profile").display());
        let script =
            "exec \"$0\" --headless=new --no-sandbox --disable-gpu --remote-debugging-pipe \"$1\" 3<\"$2\" 4>\"$3\"";
        let mut command = Command::new("sh");
        command
            .args(["-c", script, name, &profile])
            .args([&orders, &answers])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().expect("it starts");
        let orders = File::options().write(true).open(orders).expect("a pipe");
        let answers = BufReader::new(File::open(answers).expect("a pipe"));
        let (session, complaints) = (Value::Null, Vec::new());
        let mut browser = Self { child, orders, answers, session, number: 0, complaints, _folder: folder };
        let target = browser.order("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = browser.order("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        browser.session = attached["sessionId"].clone();
        for domain in ["Page", "Runtime", "Log"] {
            browser.order(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Gives an order, and returns what comes of it.
    fn order(&mut self, method: &str, parameters: Value) -> Value {
        self.number += 1;
        let mut order = json!({ "id": self.number, "method": method, "params": parameters });
        if self.session.is_string() {
            order["sessionId"] = self.session.clone();
        }
        self.orders.write_all(format!("{order}\0").as_bytes()).expect("the browser reads");
        loop {
            let mut said = Vec::new();
            self.answers.read_until(0, &mut said).expect("the browser answers");
            let said: Value = serde_json::from_slice(said.strip_suffix(b"\0").unwrap_or(&said)).expect("JSON");
            if said["id"] == self.number {
                assert!(said["error"].is_null(), "{method}: {said}");
                return said["result"].clone();
            }
            let (method, told) = (said["method"].as_str().unwrap_or_default(), &said["params"]);
            if matches!(method, "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded") {
                self.complaints.push(told.to_string());
            }
        }
    }

    /// Runs a script in the page, and returns its value.
    fn run(&mut self, script: &str) -> Value {
        let script = format!("(async () => {{ {script} }})()");
        let ran = self.order(
            "Runtime.evaluate",
            json!({ "expression": script, "awaitPromise": true, "returnByValue": true, "userGesture": true }),
        );
        assert!(ran["exceptionDetails"].is_null(), "{ran}");
        ran["result"]["value"].clone()
    }

    fn open(&mut self, served: &Served) {
        self.order("Page.navigate", json!({ "url": format!("http://{}/", served.address) }));
        self.run("while (document.readyState !== 'complete') await new Promise(done => setTimeout(done, 20));");
    }

    /// Shows the page on a screen of this width, in the light or in the dark.
    fn screen(&mut self, width: usize, scheme: &str) {
        self.order(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600 }),
        );
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.order("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// Takes a picture of the whole page.
    fn picture(&mut self, file: &Path) {
        let taken = self.order("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": true }));
        let mut bytes = Vec::new();
        let (mut held, mut bits) = (0_u32, 0);
        for letter in taken["data"].as_str().expect("base64").bytes().filter(|letter| *letter != b'=') {
            let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            let value = letters.iter().position(|known| *known == letter).expect("base64");
            (held, bits) = (held << 6 | value as u32, bits + 6);
            if bits >= 8 {
                bits -= 8;
                bytes.push((held >> bits) as u8);
            }
        }
        std::fs::write(file, bytes).expect("written");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

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
    browser.open(&server);
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
    let why = "words.jpg: this is no image of a kind that is read: JPEG, PNG, GIF, BMP, WebP or TIFF";
    assert_eq!(odd, json!(["unknown", why]));

    // On a phone nothing is wider than the screen, in the dark as in the light.
    for (width, scheme) in [(1100, "light"), (390, "light"), (390, "dark")] {
        browser.screen(width, scheme);
        let wide = browser
            .run("await new Promise(done => setTimeout(done, 100)); return document.documentElement.scrollWidth;");
        assert!(wide.as_u64().is_some_and(|found| found <= width as u64), "{wide} on {width}");
        // Whoever wants to look at the page names a folder.
        if let Some(folder) = std::env::var_os("INJERTO_SCREENSHOTS") {
            browser.picture(&Path::new(&folder).join(format!("serve-{width}-{scheme}.png")));
        }
    }
}
