"""Copy this Python, its packages and the libraries that they load into a folder: an image's root.

    python3 assemble.py /rootfs

The Dockerfile runs it in its first stage. What a server never imports stays behind: pip, tests,
headers, IDLE. There is no shell and no package manager in the result, so nothing but the server can
be started in it; scanners find the Python packages by their *.dist-info, but no list of Debian's.
"""

import compileall
import os
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

# Of the standard library, and of what was installed.
UNUSED = [
    "__pycache__", "site-packages", "test", "tests", "idlelib", "tkinter", "turtledemo",
    "ensurepip", "lib2to3", "pydoc_data", "sqlite3", "curses", "venv", "config-*", "_test*",
    "_ctypes_test*", "_tkinter*", "_sqlite3*", "_dbm*", "_gdbm*", "_curses*", "readline*",
    "xxlimited*", "_xxtestfuzz*", "_crypt*", "crypt*", "nis.*", "ossaudiodev*", "spwd*",
    "pip", "pip-*", "setuptools*", "pkg_resources", "_distutils_hack", "distutils*", "wheel",
    "wheel-*", "*.pyi", "*.pyx", "*.pxd", "*.a", "*.h",
]  # fmt: skip
USER = 65532  # who has no rights anywhere; the number that distroless images use, too


def copy_python(root: Path) -> None:
    """The interpreter, its standard library and the packages, at the places that it knows."""
    binary = Path(sys.executable).resolve()
    packages = sysconfig.get_path("platlib")
    base = {"base": sys.base_prefix, "platbase": sys.base_prefix}
    skip = shutil.ignore_patterns(*UNUSED)
    copy(binary, root)
    shutil.copytree(sysconfig.get_path("stdlib"), inside(root, sysconfig.get_path("stdlib")),
                    ignore=skip)  # fmt: skip
    shutil.copytree(packages, inside(root, sysconfig.get_path("platlib", vars=base)), ignore=skip)
    (root / "bin").mkdir(exist_ok=True)
    (root / "bin" / "python3").symlink_to(binary)
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH  # nobody edits a read-only root
    compileall.compile_dir(root, quiet=2, stripdir=root, invalidation_mode=unchecked)


def inside(root: Path, path: str | Path) -> Path:
    """Where the file of this path lies below `root`."""
    return root / str(path).lstrip("/")


def copy(path: str | Path, root: Path) -> None:
    """Copy a file to its own path below `root`, with what links lead to."""
    there = inside(root, path)
    if not there.exists():
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, there)


def is_elf(path: Path) -> bool:
    """Whether this is a program or a library."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def copy_libraries(root: Path) -> None:
    """What the dynamic loader finds for each program and library, and the loader."""
    elf = [path for path in root.rglob("*") if is_elf(path)]
    # Of the originals: those in `root` may lead to each other, or to nothing yet.
    originals = [path for path in (Path("/") / p.relative_to(root) for p in elf) if path.exists()]
    originals += Path(sysconfig.get_path("platlib")).rglob("*.so*")
    told = subprocess.run(["ldd", *originals], capture_output=True, text=True, check=False).stdout
    for path in sorted(set(re.findall(r"(?:=> |^\s+)(/\S+) \(0x", told, re.MULTILINE))):
        if "site-packages" not in path:  # wheels bring theirs, and say where
            copy(path, root)
    if Path("/etc/ld.so.cache").exists():  # where libpython is, on some systems
        copy("/etc/ld.so.cache", root)


def strip(root: Path) -> None:
    """Drop symbols that only debuggers read, a fifth of it all.

    Not of what wheels vendor in NAME.libs: patchelf wrote those, and strip breaks some.
    """
    if shutil.which("strip"):
        own = [p for p in root.rglob("*.so*") if is_elf(p) and ".libs/" not in str(p)]
        subprocess.run(["strip", "--strip-unneeded", *own], check=True)


def make_system_files(root: Path) -> None:
    """The folders that an engine mounts things on, and a user's name."""
    for name in ("dev", "proc", "sys", "tmp", "etc"):
        (root / name).mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    (root / "etc/passwd").write_text(f"serve:x:{USER}:{USER}:serve:/nonexistent:/nonexistent\n")
    (root / "etc/group").write_text(f"serve:x:{USER}:\n")


def main(root: Path) -> None:
    """Assemble the root, and say its size."""
    os.umask(0o022)
    root.mkdir(parents=True)
    copy_python(root)
    copy_libraries(root)
    strip(root)
    make_system_files(root)
    size = sum(p.lstat().st_size for p in root.rglob("*") if p.is_file() and not p.is_symlink())
    print(f"{root}: {size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
