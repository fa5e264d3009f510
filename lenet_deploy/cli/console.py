"""What every command prints with: results on stdout, everything else on stderr."""

import json
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console

stdout = Console()
stderr = Console(stderr=True)


def print_json(document: Mapping[str, Any]) -> None:
    """Print `document` as the only thing on stdout: strict JSON, so NaN is refused."""
    json.dump(document, sys.stdout, indent=2, allow_nan=False)
    sys.stdout.write("\n")
