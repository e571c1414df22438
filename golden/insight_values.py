"""What scikit-learn, SciPy and cleanlab compute. `make.py` calls `files`.

Features are formulas, so that the tests make the same ones: no file of them lies here.
"""

import numpy as np
from cleanlab.filter import find_label_issues
from scipy import optimize, stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss, roc_auc_score
from sklearn.preprocessing import StandardScaler


def features(rows, width, classes):
    """Waves of which some follow the class, each with its own mean and deviation; labels are dealt in turn."""
    i, j = np.arange(rows)[:, None].astype(float), np.arange(width)[None, :].astype(float)
    labels = np.arange(rows) % classes
    noise = np.sin(0.7 * i * (j + 1.3) + 0.31 * j * j)
    signal = 0.8 * np.cos(2.1 * labels[:, None] + 1.7 * j) * (j < width / 2)
    return ((noise + signal) * (1 + j % 5) + 3 * (j % 4)).astype(np.float32), labels


def probe(rows, width, classes, strength):
    """Coefficients for features as they are, and the probabilities of the first rows."""
    x, y = features(rows, width, classes)
    scaler = StandardScaler().fit(x.astype(float))
    model = LogisticRegression(C=strength, tol=1e-12, max_iter=100_000, solver="newton-cg")
    model.fit(scaler.transform(x.astype(float)), y)
    coefficients = model.coef_ / scaler.scale_
    intercepts = model.intercept_ - coefficients @ scaler.mean_
    return {
        "rows": rows,
        "width": width,
        "classes": classes,
        "strength": strength,
        "coefficients": coefficients.round(9).tolist(),
        "intercepts": intercepts.round(9).tolist(),
        "probabilities": model.predict_proba(scaler.transform(x.astype(float)))[:12].round(9).tolist(),
        "accuracy": float(model.score(scaler.transform(x.astype(float)), y)),
    }


def predictions(rows, classes, sharpness, wrong):
    """Probabilities from waves, rounded so that JSON holds them exactly; every `wrong`th label is another class."""
    i, k = np.arange(rows)[:, None].astype(float), np.arange(classes)[None, :].astype(float)
    truth = (np.arange(rows) * 7 + np.arange(rows) // 11) % classes
    logits = sharpness * (truth[:, None] == k) + 1.5 * np.sin(1.9 * i + 2.3 * k * k + 0.4 * i * k)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p = (p / p.sum(1, keepdims=True)).round(6)
    p[:, -1] = (1 - p[:, :-1].sum(1)).round(6)
    labels = np.where(np.arange(rows) % wrong == 3, (truth + 1 + np.arange(rows) % (classes - 1)) % classes, truth)
    return labels, p


def labels(rows, classes, sharpness, wrong):
    given, p = predictions(rows, classes, sharpness, wrong)
    issues = find_label_issues(given, p, return_indices_ranked_by="self_confidence", n_jobs=1)
    return {"labels": given.tolist(), "probabilities": p.tolist(), "issues": issues.tolist()}


def statistics():
    wilson = lambda right, n: list(stats.binomtest(right, n).proportion_ci(0.95, method="wilson"))
    given, p = predictions(240, 3, 1.4, 9)
    predicted = p.argmax(1)
    two, q = predictions(150, 2, 0.9, 8)
    scaled = lambda t: np.exp(np.log(p.clip(1e-15)) / t) / np.exp(np.log(p.clip(1e-15)) / t).sum(1, keepdims=True)
    loss = lambda log_t: -np.log(scaled(np.exp(log_t))[np.arange(len(given)), given]).mean()
    best = optimize.minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-10})
    bins = np.clip(np.ceil(p.max(1) * 15), 1, 15) - 1
    gaps = [abs((predicted == given)[bins == b].mean() - p.max(1)[bins == b].mean()) * (bins == b).sum() for b in set(bins)]
    images, errors, weights = np.array([80, 150, 300, 520, 900, 1600.0]), np.array([0.21, 0.165, 0.13, 0.112, 0.101, 0.09]), np.array([1, 1.5, 2, 2.5, 3, 4.0])
    law = lambda n, floor, scale, exponent: floor + scale * n**-exponent
    fit, _ = optimize.curve_fit(law, images, errors, p0=(0.05, 1, 0.5), sigma=weights**-0.5, bounds=([0, 0, 0.05], [1, 50, 2]), xtol=1e-14, ftol=1e-14, gtol=1e-14)
    macro = [roc_auc_score(given == k, p[:, k]) for k in range(3)]
    return {
        "wilson": [{"right": r, "n": n, "interval": wilson(r, n)} for r, n in [(974, 1000), (0, 10), (10, 10), (1, 3), (646, 734)]],
        "mcnemar": [{"first": b, "second": c, "p": float(stats.binomtest(min(b, c), b + c).pvalue)} for b, c in [(6, 0), (9, 1), (15, 5), (20, 20), (700, 810)]],
        "three": {"labels": given.tolist(), "probabilities": p.tolist()},
        "two": {"labels": two.tolist(), "probabilities": q.tolist()},
        "macro_f1": float(f1_score(given, predicted, average="macro")),
        "auc_of_three": float(np.mean(macro)),
        "auc_of_two": float(roc_auc_score(two, q[:, 1])),
        "log_loss": float(log_loss(given, p)),
        "temperature": float(np.exp(best.x)),
        "loss_at_temperature": float(best.fun),
        "ece": float(sum(gaps) / len(given)),
        "power_law": {"images": images.tolist(), "errors": errors.tolist(), "weights": weights.tolist(), "floor": float(fit[0]), "scale": float(fit[1]), "exponent": float(fit[2])},
    }


def logme(rows, width, classes):
    """LogME by the singular values of the features, with the paper's fixed point."""
    x, y = features(rows, width, classes)
    u, s, _ = np.linalg.svd(x.astype(float), full_matrices=True)
    squares = np.zeros(rows)
    squares[: len(s)] = s**2
    total = 0.0
    for k in range(classes):
        t = (u.T @ (y == k)) ** 2
        alpha = beta = 1.0
        for _ in range(50):
            ratio = alpha / beta
            gamma = (squares / (squares + ratio)).sum()
            weight = (squares * t / (squares + ratio) ** 2).sum()
            rest = (t * (ratio / (squares + ratio)) ** 2).sum()
            alpha, beta = gamma / (weight + 1e-12), max(rows - gamma, 1e-12) / (rest + 1e-12)
            if abs(alpha / beta - ratio) <= 1e-3 * ratio:
                break
        kept = squares[squares > squares.max() * 1e-12]
        whole = len(kept) / 2 * np.log(alpha) + rows / 2 * np.log(beta) - 0.5 * np.log(alpha + beta * kept).sum()
        total += (whole - beta / 2 * rest - alpha / 2 * weight - rows / 2 * np.log(2 * np.pi)) / rows
    return {"rows": rows, "width": width, "classes": classes, "logme": float(total / classes)}


def files(arguments):
    return {
        "insight_probe.json": (lambda: [probe(120, 10, 2, 0.05), probe(120, 10, 2, 5.0), probe(150, 13, 3, 0.2), probe(60, 80, 4, 1.0)], 1e-6),
        "insight_labels.json": (lambda: [labels(120, 2, 1.6, 11), labels(160, 4, 2.4, 9), labels(90, 3, 0.6, 7)], 1e-9),
        "insight_statistics.json": (statistics, 1e-6),
        "insight_logme.json": (lambda: [logme(90, 12, 3), logme(40, 64, 2)], 1e-6),
    }
