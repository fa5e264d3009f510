"""What building and running a TensorRT engine have in common: its libraries, names and batches.

TensorRT and TensorRT-RTX have the same API under two names. RTX compiles ahead of time for GPUs
that need not be here and finishes on the GPU it meets; TensorRT compiles on the GPU it is for.
"""

import importlib.util
import re
from typing import NamedTuple

from lenet_runtime.errors import InputError
from lenet_runtime.formats import FORMATS, MAX_BATCH_SIZE

(FILE,) = FORMATS["tensorrt"].files
# Distributions on PyPI and the module that each brings, the preferred first.
MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
TITLES = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}
DEFAULT_PROFILE = "1:64:1024"


class Profile(NamedTuple):
    """The batch sizes that an engine takes.

    Attributes:
        least: Images in the smallest batch.
        best: Images in the batch that it is optimized for.
        most: Images in the largest batch.
    """

    least: int
    best: int
    most: int

    def __str__(self) -> str:
        return f"{self.least}:{self.best}:{self.most}"

    @classmethod
    def parse(cls, text: object) -> "Profile":
        """The profile of ``MIN:OPT:MAX``.

        Raises:
            InputError: not three ascending batch sizes.
        """
        found = re.fullmatch(r"([0-9]{1,5}):([0-9]{1,5}):([0-9]{1,5})", str(text))
        sizes = tuple(map(int, found.groups())) if found else (0, 0, 0)
        if not 1 <= sizes[0] <= sizes[1] <= sizes[2]:
            raise InputError(
                f"profile: expected MIN:OPT:MAX, ascending batch sizes of 1 to {MAX_BATCH_SIZE} "
                f"like {DEFAULT_PROFILE}, found {str(text)[:100]!r}"
            )
        return cls(*sizes)


def installed() -> list[str]:
    """The keys of `MODULES` that can be imported here; imports none."""
    return [name for name, module in MODULES.items() if _is_found(module)]


def _is_found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # it is in sys.modules as None, or was made by hand
        return False
