"""What is proven is what is served: each thing a session does with a batch is under a proof.

`FAULTS` is the table: an engine that goes wrong in one of these ways alone, and what finds it.
"""

from contextlib import ExitStack

import numpy as np
import pytest
import torch
from fake_engine import FakePredictor
from samples import digits, raw_digits
from torch import nn

import lenet_export
import lenet_runtime
from lenet_deploy.training.model import Net
from lenet_export.network import independence
from lenet_export.network.reference import Reference
from lenet_export.proof import proof_sizes
from lenet_runtime import session as sessions
from lenet_runtime.backends.fused import kernels
from lenet_runtime.backends.protocol import Predictor
from lenet_runtime.backends.torch import torchscript
from lenet_runtime.errors import InputError, ParityError
from lenet_runtime.images.preprocess import Preprocessing, to_batch
from lenet_runtime.plans.routing import Route, Router


class Faulty(Predictor):
    """The engine `real` with one way to go wrong; without `switches` and so on, none."""

    def __init__(self, real):
        self.real, self.seen = real, []

    def run(self, images):
        self.seen.append(len(images))
        return self.real.run(images)

    def close(self):
        self.real.close()


class WrongWhole(Faulty):
    """In batches that a session cuts, and a plan may not."""

    def run(self, images):
        return super().run(images) + (len(images) > 64)


class WrongUnchecked(Faulty):
    """As ``check_finite=False`` runs it."""

    def run(self, images):
        return super().run(images) + 1

    def run_checked(self, images):
        return self.real.run(images)


class WrongAgain(Faulty):
    """From a graph, say, which is made in the first run of a size."""

    def run(self, images):
        # Not of one image, nor of the self-test's 8.
        return super().run(images) + (self.seen.count(7) > 1 and len(images) == 7)


class WrongPixels(Faulty):
    """Raw digits, in batches that the self-test does not run."""

    def __init__(self, real):
        super().__init__(real)
        self.run_pixels = self._pixels

    def _pixels(self, pixels):
        return self.real.run(to_batch(pixels, Preprocessing())) + (len(pixels) == 7)


class WrongPieces(Faulty):
    """Where the engine itself begins to cut batches."""

    switches = (300,)

    def run(self, images):
        return super().run(images) + (len(images) >= 300)


class WrongFilledUp(Faulty):
    """Below the least batch size of a profile, where it fills batches up."""

    switches = (40,)

    def run(self, images):
        return super().run(images) + (len(images) == 39)


FAULTS = {
    WrongWhole: "unchecked and whole, differs .* at batch size 129",
    WrongUnchecked: "self-test|unchecked and whole, differs",
    WrongAgain: "digits at batch size 7",
    WrongPixels: "on raw digits differs .*pixels at batch size 7",
    WrongPieces: "at batch size 300",
    WrongFilledUp: "at batch size 39",
}


@pytest.mark.parametrize("fault", [None, *FAULTS], ids=lambda fault: getattr(fault, "__name__", ""))
def test_a_fault_in_one_way_to_the_logits_is_never_published(net, tmp_path, monkeypatch, fault):
    real = torchscript.load
    kind = fault or Faulty
    monkeypatch.setattr(torchscript, "load", lambda *arguments: kind(real(*arguments)))
    arguments = (net, "torchscript", tmp_path / "a")
    if fault is None:
        lenet_export.export(*arguments, batch_sizes=[7])
        return
    with pytest.raises(ParityError, match=FAULTS[fault]):
        lenet_export.export(*arguments, batch_sizes=[7])
    assert not list(tmp_path.iterdir())


def test_a_fault_in_the_cutting_of_chunks_is_never_published(net, tmp_path, monkeypatch):
    """Whatever batch sizes are asked for, one is cut."""

    def overlapping(run, images, chunk):
        answers = [run(images[i : i + chunk]) for i in range(0, len(images), chunk)]
        return np.concatenate(answers[:1] + answers[:-1])[: len(images)]

    monkeypatch.setattr(sessions, "run_in_chunks", overlapping)
    with pytest.raises(ParityError, match="at batch size 129"):
        lenet_export.export(net, "torchscript", tmp_path / "a", batch_sizes=[2])
    assert not list(tmp_path.iterdir())


def test_a_plan_is_proven_on_both_sides_of_all_that_its_router_does(onnx_artifact):
    """`verify` of a plan; the self-test of `load_plan` runs each of its programs, too."""
    pieces = FakePredictor()
    pieces.switches = (kernels.PIECE + 1,)
    router = Router([Route(1, FakePredictor()), Route(64, pieces, 16)], ExitStack())
    session = sessions.Session(router, onnx_artifact, "fastest")
    sizes = proof_sizes(session, [1])
    assert {1, 7, 8, 31, 32, 63, 64, kernels.PIECE, kernels.PIECE + 1} == set(sizes)


# ---- modules whose logits depend on their batch


class Noisy(Net):
    def forward(self, x):
        return super().forward(torch.dropout(x, 0.5, True))


class Centred(Net):
    def forward(self, x):
        return super().forward(x - x.mean())


def normalized(**options):
    return nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, **options), Net())


class NeverInEval(nn.BatchNorm2d):
    def train(self, mode=True):
        return super().train(True)


DEPENDENT = {
    "no running statistics": (normalized(track_running_stats=False), r"layer 1 \(BatchNorm2d\)"),
    "never in eval mode": (nn.Sequential(NeverInEval(1), Net()), r"layer 0 \(NeverInEval\)|second"),
    "mean of the batch": (Centred(), r"before its layer conv1 \(Conv2d\)"),
    "noise": (Noisy(), r"equal logits for equal images, .*before its layer conv1"),
}


@pytest.mark.parametrize("static", [None, 2, 300])
@pytest.mark.parametrize("kind", DEPENDENT)
def test_a_module_that_looks_at_its_batch_is_refused_by_name(tmp_path, kind, static):
    """Eager itself answers an image otherwise among others; no runtime could do right by it."""
    module, reason = DEPENDENT[kind]
    with pytest.raises(InputError, match=reason):
        lenet_export.export(module, "torchscript", tmp_path / "a", static_batch=static)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("module", [normalized(), Net()], ids=["running statistics", "Net"])
@pytest.mark.parametrize("static", [None, 1, 7])
def test_a_module_that_does_not_is_not(module, static):
    independence.require(Reference(module), digits(), static)


def test_what_is_served_above_the_chunk_size_is_what_eager_answers(exported, net):
    """The public case: batches of 128 and more, of which half are other images than the rest."""
    with lenet_runtime.load(exported("onnx").path) as session:
        for size in (64, 127, 128, 257):
            images = digits(size)
            images[size // 2 :] += 3
            expected = Reference(net).eager(images).argmax(axis=1)
            assert (session.run(images).argmax(axis=1) == expected).all()
            pixels = raw_digits(size)
            expected = Reference(net).eager(digits(size)).argmax(axis=1)
            assert (session.predict(pixels).labels == expected).all()
