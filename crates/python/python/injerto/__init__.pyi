import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Optional, Protocol, TypedDict, Union

import numpy
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

__version__: str

Path = Union[str, os.PathLike[str]]
Image = Union[Path, bytes, bytearray, memoryview, NDArray[numpy.uint8], Any]
Images = Union[Image, Iterable[Image]]
Size = tuple[int, int]
Device = Literal["flex", "wgpu", "cuda"]

class Error(Exception): ...
class ImageError(Error): ...

class FeatureColumns(TypedDict):
    features: NDArray[Any]
    error: list[Optional[str]]

class PredictionColumns(TypedDict):
    label: list[Optional[str]]
    probability: list[Optional[float]]
    probabilities: NDArray[numpy.float32]
    unknown: list[Optional[bool]]
    error: list[Optional[str]]

class Features:
    width: int
    image_size: Size
    weights: str
    def __init__(
        self,
        model: Path,
        precision: Literal["float32", "float16"] = "float32",
        *,
        weights: Path = ...,
        parameters: Mapping[str, Any] = ...,
        last_layer: str = ...,
        preprocessing: str = ...,
        image_size: Size = ...,
        interpolation: str = ...,
        crop_to_aspect_ratio: bool = ...,
        exif_orientation: Literal["ignore", "apply"] = ...,
        scaled_decoding: bool = ...,
        seed: int = ...,
        device: Device = ...,
    ) -> None: ...
    def __call__(self, images: Images) -> NDArray[Any]: ...
    def columns(self, images: Images) -> FeatureColumns: ...
    def table(self, table: Any, column: str = "bytes", keep: bool = False) -> Any: ...

class Prediction(NamedTuple):
    label: Optional[str]
    probability: float
    labels: list[str]
    probabilities: dict[str, float]
    unknown: Optional[bool]
    neighbours: list[tuple[str, str, float]]

class Predictor:
    classes: list[str]
    image_size: Size
    def __init__(
        self,
        run: Path,
        device: Device = "flex",
        views: int = 1,
        neighbours: int = 0,
        calibrated: bool = True,
        threshold: Optional[float] = None,
    ) -> None: ...
    def __call__(self, images: Images) -> list[Prediction]: ...
    def columns(self, images: Images) -> PredictionColumns: ...
    def table(self, table: Any, column: str = "bytes", keep: bool = False) -> Any: ...

class Classifier(ClassifierMixin, BaseEstimator):
    classes_: NDArray[Any]
    summary_: dict[str, Any]
    def __init__(
        self,
        backbone: str = "mobilenet_v2",
        *,
        weights: str = "imagenet",
        parameters: Optional[Mapping[str, Any]] = None,
        image_size: Optional[Size] = None,
        epochs: int = 10,
        learning_rate: float = 1e-3,
        batch_size: int = 32,
        dropout: float = 0.2,
        fine_tune: Union[str, int, None] = None,
        random_state: Optional[int] = 0,
        device: Device = "flex",
        experiment: Optional[Mapping[str, Any]] = None,
    ) -> None: ...
    def fit(
        self, X: Iterable[Image], y: Sequence[Any], *, progress: Optional[Callable[[dict[str, Any]], object]] = None
    ) -> Classifier: ...
    def predict(self, X: Images) -> NDArray[Any]: ...
    def predict_proba(self, X: Images) -> NDArray[numpy.float32]: ...

class Collective(Protocol):
    @property
    def rank(self) -> int: ...
    @property
    def size(self) -> int: ...
    def all_reduce(self, values: NDArray[numpy.float32]) -> object: ...

def train(
    experiment: Union[Path, Mapping[str, Any]],
    progress: Optional[Callable[[dict[str, Any]], object]] = None,
    *,
    set: Union[Mapping[str, Any], Sequence[str], None] = None,
    run_dir: Optional[Path] = None,
    collective: Optional[Collective] = None,
) -> dict[str, Any]: ...
def backbones() -> dict[str, str]: ...
