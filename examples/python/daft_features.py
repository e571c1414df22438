"""Features of photos by Daft: Parquet in, Parquet out.

    python daft_features.py 'photos/*.parquet' features mobilenet_v2
"""

import os
import sys

import daft
from daft import DataType


@daft.cls(cpus=1)
class Extractor:
    """A backbone that each of Daft's processes loads once."""

    def __init__(self, model, options):
        os.environ.setdefault("RAYON_NUM_THREADS", "1")  # Daft runs as many of these at once as it has processors.
        import injerto

        self.features = injerto.Features(model, **options)

    @daft.method.batch(
        return_dtype=DataType.struct({"features": DataType.list(DataType.float32()), "error": DataType.string()}),
        unnest=True,
        batch_size=256,
    )
    def of(self, photos):
        columns = self.features.columns(photos.to_arrow())
        return [{"features": row, "error": error} for row, error in zip(columns["features"].tolist(), columns["error"])]


def main(photos, out, model="mobilenet_v2", **options):
    extractor = Extractor(model, options)
    table = daft.read_parquet(photos)
    others = [name for name in table.column_names if name != "bytes"]
    table.select(*others, extractor.of(table["bytes"])).write_parquet(out, write_mode="overwrite")


if __name__ == "__main__":
    main(*sys.argv[1:])
