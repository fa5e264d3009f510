"""Inputs and engines for tests of batch jobs."""

import hashlib
import io
import os
import signal
import sys

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from PIL import Image

from lenet_deploy.batch.worker import Worker

PARTS, ROWS = 3, 40


def write_pixels(folder, parts=PARTS, rows=ROWS):
    """A folder of Parquet files of pixels, each of which is a part; returns the folder."""
    pixels = np.random.default_rng(7).integers(0, 256, parts * rows * 784, np.uint8)
    return _write(folder, pa.FixedSizeListArray.from_arrays(pa.array(pixels), 784), rows)


def write_pictures(folder, bad, parts=PARTS, rows=ROWS):
    """The same of pictures' files; those of the rows `bad`, counted over all, are none."""
    pixels = np.zeros((28, 28), np.uint8)
    pixels[6:22, 13:16] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    values = [b"no picture" if row in bad else file.getvalue() for row in range(parts * rows)]
    return _write(folder, pa.array(values, pa.binary()), rows)


def _write(folder, values, rows):
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table({"id": list(range(len(values))), "pixels": values})
    for number in range(len(values) // rows):
        path = folder / f"pixels-{number:03}.parquet"
        pq.write_table(table.slice(number * rows, rows), path)
    return folder


def digest(output):
    """What an output holds, byte by byte: its tables, not when they were written."""
    paths = sorted(output.rglob("*")) if output.is_dir() else [output]
    assert not [path for path in paths if path.name.startswith(".")]
    whole = hashlib.sha256()
    for path in (path for path in paths if path.is_file()):
        whole.update(path.name.encode() + path.read_bytes())
    return whole.hexdigest()


def rows_of(output):
    """The rows of an output of Parquet, as a list of dictionaries."""
    return ds.dataset(output).to_table().to_pylist()


def serially(parts, settings, output, *, workers=1, report=lambda rows, errors: None):
    """An engine without processes: part after part, in this one."""
    worker = Worker(settings, output)
    for part in parts:
        yield worker(part, report)


def child_environment():
    """The environment of a command in a process of its own."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


class Deadly:
    """A part that kills the first processes it comes to.

    Args:
        part: The part.
        marks: A folder, of a file for each process that was killed.
        times: How many are killed.
        number: The signal.
    """

    def __init__(self, part, marks, times=1, number=signal.SIGKILL):
        self._arguments = part, marks, times, number
        self.number, self.files = part.number, part.files

    def __reduce__(self):
        return arrive, self._arguments


def arrive(part, marks, times, number):
    """The part in the process that it was sent to; or its end."""
    if len(os.listdir(marks)) < times:
        (marks / str(os.getpid())).touch()
        os.kill(os.getpid(), number)
    return part
