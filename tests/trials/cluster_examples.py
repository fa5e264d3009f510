"""Runs an example of docs/batch-clusters.md in a folder with its inputs, and reads its answers.

    python tests/trials/cluster_examples.py over_dask.py ARTIFACT

in an environment with the engine and pyarrow.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import lenet_runtime
from lenet_runtime.images.digits import load_digits

PAGE = Path(__file__).parents[2] / "docs" / "batch-clusters.md"
ROWS = 3000


def example(name):
    """The block of the page that begins with the name."""
    (code,) = re.findall(rf"```python\n(# {name}\n.*?)```", PAGE.read_text(), re.DOTALL)
    return code


def check(name, artifact, folder):
    """Run an example in a folder, and compare its answers with the session's."""
    pixels = np.resize(load_digits().images.reshape(-1, 784), (ROWS, 784))
    column = pa.FixedSizeListArray.from_arrays(pa.array(pixels.ravel()), 784)
    pq.write_table(pa.table({"id": range(ROWS), "pixels": column}), folder / "digits.parquet",
                   row_group_size=1000)  # fmt: skip
    (folder / "artifacts").mkdir()
    (folder / "artifacts" / "native-fp32").symlink_to(artifact.resolve())
    (folder / name).write_text(example(name))
    path = os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, name], cwd=folder, env=os.environ | {"PYTHONPATH": path},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    with lenet_runtime.load(artifact, trust=True) as session:
        predicted = session.predict(pixels.reshape(-1, 28, 28))
    expected = [predicted.class_labels[label] for label in predicted.labels]
    answers = pq.read_table(folder / "labels", columns=["id", "label", "error"]).sort_by("id")
    assert answers["id"].to_pylist() == list(range(ROWS))
    assert answers["label"].to_pylist() == expected
    assert answers["error"].null_count == ROWS
    return ROWS


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        rows = check(sys.argv[1], Path(sys.argv[2]), Path(scratch))
    print(f"{sys.argv[1]}: {rows} rows, equal to the session's")
