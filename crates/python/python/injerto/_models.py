"""Networks that are loaded once and used often."""

from injerto import _injerto
from injerto._arrow import with_columns
from injerto._types import Prediction


def _again(cls, model, options):
    return cls(model, **options)


class _Model:
    """A network that another process can load again: what is pickled is its name and its options."""

    def table(self, table, column="bytes", keep=False):
        """A table of Arrow with the further columns that `columns` names. It needs pyarrow.

        Args:
            table: A table or record batch of pyarrow, or anything else with Arrow's interface of capsules, as Polars and DuckDB have it.
            column: Name of the column with the images: paths, or the bytes of files.
            keep: Whether this column stays.
        """
        return with_columns(table, column, keep, self)

    def __reduce__(self):
        return _again, (type(self), self._model, self._options)


class Features(_Model):
    """The features that a frozen backbone computes: one row of numbers per image. Similar images have similar rows.

    Args:
        model: Name of a backbone (`injerto.backbones()` lists them), path of an ONNX model, or a run (its folder, or a checkpoint),
            whose backbone is then taken as training has left it.
        precision: "float32", or "float16" for half the size.
        options: Of a backbone, the keys that an experiment has for it: weights, parameters, last_layer and preprocessing of
            `[backbone]`, image_size, interpolation, crop_to_aspect_ratio, exif_orientation and scaled_decoding of `[data]`, seed and
            device. Of a run, device alone.

    Example:
        >>> import injerto, numpy
        >>> features = injerto.Features("small_cnn", weights="none", image_size=(32, 32))
        >>> features(numpy.zeros((2, 40, 60, 3), "uint8")).shape == (2, features.width)
        True
    """

    def __init__(self, model, precision="float32", **options):
        self._model, self._options = model, {"precision": precision, **options}
        self._call, self.width, self.image_size, self.weights = _injerto.features(model, precision, options)

    def __call__(self, images):
        """The features of images, as an array [n, width].

        Args:
            images: One image or several. An image is a path, the bytes of a file, a Pillow image, or an array [height, width, 3] of
                uint8; several are a list or an iterator of these, an array [n, height, width, 3], or a column of Arrow.

        Raises:
            injerto.ImageError: An image cannot be read; `columns` goes on with the others.

        Example:
            >>> features = injerto.Features(run)
            >>> features([photo, open(photo, "rb").read()]).shape == (2, features.width)
            True
        """
        return self._call(images, False)[0]

    def columns(self, images):
        """The features of images as columns of a table, of which one says which images cannot be read.

        Returns:
            A dict: "features", an array [n, width], and "error", a list of None, or of why an image cannot be read; its features are
            then no numbers.

        Example:
            >>> columns = injerto.Features(run).columns([photo, b"no image"])
            >>> [error is None for error in columns["error"]]
            [True, False]
        """
        features, errors = self._call(images, True)
        return {"features": features, "error": errors}

    def __repr__(self):
        return f"Features({self._model!r}, width={self.width})"


class Predictor(_Model):
    """A trained network that classifies images.

    Args:
        run: Folder of a run (its best checkpoint is taken), or a checkpoint.
        device: "flex" (the CPU), "wgpu" or "cuda".
        views: Number of views of each image whose probabilities are averaged (test-time augmentation).
        neighbours: Number of similar training images that each answer names.
        calibrated: Whether probabilities are calibrated, if the run has found a temperature for that.
        threshold: Where an image may have several classes: one threshold for all of them, instead of those that training has chosen.

    Example:
        >>> predictor = injerto.Predictor(run)
        >>> [answer] = predictor(photo)
        >>> answer.label in predictor.classes, 0 <= answer.probability <= 1
        (True, True)
    """

    def __init__(self, run, device="flex", views=1, neighbours=0, calibrated=True, threshold=None):
        self._model = run
        self._options = {
            "device": device,
            "views": views,
            "neighbours": neighbours,
            "calibrated": calibrated,
            "threshold": threshold,
        }
        loaded = _injerto.predictor(run, device, views, neighbours, calibrated, threshold)
        self._call, self.classes, self.image_size = loaded

    def __call__(self, images):
        """The network's predictions for images, which have the forms that `Features` takes: a list with one `Prediction` per image.

        Raises:
            injerto.ImageError: An image cannot be read; `columns` goes on with the others.
        """
        return [Prediction(*answer) for answer in self._call(images, False)[0]]

    def columns(self, images):
        """The network's predictions for images as columns of a table.

        Returns:
            A dict: "label", "probability" and "unknown" (lists), "probabilities" (an array [n, classes]), and "error", a list of
            None, or of why an image cannot be read; its answers are then None, and its probabilities no numbers.

        Example:
            >>> columns = injerto.Predictor(run).columns([photo, b"no image"])
            >>> columns["probabilities"].shape == (2, len(predictor.classes)), columns["label"][1]
            (True, None)
        """
        answers, probabilities, errors = self._call(images, True)
        answers = [answer and Prediction(*answer) for answer in answers]
        columns = {name: [answer and getattr(answer, name) for answer in answers] for name in ("label", "probability")}
        unknown = [answer.unknown if answer else None for answer in answers]
        return {**columns, "probabilities": probabilities, "unknown": unknown, "error": errors}

    def __repr__(self):
        return f"Predictor({self._model!r}, {len(self.classes)} classes)"
