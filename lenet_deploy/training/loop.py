"""Training, in the plain: forward, loss, backward, step; every epoch can be repeated exactly."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  torch's own name for it, in all its tutorials
from torch import nn

from lenet_deploy.training import data
from lenet_deploy.training.model import Net
from lenet_deploy.training.recipe import Loss, Optimizer, Recipe, Schedule
from lenet_runtime import devices
from lenet_runtime.backends.torch import torch_cuda
from lenet_runtime.errors import DeployError

History = list[dict[str, Any]]


@dataclass(frozen=True)
class Step:
    """Where training stands after a step; loss and accuracy are means over this epoch so far."""

    epoch: int
    step: int
    steps: int
    loss: float
    accuracy: float


@dataclass
class State:
    """All that a run carries from one epoch to the next: saved and loaded as one file."""

    recipe: Recipe
    net: Net
    optimizer: torch.optim.Optimizer
    epochs_done: int = 0
    history: History = field(default_factory=list)


def check_device(name: str) -> None:
    """Refuse a device that is not ``cpu``, ``cuda`` or ``cuda:N``, or that is not here.

    Raises:
        InputError: no such kind of device.
        BackendUnavailable: this machine, or this build of torch, has no such GPU.
    """
    if devices.parse(name).kind == "cuda":
        torch_cuda.require(name)
    torch.backends.cudnn.deterministic = True  # else equal seeds give unequal weights on a GPU


def start(recipe: Recipe, device: str = "cpu") -> State:
    """Fresh weights, the same for the same seed on any device, and an optimizer for them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(data.generator(recipe.seed, 0, purpose=data.WEIGHTS).initial_seed())
        net = Net()
    net.to(device)
    return State(recipe, net, make_optimizer(recipe, net.parameters()))


def make_optimizer(recipe: Recipe, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The recipe's optimizer for `parameters`."""
    lr, decay = recipe.lr, recipe.weight_decay
    match recipe.optimizer:
        case Optimizer.SGD:
            return torch.optim.SGD(parameters, lr=lr, weight_decay=decay)
        case Optimizer.MOMENTUM:
            return torch.optim.SGD(parameters, lr=lr, weight_decay=decay, momentum=0.9)
        case Optimizer.NESTEROV:
            return torch.optim.SGD(
                parameters, lr=lr, weight_decay=decay, momentum=0.9, nesterov=True
            )
        case Optimizer.ADAM:
            return torch.optim.Adam(parameters, lr=lr, weight_decay=decay)
        case Optimizer.RMSPROP:
            return torch.optim.RMSprop(parameters, lr=lr, weight_decay=decay)


def loss_function(loss: Loss) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """From float32 logits ``(N, 10)`` and int64 labels ``(N,)`` to the mean loss, a scalar."""
    if loss is Loss.CROSS_ENTROPY:
        return F.cross_entropy
    return lambda logits, labels: F.mse_loss(logits, F.one_hot(labels, 10).to(logits.dtype))


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate of `step`, from 0 to `steps` - 1: a formula, so it needs no saved state.

    One cycle climbs along a cosine from lr/25 to lr in the first quarter and falls to nearly zero
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
    on_step: Callable[[Step], None] = lambda step: None,
) -> dict[str, Any]:
    """Train on every digit once, count the epoch as done, and return what happened in it.

    The order of the digits and their distortions come from the seed and the epoch's number.

    Raises:
        DeployError: loss or weights are no longer finite; `state` is spoilt, what was saved is not.
    """
    recipe, net, epoch = state.recipe, state.net, state.epochs_done
    device = next(net.parameters()).device
    criterion = loss_function(recipe.loss)
    shuffled = data.generator(recipe.seed, epoch, purpose=data.ORDER)
    distortion = data.generator(recipe.seed, epoch, purpose=data.DISTORTION)
    order = torch.randperm(len(digits), generator=shuffled)
    steps = math.ceil(len(digits) / recipe.batch_size)
    began, seen, loss_sum, correct = time.perf_counter(), 0, 0.0, 0

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

        _require_finite(loss.item(), recipe, epoch + 1, step + 1)
        seen += len(labels)
        loss_sum += loss.item() * len(labels)
        correct += int((logits.argmax(dim=1) == labels).sum())
        on_step(Step(epoch + 1, step + 1, steps, loss_sum / seen, correct / seen))

    _require_finite_weights(net, recipe, epoch + 1)
    state.epochs_done += 1
    return {
        "epoch": epoch + 1,
        "loss": loss_sum / seen,
        "accuracy": correct / seen,
        "seconds": round(time.perf_counter() - began, 3),
    }


def _require_finite(loss: float, recipe: Recipe, epoch: int, step: int) -> None:
    if not math.isfinite(loss):
        raise DeployError(
            f"training stopped in epoch {epoch}, step {step}: expected a finite loss, found "
            f"{loss}. Lower --lr (now {recipe.lr}); the last whole epoch's checkpoint is untouched."
        )


def _require_finite_weights(net: Net, recipe: Recipe, epoch: int) -> None:
    """The last step's own damage shows in no loss of this epoch, and must not be saved."""
    spoilt = [name for name, tensor in net.named_parameters() if not tensor.isfinite().all()]
    if spoilt:
        raise DeployError(
            f"training stopped after epoch {epoch}: expected finite weights, found NaN or infinity "
            f"in {', '.join(spoilt)}. Lower --lr (now {recipe.lr}); the last whole epoch's "
            "checkpoint is untouched."
        )
