"""Run by .ci/run in an environment that holds the wheel and the `cpu` extra alone.

Its arguments are artifacts made elsewhere by the same version.
"""

import importlib.util
import sys
from importlib.resources import files

import lenet_bench
import lenet_deploy
import lenet_export
import lenet_runtime
from lenet_runtime.images.digits import load_digits

for folder in ("lenet_runtime.images", "lenet_export"):  # whose MNIST digits these are
    notice = files(folder) / "bundled" / "NOTICE.txt"
    assert "Attribution-ShareAlike 3.0" in notice.read_text(), notice
for package in (lenet_bench, lenet_deploy, lenet_export, lenet_runtime):
    assert package.__file__, package
    assert "site-packages" in package.__file__, package.__file__
for absent in ("torch", "torchvision", "onnx"):
    assert importlib.util.find_spec(absent) is None, f"{absent} is installed; this proves nothing"

digits = load_digits()
for artifact in sys.argv[1:]:
    with lenet_runtime.load(artifact, trust=True) as session:
        right = int((session.predict(digits.images).labels == digits.labels).sum())
    assert right >= len(digits.labels) - 1, f"{artifact}: {right} of {len(digits.labels)} right"
    engine = f"{session.backend} {lenet_runtime.BACKENDS[session.backend].version()}"
    needs = session.manifest.requirements.engine_version
    print(f"{right} of {len(digits.labels)} digits right on {engine} ({needs}), without PyTorch")
