"""Features and predictions of a Ray dataset, by actors that load the network once.

    import injerto.ray, ray

    photos = ray.data.read_parquet("photos", columns=["key", "bytes"])
    injerto.ray.features(photos, "mobilenet_v2", actors=8).write_parquet("features")
"""

import os

from injerto._models import Features, Predictor


class _Actor:
    def __init__(self, make, model, column, keep, options):
        # Ray says how many cores an actor has; without that, each actor would take all cores of the machine.
        os.environ.setdefault("RAYON_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
        self._network, self._column, self._keep = make(model, **options), column, keep

    def __call__(self, table):
        return self._network.table(table, self._column, self._keep)


def features(dataset, model, column="bytes", *, keep=False, actors=1, batch_size=256, ray_options=None, **options):
    """A dataset with the further columns "features" and "error".

    An image that cannot be read is a row with its error. Ray starts an actor that was lost again, and gives its images to others.

    Args:
        dataset: A dataset with a column of paths or of the bytes of files.
        model, options: What `injerto.Features` takes.
        column: Name of the column.
        keep: Whether the column stays; without it, photos do not travel further.
        actors: Number of actors, or a pair of the smallest and the largest number. Leave processors for reading and writing.
        batch_size: Images that an actor gets at once.
        ray_options: Further options of `map_batches`: {"num_cpus": 4} for an actor with four cores.
    """
    return _mapped(dataset, (Features, model, column, keep, options), actors, batch_size, ray_options)


def predictions(dataset, run, column="bytes", *, keep=False, actors=1, batch_size=256, ray_options=None, **options):
    """A dataset with the further columns "label", "probability", "probabilities", "unknown" and "error", by a trained network.

    `run` and `options` are what `injerto.Predictor` takes; `features` explains the others.
    """
    return _mapped(dataset, (Predictor, run, column, keep, options), actors, batch_size, ray_options)


def _mapped(dataset, arguments, actors, batch_size, ray_options):
    from ray.data import ActorPoolStrategy

    least, most = actors if isinstance(actors, (tuple, list)) else (actors, actors)
    return dataset.map_batches(
        _Actor,
        fn_constructor_args=arguments,
        batch_format="pyarrow",
        batch_size=batch_size,
        compute=ActorPoolStrategy(min_size=least, max_size=most),
        **{"num_cpus": 1, **(ray_options or {})},
    )
