"""Files as annotation tools and libraries write them, as the rows that `--task files` takes.

`open_layout` finds the layout from the content, never from the ending, and reads one split.
`convert` writes what it read as JSON lines. Each layout has a file of its own here, which says what
such a file looks like and by which rule it is told apart.
"""

from kdbench.data.layouts.opening import convert, open_layout, raw_rows, settled_rows
from kdbench.data.layouts.part import Defaults, Part

__all__ = ["Defaults", "Part", "convert", "open_layout", "raw_rows", "settled_rows"]
