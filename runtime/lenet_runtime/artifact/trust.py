"""What an artifact may do when it is loaded, and who has to vouch for it.

A TorchScript archive, a compiled package, an engine and a shared library run what they carry the
moment they are loaded. An ONNX graph is data where it is a network of LeNet's family and nothing
else (`lenet_runtime.artifact.graph.admission`), and may do anything to the engine where it is not.
Hashes prove that files belong together, not who made them. So a caller has to say that the
artifact is to be trusted; or the process is the one that wrote it.
"""

from lenet_runtime.artifact import Artifact
from lenet_runtime.errors import ArtifactError

# Digests of the artifacts that this process exported. By content, not by path: a folder can be
# exchanged after we wrote it.
_written: set[str] = set()


def remember(artifact: Artifact) -> None:
    """Trust this very content for the rest of the process, because the process made it."""
    _written.add(artifact.digest)


def reason(artifact: Artifact) -> str | None:
    """Why the artifact is not to be loaded unless somebody vouches for it; None where it is data.

    Raises:
        ArtifactError: The model's file is no such file, and nobody's word helps.
    """
    if artifact.manifest.runs_code:
        return f"a {artifact.manifest.format!r} artifact runs code when it is loaded"
    from lenet_runtime.artifact.graph import admission  # 1 ms, which no other format pays
    from lenet_runtime.artifact.graph.protobuf import Malformed

    try:
        admission.check(artifact)
    except Malformed as error:
        where = artifact.path / admission.MODEL
        raise ArtifactError(f"{where}: not an ONNX model ({error}); export it again") from error
    except ValueError as error:
        return f"{admission.MODEL} is not known to be data: {error}"
    return None


def require(artifact: Artifact, trust: bool) -> None:
    """Raise `ArtifactError` if loading would run what nobody vouched for."""
    if trust or artifact.digest in _written:
        return
    found = reason(artifact)
    if found is not None:
        raise ArtifactError(
            f"{artifact.path}: {found}; if you know who made it, pass trust=True; "
            "an 'onnx' artifact of LeNet's family is data and needs no trust"
        )
