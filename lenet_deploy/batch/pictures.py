"""Pictures, each a file of its own."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from lenet_deploy.batch.files import File
from lenet_deploy.batch.parts import BYTES, PICTURES, PLACE, Part
from lenet_runtime.errors import InputError

KIND, COLUMN = "pictures", "picture"
_PICTURE = pa.struct([("bytes", pa.binary()), ("error", pa.string())])


def parts(files: Sequence[File]) -> Iterator[Part]:
    """Parts of so many pictures, all numbered 0."""
    for start in range(0, len(files), PICTURES):
        chunk = tuple(files[start : start + PICTURES])
        yield Part(0, KIND, chunk, COLUMN, (), len(chunk))


def read(part: Part) -> Iterator[pa.RecordBatch]:
    """``path``, ``row`` and the pictures of a part, each with its bytes, or why there are none."""
    for files in _chunks(part.files):
        with ThreadPoolExecutor(8) as pool:
            fetch = pool.map if "://" in files[0].name else map
            pictures = pa.array(list(fetch(_read_picture, files)), _PICTURE)
        paths, rows = pa.array([file.text for file in files]), pa.nulls(len(files), pa.int64())
        yield pa.RecordBatch.from_arrays([paths, rows, pictures], [*PLACE.names, part.column])


def _chunks(files: Sequence[File]) -> Iterator[list[File]]:
    """Neighbours of which no more is in memory than `BYTES`, unless one alone is larger."""
    chunk: list[File] = []
    for file in files:
        if chunk and (len(chunk) == 64 or sum(f.size for f in chunk) + file.size > BYTES):
            yield chunk
            chunk = []
        chunk.append(file)
    if chunk:
        yield chunk


def _read_picture(file: File) -> dict[str, bytes | str]:
    try:
        with file.open() as stream:
            return {"bytes": stream.read()}
    except InputError as error:
        return {"error": str(error).removeprefix(f"{file.name}: ")}
    except OSError as error:
        return {"error": f"cannot be read ({error.strerror or error})"}
