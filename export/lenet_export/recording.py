"""`record`: a proof that was made after the export becomes part of the artifact."""

import dataclasses

from lenet_export import publish
from lenet_export.verification import Verification
from lenet_runtime.artifact import MANIFEST_NAME, Artifact, trust
from lenet_runtime.errors import ArtifactError


def record(artifact: Artifact, verification: Verification) -> Artifact:
    """Publish `artifact` again with this proof in its manifest, in place of the one it had.

    Every other file stays as it is, to the byte.

    Args:
        artifact: that was verified.
        verification: of a session of this very artifact.

    Raises:
        ParityError: the verification failed; the artifact stays as it was.
        ArtifactError: a file is damaged, another artifact is there by now, or the folder cannot
            be written.
    """
    verification.require(str(artifact.path))
    target = artifact.path.resolve()  # of "." and of a symlink, the folder itself is replaced
    manifest = dataclasses.replace(artifact.manifest, parity=verification.parity)
    files = {name: artifact.read(name) for name in artifact.manifest.files}
    with publish.staging(target) as folder:
        publish.write_files(folder, files | {MANIFEST_NAME: manifest.to_bytes()})
        if Artifact.open(target).digest != artifact.digest:
            raise ArtifactError(
                f"{artifact.path}: another artifact took its place while it was verified, and "
                "stays as it is; verify that one"
            )
        proven = publish.publish(folder, target, force=True)
    trust.remember(proven)  # whoever could load it to verify it had trusted it
    return proven
