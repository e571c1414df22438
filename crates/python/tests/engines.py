"""Engines for many photos. Each example gives the features of the single process, bit for bit; one whose engine is missing is skipped."""

import importlib
import importlib.util
import io
import os
import signal
import sys
import tarfile
import tempfile
import unittest
from pathlib import Path

import numpy
import pyarrow
import pyarrow.parquet
from PIL import Image

import injerto

SMALL = {"weights": "none", "image_size": (32, 32)}
EXAMPLES = Path(os.environ["INJERTO_EXAMPLES"])


def png(seed):
    content = io.BytesIO()
    pixels = numpy.random.default_rng(seed).integers(0, 256, (40, 40, 3), "uint8")
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def example(name):
    """The example as a module that other processes find too."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(EXAMPLES), os.environ["PYTHONPATH"]])
    sys.path.insert(0, str(EXAMPLES))
    return importlib.import_module(name)


def rows(table):
    """The features as a matrix, in the order of the keys."""
    return numpy.array(table.sort_by("key")["features"].to_pylist(), "float32")


def needs(engine):
    return unittest.skipUnless(importlib.util.find_spec(engine), f"there is no {engine}")


class Engines(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = Path(temporary.name)
        photos = cls.folder / "photos"
        photos.mkdir()
        tables = []
        for shard in range(8):
            keys = [f"{shard}{at}" for at in range(8)]
            content = [png(shard * 8 + at) for at in range(8)]
            # One photo of all cannot be read.
            content[3] = b"broken" if shard == 5 else content[3]
            tables.append(pyarrow.table({"key": keys, "bytes": content}))
            pyarrow.parquet.write_table(tables[-1], photos / f"{shard}.parquet")
        cls.photos, cls.shards = pyarrow.concat_tables(tables), [str(path) for path in sorted(photos.iterdir())]
        cls.features = injerto.Features("small_cnn", **SMALL)
        cls.expected = cls.features.table(cls.photos)

    def check(self, table):
        table = table.sort_by("key")
        self.assertEqual(table["key"].to_pylist(), self.expected["key"].to_pylist())
        errors = table["error"].to_pylist()
        self.assertEqual([at for at, error in enumerate(errors) if error], [43])
        self.assertIn("6 bytes", errors[43])
        numpy.testing.assert_array_equal(rows(table).view("uint32"), rows(self.expected).view("uint32"))

    def test_a_table_of_arrow_gets_further_columns(self):
        self.assertEqual(self.expected.column_names, ["key", "features", "error"])
        self.assertEqual(self.expected.schema.field("features").type, pyarrow.list_(pyarrow.float32(), self.features.width))
        kept = self.features.table(self.photos.slice(0, 2), keep=True)
        self.assertEqual(kept.column_names, ["key", "bytes", "features", "error"])
        numpy.testing.assert_array_equal(self.features(self.photos["bytes"].slice(0, 2)), rows(kept))
        with self.assertRaisesRegex(ValueError, "no column 'photo' of images; it has key, bytes"):
            self.features.table(self.photos, "photo")

    def test_a_missing_photo_is_a_row_with_its_error(self):
        photos = pyarrow.table({"key": ["a", "b"], "bytes": [None, self.photos["bytes"][0].as_py()]})
        table = self.features.table(photos)
        self.assertEqual([error is None for error in table["error"].to_pylist()], [False, True])
        numpy.testing.assert_array_equal(rows(table)[1], rows(self.expected)[0])
        with self.assertRaisesRegex(injerto.ImageError, "image 0: .*empty"):
            self.features(photos["bytes"])

    def test_what_is_no_table_is_said(self):
        with self.assertRaisesRegex(TypeError, "the type list is no table"):
            self.features.table([b"photo"])

    def test_whatever_has_arrows_interface_of_capsules_is_a_table(self):
        class Foreign:
            def __arrow_c_stream__(_, requested=None):
                return self.photos.__arrow_c_stream__(requested)

        self.check(self.features.table(Foreign()))
        [batch] = self.photos.slice(0, 8).combine_chunks().to_batches()
        self.assertEqual(self.features.table(batch).num_rows, 8)

    @needs("ray")
    def test_ray_reads_parquet_and_webdataset_and_survives_a_killed_worker(self):
        import ray
        from ray.cluster_utils import Cluster

        ray_features = example("ray_features")
        shard = self.folder / "photos.tar"
        with tarfile.open(shard, "w") as tar:
            for key, content in zip(self.photos["key"].to_pylist()[:8], self.photos["bytes"].to_pylist()):
                about = tarfile.TarInfo(f"{key}.jpg")
                about.size = len(content)
                tar.addfile(about, io.BytesIO(content))
        # By default, workers yield to everything else on the machine.
        os.environ.setdefault("RAY_worker_niceness", "0")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        self.addCleanup(cluster.shutdown)
        cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        self.addCleanup(ray.shutdown)

        # The actors take both processors, so the photos are read before.
        photos = ray.data.read_parquet(self.shards).repartition(16).materialize()
        got = injerto.ray.features(photos, "small_cnn", actors=2, batch_size=4, **SMALL)
        tables, killed = [], False
        for table in got.iter_batches(batch_size=None, batch_format="pyarrow"):
            tables.append(table)
            if not killed:
                os.kill(next(actors()), signal.SIGKILL)
                killed = True
        self.check(pyarrow.concat_tables(tables))

        out = self.folder / "ray"
        small = ["--model", "small_cnn", "--weights", "none", "--image-size", "32", "32"]
        ray_features.main([str(out), str(shard), "--actors", "1", *small])
        table = pyarrow.parquet.read_table(out).rename_columns({"__key__": "key"})
        numpy.testing.assert_array_equal(rows(table), rows(self.expected.slice(0, 8)))

    @needs("pyspark")
    def test_spark_answers_by_a_run(self):
        from pyspark.sql import SparkSession

        spark_predict = example("spark_predict")
        run, out, photos = self.folder / "run", self.folder / "spark", self.folder / "files"
        experiment = {
            "data": {"generated": "flowers", "train_per_class": 2, "validation_per_class": 1, "image_size": [32, 32]},
            "backbone": {"plugin": "small_cnn", "weights": "none", "parameters": {"filters": [4]}},
            "phases": [{"name": "all", "epochs": 1, "unfreeze": "all"}],
        }
        injerto.train(experiment, run_dir=run)
        photos.mkdir()
        for at in range(6):
            (photos / f"{at}.png").write_bytes(png(at) if at != 2 else b"broken")
        os.environ["PYSPARK_PYTHON"] = sys.executable
        session = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
        self.addCleanup(session.stop)
        spark_predict.main(str(run), str(photos), str(out))
        answers = {os.path.basename(row["path"]): row for row in pyarrow.parquet.read_table(out).to_pylist()}
        expected = injerto.Predictor(run).columns([photos / f"{at}.png" for at in range(6)])
        for at in range(6):
            answer = answers[f"{at}.png"]
            self.assertEqual(answer["label"], expected["label"][at])
            self.assertEqual(answer["probability"], expected["probability"][at])
        self.assertIn("6 bytes", answers["2.png"]["error"])

    @needs("daft")
    def test_daft_gives_the_same_features(self):
        out = self.folder / "daft"
        example("daft_features").main(self.shards, str(out), "small_cnn", **SMALL)
        self.check(pyarrow.parquet.read_table(out))

    @needs("dask")
    def test_dask_gives_the_same_features(self):
        out = self.folder / "dask"
        count = example("dask_features").main(str(out), *self.shards, model="small_cnn", **SMALL)
        self.assertEqual(count, 64)
        self.check(pyarrow.parquet.read_table(out))


def actors():
    """The processes of Ray's actors that compute features."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            name = (process / "cmdline").read_text()
        except OSError:
            continue
        if name.startswith("ray::") and "_Actor" in name:
            yield int(process.name)


if __name__ == "__main__":
    unittest.main(verbosity=2)
