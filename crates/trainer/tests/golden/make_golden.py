"""Writes the JSON files beside this script with real Keras 3 (TensorFlow), PyTorch and scikit-learn.

    python make_golden.py [optimizers | schedules | one_cycle | callbacks | metrics]

Each file says which versions it comes from. Nothing here is needed to build or to test.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np

HERE = Path(__file__).parent


def plain(value):
    """Converts arrays and NumPy's numbers for JSON."""
    if isinstance(value, np.ndarray):
        return [plain(x) for x in value]
    if isinstance(value, (np.floating, float)):
        return float(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, dict):
        return {key: plain(x) for key, x in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(x) for x in value]
    return value


def write(name, data):
    (HERE / f"{name}.json").write_text(json.dumps(plain(data), indent=1) + "\n")
    print(name)


def optimizers():
    """Two variables, `layer/kernel` and `layer/bias`, over six steps of given gradients."""
    import keras

    rng = np.random.default_rng(7)
    start = {"kernel": rng.normal(size=4), "bias": rng.normal(size=2)}
    # The third step has large gradients, so that every kind of clipping has an effect; the gradients of the fifth step are zero.
    scale = [1.0, 0.1, 30.0, 2.0, 0.0, 1.0]
    steps = [{name: s * rng.normal(size=value.shape) for name, value in start.items()} for s in scale]
    o = keras.optimizers
    cases = [
        ({"name": "adam", "learning_rate": 0.01}, o.Adam),
        ({"name": "adam", "learning_rate": 0.01, "clipnorm": 1.0}, o.Adam),
        ({"name": "adam", "learning_rate": 0.01, "global_clipnorm": 1.0}, o.Adam),
        ({"name": "adam", "learning_rate": 0.01, "clipvalue": 0.5}, o.Adam),
        ({"name": "adam", "learning_rate": 0.01, "beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3}, o.Adam),
        ({"name": "adam", "learning_rate": 0.01, "weight_decay": 0.1}, o.Adam),
        ({"name": "adamw", "learning_rate": 0.01}, o.AdamW),
        ({"name": "adamw", "learning_rate": 0.01, "weight_decay": 0.2, "clipnorm": 0.7}, o.AdamW),
        ({"name": "adamw", "learning_rate": 0.01, "weight_decay": 0.2,
          "exclude_from_weight_decay": ["bias"]}, o.AdamW),
        ({"name": "sgd", "learning_rate": 0.1}, o.SGD),
        ({"name": "sgd", "learning_rate": 0.1, "momentum": 0.9}, o.SGD),
        ({"name": "sgd", "learning_rate": 0.1, "momentum": 0.9, "nesterov": True}, o.SGD),
        ({"name": "sgd", "learning_rate": 0.1, "momentum": 0.9, "global_clipnorm": 2.0, "weight_decay": 0.05}, o.SGD),
        ({"name": "rmsprop", "learning_rate": 0.01}, o.RMSprop),
        ({"name": "rmsprop", "learning_rate": 0.01, "rho": 0.7, "momentum": 0.5, "epsilon": 1e-2}, o.RMSprop),
        ({"name": "rmsprop", "learning_rate": 0.01, "centered": True}, o.RMSprop),
        ({"name": "rmsprop", "learning_rate": 0.01, "centered": True, "momentum": 0.9, "clipvalue": 1.0}, o.RMSprop),
        ({"name": "adam", "learning_rate": 0.01, "ema_momentum": 0.8}, o.Adam),
    ]
    done = []
    for config, make in cases:
        given = {key: value for key, value in config.items() if key not in ("name", "exclude_from_weight_decay")}
        if "ema_momentum" in given:
            given["use_ema"] = True
        optimizer = make(**given)
        variables = [keras.Variable(value, name=name, dtype="float32") for name, value in start.items()]
        if excluded := config.get("exclude_from_weight_decay"):
            optimizer.exclude_from_weight_decay(var_names=excluded)
        values = []
        for gradients in steps:
            optimizer.apply([keras.ops.convert_to_tensor(g, "float32") for g in gradients.values()], variables)
            values.append({v.name: v.numpy() for v in variables})
        case = {"config": config, "values": values}
        if "ema_momentum" in given:
            optimizer.finalize_variable_values(variables)
            case["averages"] = {v.name: v.numpy() for v in variables}
        done.append(case)
    write("optimizers", {"from": f"Keras {keras.__version__}", "start": start, "gradients": steps, "cases": done})


def schedules():
    """Learning rates at every step. `learning_rate` is that of the optimiser."""
    import keras

    k = keras.optimizers.schedules
    steps = 24
    cases = []

    def add(schedule, of, learning_rate=0.1, steps_per_epoch=4, total=steps):
        rates = [float(of(step)) for step in range(total)]
        cases.append({"schedule": schedule, "learning_rate": learning_rate, "steps_per_epoch": steps_per_epoch,
                      "total": total, "rates": rates})

    add({"name": "cosine", "decay": 10, "alpha": 0.1}, k.CosineDecay(0.1, 10, alpha=0.1))
    add({"name": "cosine"}, k.CosineDecay(0.1, steps))
    add({"name": "cosine", "warmup": 6, "warmup_start": 0.02},
        k.CosineDecay(0.02, steps - 6, warmup_target=0.1, warmup_steps=6))
    add({"name": "cosine", "warmup": {"epochs": 1.5}, "decay": {"epochs": 2}, "alpha": 0.2},
        k.CosineDecay(0.0, 8, alpha=0.2, warmup_target=0.1, warmup_steps=6))
    add({"name": "exponential", "rate": 0.5, "every": 5}, k.ExponentialDecay(0.1, 5, 0.5))
    add({"name": "exponential", "rate": 0.9}, k.ExponentialDecay(0.1, 4, 0.9))
    add({"name": "exponential", "rate": 0.5, "every": {"epochs": 2}, "staircase": True},
        k.ExponentialDecay(0.1, 8, 0.5, staircase=True))
    add({"name": "piecewise", "boundaries": [3, {"epochs": 3}], "values": [0.05, 0.01]},
        k.PiecewiseConstantDecay([3, 12], [0.1, 0.05, 0.01]))
    write("schedules", {"from": f"Keras {keras.__version__}", "cases": cases})


def one_cycle():
    """PyTorch's OneCycleLR: learning rates and momenta at every step."""
    import torch

    cases = []

    def add(schedule, adam, total=24, **given):
        weight = torch.nn.Parameter(torch.zeros(1))
        make = (lambda: torch.optim.Adam([weight], lr=0.1)) if adam else (
            lambda: torch.optim.SGD([weight], lr=0.1, momentum=0.9))
        optimizer = make()
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=total, **given)
        rates, momenta = [], []
        for _ in range(total):
            group = optimizer.param_groups[0]
            rates.append(group["lr"])
            momenta.append(group["betas"][0] if adam else group["momentum"])
            optimizer.step()
            if len(rates) < total:
                scheduler.step()
        case = {"schedule": {"name": "one_cycle", **schedule}, "learning_rate": 0.1, "steps_per_epoch": 4,
                "total": total, "rates": rates}
        if given.get("cycle_momentum", True):
            case["momenta"] = momenta
        cases.append(case)

    add({}, adam=True)
    add({}, adam=False, total=3)
    add({"pct_start": 0.25, "div_factor": 10, "final_div_factor": 100, "anneal": "linear", "max_momentum": 0.9,
          "base_momentum": 0.7}, adam=False, pct_start=0.25, div_factor=10, final_div_factor=100,
        anneal_strategy="linear", max_momentum=0.9, base_momentum=0.7)
    add({"three_phase": True, "cycle_momentum": False}, adam=True, three_phase=True, cycle_momentum=False)
    write("one_cycle", {"from": f"PyTorch {torch.__version__}", "cases": cases})


def callbacks():
    """Decisions of Keras's callbacks after each epoch of scripted figures."""
    import keras

    class Scripted(keras.Model):
        """A model with only the parts that callbacks use."""

        def __init__(self, learning_rate):
            super().__init__()
            self.optimizer = keras.optimizers.SGD(learning_rate)
            self.held = None

        @property
        def metrics(self):
            return []

        def get_weights(self):
            return self.held

        def set_weights(self, weights):
            self.held = weights

    falling = [0.9, 0.7, 0.71, 0.69, 0.695, 0.692, 0.5, 0.6, 0.65, 0.7, 0.8, 0.9]
    flat = [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    rising = [0.5, 0.6, 0.58, 0.61, 0.611, 0.6115, 0.7, 0.69, 0.6, 0.5, 0.55, 0.9]
    holes = [float("nan"), 0.7, 0.6, 0.8, float("nan"), 0.55, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    late_hole = [0.9, float("nan"), 0.8, 0.85, 0.86, 0.87, 0.7, 0.75, 0.8, 0.9, 0.9, 0.9]
    figures = {"falling": falling, "flat": flat, "rising": rising, "holes": holes, "late_hole": late_hole}
    cases = []
    early = [
        {"monitor": "val_loss", "patience": 2},
        {"monitor": "val_loss", "patience": 0},
        {"monitor": "val_loss", "patience": 2, "min_delta": 0.05},
        {"monitor": "val_loss", "patience": 3, "baseline": 0.6},
        {"monitor": "val_loss", "patience": 2, "start_from_epoch": 5, "restore_best_weights": True},
        {"monitor": "val_loss", "patience": 3, "restore_best_weights": True},
        {"monitor": "val_accuracy", "mode": "max", "patience": 2, "min_delta": -0.005, "restore_best_weights": True},
    ]
    for config in early:
        for name, values in figures.items():
            callback = keras.callbacks.EarlyStopping(**config)
            model = Scripted(0.1)
            callback.set_model(model)
            model.stop_training = False
            callback.on_train_begin()
            stopped = None
            for epoch, value in enumerate(values):
                model.held = epoch
                callback.on_epoch_end(epoch, {config["monitor"]: value})
                if model.stop_training:
                    stopped = epoch
                    break
            callback.on_train_end()
            cases.append({"early_stopping": config, "figures": name, "stopped": stopped, "weights_of": model.held})
    plateau = [
        {"monitor": "val_loss", "patience": 2},
        {"monitor": "val_loss", "patience": 1, "factor": 0.5, "min_delta": 0.05},
        {"monitor": "val_loss", "patience": 1, "factor": 0.5, "cooldown": 2},
        {"monitor": "val_loss", "patience": 0, "factor": 0.2, "min_lr": 0.005},
        {"monitor": "val_accuracy", "mode": "max", "patience": 2, "factor": 0.3, "cooldown": 1, "min_delta": 0.0},
    ]
    for config in plateau:
        for name, values in figures.items():
            callback = keras.callbacks.ReduceLROnPlateau(**config)
            model = Scripted(0.1)
            callback.set_model(model)
            callback.on_train_begin()
            rates = []
            for epoch, value in enumerate(values):
                callback.on_epoch_end(epoch, {config["monitor"]: value})
                rates.append(float(model.optimizer.learning_rate.numpy()))
            cases.append({"reduce_lr_on_plateau": config, "figures": name, "rates": rates})
    # JSON has no NaN: null stands for it.
    figures = {name: [None if np.isnan(x) else x for x in values] for name, values in figures.items()}
    write("callbacks", {"from": f"Keras {keras.__version__}", "learning_rate": 0.1, "figures": figures, "cases": cases})


def metrics():
    """Rows of probabilities with their labels, and scikit-learn's metrics of them.

    `ties` has few distinct scores, so that the ROC curve has slanted pieces. `absent` has a class without rows, and a class
    that is never predicted. `ece` is not a metric of scikit-learn; it is computed below from its definition.
    """
    import sklearn
    from sklearn import metrics as m

    rng = np.random.default_rng(3)

    def softmax(z):
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return (e / e.sum(axis=1, keepdims=True)).astype(np.float32)

    def ece(p, labels, bins=15):
        """Confidence is the largest probability; bins are (0, 1/15], (1/15, 2/15], …; the gap between a bin's accuracy and
        its mean confidence counts by the bin's share of the rows."""
        p = p.astype(np.float64)
        confidence, right = p.max(axis=1), p.argmax(axis=1) == labels
        place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
        total = 0.0
        for b in range(bins):
            inside = place == b
            if inside.any():
                total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
        return total

    def case(name, p, labels):
        classes = p.shape[1]
        every = list(range(classes))
        predicted = p.argmax(axis=1)
        precision, recall, f1, support = m.precision_recall_fscore_support(
            labels, predicted, labels=every, zero_division=0)
        out = {"name": name, "classes": classes, "probabilities": [[round(float(x), 9) for x in row] for row in p],
               "labels": labels,
               "accuracy": m.accuracy_score(labels, predicted),
               "confusion": m.confusion_matrix(labels, predicted, labels=every),
               "precision": precision, "recall": recall, "f1": f1, "support": support, "ece": ece(p, labels)}
        for average in ("macro", "weighted"):
            mean = m.precision_recall_fscore_support(labels, predicted, labels=every, average=average, zero_division=0)
            out[average] = {"precision": mean[0], "recall": mean[1], "f1": mean[2]}
        for k in (1, 2, 3, 5):
            if k < classes and classes > 2:
                out[f"top_{k}"] = m.top_k_accuracy_score(labels, p, k=k, labels=every)
        present = len(set(labels.tolist()))
        if classes == 2:
            out["roc_auc"] = m.roc_auc_score(labels, p[:, 1]) if present == 2 else None
        elif present == classes:
            # scikit-learn needs rows that sum to 1 in double precision.
            rows = p.astype(np.float64)
            rows /= rows.sum(axis=1, keepdims=True)
            out["roc_auc"] = m.roc_auc_score(labels, rows, multi_class="ovr", average="macro", labels=every)
        else:
            # The area is not defined for a class without rows, so the mean is taken over the other classes.
            shares = [m.roc_auc_score(labels == c, p[:, c]) for c in every if 0 < (labels == c).sum() < len(labels)]
            out["roc_auc"] = float(np.mean(shares))
        return out

    labels = rng.integers(0, 2, 60)
    binary = softmax(np.stack([np.zeros(60), 1.2 * (labels - 0.5) + rng.normal(size=60)], axis=1))
    labels_5 = rng.integers(0, 6, 80)
    several = softmax(2.0 * np.eye(6)[labels_5] + 1.3 * rng.normal(size=(80, 6)))
    labels_t = rng.integers(0, 2, 50)
    one = np.round(np.clip(0.5 + 0.2 * (labels_t - 0.5) + 0.2 * rng.normal(size=50), 0.0, 1.0) * 8) / 8
    ties = np.stack([1 - one, one], axis=1).astype(np.float32)
    labels_a = np.array([0, 1, 1, 2, 0, 2, 1, 0, 2, 1, 0, 2])
    absent = softmax(np.eye(4)[labels_a] + rng.normal(size=(12, 4)) - 9.0 * np.eye(4)[[3] * 12] - 9.0 * np.eye(4)[[1] * 12])
    one_class = softmax(rng.normal(size=(6, 2)))
    cases = [case("binary", binary, labels), case("several", several, labels_5), case("ties", ties, labels_t),
             case("absent", absent, labels_a), case("one class", one_class, np.ones(6, dtype=int))]
    write("metrics", {"from": f"scikit-learn {sklearn.__version__}", "cases": cases})


def multi_label():
    """Probabilities of several classes per image with their truth, and scikit-learn's metrics of them.

    `ties` has few distinct scores. `absent` has a class that no image has: its average precision is 0 in scikit-learn, with a
    warning, and is left out of the mean here. `best_f1` is the largest on scikit-learn's precision-recall curve.
    """
    import warnings

    import sklearn
    from sklearn import metrics as m

    warnings.simplefilter("ignore")
    rng = np.random.default_rng(5)

    def case(name, p, truth, thresholds):
        p = p.astype(np.float32)
        thresholds = np.asarray(thresholds, dtype=np.float32)
        said, half = (p >= thresholds).astype(int), (p > 0.5).astype(int)
        precision, recall, f1, support = m.precision_recall_fscore_support(truth, said, zero_division=0)
        occurs = truth.sum(axis=0) > 0
        average = m.average_precision_score(truth, p, average=None)
        best = []
        for column in range(truth.shape[1]):
            ps, rs, _ = m.precision_recall_curve(truth[:, column], p[:, column])
            best.append(np.max(2 * ps * rs / np.maximum(ps + rs, 1e-30)))
        out = {"name": name, "probabilities": [[round(float(x), 9) for x in row] for row in p], "truth": truth,
               "thresholds": thresholds, "confusion": m.multilabel_confusion_matrix(truth, said),
               "precision": precision, "recall": recall, "f1": f1, "support": support,
               "average_precision": average, "mean_average_precision": average[occurs].mean(),
               "binary_accuracy": (half == truth).mean(), "exact_match": m.accuracy_score(truth, said),
               "macro_f1_at_half": m.f1_score(truth, half, average="macro", zero_division=0), "best_f1": best}
        for mean in ("macro", "micro"):
            row = m.precision_recall_fscore_support(truth, said, average=mean, zero_division=0)
            out[mean] = {"precision": row[0], "recall": row[1], "f1": row[2]}
        return out

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    truth = (rng.random((60, 4)) < [0.5, 0.3, 0.1, 0.05]).astype(int)
    some = sigmoid(3 * (truth - 0.5) + 1.5 * rng.normal(size=truth.shape))
    few = (rng.random((40, 3)) < 0.4).astype(int)
    ties = np.round(np.clip(0.5 + 0.3 * (few - 0.5) + 0.2 * rng.normal(size=few.shape), 0.0, 1.0) * 8) / 8
    none = (rng.random((12, 3)) < [0.5, 0.0, 0.3]).astype(int)
    absent = sigmoid(rng.normal(size=none.shape))
    cases = [case("some", some, truth, [0.5, 0.4, 0.3, 0.25]), case("ties", ties, few, [0.5, 0.375, 0.625]),
             case("absent", absent, none, [0.5, 0.5, 0.25])]
    write("multi_label", {"from": f"scikit-learn {sklearn.__version__}", "cases": cases})


if __name__ == "__main__":
    parts = {f.__name__: f for f in (optimizers, schedules, one_cycle, callbacks, metrics, multi_label)}
    if len(sys.argv) == 2:
        parts[sys.argv[1]]()
    else:
        # TensorFlow and PyTorch cannot always run in the same process.
        for part in sys.argv[1:] or parts:
            subprocess.run([sys.executable, __file__, part], check=True)
