//! Runs that are stopped, resumed, lengthened, or found damaged.

use injerto_graph::Selection;
use injerto_recipe::{Callbacks, Metric, Mode, ReduceOnPlateau, Schedule};
use injerto_trainer::{Checkpoints, Phase};

use super::{early_stopping, fit, model, phase, run, timeless};

#[test]
fn a_run_that_is_stopped_after_every_epoch_ends_with_the_same_bits() {
    let schedule: Schedule =
        serde_json::from_str(r#"{"name": "cosine", "warmup": 4, "alpha": 0.1}"#).expect("a schedule");
    let plateau = ReduceOnPlateau {
        monitor: Metric::Loss,
        mode: Mode::Max,
        factor: 0.5,
        patience: 2,
        min_delta: 0.0,
        cooldown: 1,
        min_lr: 0.0,
    };
    let averaged = r#"{"name": "rmsprop", "learning_rate": 0.01, "centered": true, "ema_momentum": 0.7,
        "gradient_accumulation_steps": 3}"#;
    let phases = [
        Phase {
            callbacks: Callbacks { reduce_lr_on_plateau: Some(plateau), ..early_stopping(Metric::Loss, Mode::Max, 3) },
            ..phase("one", 6, &Selection::Last(2), r#"{"name": "adamw", "learning_rate": 0.02, "clipnorm": 1.0}"#)
        },
        Phase { schedule, ..phase("two", 3, &Selection::All, averaged) },
    ];
    let [at_once, stopped] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let weights = Some(vec![1.0, 0.5, 2.0]);
    let expected = run(&phases, at_once.path(), weights.clone(), None);
    assert!(!expected.fitted.interrupted && expected.stopped_early == 1 && expected.reduced > 0);
    let mut found = run(&phases, stopped.path(), weights.clone(), Some(1));
    let mut begun = 1;
    while found.fitted.interrupted {
        found = run(&phases, stopped.path(), weights.clone(), Some(1));
        begun += 1;
    }
    assert_eq!(begun, expected.fitted.history.len(), "one epoch each time");
    assert_eq!(found.model.network.weights(), expected.model.network.weights());
    assert_eq!(timeless(&found.fitted), timeless(&expected.fitted));
    assert_eq!((&found.fitted.best, &found.fitted.report), (&expected.fitted.best, &expected.fitted.report));
    assert!(found.fitted.seconds.train > 0.0 && found.fitted.images >= expected.fitted.images);
}

#[test]
fn a_run_that_gets_more_epochs_ends_as_one_that_was_longer_from_the_start() {
    let adam = r#"{"name": "adam", "learning_rate": 0.01}"#;
    let averaged = r#"{"name": "sgd", "learning_rate": 0.1, "momentum": 0.5, "ema_momentum": 0.7}"#;
    let plateau = ReduceOnPlateau {
        monitor: Metric::Loss,
        mode: Mode::Max,
        factor: 0.5,
        patience: 1,
        min_delta: 0.0,
        cooldown: 0,
        min_lr: 0.0,
    };
    let reduces = Callbacks { early_stopping: None, reduce_lr_on_plateau: Some(plateau) };
    // Patience does not run out, and there are weights to restore at the end of either length.
    let restores = early_stopping(Metric::ValLoss, Mode::Max, 9);
    for (optimizer, callbacks) in [
        (adam, Callbacks::default()),
        (adam, reduces),
        (adam, restores.clone()),
        (averaged, Callbacks::default()),
        (averaged, restores),
    ] {
        let phases = |epochs: usize| {
            let last = Phase { callbacks: callbacks.clone(), ..phase("two", epochs, &Selection::All, optimizer) };
            [phase("one", 1, &Selection::Last(1), adam), last]
        };
        let [longer, extended] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
        let expected = run(&phases(5), longer.path(), None, None);
        let first = run(&phases(2), extended.path(), None, None);
        assert!(!first.fitted.interrupted && first.fitted.history.len() == 3);
        // The run is continued to the end of a longer one, and from there in two steps.
        run(&phases(3), extended.path(), None, None);
        run(&phases(5), extended.path(), None, Some(1));
        let found = run(&phases(5), extended.path(), None, None);
        assert_eq!(timeless(&found.fitted), timeless(&expected.fitted), "{optimizer} {callbacks:?}");
        assert_eq!(found.model.network.weights(), expected.model.network.weights(), "{optimizer} {callbacks:?}");
        assert_eq!(found.fitted.report, expected.fitted.report);
    }
}

#[test]
fn phases_that_have_begun_must_not_change() {
    let adam = r#"{"name": "adam", "learning_rate": 0.01}"#;
    let phases = |epochs: [usize; 2], optimizer: &str| {
        [phase("one", epochs[0], &Selection::Last(1), adam), phase("two", epochs[1], &Selection::All, optimizer)]
    };
    let folder = tempfile::tempdir().expect("a folder");
    run(&phases([2, 3], adam), folder.path(), None, Some(3));
    let progress = Checkpoints::new(folder.path(), true).resume(&mut model()).expect("a checkpoint").expect("epochs");
    let check = |phases: &[Phase], part: &str| {
        let error = progress.lengthened(phases).expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
    };
    check(&phases([3, 3], adam), "phase 'one' cannot go on: it is finished, and had 2 epochs, not 3");
    check(&phases([2, 1], adam), "phase 'two' cannot go on: its `epochs` is 1 now, but 1 are complete");
    check(&phases([2, 3], r#"{"name": "adam", "learning_rate": 0.02}"#), "it has changed (optimizer)");
    check(&phases([2, 3], adam)[..1], "phase 'two' cannot go on: it is missing");
    let lengthened = |phases: &[Phase]| progress.lengthened(phases).expect("it goes on");
    assert_eq!(lengthened(&phases([2, 9], adam)).stretched, [""; 0]);
    let [one, two] = phases([2, 2], adam);
    lengthened(&[one, two.clone(), Phase { name: "three".to_owned(), ..two }]);
}

#[test]
fn a_phase_that_early_stopping_ended_is_over_whatever_its_length() {
    let adam = r#"{"name": "adam", "learning_rate": 0.01}"#;
    let stopped = |epochs| Phase {
        callbacks: early_stopping(Metric::Loss, Mode::Max, 2),
        ..phase("one", epochs, &Selection::All, adam)
    };
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(run(&[stopped(9)], folder.path(), None, None).stopped_early, 1);
    let progress = Checkpoints::new(folder.path(), true).resume(&mut model()).expect("a checkpoint").expect("epochs");
    assert!(progress.is_complete(&[stopped(9)]));
    let error = progress.lengthened(&[stopped(12)]).expect_err("it was stopped").to_string();
    assert!(error.contains("early stopping ended it after 3 epochs"), "{error}");
}

#[test]
fn a_longer_phase_with_a_schedule_that_is_stretched_over_it_is_reported() {
    let schedule: Schedule = serde_json::from_str(r#"{"name": "cosine"}"#).expect("a schedule");
    let falling = |epochs| Phase {
        schedule: schedule.clone(),
        ..phase("one", epochs, &Selection::All, r#"{"name": "adam", "learning_rate": 0.01}"#)
    };
    let folder = tempfile::tempdir().expect("a folder");
    run(&[falling(2)], folder.path(), None, None);
    let progress = Checkpoints::new(folder.path(), true).resume(&mut model()).expect("a checkpoint").expect("epochs");
    assert_eq!(progress.lengthened(&[falling(4)]).expect("it goes on").stretched, ["one"]);
}

#[test]
fn the_error_for_a_damaged_or_missing_checkpoint_says_what_can_be_done() {
    let phases = [phase("one", 2, &Selection::All, r#"{"name": "adam", "learning_rate": 0.01}"#)];
    let folder = tempfile::tempdir().expect("a folder");
    run(&phases, folder.path(), None, None);
    let last = folder.path().join(Checkpoints::LAST);
    let check = |parts: &[&str]| {
        let error = Checkpoints::new(folder.path(), true).resume(&mut model()).expect_err("no checkpoint").to_string();
        for part in ["last.safetensors: ", "best.safetensors", "backbone.weights"].iter().chain(parts) {
            assert!(error.contains(part), "{part}: {error}");
        }
    };
    let whole = std::fs::read(&last).expect("read");
    std::fs::write(&last, &whole[..whole.len() / 2]).expect("written");
    check(&[]);
    std::fs::write(&last, b"").expect("written");
    check(&[]);
    std::fs::remove_file(&last).expect("removed");
    std::fs::create_dir(&last).expect("made");
    check(&["it is a folder"]);
    std::fs::remove_dir(&last).expect("removed");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&last, &last).expect("a link to itself");
        check(&[]);
    }
}

#[test]
fn the_most_memory_of_a_resumed_run_is_that_of_all_its_parts() {
    let phases = [phase("one", 2, &Selection::All, r#"{"name": "sgd", "learning_rate": 0.01}"#)];
    let folder = tempfile::tempdir().expect("a folder");
    run(&phases, folder.path(), None, Some(1));
    let mut model = model();
    let mut progress =
        Checkpoints::new(folder.path(), true).resume(&mut model).expect("a checkpoint").expect("an epoch");
    let own = fit(true, &phases, &mut model.clone(), Some(progress.clone())).expect("it trains").peak_memory_bytes;
    if cfg!(target_os = "linux") {
        assert!(progress.peak_memory_bytes > 0 && own >= progress.peak_memory_bytes);
    }
    progress.peak_memory_bytes = 1 << 50;
    assert_eq!(fit(true, &phases, &mut model, Some(progress)).expect("it trains").peak_memory_bytes, 1 << 50);
}
