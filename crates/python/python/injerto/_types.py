"""The values that predictions are made of."""

from typing import NamedTuple, Optional


class Prediction(NamedTuple):
    """A trained network's prediction for one image."""

    label: Optional[str]
    """The class. Where images may have several: all of them with "|" between them, or None if there is none."""
    probability: float
    """Probability of the most probable class."""
    labels: list
    """The classes, the most probable first; exactly one unless images may have several."""
    probabilities: dict
    """Probability of each class, the most probable first."""
    unknown: Optional[bool]
    """Whether the image is unlike all training images; None if the run has kept nothing about them."""
    neighbours: list
    """The training images that are most similar: (path, label, similarity)."""
