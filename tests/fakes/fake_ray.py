"""As much of Ray as our adapters call, in this process: what is remote runs at once.

`install` puts it in place of the real one, which has an environment of its own: `make test-ray`.
"""

import sys
from collections import Counter as Totals
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace

from lenet_deploy import cluster


class RayError(Exception):
    """What a task raised is its `cause`."""

    def __init__(self, cause=None):
        super().__init__(f"ray: {cause!r}")
        self.cause = cause


@dataclass
class Deployment:
    """What was deployed: its options, its class, and what it is made of."""

    options: dict
    target: type | None = None
    arguments: tuple = ()

    def __call__(self, target):
        self.target = target
        return self

    def bind(self, *arguments):
        self.arguments = arguments
        return self


@dataclass
class Metric:
    """One of `ray.util.metrics`: a sum, and a count of records, by its tags."""

    name: str
    description: str
    bounds_or_tags: object = ()
    tags: tuple = ()
    values: Totals = field(default_factory=Totals)

    def inc(self, value, tags):
        assert value > 0, "Ray refuses these"
        self.values[tuple(tags.values())] += value

    def observe(self, value, tags):
        self.values[tuple(tags.values())] += 1

    def set(self, value, tags):
        self.values[tuple(tags.values())] = value


class Dataset:
    """Rows that an actor maps one by one, when they are asked for."""

    def __init__(self, rows):
        self.rows = rows

    def map_batches(self, actor, *, fn_constructor_args, batch_size, **_):
        assert batch_size == 1
        made = actor(*fn_constructor_args)
        self.rows = ({"done": made({"part": [row["part"]]})["done"][0]} for row in self.rows)
        return self

    def iter_rows(self):
        try:
            yield from self.rows
        except Exception as error:
            raise RayError(error) from None


def install(monkeypatch, nodes=("10.0.0.1",)):
    """A cluster of nodes; returns the module `ray`, whose `log` is what was called."""
    ray, serve, util, metrics, exceptions = (ModuleType("fake") for _ in range(5))
    made = []

    def metric(*arguments):
        made.append(Metric(*arguments))
        return made[-1]

    ray.log, metrics.made = [], made
    ray.init = lambda **options: ray.log.append(options)
    ray.shutdown = lambda: ray.log.append("shutdown")
    ray.nodes = lambda: [{"Alive": True, "NodeID": n, "NodeManagerAddress": n} for n in nodes]
    ray.get = list
    ray.cluster_resources = lambda: {"CPU": 2.0}
    ray.remote = lambda **_: (
        lambda look: SimpleNamespace(options=lambda **_: SimpleNamespace(remote=look))
    )
    ray.exceptions = SimpleNamespace(RayError=RayError)
    ray.data = SimpleNamespace(
        from_items=lambda items, **_: Dataset(items),
        ActorPoolStrategy=lambda size: size,
        DataContext=SimpleNamespace(get_current=SimpleNamespace),
    )
    ray.serve, ray.util, exceptions.RayServeException = serve, util, RuntimeError
    serve.Application, serve.ingress = Deployment, lambda: lambda target: target
    serve.deployment = lambda **options: Deployment(options)
    util.metrics = metrics
    util.scheduling_strategies = SimpleNamespace(
        NodeAffinitySchedulingStrategy=lambda node, soft: node
    )
    metrics.Counter = metrics.Gauge = metrics.Histogram = metric
    for name, module in {
        "ray": ray, "ray.serve": serve, "ray.serve.exceptions": exceptions, "ray.util": util,
        "ray.util.metrics": metrics,
    }.items():  # fmt: skip
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("lenet_serve.ray", "lenet_serve.ray_metrics"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(cluster, "find_spec", lambda name: name)
    monkeypatch.setattr(cluster, "installed", lambda _: "2.60.0")
    return ray
