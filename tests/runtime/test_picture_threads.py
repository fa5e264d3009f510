"""A picture is read on the thread that asks: no other one is started, and none of BLAS wakes."""

import subprocess
import sys

SCRIPT = """
import pathlib
import threading
import time
import numpy as np
from PIL import Image
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.pictures import mnist_style

def others():
    own = threading.get_native_id()
    tasks = [task for task in pathlib.Path("/proc/self/task").iterdir() if int(task.name) != own]
    return {task.name: int((task / "schedstat").read_text().split()[0]) for task in tasks}

digit = Image.fromarray(load_digits().images[0])
if "wake" in __import__("sys").argv:
    mnist_style = lambda picture: np.ones((2000, 2000)) @ np.ones((2000, 2000))
time.sleep(0.3)  # what the import started has gone to sleep
before = others()
for side in (64, 200, 600, 1200):
    for _ in range(3):
        mnist_style(digit.resize((side, side)))
print(others() == before)
"""


def test_reading_pictures_wakes_no_other_thread():
    """In a process of its own, where no engine and no other test has threads."""
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert run.stdout == "True\n", run.stdout
