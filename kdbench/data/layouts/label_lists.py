"""Labels in the cells of a table or of JSON: lists, vectors, and one label in a list.

Cells of a table become lists of labels where the content shows that they are some:

- ``"['a', 'b']"``, ``["a","b"]``, ``[1, 0]`` and other ways to print a list (`brackets`): every
  cell with something in it is such a list. Where only some cells of labels are, one is refused;
- ``a;b`` or ``a|b``: the column is one of labels (by option, by name, or the shorter of two), a
  cell has the mark, no label is empty, and at least one label also stands in another cell without
  the same company. ``Disorder|Finding`` beside ``Other`` stays one label;
- ``a,b``: a comma is also a part of names (``Neoplasms, malignant``). So it divides labels only
  where every label of every cell with a comma also stands alone in a cell of its own.

The option `label_separator` says which mark divides labels, or that none does.

An empty cell of such a column is a text without labels; these are counted. A field `label` with a
list of one name in every row, as doccano and Label Studio export it, is one label a text. Vectors
of 1.0 and 0.0, or of true and false, are read as 1 and 0. What train shows holds for dev and test.
"""

from __future__ import annotations

from collections.abc import Sequence

from kdbench.data.layouts import tables
from kdbench.data.layouts.brackets import in_brackets
from kdbench.data.layouts.context import Context, Row, is_list
from kdbench.data.layouts.part import Lenient, Settings, place_of
from kdbench.data.layouts.spanfiles import is_span
from kdbench.data.readers import Record, shown

MARKS = (";", "|", ",")
SEPARATORS = ("auto", "none", *MARKS)
CELL_LIMIT = 10_000  # characters; a list of labels is shorter
VECTOR, ONE, BRACKETS = "vectors of 0 and 1", "one label in every list", "lists in brackets"


def settle(context: Context) -> None:
    """Change the cells of columns that hold lists of labels."""
    for name in context.names:
        key = f"labels of {name}"
        way = context.before[key] if key in context.before else way_of(context, name)
        context.decided[key] = way
        if not way:
            continue
        context.notes.append(f"{name}: {f'labels divided by {way}' if way in MARKS else way}")
        for record, row in context.pairs():
            if name in row:
                row[name] = converted(context, record, name, way)


def way_of(context: Context, name: str) -> str:
    """How the column writes several labels: a mark, `VECTOR`, `ONE` or `BRACKETS`; empty: not."""
    values = [row.get(name) for row in context.rows]
    given = [value for value in values if value not in (None, "")]
    lists = [value for value in given if is_list(value)]
    if not given:
        return ""
    if len(lists) == len(given):
        if are_vectors(lists):
            return VECTOR
        single = len(lists) == len(values) and all(map(is_one, lists))
        return ONE if single and name.lower() == "label" else ""
    texts = [value for value in given if isinstance(value, str) and len(value) < CELL_LIMIT]
    if len(texts) < len(given):
        return ""
    labels = name in label_columns(context.rows, context.settings)
    if all(in_brackets(value, labels) is not None for value in texts):
        return BRACKETS
    if not labels:
        return ""
    refuse_some_lists(context, name)
    said = getattr(context.settings, "label_separator", "auto")
    if said != "auto":
        return "" if said == "none" else said
    found = next((mark for mark in MARKS if is_divided(texts, mark)), "")
    if not found and any(mark in value for value in texts for mark in MARKS):
        context.notes.append(f"{name}: a value with {' or '.join(MARKS)} in it is one label (for "
                             "several: label_separator)")
    return found


def refuse_some_lists(context: Context, name: str) -> None:
    """`BadInput` where one cell is a list of texts or numbers, and another is none."""
    cells = [(record, str(row.get(name) or "")) for record, row in context.pairs()]
    lists = [value for _, value in cells if is_surely_a_list(in_brackets(value) or [])]
    if not lists:
        return
    record, value = next(cell for cell in cells if cell[1] and in_brackets(cell[1], True) is None)
    raise record.mistake(f"{name} is {shown(value)}, no list, and {shown(lists[0])} of another row "
                         "is one", "give a list in every row, or a label without brackets")


