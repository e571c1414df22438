"""Golden values that Keras and TensorFlow compute. `make.py` calls `files`.

Networks get weights from a formula, so that no weight file is needed. Value i (in C order) of parameter k of layer l is computed
in double precision and then rounded:

    s = sin(0.731 i + 1.37 l + 0.11 k)

    kernel  s * sqrt(3 / fan_in)     beta, mean and bias  0.1 s     gamma  1 + 0.1 s     variance  1 + 0.5 s²

where fan_in is the product of all axes of a kernel but the last; for a depthwise kernel it is the product of the first two axes.
The input is two images of waves: value i is 127.5 + 127.5 sin(0.013 i), before the network's preprocessing.
"""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import tensorflow as tf
from keras import applications, layers


def baseline():
    """A convolutional network without a backbone: three pairs of convolutions."""
    x = start = layers.Input((160, 160, 3), name="input_1")
    suffixes = iter(["", "_1", "_2", "_3", "_4", "_5"])
    for filters, pooling in [(128, "max_pooling2d"), (256, "max_pooling2d_1"), (512, None)]:
        for _ in range(2):
            suffix = next(suffixes)
            x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv2d{suffix}")(x)
            x = layers.BatchNormalization(name=f"batch_normalization{suffix}")(x)
        if pooling:
            x = layers.MaxPooling2D(name=pooling)(x)
    x = layers.GlobalAveragePooling2D(name="global_average_pooling2d")(x)
    x = layers.Dense(128, activation="relu", name="dense")(x)
    return keras.Model(start, layers.Dense(1, activation="sigmoid", name="dense_1")(x), name="small_cnn")


def application(make, size, top=False, **options):
    return lambda: make(input_shape=(size, size, 3), include_top=top, weights=None, **options)


CAFFE = ("caffe", lambda x: applications.vgg16.preprocess_input(x.copy()))
SYMMETRIC = ("x/127.5 - 1", lambda x: x / 127.5 - 1)
IMAGENET = ("torch", lambda x: applications.densenet.preprocess_input(x.copy()))
RESCALES = ("none (the network rescales)", lambda x: x)

NETWORKS = {
    "mobilenet_v2_1.00_160": (application(applications.MobileNetV2, 160), SYMMETRIC),
    "mobilenet_v2_1.00_224_top": (application(applications.MobileNetV2, 224, top=True), SYMMETRIC),
    "mobilenet_v2_0.35_96": (application(applications.MobileNetV2, 96, alpha=0.35), SYMMETRIC),
    "inception_v3_224": (application(applications.InceptionV3, 224), SYMMETRIC),
    "inception_v3_299_top": (application(applications.InceptionV3, 299, top=True), SYMMETRIC),
    "resnet50_224": (application(applications.ResNet50, 224), CAFFE),
    "vgg16_224": (application(applications.VGG16, 224), CAFFE),
    "efficientnet_b0_224": (
        application(applications.EfficientNetB0, 224),
        RESCALES,
    ),
    "efficientnet_b3_75": (application(applications.EfficientNetB3, 75), RESCALES),
    "efficientnet_v2_s_75": (application(applications.EfficientNetV2S, 75), RESCALES),
    "xception_75": (application(applications.Xception, 75), SYMMETRIC),
    "densenet121_224": (application(applications.DenseNet121, 224), IMAGENET),
    "mobilenet_v3_small_224": (application(applications.MobileNetV3Small, 224), RESCALES),
    "mobilenet_v3_large_224_top": (application(applications.MobileNetV3Large, 224, top=True), RESCALES),
    "small_cnn_160": (baseline, ("x/255", lambda x: x / 255)),
}


def networks():
    for name, (make, preprocessing) in NETWORKS.items():
        # Keras numbers the names of layers from the start of a session.
        keras.backend.clear_session()
        yield name, make(), preprocessing


