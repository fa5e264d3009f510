"""An engine of the CPU that pretends to have steps on a GPU."""

import numpy as np

from lenet_runtime.backends.protocol import Predictor


class HostStages:
    """Steps of an engine of the CPU; upload and download copy between two arrays of the host."""

    def __init__(self, run, images, stream):
        self.stream = stream
        self._run, self._host = run, images
        self._images, self._logits = images.copy(), np.zeros((len(images), 10), np.float32)
        self._answer = self._logits.copy()

    def upload(self):
        self._images[...] = self._host

    def compute(self):
        self._logits = self._run(self._images)

    def download(self):
        self._answer[...] = self._logits

    def answer(self):
        return self._answer.copy()

    def close(self):
        pass


class Staged(Predictor):
    """A predictor of the CPU with steps on `stream`; asked for a graph it raises `fails`."""

    def __init__(self, predictor, stream=7, fails=None):
        self._predictor, self._stream, self._fails = predictor, stream, fails

    def run(self, images):
        return self._predictor.run(images)

    def close(self):
        self._predictor.close()

    def stages(self, images, *, graph):
        if graph and self._fails:
            raise self._fails
        return HostStages(self._predictor.run, images, self._stream)

    def uses_graph(self, batch_size):
        return True
