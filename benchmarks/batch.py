"""Rates of `lenet-deploy batch` beside a session's own and a plain pyarrow loop, interleaved.

    python benchmarks/batch.py artifacts/native-fp32 --trust [--rows 600000] [--rounds 5]

For each kind of input, in each round one after another: `Session.predict` on pixels that are in
memory; a plain loop, `iter_batches` and `Session.predict`, whose answers go nowhere; and
`batch.run` from files to a file with one and two workers, processes' start and all. Medians of the
rounds' ratios are printed: a ratio survives a noisy machine, a rate does not. For pictures the loop
opens, prepares and answers one after another. Whatever else the machine does takes from two workers
more than from one: run it where nothing else does.
"""

import argparse
import gc
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

import lenet_runtime
from lenet_deploy import batch

BATCH = 1024
FILE_ROWS = 50_000


def digits(data_dir, rows):
    images = read_digits(data_dir)
    return np.resize(images, (rows, 784))


def read_digits(data_dir):
    raw = next(Path(data_dir).rglob("t10k-images-idx3-ubyte")).read_bytes()
    return np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 784)


def write_parquet(folder, pixels, kind):
    folder.mkdir()
    for start in range(0, len(pixels), FILE_ROWS):
        flat = np.ascontiguousarray(pixels[start : start + FILE_ROWS])
        rows = len(flat)
        if kind == "lists":
            column = pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), 784)
        else:
            column = pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(784), rows, [None, pa.py_buffer(flat)]
            )
        table = pa.table({"id": np.arange(start, start + rows), "pixels": column})
        pq.write_table(table, folder / f"{start:09}.parquet", row_group_size=FILE_ROWS)


def write_pictures(folder, pixels):
    folder.mkdir()
    for number, image in enumerate(pixels.reshape(-1, 28, 28)):
        Image.fromarray(255 - image).save(folder / f"{number:06}.png")


def loop_parquet(session, folder):
    for path in sorted(folder.iterdir()):
        for rows in pq.ParquetFile(path).iter_batches(BATCH, columns=["pixels"]):
            column = rows.column(0)
            if pa.types.is_fixed_size_binary(column.type):
                flat = np.frombuffer(column.buffers()[1], np.uint8, len(column) * 784,
                                     column.offset * 784)  # fmt: skip
            else:
                flat = column.flatten().to_numpy()
            session.predict(flat.reshape(-1, 28, 28))


def loop_pictures(session, folder):
    for path in sorted(folder.iterdir()):
        session.predict(path.read_bytes())


def seconds(run):
    gc.collect()
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def run_batch(folder, output, arguments, workers):
    batch.run(
        [str(folder)], output, artifact=arguments.artifact, trust=arguments.trust,
        workers=workers, force=True,
    )  # fmt: skip


def kinds(arguments, session, folder):
    """For each kind of input: its rows, and what is timed by name."""
    pixels = digits(arguments.data_dir, arguments.rows)
    images = pixels.reshape(-1, 28, 28)

    def own():
        for start in range(0, len(images), BATCH):
            session.predict(images[start : start + BATCH])

    for kind in ("binary", "lists"):
        source = folder / kind
        write_parquet(source, pixels, kind)
        yield (
            f"Parquet, {kind}",
            len(pixels),
            {
                "session": own,
                "plain loop": lambda source=source: loop_parquet(session, source),
                **batches(arguments, source, folder),
            },
        )
    source = folder / "png"
    write_pictures(source, pixels[: arguments.pictures])
    yield (
        "PNG",
        arguments.pictures,
        {
            "plain loop": lambda: loop_pictures(session, source),
            **batches(arguments, source, folder),
        },
    )


def batches(arguments, source, folder):
    return {
        f"{workers} worker{'s' * (workers > 1)}": (
            lambda workers=workers: run_batch(source, folder / "o.parquet", arguments, workers)
        )
        for workers in (1, 2)
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifact")
    parser.add_argument("--trust", action="store_true")
    parser.add_argument(
        "--data-dir", default="../shared/mnist", help="holds t10k-images-idx3-ubyte"
    )
    parser.add_argument("--rows", type=int, default=600_000)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    document = {"cpu": lenet_runtime.cpu.model(), "cores": lenet_runtime.cpu.usable_cores()}
    print(json.dumps(document))
    with (
        tempfile.TemporaryDirectory() as name,
        lenet_runtime.load(arguments.artifact, threads=1, trust=arguments.trust) as session,
    ):
        for kind, rows, runs in kinds(arguments, session, Path(name)):
            times = {way: [] for way in runs}
            for _ in range(arguments.rounds):
                for way, run in runs.items():
                    times[way].append(seconds(run))
            report(kind, rows, times)


def report(kind, rows, times):
    base = next(iter(times))
    print(f"{kind}, {rows:,} rows")
    for way, own in times.items():
        ratios = [a / b for a, b in zip(times[base], own, strict=True)]
        print(
            f"  {way:12} {rows / statistics.median(own):10,.0f} rows/s, "
            f"{statistics.median(ratios):5.2f} of {base} ({min(ratios):.2f} to {max(ratios):.2f})"
        )
    ratios = [a / b for a, b in zip(times["1 worker"], times["2 workers"], strict=True)]
    print(f"  2 workers are {statistics.median(ratios):.2f} times as fast as 1")


if __name__ == "__main__":
    main()
