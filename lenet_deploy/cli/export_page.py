"""`lenet-deploy export --open`: the page of an artifact, in this machine's browser."""

from collections.abc import Iterable
from pathlib import Path

from lenet_deploy.cli.console import note, plain, warn
from lenet_runtime.errors import InputError
from lenet_runtime.formats import FORMATS

PAGE = "index.html"


def check_open(names: Iterable[str]) -> None:
    """Refuse formats of which none has a page."""
    names = list(names)
    if not any(PAGE in FORMATS[name].files for name in names):
        able = " and ".join(name for name, known in FORMATS.items() if PAGE in known.files)
        raise InputError(f"--open: {able} alone has a page, found --format {', '.join(names)}")


def open_pages(artifacts: Iterable[Path]) -> None:
    """Open the page of each of these artifacts that has one, and say where it is."""
    import webbrowser

    for page in (artifact / PAGE for artifact in artifacts):
        if not page.is_file():
            continue
        note(f"opening {plain(page)}")
        try:
            is_open = webbrowser.open(page.resolve().as_uri())
        except webbrowser.Error:
            is_open = False
        if not is_open:
            warn(f"no browser opened it: open {plain(page)} by hand, here or on any machine")
