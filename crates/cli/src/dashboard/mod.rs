//! A training on the whole terminal: `injerto train --tui`.
//!
//! - [`board`]: what is shown, which gets the same events as the bar and the lines;
//! - [`view`]: how it is drawn, with the curves of [`plot`];
//! - [`terminal`]: the terminal, which is given back however the training ends.
//!
//! One thread draws and reads keys while another trains. Other output waits in [`output`] and is written when the terminal is free again,
//! so a training leaves the same lines with and without the dashboard.

mod board;
mod plot;
mod terminal;
#[cfg(test)]
mod tests;
mod view;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use injerto_trainer::{Event, Observer};

pub use self::board::Board;
use self::terminal::Terminal;
pub use self::terminal::is_possible;
use crate::output;

/// How often the time is drawn if nothing else changes.
const TICK: Duration = Duration::from_secs(1);

/// Gives the terminal back, and writes the output that has waited. It may be called at any time, from any thread, and more than once.
pub fn give_back() {
    if terminal::restore() {
        output::release();
    }
}

/// A dashboard on the terminal, until it is dropped.
pub struct Dashboard {
    board: Arc<Mutex<Board>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Dashboard {
    /// Shows `board`. The keys that end a training set `stop`.
    ///
    /// # Errors
    /// The terminal cannot be taken, or the system has no thread left.
    pub fn begin(board: Board, stop: &Arc<AtomicBool>) -> io::Result<Self> {
        let (board, over) = (Arc::new(Mutex::new(board)), Arc::new(AtomicBool::new(false)));
        let mut terminal = Terminal::take()?;
        output::hold();
        let mut show = Show { board: board.clone(), stop: stop.clone(), over: over.clone(), began: Instant::now() };
        let work = move || {
            // However this thread ends, the terminal is given back; the training then goes on in lines.
            let _back = Back;
            if let Err(error) = show.run(&mut terminal) {
                output::warning(&format!("the dashboard has ended, and the training goes on: {error}"));
            }
        };
        match std::thread::Builder::new().name("dashboard".to_owned()).spawn(work) {
            Ok(thread) => Ok(Self { board, over, thread: Some(thread) }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }

    /// The observer that tells the dashboard what happens.
    pub fn observer(&self) -> impl Observer + use<> {
        Teller(self.board.clone())
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of that thread was remembered, and it has given the terminal back.
            let _ = thread.join();
        }
    }
}

/// Gives the terminal back when it is dropped.
struct Back;

impl Drop for Back {
    fn drop(&mut self) {
        give_back();
    }
}

/// Passes events on to the board.
struct Teller(Arc<Mutex<Board>>);

impl Observer for Teller {
    fn observe(&mut self, event: &Event<'_>) {
        lock(&self.0).observe(event);
    }
}

fn lock(board: &Mutex<Board>) -> MutexGuard<'_, Board> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the drawing thread holds.
struct Show {
    board: Arc<Mutex<Board>>,
    stop: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    began: Instant,
}

impl Show {
    /// Draws and reads keys until the training is over.
    fn run(&mut self, terminal: &mut Terminal) -> io::Result<()> {
        let mut drawn: Option<(Instant, Board, usize)> = None;
        while !self.over.load(Ordering::Relaxed) {
            let mut board = lock(&self.board).clone();
            board.stopping = self.stop.load(Ordering::Relaxed);
            let (lines, said) = output::waiting(view::MESSAGES);
            let is_new =
                |(at, before, was): &(Instant, Board, usize)| at.elapsed() >= TICK || *before != board || *was != lines;
            if drawn.as_ref().is_none_or(is_new) {
                let spent = self.began.elapsed();
                terminal.draw(|buffer| view::draw(buffer, &board, &said, spent))?;
                drawn = Some((Instant::now(), board, lines));
            }
            terminal.keys()?.into_iter().filter_map(asked).for_each(|asked| self.act(asked));
        }
        Ok(())
    }

    /// Does what a key asks for.
    fn act(&self, asked: Asked) {
        match asked {
            Asked::Stop => self.stop.store(true, Ordering::Relaxed),
            // As without the dashboard: a second request does not wait for the batch.
            Asked::Interrupt if self.stop.swap(true, Ordering::Relaxed) => {
                give_back();
                std::process::exit(130);
            }
            Asked::Interrupt => {}
            Asked::Turn => lock(&self.board).turn(),
        }
    }
}

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// To end the training after the current batch.
    Stop,
    /// The same, and at the second time to end at once.
    Interrupt,
    /// To show the phases instead of the last lines of output, or the other way round.
    Turn,
}

/// What a key asks for, by the byte that the terminal sends for it.
fn asked(key: u8) -> Option<Asked> {
    /// What a terminal in raw mode sends for Ctrl-C, which is then no signal.
    const CTRL_C: u8 = 3;
    match key {
        CTRL_C => Some(Asked::Interrupt),
        b'q' | b'Q' => Some(Asked::Stop),
        b'p' | b'P' | b'\t' => Some(Asked::Turn),
        _ => None,
    }
}
