"""A classifier of images for scikit-learn."""

import os
import tempfile

import numpy
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from injerto import _injerto
from injerto._models import Predictor


class Classifier(ClassifierMixin, BaseEstimator):
    """A new head on a pre-trained backbone, as an estimator of scikit-learn.

    Images have the forms that `injerto.Features` takes: a list of paths, of the bytes of files, of Pillow images or of arrays, or one
    array [n, height, width, 3] of uint8. All of them are training images; scikit-learn holds images out.

    Args:
        backbone, weights, parameters: The keys of `[backbone]` in an experiment: plugin, weights, parameters.
        image_size: Height and width to which images are resized; None for the usual size of the backbone.
        epochs: Number of epochs of each phase.
        learning_rate, batch_size, dropout: Keys of the first phase, of the images and of the head.
        fine_tune: Name or number of the layer from which a second phase trains the backbone too, at a tenth of the learning rate.
        random_state: Seed of the training.
        device: "flex" (the CPU), "wgpu" or "cuda".
        experiment: A dict of further keys, which are written over those above: {"loss": {"label_smoothing": 0.1}}.

    Attributes:
        classes_: The classes, as scikit-learn sorts them.
        summary_: The summary of the training, as `injerto.train` returns it.

    Example:
        >>> import injerto, numpy
        >>> dark, bright = numpy.zeros((4, 32, 32, 3), "uint8"), numpy.full((4, 32, 32, 3), 255, "uint8")
        >>> images, labels = numpy.concatenate([dark, bright]), ["dark"] * 4 + ["bright"] * 4
        >>> small = {"weights": "none", "parameters": {"filters": [4], "momentum": 0.5}, "image_size": (16, 16)}
        >>> classifier = injerto.Classifier("small_cnn", **small, epochs=8, learning_rate=0.05)
        >>> classifier.fit(images, labels).predict(images[[0, 7]]).tolist()
        ['dark', 'bright']
    """

    def __init__(
        self,
        backbone="mobilenet_v2",
        *,
        weights="imagenet",
        parameters=None,
        image_size=None,
        epochs=10,
        learning_rate=1e-3,
        batch_size=32,
        dropout=0.2,
        fine_tune=None,
        random_state=0,
        device="flex",
        experiment=None,
    ):
        self.backbone = backbone
        self.weights = weights
        self.parameters = parameters
        self.image_size = image_size
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.dropout = dropout
        self.fine_tune = fine_tune
        self.random_state = random_state
        self.device = device
        self.experiment = experiment

    def fit(self, X, y, *, progress=None):
        """Trains on the images `X` of the classes `y`. `progress` is called after each epoch, as `injerto.train` calls it."""
        if y is None:
            raise ValueError("Classifier requires y to be passed, but the target y is None: each image needs its class")
        y = numpy.asarray(y)
        check_classification_targets(y)
        classes, positions = numpy.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"there is only one class, {classes[:1].tolist()}: a classifier needs two or more")
        with tempfile.TemporaryDirectory(prefix="injerto-") as folder:
            run = os.path.join(folder, "run")
            names = [str(name) for name in classes.tolist()]
            summary = _injerto.fit(self._experiment(), X, positions.ravel().tolist(), names, run, progress)
            self._files, self._predictor = _files(run), Predictor(run, device=self.device)
        self.classes_, self.summary_ = classes, summary
        return self

    def predict_proba(self, X):
        """Probability of each class for each image: an array [n, classes]."""
        check_is_fitted(self, "classes_")
        return self._predictor._call(X, False)[1]

    def predict(self, X):
        """The most probable class of each image."""
        check_is_fitted(self, "classes_")
        places = {name: place for place, name in enumerate(self._predictor.classes)}
        return self.classes_[[places[answer.label] for answer in self._predictor(X)]]

    def _experiment(self):
        optimizer = {"name": "adam", "learning_rate": self.learning_rate}
        phases = [{"name": "head", "epochs": self.epochs, "unfreeze": "none", "optimizer": optimizer}]
        backbone = {"plugin": self.backbone, "weights": self.weights, "parameters": self.parameters}
        if self.weights == "none":
            phases[0].update(unfreeze="all", batch_norm="update")
        if self.fine_tune is not None:
            slower = {"name": "adam", "learning_rate": self.learning_rate / 10}
            unfreeze = {"from_layer": self.fine_tune}
            phases.append({"name": "fine_tune", "epochs": self.epochs, "unfreeze": unfreeze, "optimizer": slower})
        # The images come from memory, but an experiment has to name a folder.
        data = {"root": ".", "image_size": self.image_size, "batch_size": self.batch_size}
        experiment = {
            "name": "classifier",
            "seed": self.random_state or 0,
            "device": self.device,
            "data": data,
            "backbone": backbone,
            "head": {"dropout": self.dropout},
            "checkpoint": {"monitor": "loss"},
            "phases": phases,
        }
        for key, value in (self.experiment or {}).items():
            both = isinstance(value, dict) and isinstance(experiment.get(key), dict)
            experiment[key] = {**experiment[key], **value} if both else value
        return experiment

    def __getstate__(self):
        # The files describe the whole network.
        return {key: value for key, value in super().__getstate__().items() if key != "_predictor"}

    def __setstate__(self, state):
        super().__setstate__(state)
        if "_files" in state:
            with tempfile.TemporaryDirectory(prefix="injerto-") as folder:
                for name, content in self._files.items():
                    with open(os.path.join(folder, name), "wb") as file:
                        file.write(content)
                self._predictor = Predictor(folder, device=self.device)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.non_deterministic = False
        return tags


def _files(run):
    """The best checkpoint, and what the run knows about its images."""
    files = {}
    for name in ("best.safetensors", "knowledge.safetensors", "calibration.json"):
        path = os.path.join(run, name)
        if os.path.exists(path):
            with open(path, "rb") as file:
                files[name] = file.read()
    return files
