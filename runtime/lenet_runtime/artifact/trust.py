"""Who may run code from an artifact: only a caller who says so, or the process that wrote it.

A TorchScript archive, a compiled package, an engine and a shared library run what they carry the
moment they are loaded. Their hashes prove that the files belong together, not who made them.
"""

from lenet_runtime.artifact import Artifact
from lenet_runtime.errors import ArtifactError
from lenet_runtime.formats import FORMATS

# Digests of the artifacts that this process exported. By content, not by path: a folder can be
# exchanged after we wrote it.
_written: set[str] = set()


def remember(artifact: Artifact) -> None:
    """Trust this very content for the rest of the process, because the process made it."""
    _written.add(artifact.digest)


def require(artifact: Artifact, trust: bool) -> None:
    """Raise `ArtifactError` if loading would run code that nobody vouched for."""
    if trust or not artifact.manifest.runs_code or artifact.digest in _written:
        return
    data = " and ".join(repr(name) for name, known in FORMATS.items() if not known.runs_code)
    raise ArtifactError(
        f"{artifact.path}: a {artifact.manifest.format!r} artifact runs code when it is loaded; "
        "if you know who made it, pass trust=True (command line: --trust); "
        f"an artifact of the format {data} is data and needs no trust"
    )
