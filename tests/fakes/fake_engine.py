"""An engine without an engine: each image's logits are its first ten pixels."""

import dataclasses
import threading

from lenet_runtime.backends import BACKENDS
from lenet_runtime.backends.protocol import Predictor
from lenet_runtime.errors import DeployError

FORMAT = "fake"
BACKEND = dataclasses.replace(BACKENDS["ort-cpu"], module="fake_engine", format=FORMAT)


class FakePredictor(Predictor):
    """Remembers what it was asked; `entered` and `proceed` hold a run in the middle."""

    def __init__(self, offset=0.0):
        self.offset = offset
        self.batches = []
        self.closed = 0
        self.fails = False
        self.entered, self.proceed = threading.Event(), threading.Event()
        self.proceed.set()

    def run(self, images):
        self.batches.append(images)
        self.entered.set()
        assert self.proceed.wait(30)
        if self.fails:
            raise DeployError("the fake engine failed")
        return images.reshape(len(images), -1)[:, :10] + self.offset

    def close(self):
        self.closed += 1


def probe(device):
    return "1.0"


def starts(artifact):
    return (1,)


def load(artifact, device, threads):
    artifact.read("model.fake")
    return FakePredictor()
