"""Run by .ci/run in an environment that holds the wheel and the `cpu` extra alone.

Its arguments are artifacts made elsewhere by the same version; the one that the wheel ships is
tried as well, by the command line, too: offline, and by a user who may write nowhere.
"""

import importlib.util
import json
import subprocess
import sys
from importlib.resources import files

import lenet_bench
import lenet_deploy
import lenet_export
import lenet_runtime
from lenet_runtime.images.digits import load_digits

for folder in (
    "lenet_runtime.images",
    "lenet_export",
    "lenet_deploy",
):  # whose MNIST digits these are
    notice = files(folder) / "bundled" / "NOTICE.txt"
    assert "Attribution-ShareAlike 3.0" in notice.read_text(), notice
for package in (lenet_bench, lenet_deploy, lenet_export, lenet_runtime):
    assert package.__file__, package
    assert "site-packages" in package.__file__, package.__file__
for absent in ("torch", "torchvision", "onnx"):
    assert importlib.util.find_spec(absent) is None, f"{absent} is installed; this proves nothing"

digits = load_digits()
for artifact in (lenet_deploy.bundled_artifact(), *sys.argv[1:]):
    with lenet_runtime.load(artifact, trust=True) as session:
        right = int((session.predict(digits.images).labels == digits.labels).sum())
    assert right >= len(digits.labels) - 1, f"{artifact}: {right} of {len(digits.labels)} right"
    engine = f"{session.backend} {lenet_runtime.BACKENDS[session.backend].version()}"
    needs = session.manifest.requirements.engine_version
    print(f"{right} of {len(digits.labels)} digits right on {engine} ({needs}), without PyTorch")

# In a namespace without a network and with everything mounted read-only, where this user may.
offline = ["unshare", "--net", "--mount", "sh", "-c", 'mount -o remount,bind,ro / && exec "$@"', ""]
if subprocess.run([*offline, "true"], capture_output=True, check=False).returncode != 0:
    print("this user may make no namespaces: what follows could write and call out")
    offline = []
command = [sys.executable, "-m", "lenet_deploy"]
predict = [*offline, *command, "predict", "--digits", "60", "--json"]
answers = json.loads(subprocess.check_output(predict))["predictions"]
assert sum(answer["correct"] for answer in answers) >= 59, answers
print("lenet-deploy predict answers offline, in a home that is read-only")
for words in (["inspect"], ["doctor"], ["bench", "--min-time", "0.02", "--batch-sizes", "1"]):
    subprocess.run([*offline, *command, *words], stdout=subprocess.DEVNULL, check=True)
