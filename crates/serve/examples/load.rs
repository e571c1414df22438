//! Asks a server over many connections at once, and says how many photos it answers per second.
//!
//! ```sh
//! injerto serve runs/mine &
//! cargo build -p injerto-cli -p injerto-serve --example load
//! target/debug/examples/load 127.0.0.1:8080 64 2000 photos/*.jpg
//! ```

use std::error::Error;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, connections, requests, files @ ..] = &arguments[..] else {
        return Err("expected an address, a number of connections, a number of requests, and photos".into());
    };
    let (connections, requests): (usize, usize) = (connections.parse()?, requests.parse()?);
    let photos = files.iter().map(std::fs::read).collect::<Result<Vec<_>, _>>()?;
    let (next, refused, began) = (AtomicUsize::new(0), AtomicUsize::new(0), Instant::now());
    let mut waited = std::thread::scope(|scope| {
        let ask = || -> std::io::Result<Vec<f64>> {
            let (mut stream, mut waited) = (TcpStream::connect(address)?, Vec::new());
            stream.set_nodelay(true)?;
            let mut answers = BufReader::new(stream.try_clone()?);
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= requests {
                    return Ok(waited);
                }
                let (photo, began) = (&photos[at % photos.len()], Instant::now());
                let kind = "Content-Type: application/octet-stream";
                let head = format!(
                    "POST /predict HTTP/1.1\r\nHost: localhost\r\n{kind}\r\nContent-Length: {}\r\n\r\n",
                    photo.len()
                );
                stream.write_all(&[head.as_bytes(), photo].concat())?;
                let (mut line, mut length, mut ok) = (String::new(), 0, false);
                while answers.read_line(&mut line)? > 2 {
                    ok |= line.starts_with("HTTP/1.1 200");
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                        length = value.trim().parse().unwrap_or(0);
                    }
                    line.clear();
                }
                answers.read_exact(&mut vec![0; length])?;
                refused.fetch_add(usize::from(!ok), Ordering::Relaxed);
                waited.push(began.elapsed().as_secs_f64());
            }
        };
        let asking: Vec<_> = (0..connections).map(|_| scope.spawn(ask)).collect();
        let waited = asking.into_iter().map(|asked| asked.join().expect("asking does not panic"));
        waited.collect::<std::io::Result<Vec<_>>>().map(|waited| waited.concat())
    })?;
    waited.sort_by(f64::total_cmp);
    let (seconds, at) =
        (began.elapsed().as_secs_f64(), |share: f64| waited[(waited.len() as f64 * share) as usize] * 1e3);
    println!(
        "{} photos over {connections} connections in {seconds:.2} s: {:.0} per second, {} refused; half of the answers within {:.0} ms, \
         99 % within {:.0} ms",
        waited.len(),
        waited.len() as f64 / seconds,
        refused.into_inner(),
        at(0.5),
        at(0.99)
    );
    Ok(())
}
