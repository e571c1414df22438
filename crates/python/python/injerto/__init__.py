"""Transfer learning on images: features, predictions and training, computed in Rust."""

from injerto._injerto import Error, ImageError, __version__
from injerto._models import Features, Predictor
from injerto._train import backbones, train
from injerto._types import Prediction

__all__ = [
    "Classifier",
    "Error",
    "Features",
    "ImageError",
    "Prediction",
    "Predictor",
    "__version__",
    "backbones",
    "train",
]


def __getattr__(name):
    # scikit-learn is needed for this class alone, and takes a second to import.
    if name == "Classifier":
        from injerto._classifier import Classifier

        return Classifier
    raise AttributeError(f"module 'injerto' has no attribute {name!r}")
