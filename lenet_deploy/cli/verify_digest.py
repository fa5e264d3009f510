"""What ``lenet-deploy verify --digest`` prints."""

from typing import Any

from lenet_deploy.cli.console import print_json, stdout
from lenet_runtime.digest import logits_sha256
from lenet_runtime.images.digits import load_digits
from lenet_runtime.session import Session


def print_digests(
    session: Session, data_set: tuple[str, Any, Any] | None, *, artifact: str, as_json: bool
) -> None:
    """The SHA-256 of the logits of the bundled digits, and of a data set's."""
    sets = [("bundled digits", load_digits().images)]
    if data_set is not None:
        sets.append((data_set[0], data_set[1]))
    found = [
        {"digits": name, "count": len(images), "sha256": logits_sha256(session, images)}
        for name, images in sets
    ]
    if as_json:
        where = {"artifact": artifact, "backend": session.backend, "device": session.device}
        print_json(where | {"precision": session.manifest.precision, "digests": found})
        return
    for each in found:
        line = f"{each['sha256']}  {each['digits']}, {each['count']} of them"
        stdout.print(line, soft_wrap=True, highlight=False)
