"""Features of photos by Dask: each file of Parquet in becomes one out.

    python dask_features.py features photos/*.parquet
"""

import functools
import os
import sys

import dask
import pyarrow.parquet


@functools.lru_cache(1)
def network(model, options):
    """The backbone, which each process loads once."""
    os.environ.setdefault("RAYON_NUM_THREADS", "1")  # Dask runs as many tasks at once as it has processors.
    import injerto

    return injerto.Features(model, **dict(options))


@dask.delayed
def features(photos, out, model, options):
    table = network(model, options).table(pyarrow.parquet.read_table(photos))
    aside = os.path.join(out, f".{os.path.basename(photos)}")
    pyarrow.parquet.write_table(table, aside)
    os.replace(aside, os.path.join(out, os.path.basename(photos)))
    return table.num_rows


def main(out, *photos, model="mobilenet_v2", scheduler="processes", **options):
    os.makedirs(out, exist_ok=True)
    tasks = [features(shard, out, model, tuple(options.items())) for shard in photos]
    return sum(dask.compute(*tasks, scheduler=scheduler))


if __name__ == "__main__":
    print(f"{main(*sys.argv[1:])} photos")
