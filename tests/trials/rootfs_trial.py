"""The image of `package --target docker`, as far as it can be made without a container engine.

    python rootfs_trial.py WHEEL ARTIFACT    # as root, by a Python that has the wheel

Runs the package's own assemble.py, changes the root to what it made, mounted read-only, and starts
there what the Dockerfile starts, as its user and without a capability; then asks for the golden
images, by the Dockerfile's own health check too, and ends it with SIGTERM. Memory can be written or
run, and not both, as systemd's unit has it, and there is no network but a loopback.
"""

import ctypes
import fcntl
import http.client
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

PR_SET_MDWE = 65
CLONE_NEWNET, SIOCSIFFLAGS, IFF_UP = 0x40000000, 0x8914, 1
# Mounts that end with the process: the root, read-only, and what an engine mounts in it.
ENTER = """
mount --make-rprivate /
mount --bind "$ROOT" "$ROOT"
mount -o remount,ro,bind "$ROOT"
mount -t proc proc "$ROOT/proc"
mount --rbind /dev "$ROOT/dev"
exec chroot --userspec="$NUMBER:$NUMBER" "$ROOT" "$@"
"""


def told(dockerfile, instruction):
    """The JSON after an instruction of the Dockerfile."""
    return json.loads(re.search(rf"^{instruction} (\[.*\])$", dockerfile, re.MULTILINE)[1])


def inside(root, user, words, **options):
    """Start a command in the root, as the user."""
    return subprocess.Popen(
        ["unshare", "--mount", "bash", "-euc", ENTER, "bash", *words],
        env={"PATH": os.environ["PATH"], "ROOT": str(root), "NUMBER": str(user)},
        **options,
    )


def forbid_writable_code():
    """What MemoryDenyWriteExecute= does; it outlives exec."""
    ctypes.CDLL(None).prctl(PR_SET_MDWE, 1, 0, 0, 0)


def enter_a_network_of_our_own():
    """With a loopback and nothing else: ports are free, and nobody outside is reached."""
    assert ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0
    with socket.socket() as any_socket:
        up = struct.pack("16sH14x", b"lo", IFF_UP)
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, up)


def ask(port, method, path, body=None):
    """The status and the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, body)
    answer = connection.getresponse()
    return answer.status, answer.read()


def check(server, log, artifact):
    """Ask what the server answers, and what it may do."""
    deadline = time.monotonic() + 30
    while "ready: " not in log.read_text():
        assert server.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    with np.load(artifact / "golden.npz") as golden:
        images, logits = golden["images"], golden["logits"]
    request = {"name": "images", "datatype": "FP32", "shape": images.shape, "data": images.tolist()}
    status, answer = ask(8000, "POST", "/v2/models/lenet/infer", json.dumps({"inputs": [request]}))
    assert status == 200, answer
    answered = np.array(json.loads(answer)["outputs"][0]["data"], np.float32).reshape(logits.shape)
    print(f"golden images: {len(images)}, max |difference| {abs(answered - logits).max():.2g}")
    assert np.allclose(answered, logits, atol=1e-4)
    state = Path(f"/proc/{server.pid}/status").read_text()
    assert re.search(r"^Uid:\t65532\t65532\t65532", state, re.MULTILINE), state
    assert re.search(r"^CapEff:\t0+$", state, re.MULTILINE), state
    resident = int(re.search(r"VmRSS:\s+(\d+)", state)[1])
    print(f"resident: {resident / 1024:.0f} MiB")


def main(wheel, artifact):
    """Assemble, start, ask, end."""
    probe = ["unshare", "--mount", "--net", "sh", "-c",
             "mount --make-rprivate / && mount --bind / / && mount -t proc proc /proc"]  # fmt: skip
    if os.getuid() != 0 or subprocess.run(probe, check=False).returncode:
        print("not tried: chroot takes root, and rights to mount")
        return
    enter_a_network_of_our_own()
    with tempfile.TemporaryDirectory() as scratch:
        package, root, log = Path(scratch, "package"), Path(scratch, "rootfs"), Path(scratch, "log")
        Path(scratch).chmod(0o755)
        command = [sys.executable, "-m", "lenet_deploy", "package", str(artifact)]
        subprocess.run([*command, "--target", "docker", "--wheel", wheel, "-o", package, "-q"],
                       check=True, stdout=subprocess.DEVNULL)  # fmt: skip
        subprocess.run([sys.executable, package / "assemble.py", root], check=True)
        shutil.copytree(package / "artifact", root / "artifact")
        dockerfile = (package / "Dockerfile").read_text()
        user = int(re.search(r"^USER (\d+)", dockerfile, re.MULTILINE)[1])
        words = told(dockerfile, "ENTRYPOINT") + told(dockerfile, "CMD") + ["--drain-delay", "0.2"]
        with log.open("w") as stderr:
            server = inside(root, user, words, stderr=stderr, preexec_fn=forbid_writable_code)
            try:
                check(server, log, Path(artifact))
                health = told(dockerfile, "HEALTHCHECK .*\n *CMD")
                assert inside(root, user, health).wait(10) == 0, "the health check fails"
                writes = ["/bin/python3", "-I", "-c", "open('/tmp/x', 'w')"]
                code = inside(root, user, writes, stderr=subprocess.DEVNULL).wait(10)
                assert code != 0, "the root can be written"
                server.send_signal(signal.SIGTERM)
                assert server.wait(20) == 0, log.read_text()
                assert inside(root, user, health, stderr=subprocess.DEVNULL).wait(10) != 0
            finally:
                server.kill()
    print("The image's root serves, read-only, for a user without rights, and ends by SIGTERM.")


if __name__ == "__main__":
    main(*sys.argv[1:])
