"""The network in TensorFlow Lite's int8, by TensorFlow's own converter from our weights.

A process of its own: it needs TensorFlow, which the toolkit's environment lacks.

    python tflite.py NETWORK.npz OUT.tflite

NETWORK.npz holds the float32 weights under their state-dict keys, the ``calibration`` digits uint8
``(N, 28, 28)``, and the ``digits`` and ``labels`` to try the result on; `__main__` writes it.
Normalisation is folded into conv1, as in our own C: the network takes padded pixels ``/ 255``,
whose int8 code is ``pixel - 128``. It prints how many digits the reference kernels get right.
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

MEAN, STD = 0.1307, 0.3081


def network(arrays):
    """The Keras model from ``(1, 32, 32, 1)`` in [0, 1] to logits ``(1, 10)``."""
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            layers.Input((32, 32, 1), batch_size=1),
            layers.Conv2D(6, 3, activation="relu"),
            layers.MaxPool2D(),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPool2D(),
            layers.Flatten(),
            layers.Dense(120, activation="relu"),
            layers.Dense(84, activation="relu"),
            layers.Dense(10),
        ]
    )
    weights = []
    for name in ("conv1", "conv2", "fc1", "fc2", "fc3"):
        weight, bias = arrays[f"{name}.weight"], arrays[f"{name}.bias"]
        if name == "conv1":  # of (pixel - MEAN) / STD
            bias = bias - weight.sum(axis=(1, 2, 3)) * MEAN / STD
            weight = weight / STD
        if name == "fc1":  # features as (y, x, channel)
            weight = weight.reshape(120, 16, 6, 6).transpose(0, 2, 3, 1).reshape(120, 576)
        weights += [weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T, bias]
    model.set_weights(weights)
    return model


def padded(images):
    """Digits ``(N, 28, 28)`` with two black pixels on every side."""
    return np.pad(images, ((0, 0), (2, 2), (2, 2)))


def convert(model, calibration):
    """Full int8: weights for each channel, activations and input for each tensor."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        [image[None, :, :, None].astype(np.float32) / 255] for image in padded(calibration)
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def answers(content, digits):
    """Int8 logits ``(N, 10)`` of uint8 digits by TensorFlow Lite's reference kernels."""
    interpreter = tf.lite.Interpreter(
        model_content=content,
        experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()
    place, result = (
        part[0]["index"]
        for part in (interpreter.get_input_details(), interpreter.get_output_details())
    )
    logits = []
    for image in padded(digits):
        codes = (image.astype(np.int16) - 128).astype(np.int8)
        interpreter.set_tensor(place, codes[None, :, :, None])
        interpreter.invoke()
        logits.append(interpreter.get_tensor(result)[0])
    return np.array(logits)


def constants(content):
    """C arrays of what the flatbuffer holds, for whoever calls CMSIS-NN's functions himself."""
    interpreter = tf.lite.Interpreter(model_content=content)
    details = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    layers = [
        operator
        for operator in interpreter._get_ops_details()
        if operator["op_name"] in ("CONV_2D", "FULLY_CONNECTED")
    ]
    for name, layer in zip(("conv1", "conv2", "fc1", "fc2", "fc3"), layers, strict=True):
        inputs, weights = (details[i] for i in layer["inputs"][:2])
        outputs = details[layer["outputs"][0]]
        weight, bias = (interpreter.get_tensor(i) for i in layer["inputs"][1:])
        scales = _scales(inputs) * _scales(weights) / _scales(outputs)
        fractions, exponents = np.frexp(np.broadcast_to(scales, bias.shape))
        multipliers = np.rint(fractions * 2.0**31).astype(np.int64)
        assert (multipliers < 2**31).all()
        zero = int(inputs["quantization_parameters"]["zero_points"][0])
        rows = weight.reshape(len(bias), -1).astype(np.int64)
        yield _array("int8_t", f"{name}_weight", weight)
        yield _array("int32_t", f"{name}_bias", bias)
        yield _array("int32_t", f"{name}_multiplier", multipliers)
        yield _array("int32_t", f"{name}_shift", exponents)
        # What the kernels for Helium add: bias minus the input's zero point times the weights.
        yield _array("int32_t", f"{name}_sums", bias - zero * rows.sum(axis=1))
    yield f"#define LOGIT_ZERO {int(outputs['quantization_parameters']['zero_points'][0])}\n"


def _scales(tensor):
    return tensor["quantization_parameters"]["scales"].astype(np.float64)


def _array(kind, name, values):
    numbers = ",".join(map(str, np.ravel(values)))
    return f"static const {kind} {name}[] = {{{numbers}}};\n"


def main(source, target):
    """Write the flatbuffer; beside it, the reference kernels' logits and the constants in C."""
    arrays = np.load(source)
    content = convert(network(arrays), arrays["calibration"])
    logits = answers(content, arrays["digits"])
    np.save(f"{target}.npy", logits)
    Path(target).write_bytes(content)
    Path(f"{target}.h").write_text("".join(constants(content)))
    right = int((logits.argmax(axis=1) == arrays["labels"]).sum())
    print(f"{right} of {len(logits)} right, {len(content)} bytes, TensorFlow {tf.__version__}")


if __name__ == "__main__":
    main(*sys.argv[1:])
