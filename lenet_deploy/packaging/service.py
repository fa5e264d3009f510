"""What all targets that start `lenet-deploy serve` share: values of templates, and options."""

import importlib.metadata
import platform
import re
from collections.abc import Callable, Iterable

from lenet_deploy.packaging.target import Package
from lenet_runtime.artifact import trust
from lenet_runtime.errors import InputError
from lenet_runtime.formats import Option
from lenet_runtime.version import __version__

_EXTRAS = {"native": "grpc,serve", "onnx": "cpu,grpc,serve"}
"""What has to be installed to serve each format that these targets take."""
# A Service's name, RFC 1035: 63 characters, NAME-pods among them.
_LABEL = re.compile(r"[a-z]([a-z0-9-]{0,56}[a-z0-9])?")
_IMAGE = re.compile(r"[a-z0-9]([a-zA-Z0-9._/:@-]{0,250}[a-zA-Z0-9])?")
_DIGEST_CHARACTERS = 12


def _integer(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch("[0-9]{1,5}", text) or not least <= int(text) <= most:
            raise ValueError(text)
        return int(text)

    return parse


def _image(text: str) -> str:
    if not _IMAGE.fullmatch(text):
        raise ValueError(text)
    return text


IMAGE = Option(
    "image", "--image", "The container image that serves. Default: NAME:DIGEST, the first 12 "
    "digits of the artifact's digest.", "IMAGE", _image,
)  # fmt: skip
REPLICAS = Option(
    "replicas", "--replicas", "The fewest pods, 1 to 1000. Default: 2.", "N", _integer(1, 1000)
)
MAX_REPLICAS = Option(
    "max_replicas", "--max-replicas", "The most pods that load brings about. Default: four times "
    "the fewest.", "N", _integer(1, 10000),
)  # fmt: skip
PORT = Option(
    "port", "--port", "Port of REST, 1 to 65534, gRPC's is the next. Default: 8000.", "PORT",
    _integer(1, 65534),
)  # fmt: skip


def extras(package: Package) -> str:
    """The extras of lenet-deploy that serve this artifact.

    Raises:
        InputError: Its format needs a GPU or PyTorch.
    """
    name = package.artifact.manifest.format
    if name not in _EXTRAS:
        raise InputError(
            f"{package.artifact.path}: expected an artifact of the format "
            f"{' or '.join(_EXTRAS)}, found {name}, which needs an image with its own engine or "
            "a GPU; export another with lenet-deploy export --format native"
        )
    return _EXTRAS[name]


def dns_name(package: Package) -> str:
    """The model's name as that of a service in a network.

    Raises:
        InputError: It is none.
    """
    if not _LABEL.fullmatch(package.name):
        raise InputError(
            "name: expected small letters, digits and '-', at most 58, a letter first, since it "
            f"becomes a service's name, found {package.name!r}"
        )
    return package.name


def made_by(package: Package) -> str:
    """What each file says of its origin."""
    manifest, digest = package.artifact.manifest, package.artifact.digest[:_DIGEST_CHARACTERS]
    return (
        f"Made by lenet-deploy {__version__} from the artifact {digest} "
        f"({manifest.format} {manifest.precision})."
    )


def image(package: Package) -> str:
    """The image's name, whose tag says which artifact is in it unless another was asked for."""
    default = f"{package.name}:{package.artifact.digest[:_DIGEST_CHARACTERS]}"
    return str(package.options.get("image", default))


def folder_of(package: Package) -> str:
    """The artifact's folder, by the name that ``lenet-deploy export -o`` gives it."""
    return f"{package.artifact.manifest.format}-{package.artifact.manifest.precision}"


def architecture(package: Package) -> str:
    """The processor's architecture by containers' names: the artifact's, else this machine's."""
    name = (package.artifact.manifest.requirements.platform or platform.machine()).lower()
    known = {"x86_64": "amd64", "aarch64": "arm64"}
    return next((short for long, short in known.items() if name.endswith(long)), name)


def port_of(package: Package) -> int:
    """The port of REST."""
    return int(package.options.get("port", 8000))


def values(package: Package) -> dict[str, object]:
    """What templates may name; see `target.filled`.

    Raises:
        InputError: The artifact's format or the name does not fit.
    """
    port = port_of(package)
    replicas = package.options.get("replicas", 2)
    most = package.options.get("max_replicas", 4 * replicas)
    if most < replicas:
        raise InputError(f"max_replicas: expected at least {replicas} (--replicas), found {most}")
    why = trust.reason(package.artifact)
    return {
        "MADE_BY": made_by(package),
        "NAME": dns_name(package),
        "IMAGE": image(package),
        "TAG": package.artifact.digest[:_DIGEST_CHARACTERS],
        "EXTRA": extras(package),
        "FORMAT": package.artifact.manifest.format,
        "PRECISION": package.artifact.manifest.precision,
        "FOLDER": folder_of(package),
        "ARCHITECTURE": architecture(package),
        "PORT": port,
        "GRPC_PORT": port + 1,
        "REPLICAS": replicas,
        "MAX_REPLICAS": most,
        "TRUST": " --trust" if why else "",
        "TRUST_ARGUMENT": ', "--trust"' if why else "",
        "TRUST_NOTE": "--trust: the artifact is code, and who can write it decides what runs here."
        if why
        else "No --trust: the artifact is data alone, which the server checks at each load.",
    }


def constraints(extras: Iterable[str]) -> bytes:
    """The versions of what serves, as they are installed here: a file for ``pip --constraint``."""
    versions: dict[str, str] = {}
    _collect("lenet-deploy", {*extras}, versions)
    versions.pop("lenet-deploy", None)
    lines = [f"{name}=={version}" for name, version in sorted(versions.items())]
    return ("\n".join(lines) + "\n").encode()


def _collect(name: str, extras: set[str], versions: dict[str, str]) -> None:
    """Add a distribution and what it requires, as far as it is installed."""
    name = re.sub(r"[-_.]+", "-", name).lower()
    if name in versions:
        return
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:  # of another system, or not needed to package
        return
    versions[name] = distribution.version
    for line in distribution.requires or ():
        required, _, marker = line.partition(";")
        wanted = re.findall(r"""extra\s*==\s*['"]([^'"]+)""", marker)
        if not wanted or extras & {*wanted}:
            match = re.match(r"[A-Za-z0-9._-]+", required)
            assert match, line
            _collect(match[0], set(), versions)
