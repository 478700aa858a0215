"""Plugins that a command did not name, and that run with the user's rights all the same: which they
are, and how to leave them out.
"""

from __future__ import annotations

import os

from kdbench.base.places import NO_PACKAGES
from kdbench.base.progress import say


def offered() -> list[str]:
    """In words, the files that KDBENCH_PLUGINS names, and what installed packages offer."""
    files = filter(None, os.environ.get("KDBENCH_PLUGINS", "").split(os.pathsep))
    found = [f"{path} (KDBENCH_PLUGINS)" for path in files]
    return [*found, *of_packages()]


def of_packages() -> list[str]:
    """The modules that installed packages offer in the group ``kdbench``, each with its package."""
    from importlib.metadata import entry_points

    if os.environ.get(NO_PACKAGES):
        return []
    found = []
    for point in entry_points(group="kdbench"):
        package = point.dist.name if point.dist else "a package without a name"
        found.append(f"{point.value} (installed with {package})")
    return found


def tell(plugins: list[str]) -> None:
    """Say which plugins run beside those that the command names; of several processes of one run
    (torchrun) the first one says it.
    """
    if os.environ.get("RANK", "0") == "0":
        say(f"plugins: {', '.join(plugins)}; --no-plugins leaves them out")


def leave_out() -> None:
    """Let none of them be loaded, here and in the processes that are started from here."""
    os.environ.pop("KDBENCH_PLUGINS", None)
    os.environ[NO_PACKAGES] = "1"
