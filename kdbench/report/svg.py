"""Inline SVG: no script, no network, colours by CSS so that light and dark both work.

Every series has a shape of its own (marker or line style) besides its colour, so that nothing
depends on colour. Matplotlib draws with stand-in colours, which become CSS variables (`--ink`,
`--grid`, `--c0`, ...).
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

from kdbench.report.lettering import wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours are distinct for colour-blind readers; the page gives each a light and a
# dark value.
COLOURS = 8
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")
IDS = "id-in-picture-"  # begins every id; a page with several pictures numbers it
STAND_INS = {"ink": "#010203", "soft": "#020304", "grid": "#030405", "page": "#050607"}
STAND_INS |= {f"c{i}": f"#0405{i:02x}" for i in range(COLOURS)}

LIGHT = (
    "--page: #ffffff; --panel: #f6f7f9; --ink: #1b1f24; --soft: #5b6570; --grid: #dde1e6; "
    "--mark: #fff3c4; "
    "--c0: #0072b2; --c1: #b34700; --c2: #00785a; --c3: #8f3f71; --c4: #8a6d00; --c5: #2a7fb8; "
    "--c6: #555555; --c7: #a3262a;"
)
DARK = (
    "--page: #14171b; --panel: #1d2126; --ink: #e6e9ec; --soft: #9aa4ae; --grid: #343a41; "
    "--mark: #4a3f14; "
    "--c0: #5bb4f0; --c1: #f0955a; --c2: #3ecf9e; --c3: #e08cc0; --c4: #e5c84a; --c5: #8fd0ff; "
    "--c6: #b9bec4; --c7: #ff8c8c;"
)


@dataclass(frozen=True)
class Series:
    """What marks one row in all pictures of a task."""

    name: str
    marker: str
    colour: str

    @property
    def css(self) -> str:
        """The name of its colour in CSS."""
        return next(name for name, value in STAND_INS.items() if value == self.colour)


def series_of(names: Sequence[str]) -> dict[str, Series]:
    """A marker and a colour for each name; with more than twelve names pairs of both still
    differ.
    """
    found = {}
    for i, name in enumerate(dict.fromkeys(names)):
        found[name] = Series(name, MARKERS[i % len(MARKERS)], STAND_INS[f"c{i % COLOURS}"])
    return found


# ---- from matplotlib -----------------------------------------------------------------------------


def as_svg(figure: Figure) -> str:
    """The figure as an SVG element: scalable, CSS colours, no ids but those it refers to itself."""
    import matplotlib

    stream = io.StringIO()
    style: dict[Any, str] = {"svg.fonttype": "none", "svg.hashsalt": "kdbench"}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # the reader's browser has the letters that matplotlib's font lacks
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    root = ElementTree.fromstring(stream.getvalue())
    for element in root.iter():
        element.tag = local_name(element.tag)
        attributes = element.attrib.items()
        element.attrib = {local_name(name): with_css(name, value) for name, value in attributes}
    remove(root, "metadata")
    remove(root, "style")  # the page has its own
    rename_ids(root)
    size = {name: value for name, value in root.attrib.items() if name not in ("width", "height")}
    root.attrib = {"class": "plot", "role": "img", **size}
    return ElementTree.tostring(root, encoding="unicode")


def local_name(name: str) -> str:
    """A name without its namespace, which HTML does not have."""
    return name.rpartition("}")[2]


def with_css(name: str, value: str) -> str:
    """An attribute in the page's colours and font."""
    if name == "style":
        facts = value.split("; ")
        value = "; ".join(fact for fact in facts if not fact.startswith("font-family"))
    for colour, stand_in in STAND_INS.items():
        value = value.replace(stand_in, f"var(--{colour})")
    return value


def remove(element: Element, tag: str) -> None:
    """Remove all elements of a name below `element`."""
    for child in list(element):
        if child.tag == tag:
            element.remove(child)
        else:
            remove(child, tag)


def rename_ids(root: Element) -> None:
    """Let every id that something refers to begin with `IDS`, and leave the others out."""
    used: set[str] = set()
    for element in root.iter():
        for name, value in element.attrib.items():
            if name == "href":
                used.add(value.removeprefix("#"))
                element.set(name, f"#{IDS}{value.removeprefix('#')}")
            elif "url(#" in value:
                used.add(value.partition("url(#")[2].partition(")")[0])
                element.set(name, value.replace("url(#", f"url(#{IDS}"))
    for element in root.iter():
        name = element.attrib.pop("id", "")
        if name in used:
            element.set("id", f"{IDS}{name}")


