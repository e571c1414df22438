"""Features, predictions and training from Python. Each test is an example of one thing that can be done."""

import io
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
import unittest
from pathlib import Path

import numpy
from PIL import Image

import injerto

EXPERIMENT = {
    "name": "tiny",
    "data": {
        "generated": "flowers",
        "train_per_class": 4,
        "validation_per_class": 2,
        "image_size": [32, 32],
        "batch_size": 8,
    },
    "backbone": {"plugin": "small_cnn", "weights": "none", "parameters": {"filters": [4, 8]}},
    "phases": [{"name": "all", "epochs": 1, "unfreeze": "all"}],
}


def pictures(count=5):
    return numpy.random.default_rng(7).integers(0, 256, (count, 40, 60, 3), "uint8")


def png(pixels):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def setUpModule():
    # A program that a script starts in the background may ignore this signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def interrupt(seconds):
    threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()


class FeaturesOfImages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        options = {"weights": "none", "parameters": {"filters": [4, 8]}, "image_size": (32, 32)}
        cls.features = injerto.Features("small_cnn", **options)
        cls.half = injerto.Features("small_cnn", "float16", **options)
        cls.images = pictures()
        cls.expected = cls.features(cls.images)

    def check(self, images, rows=slice(None)):
        numpy.testing.assert_array_equal(self.features(images), self.expected[rows])

    def test_one_row_of_numbers_per_image(self):
        self.assertEqual(self.expected.shape, (5, self.features.width))
        self.assertEqual(self.expected.dtype, numpy.float32)
        self.assertTrue(self.expected.flags.writeable)

    def test_all_forms_of_an_image_give_the_same_features(self):
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder, f"{at}.png") for at in range(len(self.images))]
            for path, image in zip(paths, self.images):
                path.write_bytes(png(image))
            self.check(paths)
            self.check([str(path) for path in paths])
            self.check(numpy.array([str(path) for path in paths]))
        self.check(list(self.images))
        self.check([Image.fromarray(image) for image in self.images])
        self.check([png(image) for image in self.images])
        self.check([bytearray(png(image)) for image in self.images])
        self.check([memoryview(png(image)) for image in self.images])
        self.check(numpy.array([png(image) for image in self.images], dtype=object))
        self.check(png(image) for image in self.images)
        self.check([png(self.images[0]), self.images[1], Image.fromarray(self.images[2])], slice(3))

    def test_one_image_is_an_array_with_one_row(self):
        self.check(self.images[2], slice(2, 3))
        self.check(png(self.images[2]), slice(2, 3))
        self.assertEqual(self.features([]).shape, (0, self.features.width))

    def test_an_array_may_have_any_strides(self):
        self.check(numpy.asfortranarray(self.images))
        self.check(self.images[::-1], slice(None, None, -1))

    def test_a_grey_image_of_pillow_has_three_equal_channels(self):
        grey = Image.fromarray(self.images[0]).convert("L")
        numpy.testing.assert_array_equal(self.features(grey), self.features(grey.convert("RGB")))

    def test_rows_do_not_depend_on_the_images_beside_them(self):
        many = numpy.concatenate([self.images] * 15)
        numpy.testing.assert_array_equal(self.features(many), numpy.concatenate([self.expected] * 15))

    def test_half_precision_is_the_nearest(self):
        self.assertEqual(self.half(self.images).dtype, numpy.float16)
        numpy.testing.assert_array_equal(self.half(self.images), self.expected.astype("float16"))

    def test_an_image_that_cannot_be_read_is_an_error_with_its_place(self):
        with self.assertRaisesRegex(injerto.ImageError, "image 1: an image of 2 bytes in memory: .*JPEG, PNG"):
            self.features([self.images[0], b"no"])
        columns = self.features.columns([self.images[0], b"no", "/nowhere.jpg", self.images[1]])
        self.assertEqual([error is None for error in columns["error"]], [True, False, False, True])
        self.assertIn("/nowhere.jpg", columns["error"][2])
        numpy.testing.assert_array_equal(columns["features"][[0, 3]], self.expected[:2])
        self.assertTrue(numpy.isnan(columns["features"][[1, 2]]).all())

    def test_what_is_no_image_is_an_error_that_says_what_is(self):
        def check(images, kind, text):
            with self.assertRaisesRegex(kind, text):
                self.features(images)

        check(self.images.astype(float), ValueError, r"float64 with shape \(40, 60, 3\).*uint8")
        check(self.images[0, :, :, 0], ValueError, r"shape \(40, 60\).*\[height, width, 3\]")
        check([self.images[0], 3], TypeError, "image 1 is of the type int")
        check(3, TypeError, "the type int is neither")
        check({"bytes": [b""]}, TypeError, "one of its values")
        check(io.BytesIO(png(self.images[0])), TypeError, "an open file is no image; pass its path")
        for mode in ("I;16", "I", "F"):
            check(Image.new(mode, (40, 40)), ValueError, f"mode {mode} has values beyond 0 to 255; pass the path")

    def test_an_exception_of_an_iterator_is_raised(self):
        def broken():
            yield self.images[0]
            raise KeyError("mine")

        with self.assertRaisesRegex(KeyError, "mine"):
            self.features(broken())

    def test_options_are_keys_of_an_experiment(self):
        with self.assertRaisesRegex(injerto.Error, r"data.image_size.*\[160, 160\]"):
            injerto.Features("small_cnn", image_size=3)
        with self.assertRaisesRegex(TypeError, "did you mean 'weights'"):
            injerto.Features("small_cnn", weigts="none")
        with self.assertRaisesRegex(TypeError, r"no option 'nonsense'\. The options are precision, "):
            injerto.Features("small_cnn", nonsense=1)
        with self.assertRaisesRegex(injerto.Error, "did you mean 'small_cnn'"):
            injerto.Features("smal_cnn")

    def test_a_copy_from_another_process_gives_the_same_features(self):
        numpy.testing.assert_array_equal(pickle.loads(pickle.dumps(self.features))(self.images), self.expected)
        self.assertEqual(pickle.loads(pickle.dumps(self.half))(self.images).dtype, numpy.float16)

    def test_other_threads_run_meanwhile(self):
        ticks, over = [], threading.Event()

        def tick():
            while not over.wait(0.001):
                ticks.append(time.perf_counter())

        thread = threading.Thread(target=tick)
        thread.start()
        list(self.features(numpy.concatenate([self.images] * 40)))
        over.set()
        thread.join()
        self.assertGreater(len(ticks), 3)

    def test_ctrl_c_ends_a_generator_without_end(self):
        def endless():
            while True:
                yield self.images[0]

        interrupt(0.5)
        with self.assertRaises(KeyboardInterrupt):
            self.features(endless())
        self.check(self.images)


