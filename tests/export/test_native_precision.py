"""native in bf16: kernels, and where they are refused; and what int8 has in common with it."""

import numpy as np
import pytest
import torch
from native_c import any_compiler, compiled, library, other_net, sources_of
from samples import digits, eager, noise

import lenet_export
from lenet_deploy.training import data
from lenet_export.formats.native.isa import BF16, BF16_FLAGS
from lenet_export.network import layers, rounding
from lenet_export.proof import mnist_batch
from lenet_runtime import cpu, load
from lenet_runtime.errors import BackendUnavailable, InputError
from lenet_runtime.images.preprocess import Preprocessing
from lenet_runtime.parity import TOLERANCES, compare

needs_bf16 = pytest.mark.skipif(
    not cpu.flags().issuperset(BF16_FLAGS), reason="this CPU has no avx512_bf16"
)


def test_bfloat16_is_rounded_as_torch_rounds():
    values = np.concatenate([noise(2).ravel(), [0.0, -0.0, 1 + 2**-8, 1 + 3 * 2**-8, 3e38]])
    expected = torch.tensor(values, dtype=torch.float32).to(torch.bfloat16).view(torch.uint16)
    found = rounding.bfloat16(values.astype(np.float32))
    np.testing.assert_array_equal(found, expected.numpy())


@needs_bf16
def test_bf16_computes_the_stated_layers_in_bfloat16(net):
    """Near what rounding gives in those layers, ten times nearer than to float32."""
    network = layers.read(net, (1, 32, 32))
    native, images = library(net, any_compiler(), "x86-64-v4", precision="bf16"), digits()
    assert native.isa == "avx512_bf16"

    def linear(x, layer):
        weight, bias = torch.tensor(layer.weight), torch.tensor(layer.bias)
        return torch.relu(x.bfloat16().double() @ weight.bfloat16().double().T + bias).float()

    with torch.inference_mode():
        x = torch.nn.functional.max_pool2d(torch.relu(net.conv1(torch.tensor(images))), 2)
        x = torch.nn.functional.max_pool2d(torch.relu(net.conv2(x)), 2).flatten(1)
        expected = net.fc3(linear(linear(x, network.dense[0]), network.dense[1])).numpy()
    found = native.run(images)
    alone = np.concatenate([native.run(images[i : i + 1]) for i in range(len(images))])
    np.testing.assert_array_equal(found, alone)
    assert np.abs(found - expected).mean() < np.abs(found - eager(net, images)).mean() / 10


@needs_bf16
@pytest.mark.parametrize("sizes", [(1, 16), (3, 20, 30), (5, 7, 120, 84), (8, 33, 17, 40)])
def test_bf16_takes_other_sizes(sizes):
    module = other_net(*sizes)
    native = library(module, any_compiler(), "x86-64-v4", precision="bf16")
    expected = eager(module, digits())
    assert compare(native.run(digits()), expected, TOLERANCES["bf16"]).ok


def test_bf16_without_its_instructions_is_an_error_code(net):
    """Not a crash, and not float32."""
    sources = sources_of(net, precision="bf16")
    lacking = {name: text.replace(BF16.supported, "0") for name, text in sources.items()}
    assert lacking != sources
    native = compiled(lacking, any_compiler())
    assert native.isa == "none"
    native.run(digits(2), code=3)


@needs_bf16
def test_bf16_is_refused_where_the_cpu_lacks_it(exported, net, tmp_path, monkeypatch):
    artifact = exported("native", precision="bf16")
    flags = cpu.flags() - {"avx512_bf16"}
    monkeypatch.setattr(cpu, "flags", lambda: flags)
    with pytest.raises(BackendUnavailable, match="avx512_bf16"):
        load(artifact.path, trust=True)
    with pytest.raises(BackendUnavailable, match=r"avx512_bf16.*--precision fp32 or int8"):
        lenet_export.export(net, "native", tmp_path / "new", precision="bf16")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("level", ["x86-64-v3", "generic"])
def test_bf16_has_no_kernels_for_lower_levels(net, level):
    with pytest.raises(InputError, match=f"bf16 has kernels for x86-64-v4 alone, found '{level}'"):
        sources_of(net, level, "bf16")


@pytest.mark.parametrize("precision", ["int8", pytest.param("bf16", marks=needs_bf16)])
def test_the_manifest_says_what_computes_each_layer(exported, precision):
    manifest = exported("native", precision=precision).manifest
    assert list(manifest.kernels) == ["conv1", "conv2", "fc1", "fc2", "fc3"]
    if precision == "int8":
        titles = ("avx512_vnni", "avx_vnni", "x86-64-v3", "generic")
        assert manifest.kernels["fc1"] == ("int8", *titles)
        assert manifest.requirements.cpu_isa == ()
    else:
        assert manifest.kernels["fc1"] == ("bf16", "avx512_bf16")
        assert manifest.kernels["conv2"] == ("fp32", "x86-64-v4")
        assert manifest.requirements.cpu_isa == BF16_FLAGS


def test_formats_without_kernels_of_their_own_list_none(exported):
    assert exported("torchscript").manifest.kernels == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "least_agreement"),
    [("int8", 0.999), pytest.param("bf16", 0.9995, marks=needs_bf16)],
)
def test_real_digits_keep_their_answers(exported, mnist_dir, net, precision, least_agreement):
    split = data.load_mnist(mnist_dir, train=False)
    images, labels = (
        mnist_batch(split.images.numpy(), Preprocessing(), (1, 32, 32)),
        split.labels.numpy(),
    )
    expected = eager(net, images)
    with load(exported("native", precision=precision).path, trust=True) as session:
        found = session.run(images)
    assert compare(found, expected, TOLERANCES[precision]).ok
    assert (found.argmax(1) == expected.argmax(1)).mean() >= least_agreement
    assert (found.argmax(1) == labels).mean() >= (expected.argmax(1) == labels).mean() - 0.0005
