"""ES modules as one script, for a page that loads nothing."""

import re
from collections.abc import Mapping

_IMPORT = re.compile(r"""^import \{[^}]*\} from ["']\./([\w.-]+)["'];\n""", re.M)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function\*?|class|const|let) (\w+))", re.M)
_OTHER = re.compile(r"^(?:import|export)\b.*", re.M)


def bundle(modules: Mapping[str, str]) -> str:
    """Make statements that declare what the modules export, and nothing else of theirs.

    Each module becomes a function that is called once, so that what it does not export stays its
    own; what it imports stands before it.

    Args:
        modules: Texts by file name. They import from one another alone, by ``import { names } from
            "./file.js"``, and export declarations.

    Raises:
        ValueError: A module imports or exports in another way, or in a circle.
    """
    done: list[str] = []
    statements = []

    def add(name: str, above: tuple[str, ...]) -> None:
        if name in done:
            return
        if name in above:
            raise ValueError(f"expected imports without a circle, found {' -> '.join(above)}")
        text = modules[name]
        for imported in _IMPORT.findall(text):
            add(imported, (*above, name))
        done.append(name)
        names = ", ".join(_EXPORT.findall(text))
        body = _EXPORT.sub("", _IMPORT.sub("", text))
        if rest := _OTHER.search(body):
            raise ValueError(f"{name}: expected plain imports and exports, found {rest[0]!r}")
        statements.append(f"const {{ {names} }} = (() => {{\n{body}return {{ {names} }};\n}})();\n")

    for name in modules:
        add(name, ())
    return "".join(statements)
