"""The last step of reading: cells as the tasks read them, and what may not stand in one.

Tags of lists are read in any scheme (`schemes`), those of dev and test in that of train
(`like_train`); they may stand beside a text (`tag_strings`). Words that nobody sees (blank,
zero-width) are left out and counted. Labels in lists: see `label_lists`. A missing value (null,
NaN, ``nan`` as pandas writes it) as text or label is refused, with how many rows have none.
"""

from __future__ import annotations

from dataclasses import replace

from kdbench.data.layouts import label_lists, like_train, schemes, tables, tag_strings
from kdbench.data.layouts.context import Context, Row, is_texts
from kdbench.data.layouts.part import Lenient, Part, Settings, place_of
from kdbench.data.readers import Record, shown

PASS = " (rows of train without a label pass as text by --task-set without_label=text)"
MISSING = ("nan", "NaN", "<NA>", "#N/A")
WORDS, TAGS = ("tokens", "words"), ("ner_tags", "tags", "labels")
GROUP = "group"


def settled(part: Part, settings: Settings, like: Part | None = None) -> Part:
    """The part with changed cells, `like` train where that was read before."""
    before = like.decided if like is not None else {}
    rows = [dict(record.fields) for record in part.records]
    context = Context(part, settings, before, rows, dict(part.decided))
    labelled = not isinstance(settings, Lenient) or settings.labelled
    if labelled and not _are_tagged(context) and not tag_strings.settle(context):
        label_lists.settle(context)
    group = part.group
    if _are_tagged(context):
        words, tags = _names(context)
        _settle_tags(context, words, tags)
        like_train.settle(context, tags)
        if all(GROUP in row for row in rows):
            group = GROUP
    elif not isinstance(settings, Lenient):
        _refuse_missing(context)
    records = [Record(record.source, record.line, row, record.vertical)
               for record, row in context.pairs()]
    return replace(context.part, records=records, group=group, decided=context.decided,
                   notes=(*part.notes, *context.notes, *context.tally.notes()))


def _names(context: Context) -> tuple[str, str]:
    """The columns of words and tags; empty where there is none."""
    words = next((name for name in context.names if name.lower() in WORDS), "")
    lower = {name.lower(): name for name in reversed(context.names)}
    return words, next((lower[name] for name in TAGS if name in lower), "")


def _are_tagged(context: Context) -> bool:
    words, tags = _names(context)
    return bool(words and tags) and isinstance(context.rows[0].get(words), list)


def _settle_tags(context: Context, words: str, tags: str) -> None:
    """Tags of lists in the scheme of the tasks, without words that nobody sees."""
    if "scheme" in context.decided or context.part.group:
        return  # a tag file or a span file, settled by its reader
    sentences = [value for row in context.rows if is_texts(value := row.get(tags))]
    scheme = schemes.like_train(schemes.scheme_of(sentences), context.before.get("scheme", ""))
    context.decided["scheme"] = scheme
    declared = context.part.declared
    if tags in declared and scheme:
        named = {tags: tuple(schemes.converted(declared[tags], scheme))}
        context.part = replace(context.part, declared={**declared, **named})
    if schemes.note(scheme):
        context.notes.append(schemes.note(scheme))
    for record, row in context.pairs():
        _settle_sentence(context, record, row, (words, tags))


def _settle_sentence(context: Context, record: Record, row: Row, names: tuple[str, str]) -> None:
    words, tags = row.get(names[0]), row.get(names[1])
    if isinstance(tags, list) and tags and all(type(tag) is int for tag in tags):
        raise record.mistake(f"{names[1]} is {shown(tags)}, numbers without names",
                           "write the tags' names (O, B-TYPE, I-TYPE)")
    if not is_texts(words) or not is_texts(tags) or len(words) != len(tags):
        return  # the task names the mistake
    scheme = context.decided["scheme"]
    if scheme:
        row[names[1]] = tags = schemes.converted(tags, scheme)
    kept = schemes.words_kept(words)
    if words and not any(kept):
        raise record.mistake(f"no word of {names[0]} can be seen: {shown(words)}", "remove the row")
    if "" in words or all(kept):
        return
    context.tally.add("words left out that nobody sees (blank, zero-width)", place_of(record),
                      kept.count(False))
    row[names[0]], row[names[1]] = schemes.without(words, tags, schemes.read_as(scheme))


def _refuse_missing(context: Context) -> None:
    """`BadInput` for a text or a label that is no value, with how many rows have none."""
    wanted = {*tables.TEXTS, *tables.LABELS}
    wanted |= {name.lower() for name in context.settings.label_column}
    wanted.add(getattr(context.settings, "text_column", "").lower())
    named = [name for name in context.rows[0] if name.lower() in wanted]
    for name in named or context.rows[0]:
        empty = [record for record, row in context.pairs() if is_missing(row.get(name))]
        if empty:
            raise empty[0].mistake(
                f"{name} is {shown(empty[0].fields.get(name))}, a missing value, as in "
                f"{len(empty):,} of {len(context.rows):,} rows",
                "give a value or remove these rows" + PASS * passes(context, name))


def passes(context: Context, name: str) -> bool:
    """Is there an option by which the rows without this field would pass?"""
    refusing = getattr(context.settings, "without_label", "") == "refuse"
    return refusing and name.lower() not in tables.TEXTS


def is_missing(value: object) -> bool:
    """None, a float NaN, what pandas and Excel write for one, or a text that nobody sees."""
    if isinstance(value, str):
        text = value.strip()
        return text in MISSING or text != "" and schemes.is_invisible(text)
    return value is None or isinstance(value, float) and value != value
