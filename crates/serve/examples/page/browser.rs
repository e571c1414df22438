//! A real browser, where there is one: Chromium without a window, driven through its debugging pipe.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// A browser with one page.
pub struct Browser {
    child: Child,
    orders: File,
    answers: BufReader<File>,
    /// The page that orders are for.
    session: Value,
    number: u64,
    /// What the page wrote into its console, and errors that nobody caught.
    pub complaints: Vec<String>,
    _folder: tempfile::TempDir,
}

impl Browser {
    /// Starts the browser; `None` where there is none.
    pub fn start() -> Option<Self> {
        let names = ["chromium", "chromium-browser", "google-chrome"];
        let name = names.into_iter().find(|name| Command::new(name).arg("--version").output().is_ok())?;
        let folder = tempfile::tempdir().expect("a folder");
        let [orders, answers] = ["orders", "answers"].map(|name| folder.path().join(name));
        assert!(Command::new("mkfifo").args([&orders, &answers]).status().expect("mkfifo is there").success());
        let profile = format!("--user-data-dir={}", folder.path().join("profile").display());
        let script = "exec \"$0\" --headless=new --no-sandbox --disable-gpu --hide-scrollbars \
                      --remote-debugging-pipe \"$1\" 3<\"$2\" 4>\"$3\"";
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
    pub fn run(&mut self, script: &str) -> Value {
        let script = format!("(async () => {{ {script} }})()");
        let ran = self.order(
            "Runtime.evaluate",
            json!({ "expression": script, "awaitPromise": true, "returnByValue": true, "userGesture": true }),
        );
        assert!(ran["exceptionDetails"].is_null(), "{ran}");
        ran["result"]["value"].clone()
    }

    /// Shows the page of the server at this address.
    pub fn open(&mut self, address: SocketAddr) {
        self.order("Page.navigate", json!({ "url": format!("http://{address}/") }));
        self.run("while (document.readyState !== 'complete') await new Promise(done => setTimeout(done, 20));");
    }

    /// Shows the page on a screen of this width, in the light or in the dark.
    pub fn screen(&mut self, width: usize, scheme: &str) {
        self.order(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600 }),
        );
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.order("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// Takes a picture of the page, the whole of it or what is on the screen: PNG, or WebP if the file's name ends so.
    pub fn picture(&mut self, file: &Path, whole: bool) {
        let mut wanted = json!({ "format": "png", "captureBeyondViewport": whole });
        if file.extension().is_some_and(|ending| ending == "webp") {
            wanted = json!({ "format": "webp", "quality": 90, "captureBeyondViewport": whole });
        }
        let taken = self.order("Page.captureScreenshot", wanted);
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
