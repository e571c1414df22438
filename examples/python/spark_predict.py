"""What a trained network says of photos, by Spark: `binaryFile` in, Parquet out.

    spark-submit spark_predict.py runs/NAME photos answers

The package and the run have to be on each worker; `--archives` and `--files` of spark-submit bring them there.
"""

import os
import sys

from pyspark.sql import SparkSession

COLUMNS = "path string, label string, probability float, unknown boolean, error string"


def answers(run):
    """A function that answers the batches of a partition."""

    def answer(batches):
        import injerto

        os.environ.setdefault("RAYON_NUM_THREADS", "1")  # Spark runs as many tasks at once as it has processors.
        predictor = injerto.Predictor(run)
        names = [column.split()[0] for column in COLUMNS.split(", ")]
        for batch in batches:
            yield from predictor.table(batch, "content").select(names).to_batches()

    return answer


def main(run, photos, out):
    spark = SparkSession.builder.appName("injerto").getOrCreate()
    # Photos are large: a batch of Arrow holds few of them.
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", 64)
    files = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(photos)
    files.select("path", "content").mapInArrow(answers(run), COLUMNS).write.mode("overwrite").parquet(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
