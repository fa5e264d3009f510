"""An artifact's folder with anything that a file system can hold in it."""

import contextlib
import os
import shutil
import socket

from samples import snapshot

from tests.fuzz.artifacts import copied, loaded, mangled

STRANGERS = [
    ".DS_Store", "._manifest.json", ".nfs0001", "lost+found", "..data", "README.md", "a\nb",
    "\x1b[2J", "x" * 255, "model.onnx.bak", "sitecustomize.py", os.fsdecode(b"\xff\xfe"),
]  # fmt: skip
TARGETS = [
    "/dev/zero", "/dev/stdin", "/proc/self/mem", "/proc/self/environ", "/etc/passwd", "nowhere",
    ".", "..", "/",
]  # fmt: skip


@contextlib.contextmanager
def objects(artifacts, scratch):
    """An artifact's folder with anything that a file system can hold, in a file's place or beside.

    Its own bytes, behind a link of any kind, are no fault.
    """
    folder, reference, restore = copied(artifacts, scratch)
    contents = snapshot(folder)
    listed = sorted(contents)

    def case(draw):
        steps = []
        try:
            for _ in range(draw.few()):
                name = draw.choice([*listed, *listed, draw.choice(STRANGERS)])
                what = draw.choice(sorted(OBJECTS))
                steps.append(f"{name!r}: {what}")
                draw.note(steps[-1])
                place = folder / name
                data = contents.get(name, b"")
                if place.is_dir() and not place.is_symlink():
                    shutil.rmtree(place)
                else:
                    place.unlink(missing_ok=True)
                OBJECTS[what](place, data, draw)
            with loaded(folder) as session:
                reference.require(session)
            return "right"
        finally:
            shutil.rmtree(scratch / "elsewhere", ignore_errors=True)
            restore()

    yield case


def elsewhere(place, data):
    """The same bytes outside the folder."""
    target = place.parent.parent / "elsewhere" / place.name
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(data)
    return target


def unix_socket(place, data, draw):
    with (
        socket.socket(socket.AF_UNIX) as server,
        contextlib.chdir(place.parent),
        contextlib.suppress(OSError),  # a name of 255 characters is too long for it
    ):
        server.bind(place.name)


def sparse(place, data, draw):
    with place.open("wb") as file:
        file.truncate(2**36)


def device_node(place, data, draw):
    with contextlib.suppress(PermissionError):
        os.mknod(place, 0o20666, os.makedev(1, 5))  # /dev/zero


def linked_hard(place, data, draw):
    os.link(elsewhere(place, data), place)


OBJECTS = {
    "nothing": lambda place, data, draw: None,
    "empty file": lambda place, data, draw: place.touch(),
    "folder": lambda place, data, draw: place.mkdir(),
    "full folder": lambda place, data, draw: (place / "x" / "y").mkdir(parents=True),
    "pipe": lambda place, data, draw: os.mkfifo(place),
    "socket": unix_socket,
    "device": device_node,
    "sparse 64 GiB": sparse,
    "hard link": linked_hard,
    "link to the bytes": lambda p, data, draw: p.symlink_to(elsewhere(p, data)),
    "relative link": lambda p, data, draw: p.symlink_to(f"../elsewhere/{elsewhere(p, data).name}"),
    "link to itself": lambda place, data, draw: place.symlink_to(place.name),
    "odd link": lambda place, data, draw: place.symlink_to(draw.choice(TARGETS)),
    "other bytes": lambda place, data, draw: place.write_bytes(mangled(draw, data or b"x")[0]),
    "the same bytes": lambda place, data, draw: place.write_bytes(data),
    "no rights": lambda place, data, draw: (place.write_bytes(data), place.chmod(0)),
}  # fmt: skip
