"""Experiments in this process."""

from injerto import _injerto


def train(experiment, progress=None, *, set=None, run_dir=None, collective=None):
    """Trains what an experiment describes, and returns its summary: the figures of `summary.json`, and "run", the folder of the run.

    Ctrl-C ends the training after the current batch; `injerto train --resume` goes on with it.

    Args:
        experiment: Path of a TOML file, its text, a dict with the same keys, or a folder of images with one sub-folder per class, for
            which an experiment is then chosen, as `injerto train FOLDER` does.
        progress: Called after each epoch with a dict of its figures: epoch, phase, loss, accuracy, val_loss, val_accuracy,
            learning_rate, seconds, best. An exception that it raises ends the training.
        set: Keys that are written over those of the experiment: {"phases.0.epochs": 3}, or ["phases.0.epochs=3"].
        run_dir: The folder that the run leaves; runs/NAME-TIME if it is not given.
        collective: Other processes that call this with the same experiment and train together with this one: an object with rank, size and
            all_reduce(values), such as `injerto.collective.torch()`. Process 0 writes the folder; "run" is None in the others.

    Example:
        >>> summary = injerto.train(experiment, lambda epoch: print(epoch["epoch"], epoch["phase"]), run_dir=folder)
        1 head
        >>> summary["best"]["epoch"], summary["run"] == folder
        (1, True)
    """
    return _injerto.train(experiment, progress, set, run_dir, collective)


def backbones():
    """Names of all backbones that are found, with a sentence about each.

    They are looked for in the folders of INJERTO_PLUGIN_PATH, in the user's data folder, and in this package, which has the standard ones.

    Example:
        >>> "mobilenet_v2" in injerto.backbones()
        True
    """
    return _injerto.backbones()
