"""`--model`: the user's own code builds the network, and what is wrong with it is one line."""

import sys

import pytest
import torch

from lenet_deploy.training.checkpoint import load_network
from lenet_runtime.errors import ArtifactError, InputError

NETS = '''
import torch
from torch import nn
from beside_it import WIDTH

print("hello from the user's code")

class Mlp(nn.Module):
    """No member of the family."""
    def __init__(self, inputs=784, classes=7):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(inputs, WIDTH), nn.Linear(WIDTH, classes))
    def forward(self, x):
        return self.net(x)

class Photos(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
    def forward(self, x):
        return self.norm(self.conv(x)).mean(dim=(2, 3))

class Needs(nn.Module):
    def __init__(self, width, depth, heads):
        super().__init__()

class Fails(nn.Module):
    def __init__(self):
        raise ValueError("this network is broken\\nin many lines")

class Exits(nn.Module):
    def __init__(self):
        raise SystemExit(3)

class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(4096, WIDTH), nn.Linear(WIDTH, 7))
    def forward(self, x):
        return self.net(x)

class Outer:
    Inner = Mlp

def make():
    return Mlp(1024)

instance = Mlp()
number = 3
'''


@pytest.fixture
def code(tmp_path):
    """The path of a file of networks, which imports another beside it."""
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "beside_it.py").write_text("WIDTH = 5\n")
    yield tmp_path / "nets.py"
    for name in ("nets", "beside_it"):
        sys.modules.pop(name, None)


def weights_of(inputs, prefix="net."):
    torch.manual_seed(0)
    shapes = {"1.weight": (5, inputs), "1.bias": (5,), "2.weight": (7, 5), "2.bias": (7,)}
    return {f"{prefix}{name}": torch.randn(shape) for name, shape in shapes.items()}


def save(weights, folder):
    torch.save(weights, folder / "a.pt")
    return folder / "a.pt"


@pytest.mark.parametrize(
    ("name", "inputs", "shape"),
    [
        ("Mlp", 784, (1, 28, 28)),
        ("make", 1024, (1, 32, 32)),
        ("instance", 784, (1, 28, 28)),
        ("Outer.Inner", 784, (1, 28, 28)),
    ],
)
@pytest.mark.parametrize("prefix", ["net.", "module.net.", "model.net."])
def test_a_class_a_function_or_a_module_is_loaded(code, capsys, name, inputs, shape, prefix):
    weights = weights_of(inputs, prefix)
    loaded = load_network(save(weights, code.parent), model=f"{code}:{name}")
    assert loaded.input_shape == shape
    assert loaded.preprocessing.padding == (shape[1] - 28) // 2
    assert len(loaded.labels) == 7
    assert torch.equal(loaded.module.net[2].weight, weights[f"{prefix}2.weight"])
    assert not any("ReLU" in note for note in loaded.notes)
    out, err = capsys.readouterr()
    assert out == ""  # results alone go there
    assert "hello from the user's code" in err


def test_an_installed_module_is_found_by_its_name(code, monkeypatch):
    monkeypatch.syspath_prepend(str(code.parent))
    loaded = load_network(save(weights_of(784), code.parent), model="nets:Mlp")
    assert type(loaded.module).__name__ == "Mlp"


def test_batch_norm_of_the_user_s_own_module_keeps_its_statistics(code):
    weights = {
        "conv.weight": torch.randn(4, 3, 1, 1), "conv.bias": torch.randn(4),
        **{f"norm.{part}": torch.rand(4) for part in ("weight", "bias", "running_mean")},
        "norm.running_var": torch.rand(4), "norm.num_batches_tracked": torch.tensor(9),
    }  # fmt: skip
    loaded = load_network(save(weights, code.parent), model=f"{code}:Photos", input_size=(20, 24))
    assert loaded.input_shape == (3, 20, 24)
    assert loaded.module.norm.num_batches_tracked == 9
    assert torch.equal(loaded.module.norm.running_mean, weights["norm.running_mean"])


def failure(code, weights, name="Mlp", place=None):
    """The error, in one line."""
    with pytest.raises((ArtifactError, InputError)) as caught:
        load_network(save(weights, code.parent), model=f"{place or code}:{name}")
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_weights_that_do_not_fit_are_three_at_most(code):
    weights = weights_of(800)
    assert failure(code, weights).endswith(
        "not the weights of --model's network: it has net.1.weight of (5, 800) instead of (5, 784)"
    )
    del weights["net.1.weight"], weights["net.2.bias"]
    weights |= {f"net.{i}.weight": torch.zeros(2, 2) for i in range(3, 6)}
    assert failure(code, weights).endswith(
        "it lacks net.1.weight, lacks net.2.bias, has net.3.weight, which the network lacks "
        "and 2 more"
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Nope", "nets.py has no Nope; it has Mlp, Photos, Needs and 3 more"),
        ("Needs", "needs width, depth, heads; name a function without arguments that returns"),
        ("Fails", "nets.py, line 30: ValueError: this network is broken"),
        ("Exits", "nets.py, line 34: SystemExit: 3"),
        ("number", "to be a torch.nn.Module, a class of one or a function"),
        ("", "expected FILE.py:ClassName or package.module:ClassName"),
    ],
)
def test_code_that_makes_no_module_is_explained(code, name, said):
    assert said in failure(code, weights_of(784), name)


def test_a_module_of_another_size_of_image_says_which(code):
    assert "pass --input-size 64x64" in failure(code, weights_of(4096), "Odd")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import torch\nclass Net(\n", "bad.py, line 2: SyntaxError"),
        ("import torch\n\n1 / 0\n", "bad.py, line 3: ZeroDivisionError"),
        ("import no_such_package\n", "No module named 'no_such_package'"),
        ("x = '\0'", "bad.py"),
    ],
)
def test_a_file_that_cannot_be_run_is_named_with_its_line(code, text, said):
    (code.parent / "bad.py").write_text(text)
    assert said in failure(code, weights_of(784), place=code.parent / "bad.py")
    assert str(code.parent) not in sys.path


@pytest.mark.parametrize(
    ("place", "said"),
    [("none.py", "found no file none.py"), ("no.such.package", "No module named 'no'"), ("", "")],
)
def test_code_that_is_not_there_is_named(code, place, said):
    with pytest.raises(InputError) as caught:
        load_network(save(weights_of(784), code.parent), model=f"{place}:Net")
    assert said in str(caught.value)


def test_flags_that_the_code_answers_are_refused(code):
    with pytest.raises(InputError, match="the code of --model says these"):
        load_network(save(weights_of(784), code.parent), model=f"{code}:Mlp", activation="relu")
