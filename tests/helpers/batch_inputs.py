"""Files of the bundled digits, in every format that `lenet-deploy batch` reads."""

import gzip
import io
import struct

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
from PIL import Image

from lenet_runtime.images.digits import load_digits

DIGITS, LABELS = load_digits().images[:40], load_digits().labels[:40]
N = len(DIGITS)


def idx(images=DIGITS):
    return struct.pack(">BBBB3I", 0, 0, 8, 3, *images.shape) + images.tobytes()


def csv(images=DIGITS, header="", label=False, end="\n"):
    rows = images.reshape(len(images), -1).tolist()
    if label:
        rows = [[int(n), *row] for n, row in zip(LABELS, rows, strict=True)]
    lines = [",".join(map(str, row)) for row in rows]
    return end.join([*([header] if header else []), *lines, ""]).encode()


def npy(images=DIGITS):
    file = io.BytesIO()
    np.save(file, images)
    return file.getvalue()


def npz(save=np.savez_compressed, **arrays):
    file = io.BytesIO()
    save(file, **arrays or {"images": DIGITS, "labels": LABELS})
    return file.getvalue()


def table(images=DIGITS, **columns):
    pixels = pa.FixedSizeListArray.from_arrays(pa.array(images.ravel()), 784)
    return pa.table({"id": range(len(images)), "pixels": pixels, **columns})


def parquet(rows=15, images=DIGITS, **columns):
    file = io.BytesIO()
    pq.write_table(table(images, **columns), file, row_group_size=rows)
    return file.getvalue()


def arrow(rows=15):
    file = io.BytesIO()
    pyarrow.feather.write_feather(table(), file, compression="lz4", chunksize=rows)
    return file.getvalue()


def arrow_stream(rows=15):
    file = io.BytesIO()
    with pa.ipc.new_stream(file, table().schema) as stream:
        stream.write_table(table(), max_chunksize=rows)
    return file.getvalue()


def png(image):
    file = io.BytesIO()
    Image.fromarray(np.pad(255 - image, 20, constant_values=255)).save(file, "PNG")
    return file.getvalue()


PIXELS = ",".join(f"pixel{i}" for i in range(784))
# Contents of files by their names; all hold the same digits.
FILES = {
    "digits-idx3-ubyte": idx(),
    "digits-idx3-ubyte.gz": gzip.compress(idx()),
    "digits.npy": npy(),
    "floats.npy": npy((DIGITS / 255).astype(">f4")),
    "rows.npy": npy(DIGITS.reshape(N, 784).astype(np.int64)),
    "digits.npy.gz": gzip.compress(npy()),
    "digits.npz": npz(),
    "stored.npz": npz(np.savez),
    "digits.csv": csv(),
    "headed.csv": csv(header=PIXELS, end="\r\n"),
    "labels.csv": csv(header=f"label,{PIXELS}", label=True),
    "bare-labels.csv": csv(label=True),
    "marked.csv": b"\xef\xbb\xbf" + csv(header=f'"label",{PIXELS}', label=True),
    "fractions.csv": csv(DIGITS / 255),
    "points.csv": csv(DIGITS.astype(float)),
    "blank.csv": csv(end="\n\n"),
    "digits.csv.gz": gzip.compress(csv()),
    "digits.parquet": parquet(),
    "digits.arrow": arrow(),
    "digits.feather": arrow(100),
    "digits.arrows": arrow_stream(),
    "stream.arrow": arrow_stream(100),
}
