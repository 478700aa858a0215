"""Where this package is installed, and the folders that are shipped with it."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def shipped(name: str) -> Path:
    """A folder of the project: inside this package where it is installed, beside it in a clone."""
    inside = PACKAGE / name
    return inside if inside.is_dir() else PACKAGE.parent / name

NO_PACKAGES = "KDBENCH_NO_PLUGINS"  # set: what installed packages offer is not loaded
