"""Reference values from real Keras and PyTorch for the tests beside this folder.

    pip install tensorflow-cpu torch torchvision pillow h5py safetensors
    python make.py hdf5
    python make.py photos SHARED      # SHARED/data/inception_v3_keras_f16.safetensors, SHARED/data/flower_photos
    python make.py torch              # in a separate process

Formula weights: element i (in the order of the tensor in its file) of tensor number n has, in float64 and then rounded to
float32, s = sin(0.731*i + 1.37*n), and
    kernels            sqrt(3/fan_in)*s   fan_in = values of one output
    scales             1+0.1*s
    running variances  1+0.5*s*s
    everything else    0.1*s
"""

import json
import os
import sys

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
HERE = os.path.dirname(os.path.abspath(__file__))


def write(name, value):
    with open(os.path.join(HERE, name), "w") as file:
        json.dump(value, file, indent=1)
        file.write("\n")


def wave(count, number):
    return np.sin(0.731 * np.arange(count, dtype=np.float64) + 1.37 * number)


def digest(values, stride, most):
    """The values that a test compares: mean, standard deviation, and some of the outputs, channels last."""
    values = np.asarray(values, "float64")
    return {
        "shape": list(values.shape),
        "mean": float(values.mean()),
        "std": float(values.std()),
        "stride": stride,
        "values": values.reshape(-1)[::stride][:most].round(7).tolist(),
    }


def hdf5():
    """The small network of network.json in every layout that Keras has written. Weight number n of the model is the wave of n."""
    import h5py
    import keras
    from keras import layers
    from keras.src.legacy.saving import legacy_h5_format

    def small():
        x = i = layers.Input((8, 8, 3), name="input_layer")
        x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="stem")(x)
        x = layers.BatchNormalization(name="stem_bn")(x)
        x = layers.DepthwiseConv2D(3, name="depthwise")(x)
        x = layers.Conv2D(5, 1, name="pointwise")(x)
        return keras.Model(i, x, name="small")

    backbone = small()
    backbone.set_weights(
        [(0.1 * wave(w.shape.num_elements(), n)).astype("float32").reshape(w.shape) for n, w in enumerate(backbone.weights)]
    )
    path = lambda name: os.path.join(HERE, name)
    backbone.save_weights(path("keras3.weights.h5"))
    backbone.save(path("keras3.keras"))
    with h5py.File(path("keras2.h5"), "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, backbone)
    whole = keras.Sequential([layers.Input((8, 8, 3)), backbone, layers.GlobalAveragePooling2D(), layers.Dense(2)])
    whole.compile("adam", "mse")
    whole.fit(np.zeros((2, 8, 8, 3)), np.zeros((2, 2)), verbose=0, epochs=0)
    whole.save(path("whole.h5"))
    # Keras 3's whole models contain the backbone as a layer, or its layers beside those of a head.
    whole.save(path("nested.keras"))
    whole.save_weights(path("nested.weights.h5"))
    x = layers.GlobalAveragePooling2D()(backbone.output)
    flat = keras.Model(backbone.input, layers.Dense(2)(layers.BatchNormalization()(x)))
    flat.compile("adam", "mse")
    backbone.trainable = False
    flat.fit(np.zeros((2, 8, 8, 3)), np.zeros((2, 2)), verbose=0, epochs=1)
    flat.save(path("whole.keras"))
    flat.save_weights(path("whole.weights.h5"))
    # Keras 1's published files have other names, so that only the order identifies the layers.
    with h5py.File(path("keras1.h5"), "w") as file:
        names = [f"layer_{10 - at}" for at in range(len(backbone.layers))]
        file.attrs["layer_names"] = np.array([name.encode() for name in names])
        for name, layer in zip(names, backbone.layers):
            group = file.create_group(name)
            tensors = [f"{name}_W_{at}:0".encode() for at in range(len(layer.weights))]
            group.attrs["weight_names"] = np.array(tensors)
            for tensor, value in zip(tensors, layer.get_weights()):
                group.create_dataset(tensor.decode(), data=value, compression="gzip" if value.ndim == 4 else None)


def photos(shared):
    """Outputs of InceptionV3 with the weights of SHARED on real photos."""
    import keras
    import tensorflow as tf
    from PIL import Image
    from safetensors.numpy import load_file

    model = keras.applications.InceptionV3(input_shape=(224, 224, 3), include_top=False, weights=None)
    tensors = load_file(os.path.join(shared, "data", "inception_v3_keras_f16.safetensors"))
    for layer in model.layers:
        layer.set_weights([tensors[f"{layer.name}/{w.name}"].astype("float32") for w in layer.weights])
    names = ["mixed0", "mixed5", "mixed8", "mixed10"]
    features = keras.Model(model.input, [model.get_layer(name).output for name in names])
    rows = []
    for flower in ("daisy", "roses", "tulips"):
        folder = os.path.join(shared, "data", "flower_photos", flower)
        file = sorted(os.listdir(folder))[0]
        image = np.asarray(Image.open(os.path.join(folder, file)).convert("RGB"))
        image = tf.image.resize(image, (224, 224)) / 127.5 - 1
        outputs = features(image[None], training=False)
        row = {name: digest(output, 997, 24) for name, output in zip(names, outputs)}
        rows.append({"photo": f"{flower}/{file}", "layers": row})
    write("inception_v3_photos.json", rows)


def torch():
    """Outputs of torchvision's networks without their classifiers, with formula weights numbered as in the state dict."""
    import torch
    from torchvision import models

    out = {}
    for name, size in (("inception_v3", 96), ("resnet50", 64), ("vgg16", 64), ("efficientnet_b0", 64)):
        options = {"init_weights": False, "aux_logits": True} if name == "inception_v3" else {}
        model = getattr(models, name)(weights=None, **options).eval()
        state = {}
        for number, (key, value) in enumerate(model.state_dict().items()):
            s = wave(value.numel(), number)
            if key.endswith("num_batches_tracked"):
                state[key] = value
                continue
            if value.ndim > 1:
                new = np.sqrt(3.0 / (value.numel() // value.shape[0])) * s
            elif key.endswith("running_var"):
                new = 1 + 0.5 * s * s
            elif key.endswith(".weight"):
                new = 1 + 0.1 * s
            else:
                new = 0.1 * s
            state[key] = torch.from_numpy(new.astype("float32").reshape(tuple(value.shape)))
        model.load_state_dict(state)
        x = 127.5 + 127.5 * np.sin(0.013 * np.arange(2 * size * size * 3, dtype=np.float64)).reshape(2, size, size, 3)
        if name == "inception_v3":
            x = x / 127.5 - 1
        else:
            x = (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        features = {}
        last = {"inception_v3": "Mixed_7c", "resnet50": "layer4"}.get(name, "features")
        model.get_submodule(last).register_forward_hook(lambda _, __, y: features.update(y=y))
        with torch.no_grad():
            model(torch.from_numpy(x.transpose(0, 3, 1, 2).astype("float32")))
        out[name] = {"size": size, "output": digest(features["y"].permute(0, 2, 3, 1).numpy(), 97, 48)}
    write("torchvision_features.json", out)


if __name__ == "__main__":
    {"hdf5": hdf5, "photos": photos, "torch": torch}[sys.argv[1]](*sys.argv[2:])
