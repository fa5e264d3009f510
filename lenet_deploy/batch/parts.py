"""What a job is cut into: parts, each of which any worker reads by itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa

from lenet_deploy.batch.files import File
from lenet_runtime.errors import DeployError, InputError, first_line

PLACE = pa.schema([("path", pa.string()), ("row", pa.int64())])  # where a row comes from
ROWS = 1024  # of pixels in a batch, 0.8 MB
BYTES = 32 * 2**20  # of a batch of pictures, unless one alone is larger
PART = 32 * ROWS  # rows of pixels in a part at least, where the file has them
PICTURES = 512  # in a part: half a second of work, so that few pictures busy all cores, too


@dataclass(frozen=True)
class Part:
    """What one worker reads in one go, and answers in one file; it can be pickled.

    Attributes:
        number: Place among the parts, from 0.
        kind: ``pictures``, or the kind of file: ``parquet``, ``arrow``, ``idx`` and so on.
        files: Many pictures, or one file of another kind.
        column: Column of pictures or pixels in the batches that `sources.read` makes of it.
        keep: Columns to repeat, as the file calls them.
        rows: Rows, or pictures.
        start: Where the part begins in its file: a row group, a record batch, a row or a byte.
        stop: Where it ends, exclusive.
        first: Row of the file that is the part's first, from 0.
        judge: Whether its first rows are judged for all parts, see `arrow.predict_arrow`.
    """

    number: int
    kind: str
    files: tuple[File, ...]
    column: str
    keep: tuple[str, ...] = ()
    rows: int = 0
    start: int = 0
    stop: int = 0
    first: int = 0
    judge: bool = False

    @property
    def file(self) -> File:
        """The file of a part that is not of pictures."""
        return self.files[0]


@dataclass(frozen=True)
class Piece:
    """A piece of a file, as a part will hold it: `Part.rows`, `start`, `stop` and `first`."""

    rows: int
    start: int = 0
    stop: int = 0
    first: int = 0


@contextmanager
def reading(file: File, kind: str) -> Iterator[None]:
    """A block that reads a file, whatever is wrong with which is an `InputError`."""
    try:
        yield
    except DeployError:
        raise
    except Exception as error:  # NumPy, Arrow, zlib and file systems raise many kinds
        raise InputError(
            f"{file.name}: expected {kind}, found a damaged file or another: {first_line(error)}"
        ) from error
