"""Writes distillation.json: PyTorch's values and gradients of a loss with a teacher (Hinton et al. 2015).

    python distillation.py > distillation.json

The divergence of softmax outputs is `kl_div` with `batchmean`; that of sigmoid outputs is the same of each unit's two probabilities,
averaged over the units. The gradient is that with respect to what the student puts out, logits or probabilities.
"""

import json
import sys

import torch
from torch.nn import functional as F


def hard(kind, logits, labels):
    if kind == "categorical":
        return F.cross_entropy(logits, labels, reduction="none")
    return F.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(1)


def soft(kind, logits, teacher, temperature):
    if kind == "categorical":
        student = F.log_softmax(logits / temperature, 1)
        return F.kl_div(student, F.softmax(teacher / temperature, 1), reduction="none").sum(1) * temperature**2
    student = torch.stack([F.logsigmoid(-logits / temperature), F.logsigmoid(logits / temperature)], 2)
    wanted = torch.sigmoid(teacher / temperature)
    wanted = torch.stack([1 - wanted, wanted], 2)
    return F.kl_div(student, wanted, reduction="none").sum(2).mean(1) * temperature**2


def case(kind, from_logits, units, temperature, alpha, weighted, generator):
    batch = 5
    z = torch.randn(batch, units, generator=generator, dtype=torch.float64) * 2
    teacher = torch.randn(batch, units, generator=generator, dtype=torch.float64) * 3
    weights = torch.rand(batch, generator=generator, dtype=torch.float64) + 0.5 if weighted else torch.ones(batch)
    if kind == "categorical":
        labels = torch.randint(0, units, (batch,), generator=generator)
        outputs = z if from_logits else torch.softmax(z, 1)
    else:
        labels = torch.randint(0, 2, (batch, units), generator=generator).double()
        outputs = z if from_logits else torch.sigmoid(z)
    outputs = outputs.float().double().requires_grad_()
    if from_logits:
        logits = outputs
    elif kind == "categorical":
        logits = outputs.log()
    else:
        logits = outputs.log() - (1 - outputs).log()
    rows = alpha * hard(kind, logits, labels) + (1 - alpha) * soft(kind, logits, teacher.float().double(), temperature)
    value = (rows * weights).mean()
    value.backward()
    name = "sparse_categorical_crossentropy" if kind == "categorical" else "binary_crossentropy"
    return {
        "loss": {"name": name, "from_logits": from_logits},
        "temperature": temperature,
        "alpha": alpha,
        "labels": labels.tolist(),
        "weights": weights.tolist() if weighted else None,
        "outputs": outputs.tolist(),
        "teacher": teacher.tolist(),
        "value": value.item(),
        "gradient": outputs.grad.tolist(),
    }


def main():
    generator = torch.Generator().manual_seed(17)
    table = []
    for kind, units in [("categorical", 4), ("binary", 1), ("binary", 3)]:
        for from_logits in [True, False]:
            for temperature, alpha, weighted in [(3.0, 0.1, False), (1.0, 0.0, False), (10.0, 0.5, True)]:
                table.append(case(kind, from_logits, units, temperature, alpha, weighted, generator))
    sys.stdout.write("[\n" + ",\n".join(json.dumps(case) for case in table) + "\n]\n")


main()
