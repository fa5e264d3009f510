"""`record`: a proof that was made after the export becomes part of the artifact."""

import dataclasses

from lenet_export import publish
from lenet_export.verification import Verification
from lenet_runtime import trust
from lenet_runtime.artifact import MANIFEST_NAME, Artifact


def record(artifact: Artifact, verification: Verification) -> Artifact:
    """Publish `artifact` again with this proof in its manifest, in place of the one it had.

    Every other file stays as it is, to the byte.

    Args:
        artifact: that was verified.
        verification: of a session of this very artifact.

    Raises:
        ParityError: the verification failed; the artifact stays as it was.
        ArtifactError: a file is damaged, or the folder cannot be written.
    """
    verification.require(str(artifact.path))
    manifest = dataclasses.replace(artifact.manifest, parity=verification.parity)
    files = {name: artifact.read(name) for name in artifact.manifest.files}
    with publish.staging(artifact.path) as folder:
        publish.write_files(folder, files | {MANIFEST_NAME: manifest.to_bytes()})
        proven = publish.publish(folder, artifact.path, force=True)
    trust.remember(proven)  # whoever could load it to verify it had trusted it
    return proven
