//! The terminal while the dashboard has it, and the way back.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui_core::backend::{Backend, ClearType, WindowSize};
use ratatui_core::buffer::{Buffer, Cell};
use ratatui_core::layout::{Position, Size};
use ratatui_core::style::{Color, Modifier};

use crate::output;

/// To the other screen, without a cursor; and back (xterm's control sequences, which all current terminals understand).
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
const LEAVE: &str = "\u{1b}[0m\u{1b}[?25h\u{1b}[?1049l";

/// Whether the dashboard has the terminal.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Whether a dashboard can be shown: keys come from a terminal, and a terminal shows it.
pub fn is_possible() -> bool {
    let simple = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    cfg!(unix) && !simple && io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Gives the terminal back, if the dashboard has it, and returns whether it had.
pub fn restore() -> bool {
    let had = TAKEN.swap(false, Ordering::Relaxed);
    if had {
        // Where the terminal is gone, nothing is left to restore.
        let _ = written(LEAVE);
        raw::leave();
    }
    had
}

fn written(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// The terminal, in raw mode and on its other screen, until [`restore`].
pub struct Terminal {
    inner: ratatui_core::terminal::Terminal<Screen>,
    keys: raw::Keys,
}

impl Terminal {
    /// Takes the terminal.
    ///
    /// # Errors
    /// The terminal refuses.
    pub fn take() -> io::Result<Self> {
        let keys = raw::enter()?;
        TAKEN.store(true, Ordering::Relaxed);
        let screen = Screen { text: String::new(), colours: output::has_colours(&io::stdout()) };
        let inner = written(ENTER).and_then(|()| ratatui_core::terminal::Terminal::new(screen));
        inner.map(|inner| Self { inner, keys }).inspect_err(|_| {
            restore();
        })
    }

    /// Draws a whole picture; only what has changed is written.
    ///
    /// # Errors
    /// The terminal cannot be written.
    pub fn draw(&mut self, picture: impl FnOnce(&mut Buffer)) -> io::Result<()> {
        self.inner.draw(|frame| picture(frame.buffer_mut())).map(|_| ())
    }

    /// The bytes of the keys that are pressed within a tenth of a second. Keys that send an escape and more are left out.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn keys(&mut self) -> io::Result<Vec<u8>> {
        self.keys.pressed()
    }
}

/// Writes cells to standard output. Of colours, those with a number in the table of 256 are shown, and with NO_COLOR none.
struct Screen {
    /// What is not written yet.
    text: String,
    colours: bool,
}

impl Screen {
    fn add(&mut self, text: impl std::fmt::Display) -> io::Result<()> {
        write!(self.text, "{text}").map_err(io::Error::other)
    }
}

impl Backend for Screen {
    type Error = io::Error;

    fn draw<'a, I: Iterator<Item = (u16, u16, &'a Cell)>>(&mut self, cells: I) -> io::Result<()> {
        let (mut place, mut style) = (None, (Color::Reset, Modifier::empty()));
        for (x, y, cell) in cells {
            if place != Some((x, y)) {
                self.set_cursor_position((x, y))?;
            }
            if style != (cell.fg, cell.modifier) {
                style = (cell.fg, cell.modifier);
                self.add("\u{1b}[0m")?;
                if cell.modifier.contains(Modifier::BOLD) {
                    self.add("\u{1b}[1m")?;
                }
                if let (Color::Indexed(number), true) = (cell.fg, self.colours) {
                    self.add(format_args!("\u{1b}[38;5;{number}m"))?;
                }
            }
            self.add(cell.symbol())?;
            // A character may be wider than a column: after letters that are not Latin, the position is written again.
            place = (cell.symbol().len() == 1).then_some((x + 1, y));
        }
        self.add("\u{1b}[0m")
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        self.add("\u{1b}[?25l")
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        self.add("\u{1b}[?25h")
    }

    fn get_cursor_position(&mut self) -> io::Result<Position> {
        Ok(Position::ORIGIN)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        let Position { x, y } = position.into();
        self.add(format_args!("\u{1b}[{};{}H", y + 1, x + 1))
    }

    fn clear(&mut self) -> io::Result<()> {
        self.clear_region(ClearType::All)
    }

    fn clear_region(&mut self, region: ClearType) -> io::Result<()> {
        self.add(match region {
            ClearType::All => "\u{1b}[2J",
            ClearType::AfterCursor => "\u{1b}[J",
            ClearType::BeforeCursor => "\u{1b}[1J",
            ClearType::CurrentLine => "\u{1b}[2K",
            ClearType::UntilNewLine => "\u{1b}[K",
        })
    }

    fn size(&self) -> io::Result<Size> {
        let size = terminal_size::terminal_size();
        Ok(size.map_or(Size::new(80, 24), |(width, height)| Size::new(width.0, height.0)))
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize { columns_rows: self.size()?, pixels: Size::ZERO })
    }

    fn flush(&mut self) -> io::Result<()> {
        written(&std::mem::take(&mut self.text))
    }
}

#[cfg(unix)]
mod raw {
    //! Keys as they are pressed, without waiting for the end of a line and without showing them.

    use std::fs::File;
    use std::io::{self, Read as _};
    use std::os::fd::AsFd as _;
    use std::sync::{Mutex, PoisonError};
    use std::time::{Duration, Instant};

    use rustix::termios::{OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

    /// How the terminal was.
    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);
    /// How long a key is waited for, in tenths of a second.
    const PATIENCE: u8 = 1;

    /// The descriptor from which keys are read.
    pub struct Keys(File);

    /// Sets the terminal to send each key at once.
    pub fn enter() -> io::Result<Keys> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        raw.special_codes[SpecialCodeIndex::VMIN] = 0;
        raw.special_codes[SpecialCodeIndex::VTIME] = PATIENCE;
        let keys = File::from(stdin.as_fd().try_clone_to_owned()?);
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        Ok(Keys(keys))
    }

    /// Sets the terminal back.
    pub fn leave() {
        if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Where the terminal is gone, nothing is left to set back.
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &before);
        }
    }

    impl Keys {
        /// The keys that are pressed before long.
        pub fn pressed(&mut self) -> io::Result<Vec<u8>> {
            let (mut bytes, began) = ([0; 32], Instant::now());
            let patience = Duration::from_millis(100 * u64::from(PATIENCE));
            match self.0.read(&mut bytes) {
                // A terminal that has hung up answers at once, and for ever.
                Ok(0) => {
                    std::thread::sleep(patience.saturating_sub(began.elapsed()));
                    Ok(Vec::new())
                }
                // An arrow, for example, is several bytes, the first of them an escape.
                Ok(count) => Ok(bytes[..count].iter().copied().take_while(|byte| *byte != 0x1b).collect()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Vec::new()),
                Err(error) => Err(error),
            }
        }
    }
}

#[cfg(not(unix))]
mod raw {
    //! Terminals of other systems are set in another way, which is not known here.

    use std::io;

    pub enum Keys {}

    pub fn enter() -> io::Result<Keys> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn leave() {}

    impl Keys {
        pub fn pressed(&mut self) -> io::Result<Vec<u8>> {
            match *self {}
        }
    }
}
