"""A text beside the tags of its words: ``took met,O B-Drug``, or a list of tags beside a text.

The labels of a column are such tags where all of them, divided by blanks, are tags of words
(`schemes.are_tags`). Then each row has to have as many tags as its text has words between blanks;
a row with another number is refused, as nobody knows which word a tag belongs to. The text stays
beside the words.
"""

from __future__ import annotations

from kdbench.data.layouts import schemes, tables
from kdbench.data.layouts.context import Context, Row, is_texts
from kdbench.data.layouts.part import Lenient
from kdbench.data.readers import Record, shown

KEY = "tags beside a text"
TAGS = ("ner_tags", "tags", "ner", "bio", "iob")
TEXTS = (*tables.TEXTS, "words", "tokens")
WORDS, OWN_TAGS = "words", "tags"


def settle(context: Context) -> bool:
    """Make lists of words and tags of the text and its tags, where the rows have these."""
    before = context.before.get(KEY, "").split("\t")
    text, tags = before if len(before) == 2 else _columns(context)
    if not text or not tags or text not in context.names or tags not in context.names:
        return False
    context.decided[KEY] = f"{text}\t{tags}"
    context.notes.append(f"{tags}: a tag for each word of {text}, words divided by blanks")
    for record, row in context.pairs():
        lenient = isinstance(context.settings, Lenient)
        if lenient and not (pieces(row.get(tags)) and str(row.get(text) or "").strip()):
            row.pop(tags, None)  # asked about, and not scored
            row[WORDS] = str(row.get(text) or "").split()
        else:
            _settle_row(record, row, text, tags)
    return True


def _columns(context: Context) -> tuple[str, str]:
    """The columns of text and tags; empty where no column has tags of words."""
    said = getattr(context.settings, "text_column", "")
    texts = [name for name in context.names if name == said or name.lower() in TEXTS
             and isinstance(context.rows[0].get(name), str)]
    known = {*TAGS, *tables.LABELS, *map(str.lower, context.settings.label_column)}
    own = [name for name in context.names if name.lower() in known]
    if not own and len(context.names) == 2:
        own = [name for name in context.names if name not in texts]
    for tags in own:
        values = [pieces(row.get(tags)) for row in context.rows]
        found = {tag for value in values for tag in value}
        several = any(len(value) > 1 for value in values)
        left = [name for name in context.names if name != tags]
        text = texts[0] if texts else left[0] if len(left) == 1 else ""
        if several and text not in ("", tags) and schemes.are_tags(found):
            return text, tags
    return "", ""


def pieces(value: object) -> list[str]:
    """The tags of a cell: a text with blanks, or a list."""
    if isinstance(value, str):
        return value.split()
    return list(value) if is_texts(value) else []


def _settle_row(record: Record, row: Row, text: str, tags: str) -> None:
    words, own = str(row.get(text) or "").split(), pieces(row.get(tags))
    if len(words) != len(own) or not words:
        raise record.mistake(
            f"{text} has {len(words)} words between blanks, and {tags} {len(own)} tags "
            f"({shown(row.get(tags))})", "give a tag for each word, or one word and its tag a line")
    row.pop(tags)
    row[WORDS], row[OWN_TAGS] = list(words), own
