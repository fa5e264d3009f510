"""Engines with steps and a stopwatch, on a clock of their own: nothing here takes time."""

import numpy as np

from lenet_bench import LatencyResult, Settings, fingerprint
from lenet_bench.gpu.result import DeviceResult, DeviceSection
from lenet_bench.report import Run
from lenet_runtime.backends.protocol import Predictor

QUICK = Settings(min_seconds=0.05, min_iterations=5, warmup_seconds=0.001)


class FakeGpu:
    """A clock that work moves on, for the host and the GPU alike; and a log of who worked."""

    hold_us = 500.0

    def __init__(self):
        self.now, self.log, self.in_time = 0, [], True

    def perf_counter_ns(self):
        self.now += 20
        return self.now

    def perf_counter(self):
        return self.perf_counter_ns() / 1e9

    def span_us(self, work, stream, *, hold):
        start = self.now
        work()
        return (self.now - start) / 1e3, hold and self.in_time


class FakeStages:
    """Steps that take so many microseconds each."""

    stream = 7

    def __init__(self, gpu, name, cost):
        self._gpu, self._name, self._cost, self.closed = gpu, name, cost, 0

    def _work(self, step):
        cost = self._cost.get(step, 1.0)
        if isinstance(cost, BaseException):
            raise cost
        self._gpu.log.append((self._name, step))
        self._gpu.now += int(cost * 1e3)

    def upload(self):
        self._work("upload")

    def compute(self):
        self._work("compute")

    def download(self):
        self._work("download")

    def close(self):
        self.closed += 1


class FakeStaged(Predictor):
    """An engine with these steps; `without` lists the modes that it lacks."""

    def __init__(self, gpu, name, without=(), **cost):
        self.gpu, self.name, self.without, self.cost, self.made = gpu, name, without, cost, []

    def run(self, images):
        raise NotImplementedError

    def close(self):
        pass

    def stages(self, images, *, graph):
        if graph in self.without:
            return None
        self.made.append(FakeStages(self.gpu, self.name, self.cost))
        return self.made[-1]


def rounds(us, count=12):
    noise = np.random.default_rng(0).uniform(0.99, 1.01, (count, 5))
    return tuple(us * 1e3 * noise)


def device_result(
    engine, size, device_us, *, graph=False, single=5.0, launch=2.0, copy=1.0, **more
):
    figures = {
        "device": rounds(device_us), "device_single": rounds(device_us + single),
        "launch": rounds(2.0), "upload": rounds(copy), "download": rounds(copy),
    }  # fmt: skip
    return DeviceResult(engine, size, graph, figures, {"device": 10}, **more)


def run_of(figures, host_us=100.0, **changes):
    """A run on a pretended GPU; `figures` are microseconds by engine, precision and batch size."""
    names = {f"{b} {p}" if p != "fp32" else b: (b, p) for b, p, _ in figures}
    label = {pair: name for name, pair in names.items()}
    steps = tuple(device_result(label[b, p], n, us) for (b, p, n), us in figures.items())
    where = fingerprint()
    where["machine"] |= {"gpu": "Fake GPU"}
    section = DeviceSection("cuda:0", steps, 4.0e12, 2**30, {"before": {"reason": "none"}})
    host = tuple(LatencyResult(r.engine, r.batch_size, rounds(host_us)) for r in steps)
    changes = {"device": section, "baseline": next(iter(names), None)} | changes
    engines = {name: {"backend": b, "precision": p} for name, (b, p) in names.items()}
    return Run(Settings(), where, host, engines, **changes)
