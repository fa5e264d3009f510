"""`--model`: networks from the user's own code, which this runs, and their weights."""

import contextlib
import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from lenet_deploy.training.unwrap import Tensors, Unwrapped, few, without_prefixes
from lenet_runtime.errors import ArtifactError, InputError

_FORM = "FILE.py:ClassName or package.module:ClassName"


def build(model: str) -> nn.Module:
    """The network that `model` names, from code that is run.

    Args:
        model: ``FILE.py:ClassName`` or ``package.module:Class``: a class that needs no arguments, a
            function that returns a module, or a module.

    Raises:
        InputError: There is no such code, it fails, or it is no module.
    """
    place, _, name = model.rpartition(":")
    if not place or not name:
        raise InputError(f"--model: expected {_FORM}, found {model!r}")
    with _explained(model):
        thing = _imported(place)
        for part in name.split("."):
            if not hasattr(thing, part):
                raise InputError(f"--model: {place} has no {name}; {_offers(thing)}")
            thing = getattr(thing, part)
        if not isinstance(thing, nn.Module) and callable(thing):
            _require_no_arguments(thing, model)
            thing = thing()
    if not isinstance(thing, nn.Module):
        raise InputError(
            f"--model: expected {model} to be a torch.nn.Module, a class of one or a function that "
            f"returns one, found {type(thing).__name__}"
        )
    return thing


def load(module: nn.Module, unwrapped: Unwrapped, where: str) -> None:
    """Put the weights into the module, each to its name; wrappers' prefixes do not count.

    Raises:
        ArtifactError: A tensor is missing, unknown or of another shape.
    """
    own = {n: t for n, t in module.state_dict().items() if isinstance(t, torch.Tensor)}
    counters = [name for name, tensor in own.items() if not tensor.is_floating_point()]
    state = unwrapped.original | {n: t for n, t in unwrapped.counters.items() if n in own}
    faults = differences(own, state, counters)
    if faults:
        short, _, left_out = without_prefixes({n: t for n, t in own.items() if n not in counters})
        names = {id(tensor): name for name, tensor in own.items()}
        if left_out or (faults := differences(short, unwrapped.weights)):
            raise ArtifactError(f"{where}: not the weights of --model's network: it {faults}")
        state = {names[id(short[name])]: tensor for name, tensor in unwrapped.weights.items()}
    module.load_state_dict(state, strict=False)


def shapes(module: nn.Module, size: tuple[int, int] | None) -> tuple[tuple[int, int, int], int]:
    """Channels, height and width of the images that a module takes, and how many classes it has.

    Args:
        module: In float32.
        size: Height and width, where they are known; None for the one of 32 and 28 that it takes.

    Raises:
        InputError: It takes neither, or does not answer with logits ``(N, K)``.
    """
    from lenet_export.network import shapes
    from lenet_export.network.reference import Reference

    reference = Reference(module)
    try:
        given = None
        if size is not None:
            kernels = (t for t in module.state_dict().values() if t.dim() == 4)
            given = next((kernel.shape[1] for kernel in kernels), 1), *size
        shape = shapes.find(reference, given, 2)
        return shape, shapes.classes(reference, shape, 2)
    except InputError as error:
        text = re.sub(
            r"pass input_shape=\(.*?, (.*?), (.*?)\)", r"pass --input-size \1x\2", str(error)
        )
        raise InputError(f"--model: {text}") from error


def differences(expected: Tensors, found: dict[str, Any], optional: list[str] | None = None) -> str:
    """What a checkpoint lacks, has too much or in other shapes; empty where it fits."""
    faults = [f"lacks {name}" for name in expected if name not in {*found, *(optional or ())}]
    faults += [
        f"has {name} of {tuple(found[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in found and tensor.shape != found[name].shape
    ]
    faults += [f"has {name}, which the network lacks" for name in found if name not in expected]
    return few(faults)


def _imported(place: str) -> Any:
    if not place.endswith(".py"):
        return importlib.import_module(place)
    path = Path(place)
    if not path.is_file():
        raise InputError(f"--model: expected {_FORM}, found no file {place}")
    name = f"{path.stem} (--model)"  # which takes no other module's place
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    sys.path.insert(0, str(path.resolve().parent))  # for files beside it, as python FILE.py does
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.resolve().parent))
    return module


def _offers(thing: Any) -> str:
    classes = [
        name
        for name, value in vars(thing).items()
        if isinstance(value, type) and issubclass(value, nn.Module)
    ]
    return f"it has {few(classes)}" if classes else "it has no class of torch.nn.Module"


def _require_no_arguments(thing: Any, model: str) -> None:
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):
        return
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in (
        p.VAR_POSITIONAL, p.VAR_KEYWORD)]  # fmt: skip
    if needed:
        raise InputError(
            f"--model: {model} needs {few(needed)}; name a function without arguments that returns "
            "the network, such as: def network(): return " + model.rpartition(":")[2] + "(...)"
        )


@contextlib.contextmanager
def _explained(model: str) -> Iterator[None]:
    """Turn whatever somebody else's code raises into one line; what it prints is no result."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except InputError:
        raise
    except ModuleNotFoundError as error:
        missing = model.rpartition(":")[0]
        advice = "" if error.name != missing else f"; expected {_FORM}"
        raise InputError(f"--model: {error}{advice}") from error
    except (Exception, SystemExit) as error:
        raise InputError(f"--model: {_line(error, model)}") from error


def _line(error: BaseException, model: str) -> str:
    """The error's kind and text, with the file and line where it happened."""
    text = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__]
    own = [frame for frame in frames if "site-packages" not in frame.filename
           and not frame.filename.startswith("<frozen")]  # fmt: skip
    if not own:
        return f"{model}: {text}"
    return f"{own[-1].filename}, line {own[-1].lineno}: {text}"