def is_surely_a_list(found: Sequence[object]) -> bool:
    """Texts in quotes, or several numbers? ``[1]`` alone may be a label."""
    return len(found) > 1 or any(isinstance(item, str) for item in found)


def is_divided(values: Sequence[str], mark: str) -> bool:
    """Does the mark divide labels, by the rule of this module?"""
    return are_alone(values) if mark == "," else recombined(values, mark)


def are_alone(values: Sequence[str]) -> bool:
    """Has a cell a comma, and does each label of such cells also stand alone in a cell?"""
    cells = {tuple(_divided(value, ",")) for value in values}
    alone = {cell[0] for cell in cells if len(cell) == 1}
    several = {label for cell in cells if len(cell) > 1 for label in cell}
    return bool(several) and several <= alone


def is_one(value: Sequence[object]) -> bool:
    """A list of one name?"""
    return len(value) == 1 and isinstance(value[0], str)


def are_vectors(values: Sequence[Sequence[object]]) -> bool:
    """Vectors of one width with 1.0 and 0.0, or true and false? (0 and 1 need no change.)"""
    items = [item for value in values for item in value]
    numbers = all(isinstance(item, (int, float)) and item in (0, 1) for item in items)
    widths = {len(value) for value in values}
    return numbers and len(widths) == 1 and any(type(item) is not int for item in items)


def with_spans(records: Sequence[Record]) -> list[Record] | None:
    """The rows of a table with the entities that a column spells out; None where none does."""
    for name in records[0].fields:
        cells = [str(record.fields[name]) for record in records]
        if not any(cell.strip().startswith("[{") for cell in cells):
            continue
        lists = [in_brackets(cell) if cell.strip() else [] for cell in cells]
        if any(found is None or not all(map(is_span, found)) for found in lists):
            continue
        pairs = zip(records, lists, strict=True)
        return [Record(record.source, record.line, {**record.fields, name: found})
                for record, found in pairs]
    return None


def label_columns(rows: Sequence[Row], settings: Settings) -> list[str]:
    """Columns that may hold labels: by option, by name, else the other or the shorter of two."""
    names = list(rows[0])
    if settings.label_column:
        return list(settings.label_column)
    named = [name for name in names if name.lower() in tables.LABELS]
    if named or len(names) != 2:
        return named
    others = [name for name in names if name.lower() not in tables.TEXTS]
    if len(others) == 1:
        return others
    return [min(names, key=lambda name: sum(len(str(row.get(name))) for row in rows))]


def recombined(values: Sequence[str], mark: str) -> bool:
    """Has a cell the mark, and does one of its labels stand elsewhere without the others?"""
    cells = {tuple(sorted(_divided(value, mark))) for value in values}
    if any("" in cell for cell in cells):
        return False
    companies: dict[str, int] = {}
    for cell in cells:
        for label in set(cell):
            companies[label] = companies.get(label, 0) + 1
    several = [label for cell in cells if len(cell) > 1 for label in cell]
    return any(companies[label] > 1 for label in several)


def _divided(value: str, mark: str) -> list[str]:
    return [label.strip() for label in value.split(mark)]


def converted(context: Context, record: Record, name: str, way: str) -> object:
    """The value of one cell by the way of its column; `BadInput` where it does not fit."""
    value = record.fields[name]
    if way == VECTOR:
        return _vector(value) if is_list(value) else value
    if way == ONE:
        if value == [] and isinstance(context.settings, Lenient):
            return None
        if is_list(value) and not is_one(value):
            raise record.mistake(f"{name} is {shown(value)}, and every row of train has one label",
                               "give one label, or let train have texts with several")
        return value[0] if is_list(value) else value
    if value in (None, ""):
        context.tally.add(f"rows without a label in {name}, read as texts with none",
                          place_of(record))
        return []
    if not isinstance(value, str):
        return value
    if way in MARKS:
        return _divided(value, way)
    found = in_brackets(value, bare=True)
    if found is None:
        raise record.mistake(f"{name} is {shown(value)}, no list", "give a list in every row")
    return _vector(found)


def _vector(value: list[object]) -> list[object]:
    """The same with 1 and 0 for 1.0, 0.0, true and false."""
    return [int(item) for item in value] if are_vectors([value]) else value  # type: ignore
