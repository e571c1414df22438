"""Checks ONNX models: each is valid, and ONNX Runtime computes what stands beside it.

    python golden/onnx_check.py FOLDER

For each NAME.onnx in FOLDER, NAME.in has two images and NAME.out the expected outputs as little-endian float32. Needs onnx,
onnxruntime and numpy.
"""

import glob
import sys

import numpy
import onnx
import onnxruntime

failures = []
for path in sorted(glob.glob(sys.argv[1] + "/*.onnx")):
    try:
        onnx.checker.check_model(onnx.load(path), full_check=True)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (image,), (output,) = session.get_inputs(), session.get_outputs()
        assert (image.name, output.name) == ("image", "probabilities"), (image.name, output.name)
        base = path.removesuffix(".onnx")
        pixels = numpy.fromfile(base + ".in", "<f4").reshape([-1, *image.shape[1:]])
        expected = numpy.fromfile(base + ".out", "<f4").reshape([len(pixels), -1])
        # One image and two: the number of images is open.
        (found,) = session.run(None, {"image": pixels})
        (first,) = session.run(None, {"image": pixels[:1]})
        assert found.shape == expected.shape == (len(pixels), output.shape[1]), (found.shape, expected.shape)
        largest = numpy.abs(expected).max() + 1e-30
        error = max(numpy.abs(found - expected).max(), numpy.abs(first - expected[:1]).max()) / largest
        assert error <= 1e-5, f"relative error {error}"
    except Exception as problem:  # All models are checked before the first problem is reported.
        failures.append(f"{path}: {problem}")
if failures:
    sys.exit("\n".join(failures))