def layer_table():
    """Returns place, name, kind, shape, counts, inputs and parameters of every layer."""
    table = {}
    for name, model, _ in networks():
        rows = []
        for index, layer in enumerate(model.layers):
            sources = layer._inbound_nodes[0].input_tensors if layer._inbound_nodes else []
            rows.append(
                {
                    "index": index,
                    "name": layer.name,
                    "class": type(layer).__name__,
                    "output_shape": list(layer.output.shape[1:]),
                    "params": int(layer.count_params()),
                    "trainable": sum(int(np.prod(weight.shape)) for weight in layer.trainable_weights),
                    "inputs": [source._keras_history.operation.name for source in sources],
                    "weights": [[weight.name, list(weight.shape)] for weight in layer.weights],
                }
            )
        trains = np.array([row["trainable"] for row in rows])
        places = [*range(0, len(rows), max(1, len(rows) // 12)), 100]
        table[name] = {
            "layers": rows,
            "total": int(model.count_params()),
            "trainable": int(trains.sum()),
            "trainable_from_layer": {str(place): int(trains[place:].sum()) for place in places},
        }
    return table


def from_formula(layer, number, position, weight):
    kind = weight.name.split("/")[-1]
    s = np.sin(0.731 * np.arange(np.prod(weight.shape), dtype=np.float64) + 1.37 * number + 0.11 * position)
    if "kernel" in kind:
        depthwise = "depthwise" in (kind + type(layer).__name__).lower()
        fan_in = int(np.prod(weight.shape[:2] if depthwise else weight.shape[:-1]))
        values = np.sqrt(3.0 / fan_in) * s
    elif kind == "gamma":
        values = 1 + 0.1 * s
    elif kind in ("moving_variance", "variance"):
        values = 1 + 0.5 * s * s
    elif kind in ("beta", "moving_mean", "mean", "bias"):
        values = 0.1 * s
    else:
        # This is a counter, on which no output depends.
        return np.asarray(weight)
    return values.astype("float32").reshape(weight.shape)


def wave(height, width):
    values = 127.5 + 127.5 * np.sin(0.013 * np.arange(2 * height * width * 3, dtype=np.float64))
    return values.reshape(2, height, width, 3)


def rounded(values):
    """Eight significant digits: the values of some networks are small."""
    return [float(f"{value:.8g}") for value in np.asarray(values).ravel().astype("float64")]


def outputs():
    """Outputs of nine evenly spread layers of each network, for the images of waves."""
    table = {}
    for name, model, (described, preprocess) in networks():
        for number, layer in enumerate(model.layers):
            if layer.weights:
                layer.set_weights([from_formula(layer, number, k, weight) for k, weight in enumerate(layer.weights)])
        height, width = model.input_shape[1:3]
        last = len(model.layers) - 1
        chosen = sorted({int(round(part * last)) for part in np.linspace(0, 1, 9)})
        probe = keras.Model(model.input, [model.layers[index].output for index in chosen])
        images = preprocess(wave(height, width)).astype("float32")
        rows = []
        for index, output in zip(chosen, probe(images, training=False)):
            output = np.asarray(output)
            rows.append(
                {
                    "index": index,
                    "name": model.layers[index].name,
                    "shape": list(output.shape),
                    "mean": float(output.mean()),
                    "std": float(output.std()),
                    "second_image_first_32": rounded(output[1].ravel()[:32]),
                    "stride_997": rounded(output.ravel()[::997][:64]),
                }
            )
        table[name] = {"input": [2, height, width, 3], "preprocessing": described, "layers": rows}
    return table


def loss(kind, labels, given, **options):
    made = getattr(keras.losses, kind)(**options)
    variable = tf.Variable(given)
    with tf.GradientTape() as tape:
        value = made(labels, variable)
    return {
        "loss": kind,
        "options": options,
        "y_true": np.asarray(labels).tolist(),
        "y_pred": np.asarray(given).tolist(),
        "value": float(value),
        "grad": np.asarray(tape.gradient(value, variable)).tolist(),
    }


def loss_table():
    random = np.random.RandomState(7)
    f32 = lambda rows: np.array(rows, "float32")
    scores = random.randn(6, 1).astype("float32") * 3
    truth = random.randint(0, 2, (6, 1)).astype("float32")
    squashed = (1 / (1 + np.exp(-scores))).astype("float32")
    for_classes = random.randn(5, 5).astype("float32") * 3
    index = random.randint(0, 5, (5,)).astype("int32")
    one_hot = np.eye(5, dtype="float32")[index]
    powers = np.exp(for_classes - for_classes.max(-1, keepdims=True))
    shares = (powers / powers.sum(-1, keepdims=True)).astype("float32")
    huge = f32([[1000, -1000, 0, 0, 0], [-1000, 1000, 0, 0, 0]])
    sure = f32([[1, 0, 0, 0, 0], [1, 0, 0, 0, 0]])
    binary, categorical, sparse = "BinaryCrossentropy", "CategoricalCrossentropy", "SparseCategoricalCrossentropy"
    first = lambda rows: np.eye(5, dtype="float32")[rows]
    ints = lambda rows: np.array(rows, "int32")
    table = []
    for smoothing in (0.0, 0.1):
        table.append(loss(binary, truth, scores, from_logits=True, label_smoothing=smoothing))
        table.append(loss(binary, truth, squashed, from_logits=False, label_smoothing=smoothing))
    extreme = f32([[0], [1], [1], [1]])
    table.append(loss(binary, extreme, f32([[100], [-100], [0], [40]]), from_logits=True))
    table.append(loss(binary, extreme, f32([[1], [0], [0.5], [1]]), from_logits=False))
    for smoothing in (0.0, 0.1):
        table.append(loss(categorical, one_hot, for_classes, from_logits=True, label_smoothing=smoothing))
        table.append(loss(categorical, one_hot, shares, from_logits=False, label_smoothing=smoothing))
    table.append(loss(sparse, index, for_classes, from_logits=True))
    table.append(loss(sparse, index, shares, from_logits=False))
    # If probabilities do not sum to one, Keras divides them by their sum.
    table.append(loss(categorical, one_hot, (shares * 2.5).astype("float32"), from_logits=False))
    table.append(loss(categorical, first([0, 0]), huge, from_logits=True))
    table.append(loss(sparse, ints([0, 0]), huge, from_logits=True))
    table.append(loss(sparse, ints([0, 1]), sure, from_logits=False))
    return table


def adam():
    """Ten steps at two learning rates: five with large gradients and five with tiny gradients."""
    start = np.linspace(-1, 1, 5)
    table = []
    for learning_rate in (1e-3, 1e-5):
        variable, optimizer, steps = tf.Variable(start.astype("float32")), keras.optimizers.Adam(learning_rate), []
        for time in range(10):
            gradient = (np.sin(np.arange(5) + time) * (0.1 if time < 5 else 1e-6)).astype("float32")
            optimizer.apply_gradients([(tf.constant(gradient), variable)])
            steps.append({"grad": gradient.tolist(), "value": variable.numpy().tolist()})
        table.append({"learning_rate": learning_rate, "start": start.tolist(), "steps": steps})
    return table


FILE_NAME = "'%03d.png' % ((i * 7919) % 1000) for i in range(count)"


def splits():
    """The files on which `image_dataset_from_directory` trains. File i of a class is called (7919 i mod 1000).png."""
    from PIL import Image

    flowers = {"daisy": 13, "roses": 7, "tulips": 30}
    odd = {"b": 10, "a": 10, "C": 5, "10": 4, "9": 4}
    table = []
    for seed, fraction, classes in [(123, 0.2, flowers), (7, 0.3, odd)]:
        with tempfile.TemporaryDirectory() as folder:
            for name, count in classes.items():
                Path(folder, name).mkdir()
                for i in range(count):
                    Image.new("RGB", (8, 8)).save(Path(folder, name, f"{i * 7919 % 1000:03}.png"))
            row = {"seed": seed, "validation_split": fraction, "classes": classes, "file_name": FILE_NAME}
            for subset in ("training", "validation"):
                dataset = keras.utils.image_dataset_from_directory(
                    folder, validation_split=fraction, subset=subset, seed=seed, image_size=(8, 8), batch_size=4
                )
                row[subset] = sorted(str(Path(path).relative_to(folder)) for path in dataset.file_paths)
                row["class_names"] = dataset.class_names
            table.append(row)
    return table


def resizing():
    random = np.random.RandomState(3)
    draw = lambda size: random.randint(0, 256, (*size, 3)).astype("uint8")

    def case(image, size, method, value):
        value = np.asarray(value, "float64").round(4).tolist()
        return {"image": image.tolist(), "size": list(size), "method": method, "value": value}

    table = []
    for source, size in [((7, 5), (4, 4)), ((5, 9), (10, 12)), ((16, 16), (5, 5)), ((3, 4), (3, 8))]:
        image = draw(source)
        for method in ("bilinear", "nearest", "bicubic", "area"):
            table.append(case(image, size, method, tf.image.resize(image, size, method=method)))
    for source, size in [((9, 16), (6, 6)), ((16, 9), (6, 8))]:
        image = draw(source)
        cropped = keras.preprocessing.image.smart_resize(image, size)
        table.append(case(image, size, "crop_to_aspect_ratio", cropped))
    return table


def files(_):
    """Each file with its function, and the largest difference of its numbers between two builds of the framework."""
    return {
        "keras_layers.json": (layer_table, 0.0),
        "keras_forward.json": (outputs, 1e-4),
        "keras_losses.json": (loss_table, 1e-6),
        "keras_adam.json": (adam, 1e-6),
        "keras_split.json": (splits, 0.0),
        "tf_resize.json": (resizing, 1e-3),
    }
