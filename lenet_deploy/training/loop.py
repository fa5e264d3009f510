"""The training loop: forward, loss, backward, step; every epoch can be repeated exactly."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  torch's own name for it, in all its tutorials

from lenet_deploy.training import data
from lenet_deploy.training.model import Net
from lenet_deploy.training.recipe import Loss, Optimizer, Recipe, Schedule
from lenet_runtime import devices
from lenet_runtime.backends.torch import torch_cuda
from lenet_runtime.errors import DeployError

Record = dict[str, Any]  # progress, as `train_epoch` describes it
_OPTIMIZERS: dict[Optimizer, Callable[..., torch.optim.Optimizer]] = {
    Optimizer.SGD: torch.optim.SGD,
    Optimizer.MOMENTUM: partial(torch.optim.SGD, momentum=0.9),
    Optimizer.NESTEROV: partial(torch.optim.SGD, momentum=0.9, nesterov=True),
    Optimizer.ADAM: torch.optim.Adam,
    Optimizer.RMSPROP: torch.optim.RMSprop,
}


@dataclass
class State:
    """Everything that a run carries from one epoch to the next, which is saved as one file.

    Attributes:
        recipe: Hyper-parameters of the run.
        net: Network that is being trained.
        optimizer: Optimizer with its own state, such as momentum.
        epochs_done: Number of epochs that are finished.
        history: Records of these epochs, as `train_epoch` returns them.
    """

    recipe: Recipe
    net: Net
    optimizer: torch.optim.Optimizer
    epochs_done: int = 0
    history: list[Record] = field(default_factory=list)


def check_device(name: str) -> None:
    """Check that ``cpu``, ``cuda`` or ``cuda:N`` is on this machine, and make it deterministic.

    Raises:
        InputError: this is not the name of a device.
        BackendUnavailable: this machine, or this build of torch, has no such GPU.
    """
    if devices.parse(name).kind == "cuda":
        torch_cuda.require(name)
    torch.backends.cudnn.deterministic = True  # else equal seeds give unequal weights on a GPU


def set_threads(threads: int | None) -> None:
    """Let torch use this many CPU threads; None leaves torch's own number."""
    if threads is not None:
        torch.set_num_threads(threads)


def start(recipe: Recipe, device: str = "cpu") -> State:
    """Make a state before its first epoch; equal seeds give equal weights on any device."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(data.generator(recipe.seed, 0, purpose=data.WEIGHTS).initial_seed())
        net = Net()
    net.to(device)
    make_optimizer = _OPTIMIZERS[recipe.optimizer]
    optimizer = make_optimizer(net.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    return State(recipe, net, optimizer)


def loss_function(loss: Loss) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Make a function from logits ``(N, 10)`` and int64 labels ``(N,)`` to their mean loss."""
    if loss is Loss.CROSS_ENTROPY:
        return F.cross_entropy
    return lambda logits, labels: F.mse_loss(logits, F.one_hot(labels, 10).to(logits.dtype))


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate of `step`, from 0 to `steps` - 1. As a formula it needs no saved state.

    One cycle rises along a cosine from lr/25 to lr in the first quarter and falls to nearly zero
    in the rest (Smith and Topin, arXiv:1708.07120).
    """
    done = step / steps
    match recipe.schedule:
        case Schedule.CONSTANT:
            return recipe.lr
        case Schedule.COSINE:
            return recipe.lr * (1 + math.cos(math.pi * done)) / 2
        case Schedule.ONE_CYCLE if done < 0.25:
            low = recipe.lr / 25
            return low + (recipe.lr - low) * (1 - math.cos(math.pi * done / 0.25)) / 2
        case Schedule.ONE_CYCLE:
            return recipe.lr * (1 + math.cos(math.pi * (done - 0.25) / 0.75)) / 2


def train_epoch(
    state: State,
    digits: data.Split,
    *,
    workers: int = 0,
    on_step: Callable[[Record], None] = lambda record: None,
) -> Record:
    """Train on every digit once, and count the epoch as done.

    The order of the digits and their distortions depend on the seed and the epoch's number alone.

    Returns:
        The number of the epoch, from 1, its mean loss and accuracy, and the seconds it took.
        `on_step` gets the same after each step, without seconds but with the step and the steps.

    Raises:
        DeployError: the loss or a weight is not finite. `state` is no longer of use then, but
            what was saved before this epoch is.
    """
    recipe, net, epoch = state.recipe, state.net, state.epochs_done
    device = next(net.parameters()).device
    criterion = loss_function(recipe.loss)
    shuffled = data.generator(recipe.seed, epoch, purpose=data.ORDER)
    distortion = data.generator(recipe.seed, epoch, purpose=data.DISTORTION)
    order = torch.randperm(len(digits), generator=shuffled)
    steps = math.ceil(len(digits) / recipe.batch_size)
    began, count, loss_sum, correct = time.perf_counter(), 0, 0.0, 0

    net.train()
    loader = data.batches(digits, recipe.batch_size, order=order, workers=workers)
    for step, (images, targets) in enumerate(loader):
        x, labels = data.pad(images.to(device)), targets.to(device)
        if recipe.augment:
            x = data.distort(x, distortion)
        x = data.normalise(x, recipe.preprocessing)
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(recipe, epoch * steps + step, recipe.epochs * steps)

        state.optimizer.zero_grad()
        logits = net(x)
        loss = criterion(logits, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        state.optimizer.step()

        if not math.isfinite(loss.item()):
            place = f"in epoch {epoch + 1}, step {step + 1}"
            raise _diverged(place, f"a finite loss, found {loss.item()}", recipe)
        count += len(labels)
        loss_sum += loss.item() * len(labels)
        correct += int((logits.argmax(dim=1) == labels).sum())
        record = {"epoch": epoch + 1, "loss": loss_sum / count, "accuracy": correct / count}
        on_step(record | {"step": step + 1, "steps": steps})

    # What the last step did to the weights shows in no loss of this epoch.
    damaged = [name for name, tensor in net.named_parameters() if not tensor.isfinite().all()]
    if damaged:
        expected = f"finite weights, found NaN or infinity in {', '.join(damaged)}"
        raise _diverged(f"after epoch {epoch + 1}", expected, recipe)
    state.epochs_done += 1
    return record | {"seconds": round(time.perf_counter() - began, 3)}


def _diverged(place: str, expected: str, recipe: Recipe) -> DeployError:
    return DeployError(
        f"training stopped {place}: expected {expected}. Lower --lr (now {recipe.lr}); "
        "the last whole epoch's checkpoint is untouched."
    )
