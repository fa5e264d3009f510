"""One small tree of errors: catch `DeployError` to catch them all.

Every message says where, what was expected, what was found, and what to do. An engine's own
exception is translated where we call it, with the original as ``__cause__``.
"""


class DeployError(Exception):
    """Base of every error that lenet-deploy raises on purpose."""


class ArtifactError(DeployError):
    """An artifact or checkpoint is missing, damaged, not trusted, or cannot be written."""


class InputError(DeployError):
    """The caller's images or arguments are not of the expected kind; nothing was run."""


class BackendUnavailable(DeployError):
    """The engine or the hardware that was asked for is not here; nothing ran instead of it."""


class DeviceMemoryError(DeployError):
    """The GPU has too little free memory for this call; smaller calls still work."""


class ParityError(DeployError):
    """An artifact answers unlike its reference, so it was not published or not loaded."""
