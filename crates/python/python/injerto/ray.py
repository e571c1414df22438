"""Features and predictions of a Ray dataset, by actors that load the network once.

    import injerto.ray, ray

    photos = ray.data.read_parquet("photos", columns=["key", "bytes"])
    injerto.ray.features(photos, "mobilenet_v2", concurrency=8).write_parquet("features")
"""

import os

from injerto._arrow import with_columns
from injerto._models import Features, Predictor


class _Actor:
    def __init__(self, make, model, column, options):
        # Ray says how many processors an actor has; without that, each would take all of the machine.
        os.environ.setdefault("RAYON_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
        self._network, self._column = make(model, **options), column

    def __call__(self, table):
        return with_columns(table, self._network.columns(table[self._column]))


def features(dataset, model, column="bytes", *, concurrency=1, batch_size=256, num_cpus=1, ray_options=None, **options):
    """A dataset with the further columns "features" and "error".

    Args:
        dataset: A dataset with a column of paths or of the bytes of files.
        model, options: What `injerto.Features` takes.
        column: Name of the column.
        concurrency: Number of actors, or a pair of the smallest and the largest number.
        batch_size: Images that an actor gets at once.
        num_cpus: Processors per actor.
        ray_options: Further options of `map_batches`.
    """
    return _mapped(dataset, Features, model, column, concurrency, batch_size, num_cpus, ray_options, options)


def predictions(dataset, run, column="bytes", *, concurrency=1, batch_size=256, num_cpus=1, ray_options=None, **options):
    """A dataset with the further columns "label", "probability", "probabilities", "unknown" and "error", by a trained network.

    `run` and `options` are what `injerto.Predictor` takes; `features` explains the others.
    """
    return _mapped(dataset, Predictor, run, column, concurrency, batch_size, num_cpus, ray_options, options)


def _mapped(dataset, make, model, column, concurrency, batch_size, num_cpus, ray_options, options):
    return dataset.map_batches(
        _Actor,
        fn_constructor_args=(make, model, column, options),
        batch_format="pyarrow",
        batch_size=batch_size,
        concurrency=concurrency,
        num_cpus=num_cpus,
        **(ray_options or {}),
    )
