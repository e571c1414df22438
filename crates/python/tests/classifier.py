"""The classifier as scikit-learn sees it."""

import pickle
import unittest
import warnings

import numpy
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.estimator_checks import check_classifiers_train, check_estimator
from sklearn.utils.validation import check_is_fitted, validate_data

import injerto

SMALL = {"weights": "none", "image_size": (8, 8), "parameters": {"filters": [4], "momentum": 0.5}, "learning_rate": 0.05}


class Rows(injerto.Classifier):
    """A classifier of rows of numbers, each of which is drawn as a stripe of an image, so that scikit-learn can check it."""

    def fit(self, X, y):
        X, y = validate_data(self, X, y)
        return super().fit(self.drawn(X), y)

    def predict(self, X):
        return super().predict(self.drawn(self.validated(X)))

    def predict_proba(self, X):
        return super().predict_proba(self.drawn(self.validated(X)))

    def validated(self, X):
        check_is_fitted(self, "classes_")
        return validate_data(self, X, reset=False)

    @staticmethod
    def drawn(X):
        grey = numpy.clip(numpy.asarray(X, float) * 32 + 128, 0, 255).astype("uint8")
        return numpy.repeat(numpy.repeat(grey[:, None, :, None], 8, axis=1), 3, axis=3)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.string = False
        return tags


# Checks that do not apply to a network that is trained for an epoch.
NOT_APPLICABLE = {"check_classifiers_train": "it wants the classes of random points separated"}


def pictures():
    dark, bright = numpy.zeros((6, 16, 16, 3), "uint8"), numpy.full((6, 16, 16, 3), 255, "uint8")
    return numpy.concatenate([dark, bright]), ["dark"] * 6 + ["bright"] * 6


class AnEstimator(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.images, cls.labels = pictures()
        cls.classifier = injerto.Classifier("small_cnn", epochs=8, **SMALL)
        cls.classifier.fit(cls.images, cls.labels)

    def test_it_learns_and_names_classes_as_they_were_given(self):
        self.assertEqual(self.classifier.classes_.tolist(), ["bright", "dark"])
        self.assertEqual(self.classifier.predict(self.images[[0, 11]]).tolist(), ["dark", "bright"])
        self.assertEqual(self.classifier.score(self.images, self.labels), 1.0)
        numbers = clone(self.classifier).fit(list(self.images), [7] * 6 + [3] * 6)
        self.assertEqual(numbers.predict(self.images[[0, 11]]).tolist(), [7, 3])

    def test_probabilities_are_in_the_order_of_the_classes(self):
        probabilities = self.classifier.predict_proba(self.images)
        self.assertEqual(probabilities.shape, (12, 2))
        numpy.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
        self.assertGreater(probabilities[0, 1], 0.5)

    def test_a_copy_answers_bit_for_bit_alike(self):
        again = pickle.loads(pickle.dumps(self.classifier))
        numpy.testing.assert_array_equal(again.predict_proba(self.images), self.classifier.predict_proba(self.images))

    def test_training_twice_gives_the_same_numbers(self):
        again = clone(self.classifier).fit(self.images, self.labels)
        numpy.testing.assert_array_equal(again.predict_proba(self.images), self.classifier.predict_proba(self.images))

    def test_it_is_cross_validated_and_searched_as_any_estimator(self):
        self.assertEqual(cross_val_score(self.classifier, self.images, self.labels, cv=2).tolist(), [1.0, 1.0])
        search = GridSearchCV(self.classifier, {"epochs": [1, 8]}, cv=2).fit(self.images, self.labels)
        self.assertEqual(search.best_score_, 1.0)

    def test_keys_of_an_experiment_are_written_over_those_of_its_own(self):
        epochs = []
        smoothed = clone(self.classifier).set_params(experiment={"loss": {"label_smoothing": 0.3}}, epochs=1)
        smoothed.fit(self.images, self.labels, progress=epochs.append)
        plain = clone(smoothed).set_params(experiment=None).fit(self.images, self.labels)
        self.assertEqual(len(epochs), 1)
        self.assertNotEqual(epochs[0]["loss"], plain.summary_["phases"][0]["history"][0]["loss"])

    def test_what_does_not_fit_is_said(self):
        with self.assertRaisesRegex(ValueError, "only one class"):
            clone(self.classifier).fit(self.images, ["a"] * 12)
        with self.assertRaisesRegex(ValueError, "12 images and 3 labels"):
            clone(self.classifier).fit(self.images, ["a", "b", "a"])

    def test_scikit_learn_checks_it_as_far_as_images_allow(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = check_estimator(Rows("small_cnn", epochs=1, **SMALL), on_fail=None, on_skip=None)
        failed = {result["check_name"]: result["exception"] for result in results if result["status"] == "failed"}
        print(f"{len(results)} checks of scikit-learn, {len(failed)} do not apply")
        self.assertGreater(len(results), 40)
        self.assertEqual({name: failed[name] for name in failed if name not in NOT_APPLICABLE}, {})
        self.assertEqual(sorted(set(NOT_APPLICABLE) - set(failed)), [], "these do apply")

    def test_after_more_epochs_the_classes_of_random_points_are_separated(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check_classifiers_train("Rows", Rows("small_cnn", epochs=20, **SMALL))


if __name__ == "__main__":
    unittest.main()