class TrainingAndPredicting(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.run_dir, cls.epochs = os.path.join(cls.folder.name, "run"), []
        cls.summary = injerto.train(EXPERIMENT, cls.epochs.append, set={"phases.0.epochs": 2}, run_dir=cls.run_dir)
        cls.predictor = injerto.Predictor(cls.run_dir, neighbours=1)

    def test_progress_hears_of_each_epoch_and_the_summary_says_all(self):
        self.assertEqual([epoch["epoch"] for epoch in self.epochs], [1, 2])
        self.assertTrue(self.epochs[0]["best"])
        history = self.summary["phases"][0]["history"]
        self.assertEqual(history, [{key: value for key, value in epoch.items() if key != "best"} for epoch in self.epochs])
        self.assertEqual(self.summary["run"], self.run_dir)
        self.assertTrue(os.path.exists(os.path.join(self.run_dir, "report.html")))

    def test_an_experiment_is_a_dict_or_a_text_or_a_file(self):
        file = os.path.join(self.folder.name, "tiny.toml")
        text = """
            name = "tiny"
            data = { generated = "flowers", train_per_class = 4, validation_per_class = 2, image_size = [32, 32], batch_size = 8 }
            backbone = { plugin = "small_cnn", weights = "none", parameters = { filters = [4, 8] } }
            [[phases]]
            name = "all"
            epochs = 1
            unfreeze = "all"
        """
        Path(file).write_text(text)
        first = self.epochs[0]["loss"]
        for at, experiment in enumerate([EXPERIMENT, text, file, Path(file)]):
            summary = injerto.train(experiment, run_dir=os.path.join(self.folder.name, str(at)))
            self.assertEqual(summary["phases"][0]["history"][0]["loss"], first)

    def test_what_is_wrong_with_an_experiment_is_said_with_the_fix(self):
        with self.assertRaisesRegex(injerto.Error, "did you mean `backbone`"):
            injerto.train({**EXPERIMENT, "bakbone": {}})
        with self.assertRaisesRegex(TypeError, "seed: an experiment cannot hold a value of the type object"):
            injerto.train({**EXPERIMENT, "seed": object()})

    def test_what_cannot_be_called_is_no_progress(self):
        with self.assertRaisesRegex(TypeError, "progress: the type int cannot be called"):
            injerto.train(EXPERIMENT, 3)

    def test_an_exception_of_progress_ends_the_training(self):
        def progress(_):
            raise KeyError("mine")

        with self.assertRaisesRegex(KeyError, "mine"):
            injerto.train(EXPERIMENT, progress, set={"phases.0.epochs": 10000}, run_dir=self.run_dir + "-broken")

    def test_ctrl_c_ends_a_training_that_can_be_resumed(self):
        folder = self.run_dir + "-interrupted"
        with self.assertRaises(KeyboardInterrupt):
            injerto.train(EXPERIMENT, lambda _: interrupt(0), set={"phases.0.epochs": 10000}, run_dir=folder)
        self.assertTrue(os.path.exists(os.path.join(folder, "last.safetensors")))

    def test_any_object_that_adds_up_arrays_is_a_collective(self):
        meet, values = threading.Barrier(2), [None, None]

        class Collective:
            size = 2

            def __init__(self, rank):
                self.rank = rank

            def all_reduce(self, array):
                values[self.rank] = array.copy()
                meet.wait(60)
                array[:] = values[0] + values[1]
                meet.wait(60)

        folder, summaries = self.run_dir + "-together", [None, None]

        def train(rank):
            summaries[rank] = injerto.train(EXPERIMENT, run_dir=folder, collective=Collective(rank))

        threads = [threading.Thread(target=train, args=(rank,)) for rank in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([summary["run"] for summary in summaries], [folder, None])
        for summary in summaries:
            self.assertAlmostEqual(summary["phases"][0]["history"][0]["loss"], self.epochs[0]["loss"], 5)

    def test_an_exception_of_a_collective_is_the_cause_of_the_error(self):
        def all_reduce(_):
            raise ConnectionError("nobody is there")

        collective = types.SimpleNamespace(rank=0, size=2, all_reduce=all_reduce)
        with self.assertRaisesRegex(injerto.Error, "nobody is there") as caught:
            injerto.train(EXPERIMENT, run_dir=self.run_dir + "-lost", collective=collective)
        self.assertIsInstance(caught.exception.__cause__, ConnectionError)

    def test_what_is_no_collective_is_an_error_that_says_what_is(self):
        def check(collective, kind, text):
            with self.assertRaisesRegex(kind, text):
                injerto.train(EXPERIMENT, collective=collective)

        check(3, TypeError, "an object of the type int: a collective has rank")
        check(types.SimpleNamespace(rank=0, size=2, all_reduce=1), TypeError, "all_reduce cannot be called")
        check(types.SimpleNamespace(rank=2, size=2, all_reduce=print), ValueError, "no process 2 of 2")

    def test_an_answer_has_a_label_and_a_probability_per_class(self):
        answers = self.predictor(pictures())
        self.assertEqual(len(answers), 5)
        for answer in answers:
            self.assertEqual([answer.label], answer.labels)
            self.assertEqual(sorted(answer.probabilities), sorted(self.predictor.classes))
            self.assertEqual(next(iter(answer.probabilities)), answer.label)
            self.assertEqual(answer.probabilities[answer.label], answer.probability)
            self.assertIsInstance(answer.unknown, bool)
            [(_, label, similarity)] = answer.neighbours
            self.assertIn(label, self.predictor.classes)
            self.assertLessEqual(similarity, 1.0001)

    def test_columns_say_the_same_and_which_images_cannot_be_read(self):
        [answer] = self.predictor(pictures(1))
        columns = self.predictor.columns([pictures(1)[0], b"no"])
        self.assertEqual(columns["label"], [answer.label, None])
        self.assertEqual(columns["probability"], [answer.probability, None])
        self.assertEqual(columns["unknown"], [answer.unknown, None])
        by_class = dict(zip(self.predictor.classes, columns["probabilities"][0].tolist()))
        self.assertEqual(by_class, answer.probabilities)
        self.assertTrue(numpy.isnan(columns["probabilities"][1]).all())
        self.assertIsNone(columns["error"][0])
        self.assertIn("2 bytes", columns["error"][1])

    def test_a_predictor_goes_to_another_process(self):
        again = pickle.loads(pickle.dumps(self.predictor))
        self.assertEqual(again(pictures(2)), self.predictor(pictures(2)))

    def test_the_features_of_a_run_are_those_of_its_backbone(self):
        features = injerto.Features(self.run_dir)
        self.assertEqual(features(pictures()).shape, (5, 8))
        with self.assertRaisesRegex(TypeError, "image_size: a run says itself"):
            injerto.Features(self.run_dir, image_size=(32, 32))

    def test_a_run_that_is_not_there_is_named(self):
        for model in (injerto.Predictor, injerto.Features):
            with self.assertRaisesRegex(injerto.Error, "runs/nowhere: .*name the folder of a run"):
                model("runs/nowhere")
            with self.assertRaisesRegex(injerto.Error, "there is no best.safetensors in this folder"):
                model(tempfile.gettempdir())

    def test_numbers_below_zero_are_named(self):
        for option in ("views", "neighbours"):
            with self.assertRaisesRegex(ValueError, f"{option}: -1 is less than 0"):
                injerto.Predictor(self.run_dir, **{option: -1})


class ThePackage(unittest.TestCase):
    def test_it_has_the_standard_backbones(self):
        for name in ("mobilenet_v2", "resnet", "vit"):
            self.assertIn(name, injerto.backbones())

    def test_its_version_is_that_of_the_crate(self):
        self.assertRegex(injerto.__version__, r"^\d+\.\d+\.\d+")

    def test_scikit_learn_and_ray_are_not_needed_to_import_it(self):
        code = "import sys, injerto; sys.exit(any(name in sys.modules for name in ('sklearn', 'ray', 'pyarrow')))"
        self.assertEqual(subprocess.run([sys.executable, "-c", code]).returncode, 0)


if __name__ == "__main__":
    unittest.main()
