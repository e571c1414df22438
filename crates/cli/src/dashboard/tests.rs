use std::time::Duration;

use injerto_report::Stage;
use injerto_trainer::history::EpochRecord;
use injerto_trainer::{Event, Observer as _};
use ratatui_core::backend::TestBackend;
use ratatui_core::terminal::Terminal;

use super::{Asked, Board, asked, view};
use crate::output::Said;

fn record(epoch: usize, phase: &str) -> EpochRecord {
    let x = epoch as f64;
    EpochRecord {
        epoch,
        phase: phase.to_owned(),
        loss: 0.6 / x,
        accuracy: 1.0 - 0.4 / x,
        val_loss: Some(0.8 / x),
        val_accuracy: Some(1.0 - 0.5 / x),
        learning_rate: 0.001,
        seconds: 4.0,
    }
}

fn board() -> Board {
    let mut board = Board::new("cats and dogs", "runs/cats".to_owned(), &[], Vec::new());
    let phase = |name: &str, epochs| {
        (Stage { name: name.to_owned(), epochs }, vec!["trainable 1,281 / non-trainable 2,257,984".to_owned()])
    };
    board.phases = vec![phase("head", 4), phase("tail", 6)];
    board
}

fn begin(board: &mut Board, at: usize) {
    let (name, epochs) = (board.phases[at].0.name.clone(), board.phases[at].0.epochs);
    let (place, layers) = ((at, board.phases.len()), (154, 3));
    board.observe(&Event::PhaseBegan {
        name: &name,
        place,
        epochs,
        trainable: 1,
        non_trainable: 2,
        layers,
        boundary: 3,
    });
}

/// A training in the middle of the third epoch of its second phase.
fn midway() -> Board {
    let mut board = board();
    begin(&mut board, 0);
    for epoch in 1..=4 {
        board.observe(&Event::EpochEnded { record: &record(epoch, "head"), best: true });
    }
    begin(&mut board, 1);
    for epoch in 5..=6 {
        board.observe(&Event::EpochEnded { record: &record(epoch, "tail"), best: false });
    }
    board.observe(&Event::Batch { epoch: 7, done: 40, total: 80, loss: 0.0712, accuracy: 0.951 });
    board
}

/// What a terminal of this size shows, line by line.
fn shown(board: &Board, said: &[Said], [width, height]: [u16; 2]) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("in memory");
    terminal.draw(|frame| view::draw(frame.buffer_mut(), board, said, Duration::from_secs(83))).expect("in memory");
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect()
}

fn check(lines: &[String], expected: &[&str]) {
    for text in expected {
        assert!(lines.iter().any(|line| line.contains(text)), "'{text}' is missing in\n{}", lines.join("\n"));
    }
}

#[test]
fn a_training_is_shown_with_its_time_its_curves_and_what_was_said() {
    let said = [
        Said::Out("epoch   6     4.0 s  loss 0.1000".to_owned()),
        Said::Err(Some(("warning", "33")), "3 photos are copies".to_owned()),
    ];
    let lines = shown(&midway(), &said, [100, 30]);
    check(
        &lines,
        &[
            "injerto  cats and dogs",
            "training, 83 s",
            "tail: epoch 3 of 6 is under way, about 14 s left",
            "epoch 7  ━━━━━━━━━━━━─────────────  40 of 80  loss 0.0712 accuracy 0.9510",
            "loss  • training 0.0712  ◦ validation 0.1333",
            "accuracy  • training 0.9510  ◦ validation 0.9167",
            "epoch   6     4.0 s  loss 0.1000",
            "warning: 3 photos are copies",
            "q  stop after this batch; every finished epoch is kept    p  the phases",
        ],
    );
    // Both drawings have the mark of each finished epoch, and the border between the phases.
    let drawn = lines.join("\n");
    assert!(drawn.matches('•').count() >= 12 && drawn.matches('◦').count() >= 8 && drawn.contains('┊'), "{drawn}");
}

#[test]
fn before_the_first_epoch_there_are_empty_curves_and_the_features_are_counted() {
    let mut board = board();
    begin(&mut board, 0);
    board.observe(&Event::Prefix { done: 250, total: 1000 });
    check(
        &shown(&board, &[], [100, 30]),
        &[
            "head: epoch 1 of 4 is under way; then tail (6 epochs)",
            "features  ━━━━━━─────",
            "250 of 1000  images through the frozen prefix, once each",
            "loss",
            "└0 epochs ──",
        ],
    );
}

#[test]
fn p_shows_the_phases() {
    let mut board = midway();
    board.turn();
    check(
        &shown(&board, &[Said::Out("said".to_owned())], [100, 30]),
        &[
            "phase 1  head: 4 of 4 epochs",
            "         trainable 1,281 / non-trainable 2,257,984",
            "phase 2  tail: 2 of 6 epochs",
            "best     epoch 4 so far",
            "p  what was said",
        ],
    );
}

#[test]
fn a_training_that_stops_says_what_is_kept_and_how_to_go_on() {
    let mut board = midway();
    board.stopping = true;
    check(
        &shown(&board, &[], [100, 30]),
        &[
            "stopping, 83 s",
            "stopping after this batch; all 6 finished epochs are kept",
            "Ctrl-C  stop at once    p  the phases    injerto train --resume runs/cats goes on",
        ],
    );
}

#[test]
fn the_curves_of_a_comparison_are_not_those_of_the_run() {
    let mut board = midway();
    let before = board.history.clone();
    board.observe(&Event::ComparisonBegan { seed: 2, from_scratch: true });
    board.observe(&Event::EpochEnded { record: &record(1, "head"), best: true });
    assert_eq!((&board.history, board.best), (&before, Some(4)));
    check(&shown(&board, &[], [100, 30]), &["to compare with: seed 2, from scratch"]);
}

#[test]
fn an_epoch_that_begins_again_after_a_resume_is_drawn_once() {
    let mut board = Board::new("a", "runs/a".to_owned(), &[], (1..=3).map(|epoch| record(epoch, "head")).collect());
    board.observe(&Event::EpochEnded { record: &record(3, "head"), best: false });
    assert_eq!(board.history.iter().map(|record| record.epoch).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn a_small_terminal_shows_what_it_has_room_for_and_none_breaks_it() {
    let said = vec![Said::Out("epoch 6 is over".to_owned()); 9];
    check(&shown(&midway(), &said, [60, 12]), &["tail: epoch 3 of 6", "40 of 80", "epoch 6 is over", "q  stop"]);
    for width in 1..70 {
        for height in 1..26 {
            let mut board = midway();
            shown(&board, &said, [width, height]);
            board.turn();
            shown(&board, &said, [width, height]);
        }
    }
}

#[test]
fn names_from_outside_move_no_cursor() {
    let mut board = midway();
    board.title = "a\u{1b}[2Jb".to_owned();
    board.phases[1].0.name = "t\u{1b}[31mail".to_owned();
    let said = [Said::Out("c\u{1b}]0;d\u{7}".to_owned())];
    let lines = shown(&board, &said, [100, 30]);
    assert!(!lines.join("").contains(char::is_control), "{lines:?}");
    board.turn();
    assert!(!shown(&board, &said, [100, 30]).join("").contains(char::is_control));
}

#[test]
fn keys_stop_interrupt_and_turn_and_others_do_nothing() {
    let check = |key: u8, expected| assert_eq!(asked(key), expected);
    check(b'q', Some(Asked::Stop));
    check(b'p', Some(Asked::Turn));
    check(b'\t', Some(Asked::Turn));
    check(3, Some(Asked::Interrupt));
    check(b'c', None);
    check(0x1b, None);
}
