"""CPU time that `lenet-deploy batch` takes to read and to answer a digit of each kind of file.

    python -m benchmarks.batch_inputs artifacts/native-fp32 --trust

In each round one after another: `Session.predict` on pixels in memory, `predict_arrow` on record
batches in memory, and for each kind of file `read` alone and `read` with `answers`, all on this
process's core. The least CPU time of all rounds is printed, which a busy machine inflates least.
"""

import argparse
import gzip
import struct
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import lenet_runtime
from lenet_deploy.batch import predict_arrow
from lenet_deploy.batch.sources import answers, plan, read

BATCH = 1024


def write(folder: Path, pixels: np.ndarray) -> list[str]:
    """A file of each kind; their paths."""
    flat = pa.array(pixels.ravel())
    lists = pa.table({"pixels": pa.FixedSizeListArray.from_arrays(flat, 784)})
    whole = pa.Array.from_buffers(pa.binary(784), len(pixels), [None, flat.buffers()[1]])
    pq.write_table(lists, folder / "lists.parquet")
    plain = {"use_dictionary": False, "compression": "none"}
    pq.write_table(lists, folder / "plain-lists.parquet", **plain)
    pq.write_table(pa.table({"pixels": whole}), folder / "fixed-binary.parquet")
    with pa.ipc.new_file(str(folder / "lists.arrow"), lists.schema) as file:
        file.write_table(lists, max_chunksize=BATCH)
    np.save(folder / "digits.npy", pixels)
    idx = struct.pack(">4B3I", 0, 0, 8, 3, *pixels.shape) + pixels.tobytes()
    (folder / "digits-idx3-ubyte").write_bytes(idx)
    (folder / "digits-idx3-ubyte.gz").write_bytes(gzip.compress(idx))
    np.savetxt(folder / "digits.csv", pixels.reshape(len(pixels), -1), fmt="%d", delimiter=",")
    return sorted(map(str, folder.iterdir()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("artifact")
    parser.add_argument("--trust", action="store_true")
    parser.add_argument("--data-dir", default="../shared/mnist")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    raw = Path(options.data_dir, "MNIST", "raw", "t10k-images-idx3-ubyte").read_bytes()
    pixels = np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 28, 28)
    with (
        tempfile.TemporaryDirectory() as folder,
        lenet_runtime.load(options.artifact, threads=1, trust=options.trust) as session,
    ):
        lists = pa.FixedSizeListArray.from_arrays(pa.array(pixels.ravel()), 784)
        whole = pa.record_batch({"pixels": lists})
        cut = range(0, len(pixels), BATCH)
        batches = [whole.slice(start, BATCH) for start in cut]
        tasks: dict[str, Callable[[], object]] = {
            "Session.predict": lambda: [session.predict(pixels[i : i + BATCH]) for i in cut],
            "predict_arrow": lambda: list(predict_arrow(batches, session)),
        }
        for path in write(Path(folder), pixels):
            name, parts = Path(path).name, plan([path])
            tasks[f"{name}: read"] = partial(read_all, parts)
            tasks[f"{name}: read and answer"] = partial(answer_all, parts, session)
        least = dict.fromkeys(tasks, float("inf"))
        for _ in range(options.rounds):
            for name, task in tasks.items():
                began = time.process_time()
                task()
                least[name] = min(least[name], time.process_time() - began)
    base = least["Session.predict"]
    for name, seconds in least.items():
        print(f"{name:40} {seconds / len(pixels) * 1e6:6.2f} us a digit {base / seconds:6.0%}")


def read_all(parts):
    for part in parts:
        for _ in read(part):
            pass


def answer_all(parts, session):
    for part in parts:
        for _ in answers(part, read(part), session):
            pass


if __name__ == "__main__":
    main()
