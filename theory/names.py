"""Public names, each said once: in the `__all__` of the module that defines it.

A package hands on the names of its modules without importing one before it is asked for: the lists are read
from the sources. A module without `__all__` is for its neighbours.
"""

import ast
import importlib
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

_SAID = re.compile(r"^__all__ = (\[.*?\])$", re.MULTILINE | re.DOTALL)


def public(package: str) -> dict[str, str]:
    """name -> module, for the modules of a package (not of those inside it) that have an `__all__`.

    ValueError where two modules say the same name.
    """
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec is not None else None
    found: dict[str, str] = {}
    for path in sorted(path for folder in folders or () for path in Path(folder).glob("*.py")):
        if said := _SAID.search(path.read_text(encoding="utf-8")):
            module = package if path.stem == "__init__" else f"{package}.{path.stem}"
            for name in ast.literal_eval(said[1]):
                if name in found:
                    raise ValueError(f"{name} is in the __all__ of {found[name]} and of {module}")
                found[name] = module
    return found


def load(package: str) -> None:
    """Import the public modules of a package, so that what they register is in the catalogues."""
    for module in dict.fromkeys(public(package).values()):
        importlib.import_module(module)


def lazily(package: str, *others: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package: its public names, or those of `others`."""
    home: dict[str, str] = {}
    for each in others or (package,):
        home |= public(each)

    def attribute(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(home[name]), name)

    return attribute, lambda: sorted(home), sorted(home)