# ---- put together --------------------------------------------------------------------------------


def key(series: Series) -> str:
    """The marker alone, for a legend in the page's own text."""
    from matplotlib.markers import MarkerStyle
    from matplotlib.path import Path

    style = MarkerStyle(series.marker)
    path = style.get_path().transformed(style.get_transform())
    letters = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C"}
    steps = []
    for points, code in path.iter_segments():
        if code == Path.CLOSEPOLY:
            steps.append("Z")
        else:
            steps.append(letters[code] + " ".join(f"{10 * value:.1f}" for value in points))
    colour = f"var(--{series.css})"
    return (
        '<svg class="key" viewBox="-7 -7 14 14" aria-hidden="true"><path transform="scale(1,-1)" '
        f'style="fill:{colour};stroke:{colour}" d="{" ".join(steps)}"/></svg>'
    )


STYLE = (
    f"<style>svg {{ {LIGHT} }}\n"
    f"@media (prefers-color-scheme: dark) {{ svg {{ {DARK} }} }}\n"
    "text { font-family: system-ui, sans-serif; font-size: 14px; fill: var(--ink); } "
    ".title { font-size: 16px; font-weight: bold; }</style>"
)
WIDE, GAP = 430, 10  # of a picture in a sheet, and between two of them
ROW = 19  # from line to line


def sheet(title: str, panels: Sequence[tuple[str, str]], legend: Sequence[Series]) -> str:
    """Captioned pictures, two a row, and what their marks mean, as one SVG file: light or dark as
    its reader has it.
    """
    width, y = 2 * WIDE + 3 * GAP, 8
    parts: list[str] = []
    for line in wrapped(title, 88):
        y += ROW
        parts.append(f'<text x="12" y="{y}" class="title">{escape(line)}</text>')
    y += GAP
    for start in range(0, len(panels), 2):
        drawn, high = row_of_panels(panels[start : start + 2], y, start)
        parts += drawn
        y += high + GAP
    entries, high = legend_of(legend, y)
    y += high + GAP
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" role="img">',
        f"<title>{escape(title)}</title>",
        STYLE,
        '<rect width="100%" height="100%" style="fill: var(--page)"/>',
        *parts,
        *entries,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def row_of_panels(
    panels: Sequence[tuple[str, str]], y: int, first: int
) -> tuple[list[str], int]:
    """Captioned pictures side by side at height `y`, all in one scale, and how high they are.

    first  the number of the first one, by which their ids differ
    """
    captions = [wrapped(caption, 50) for caption, _ in panels]
    head = ROW * max(map(len, captions)) + 4
    parts, highest = [], 0
    for column, (lines, (_, drawn)) in enumerate(zip(captions, panels, strict=True)):
        picture = drawn.replace(IDS, f"p{first + column}-")
        x = GAP + column * (WIDE + GAP)
        parts += written(lines, x + 4, y)
        high = math.ceil(WIDE * height_to_width(picture))
        parts.append(placed(picture, x, y + head, WIDE, high))
        highest = max(highest, high)
    return parts, head + highest


def height_to_width(picture: str) -> float:
    """The height of a picture over its width."""
    size = picture.partition('viewBox="')[2].partition('"')[0].split()
    return float(size[3]) / float(size[2])


def legend_of(legend: Sequence[Series], y: int) -> tuple[list[str], int]:
    """Marks and names in two columns, from the top down, and how high they are."""
    half = math.ceil(len(legend) / 2)
    parts, highest = [], 0
    for column, entries in enumerate((legend[:half], legend[half:])):
        x, high = GAP + column * (WIDE + GAP), 0
        for series in entries:
            lines = wrapped(series.name, 46)
            parts.append(placed(key(series), x + 4, y + high + 3, 14, 14))
            parts += written(lines, x + 26, y + high)
            high += ROW * len(lines)
        highest = max(highest, high)
    return parts, highest


def written(lines: Sequence[str], x: int, y: int) -> list[str]:
    """Lines of text whose upper left corner is at a place."""
    return [
        f'<text x="{x}" y="{y + ROW * number - 4}">{escape(line)}</text>'
        for number, line in enumerate(lines, 1)
    ]


def placed(picture: str, x: int, y: int, width: int, height: int) -> str:
    """A picture at a place and in a size of its own."""
    return f'<svg x="{x}" y="{y}" width="{width}" height="{height}">{picture}</svg>'
