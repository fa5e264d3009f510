"""What goes beside a microcontroller's C, and the example that is built from it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from native_c import request

from lenet_export.formats.native import cortex_package, write_source
from lenet_runtime import __version__
from lenet_runtime.errors import InputError

EXAMPLE = Path(__file__).parents[2] / "examples" / "microcontroller"


def write(net, folder, **options):
    own = request(net, precision="int8", target="cortex-m", **options)
    del own.options["isa"]
    return write_source(own, folder)


def test_each_build_system_finds_its_file(net, tmp_path):
    paths = write(net, tmp_path, prefix="digits")
    names = [str(path.relative_to(tmp_path)) for path in paths]
    assert names == ["lenet.c", "lenet.h", *cortex_package.FILES]

    library = json.loads((tmp_path / "library.json").read_text())
    properties = dict(
        line.split("=", 1) for line in (tmp_path / "library.properties").read_text().splitlines()
    )
    for package in (library, properties):
        assert (package["name"], package["version"]) == ("digits", __version__)
    assert library["description"] == properties["sentence"]
    assert "int8" in library["description"]
    assert (tmp_path / "zephyr" / "module.yml").read_text().startswith("name: digits\n")
    assert f'version: "{__version__}"\n' in (tmp_path / "idf_component.yml").read_text()
    assert "add_library(digits STATIC lenet.c)" in (tmp_path / "CMakeLists.txt").read_text()
    for name in cortex_package.FILES:
        assert not {"NAME", "VERSION", "WEIGHTS", "DESCRIPTION"} & set(
            (tmp_path / name).read_text().replace(",", " ").split()
        )


def test_a_prefix_that_is_no_name_makes_no_package(net, tmp_path):
    with pytest.raises(InputError, match="prefix: expected letters"):
        write(net, tmp_path, prefix="a b")
    assert not list(tmp_path.iterdir())


def test_hosts_get_the_c_alone(net, tmp_path):
    assert len(write_source(request(net), tmp_path)) == 2


def test_the_example_shows_its_digit(net, tmp_path):
    for tool in ("make", "arm-none-eabi-gcc", "qemu-system-arm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not on PATH")
    folder = shutil.copytree(EXAMPLE, tmp_path / "example", ignore=shutil.ignore_patterns("build"))
    write(net, tmp_path / "source")
    words = ["make", "-C", folder, "CORE=m0", f"LENET={tmp_path / 'source'}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    assert f"\nCortex-M0, lenet-deploy {__version__}: this is a 2.\n" in text
    assert f"\n2 {'#' * 40}\n" in text
    assert "warning" not in text
