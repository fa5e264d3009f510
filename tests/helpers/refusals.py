"""How a test says that something is refused, without a warning before it."""

import warnings
from contextlib import contextmanager

import pytest

from lenet_runtime.errors import InputError


@contextmanager
def refused(match=None, error=InputError):
    """The error comes, and no warning before it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(error, match=match) as caught:
            yield caught
