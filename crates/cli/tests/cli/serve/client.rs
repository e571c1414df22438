//! A server as a child process, and requests over a plain socket.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::injerto;

/// How long a test waits for the server.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server that ends with the test.
pub struct Served {
    pub address: SocketAddr,
    child: Child,
}

impl Served {
    /// Starts a server on a free port of this machine.
    pub fn start(at: &Path, words: &[&str]) -> Self {
        let mut command = injerto(at);
        command.args(["serve", "--port", "0", "--quiet"]).args(words);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("http://").and_then(|line| line.strip_suffix('/'));
        let address: SocketAddr =
            address.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("{line:?}"));
        Self { address: SocketAddr::new([127, 0, 0, 1].into(), address.port()), child }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        stream
    }

    /// Sends bytes, whatever they are, and reads all that comes back.
    pub fn ask(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect();
        // The server may have answered and closed before it has read everything.
        let _ = stream.write_all(request);
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        Answer::read(&said)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())
    }

    /// The events of the run, as they come.
    pub fn events(&self) -> impl Iterator<Item = Value> {
        let mut stream = self.connect();
        stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
        let lines = BufReader::new(stream).lines().map(|line| line.expect("the stream goes on"));
        lines.filter_map(|line| Some(serde_json::from_str(line.strip_prefix("data: ")?).expect("JSON")))
    }

    pub fn signal(&mut self, name: &str) {
        super::signal(name, self.child.id());
    }

    /// The exit code, once it has ended.
    pub fn ends(&mut self) -> Option<i32> {
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a server has said.
pub struct Answer {
    /// The status code; 0 if it said nothing.
    pub status: u16,
    pub head: String,
    body: Vec<u8>,
}

impl Answer {
    pub fn read(said: &[u8]) -> Self {
        let end = said.windows(4).position(|part| part == b"\r\n\r\n").unwrap_or(said.len());
        let head = String::from_utf8_lossy(&said[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, head, body: said.get(end + 4..).unwrap_or_default().to_vec() }
    }

    pub fn body(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}\n{}", self.head, self.body()))
    }

    #[track_caller]
    pub fn text(&self) -> String {
        assert_eq!(self.status, 200, "{}\n{}", self.head, self.body());
        self.body().into_owned()
    }

    #[track_caller]
    pub fn succeeds(&self) -> Value {
        assert_eq!(self.status, 200, "{}\n{}", self.head, self.body());
        self.json()
    }
}

/// A request with a body as it is.
pub fn raw(path: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A request with the files of a form.
pub fn form(path: &str, files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, bytes) in files {
        body.extend(
            format!("--line\r\nContent-Disposition: form-data; name=\"photo\"; filename=\"{name}\"\r\n\r\n").bytes(),
        );
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--line--\r\n");
    raw(path, "multipart/form-data; boundary=line", &body)
}
