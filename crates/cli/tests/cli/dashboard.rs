//! `injerto train --tui`. What it shows is tested where it is drawn; here it meets terminals, and none.

use crate::train::{folder, history};
use crate::{contains, injerto, run};

#[test]
fn without_a_terminal_the_training_is_shown_in_lines_and_is_the_same() {
    let at = folder();
    let at = at.path();
    let lines = run(at, &["train", "tiny.toml", "--run-dir", "lines"]).succeeds();
    let other = run(at, &["train", "tiny.toml", "--run-dir", "tui", "--tui"]);
    contains(&other.err, &["--tui needs a terminal for its keys and its curves, and there is none"]);
    let figures = |text: &str| text.lines().filter(|line| line.starts_with("best ")).collect::<Vec<_>>().join("\n");
    assert_eq!(figures(&other.succeeds()), figures(&lines));
    assert_eq!(history(&at.join("tui")), history(&at.join("lines")));
    let refused = run(at, &["train", "tiny.toml", "--tui", "--dry-run"]);
    assert_eq!(refused.code, Some(2), "{}", refused.err);
}

#[cfg(target_os = "linux")]
mod terminal {
    use std::fs::File;
    use std::io::{Read as _, Write as _};
    use std::os::fd::{FromRawFd as _, OwnedFd};
    use std::process::{Child, Stdio};

    use super::*;

    /// What switches to the other screen of a terminal, and back.
    const SCREENS: [&str; 2] = ["\u{1b}[?1049h", "\u{1b}[?1049l"];

    /// A terminal of 100 columns and 30 lines, as the two ends of a line: that of whoever looks, and that of a program.
    fn pair() -> (File, OwnedFd) {
        let (mut ours, mut theirs) = (-1, -1);
        let size = libc::winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let (name, modes) = (std::ptr::null_mut(), std::ptr::null());
        // SAFETY: the call writes two descriptors to integers that live as long as it, reads a size that does so too, and takes no
        // name and no modes. Both descriptors are new, so nothing else owns them.
        let [ours, theirs] = unsafe {
            assert_eq!(libc::openpty(&mut ours, &mut theirs, name, modes, &size), 0, "a terminal");
            [ours, theirs].map(|end| OwnedFd::from_raw_fd(end))
        };
        (File::from(ours), theirs)
    }

    /// The settings of a terminal, as `stty` prints them.
    fn settings(terminal: &File) -> String {
        let stdin = Stdio::from(terminal.try_clone().expect("a descriptor"));
        let output = std::process::Command::new("stty").arg("-g").stdin(stdin).output().expect("stty");
        String::from_utf8(output.stdout).expect("text")
    }

    /// A training on a terminal, seen from outside until it ends or `enough` says so; what it has shown.
    fn seen(terminal: &mut File, shown: &mut String, enough: impl Fn(&str) -> bool) {
        let mut bytes = [0; 4096];
        while !enough(shown) {
            match terminal.read(&mut bytes) {
                // Linux says so when nobody has the other end any more.
                Ok(0) | Err(_) => break,
                Ok(count) => shown.push_str(&String::from_utf8_lossy(&bytes[..count])),
            }
        }
    }

    fn start(at: &std::path::Path, terminal: OwnedFd, name: &str) -> Child {
        let more = ["--tui", "--run-dir", name, "--set", "phases.0.epochs=5000"];
        let end = || Stdio::from(terminal.try_clone().expect("a descriptor"));
        let mut command = injerto(at);
        command.args(["train", "tiny.toml"]).args(more).env("TERM", "xterm-256color").env_remove("NO_COLOR");
        command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("it starts")
    }

    /// A training that somebody ends by `end`, in a folder of its own: what it has shown, and its exit code.
    fn ended(name: &str, end: impl Fn(&mut File, &Child)) -> (String, Option<i32>) {
        let at = folder();
        let (mut ours, theirs) = pair();
        let before = settings(&ours);
        let (mut child, mut shown) = (start(at.path(), theirs, name), String::new());
        // The legend of the curves has a figure as soon as a batch is done.
        seen(&mut ours, &mut shown, |shown| shown.contains(SCREENS[0]) && shown.contains("training 0."));
        end(&mut ours, &child);
        seen(&mut ours, &mut shown, |_| false);
        let code = child.wait().expect("it ends").code();
        assert_eq!(settings(&ours), before, "the terminal is as it was");
        let (_, after) = shown.rsplit_once(SCREENS[1]).expect("it goes back to the screen of before");
        (after.to_owned(), code)
    }

    #[test]
    fn q_ends_a_training_after_the_batch_and_gives_the_terminal_back() {
        let (after, code) =
            ended("q", |terminal, _| terminal.write_all(b"pxq").and_then(|()| terminal.flush()).expect("keys"));
        // What was said meanwhile stands there as without the dashboard.
        contains(&after, &["epochs, trainable", "stopped; every finished epoch is kept", "injerto train --resume q"]);
        assert_eq!(code, Some(130));
    }

    #[test]
    fn ctrl_c_on_the_keyboard_and_a_signal_from_outside_end_it_alike() {
        let signal = |_: &mut File, child: &Child| {
            let killed = std::process::Command::new("kill").arg(child.id().to_string()).status().expect("kill");
            assert!(killed.success());
        };
        for (after, code) in
            [ended("keys", |terminal, _| terminal.write_all(&[3]).expect("a key")), ended("signal", signal)]
        {
            contains(&after, &["stopped; every finished epoch is kept"]);
            assert_eq!(code, Some(130));
        }
    }
}
