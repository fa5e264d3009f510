"""``torch-compile``: AOTInductor packages through PyTorch's package loader.

`torch._inductor.aoti_load_package` imports the whole compiler (1.7 s) to find this loader; we
call the loader, which `import torch` has already brought, so three packages are ready in 25 ms.

What is fastest at one image is slowest at 64, so an artifact holds several packages. Each is
named after the least batch that it serves: ``model-from-1.pt2``, ``model-from-2.pt2``.
"""

import bisect
from collections.abc import Callable

import torch

from lenet_runtime import devices
from lenet_runtime.artifact import Artifact, Manifest
from lenet_runtime.artifact.files import AGAIN
from lenet_runtime.artifact.private import obstacle, private_folder
from lenet_runtime.backends.protocol import Predictor
from lenet_runtime.backends.torch.core import Held, predictor, probe
from lenet_runtime.errors import ArtifactError, BackendUnavailable, first_line
from lenet_runtime.formats import FORMATS, numbered, numbers

__all__ = ["load", "probe", "starts", "unmet"]

(PACKAGE,) = FORMATS["torch-compile"].files


def load(artifact: Artifact, device: str, threads: int | None) -> Predictor:
    """See `lenet_runtime.backends.Backend.load`."""
    packages = _packages(artifact)
    with Held(threads):
        runs = [_package(artifact, name, device) for name in packages.values()]
    bounds = list(packages)[1:]

    def forward(images: torch.Tensor) -> torch.Tensor:
        return runs[bisect.bisect_right(bounds, images.size(0))]([images])[0]

    return predictor("torch-compile", forward, device, threads, artifact.manifest.precision)


def starts(artifact: Artifact) -> tuple[int, ...]:
    """One program a package; see `lenet_runtime.backends.Backend.starts`."""
    return tuple(_packages(artifact))


def unmet(manifest: Manifest) -> list[str]:
    """Compiled code calls into libtorch, whose interface may change with every release."""
    built, here = manifest.requirements.engine_version, str(torch.__version__)
    if built.split(".")[:2] == here.split(".")[:2]:
        return []
    return [f"it was compiled with PyTorch {built!r}, this is {here!r}"]


def _packages(artifact: Artifact) -> dict[int, str]:
    """Names of the packages by the least batch they serve, ascending."""
    packages = numbers(PACKAGE, artifact.manifest.files)
    first = artifact.manifest.batch_size or 1
    if min(packages, default=None) != first:
        raise ArtifactError(
            f"{artifact.path}: the manifest lists no file {numbered(PACKAGE, first)!r} but "
            f"{sorted(artifact.manifest.files)}; an artifact of an older version holds "
            "'model.pt2': export it again"
        )
    return packages


def _package(
    artifact: Artifact, name: str, device: str
) -> Callable[[list[torch.Tensor]], list[torch.Tensor]]:
    """Load one package; returns what runs it."""
    data = artifact.read(name)
    wanted = devices.parse(device)
    on_cpu = wanted.kind == "cpu"
    index = -1 if on_cpu else wanted.index
    # The loader takes a path only. It unpacks the file into another private folder, and needs it no
    # longer than that.
    with private_folder(len(data)) as folder:
        package = folder / name
        package.write_bytes(data)
        try:
            # On a GPU without the loader's own locks, which ask an event of the last run whether
            # it happened: CUDA allows that to nobody who captures a graph. `_torch_cuda` lets one
            # call in at a time.
            loader = torch._C._aoti.AOTIModelPackageLoader(
                str(package), "model", not on_cpu, 1, index
            )
        except (RuntimeError, ValueError) as error:
            advice = obstacle(str(error))
            kind = BackendUnavailable if advice else ArtifactError
            raise kind(
                f"{artifact.path / name}: PyTorch cannot load it ({first_line(error)}); "
                f"{advice or AGAIN}"
            ) from error
    return loader.run
