"""Docstrings as Markdown: a Griffe extension that the Python page is built with (see mkdocs.yml).

The project's docstrings explain parameters and fields in two columns, a name and, behind two blanks
or more, what it is. Markdown would run these lines into one paragraph; here they become a list.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

ENTRY = re.compile(r"^([^\s.](?: ?[^\s.])*) {2,}(\S.*)$")  # no sentence: a name has no full stop


class Columns(griffe.Extension):
    """Turns the two columns of every docstring into a list."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for every module, class, function and attribute that is read."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(docstring: str) -> str:
    """`docstring` with each `name  text` line, and its continuation lines, as an item of a list."""
    lines: list[str] = []
    inside = False  # an item
    for line in docstring.splitlines():
        entry = ENTRY.match(line)
        if entry:
            if not inside:
                lines.append("")
            lines.append(f"- `{entry[1]}`: {entry[2]}")
            inside = True
        elif inside and line.startswith("  "):
            lines.append(f"    {line.strip()}")
        else:
            if inside and line.strip():
                lines.append("")
            inside = False
            lines.append(line)
    return "\n".join(lines)
