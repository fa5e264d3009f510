"""Latency per batch size, of engines measured side by side in one process.

What is timed is the whole call as a service makes it: images in host memory in, logits in host
memory out (scope ``host``). The method, in the order in which it matters:

- Engines take turns in short slices, in a new random order each round, so that a machine that
  slows down slows all of them, and nobody always follows the same neighbour.
- A slice begins with a call that is not counted: it brings the engine's code and weights back
  into the caches that its neighbour just filled.
- Inputs come from a rotating set, so that no engine lives on one hot buffer.
- Warm-up lasts until the median of a slice stops falling.
- Raw samples are kept, by slice. Percentiles are read off them; intervals come from a bootstrap
  over rounds, since samples of one slice share their moment and are not independent.

On a GPU the steps of a call are timed as well, see `lenet_bench.gpu.harness`. All this is a closed
loop: the next call comes once the last one was answered. `lenet_bench.openloop` sends requests at a
rate, to sessions and to servers.

``lenet-deploy bench`` is its command.
"""

from lenet_bench.fingerprint import fingerprint
from lenet_bench.harness import Engine, Settings, measure
from lenet_bench.result import LatencyResult

__all__ = ["Engine", "LatencyResult", "Settings", "fingerprint", "measure"]


def __dir__() -> list[str]:
    return __all__
