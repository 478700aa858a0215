"""BC2GM as the BioBERT-to-BiLSTM project reads it: two columns, IOBES tags, `train.tsv` and
`val.tsv`.

`val.tsv` is BC2GM's dev set, on which that project both selects and reports. Without a `test.tsv`
beside it, it is the test set here and dev is drawn from train, so that nothing is selected on what
is reported; with one (`bench.py prepare` puts it there), `val.tsv` is dev.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from kdbench.base.options import option
from kdbench.data import corpora, tags
from kdbench.data.readers import Source, tagged_words, two_columns
from kdbench.data.task import Data, Example, LoadOptions, Task
from kdbench.tasks.embedded import lookalike
from kdbench.tasks.recipes import NER_KD

LABELS = tags.tag_set(["GENE"], "IOBES")
DEV_FILES, TEST_FILES = ("val.tsv", "devel.tsv", "dev.tsv"), ("test.tsv",)


@dataclass(frozen=True)
class Bc2gmOptions:
    """Where dev comes from, and what is done with broken tags."""

    dev: str = option(
        "train",
        "without test.tsv, dev is a share of train, or val.tsv itself as in the published code",
        choices=("train", "val"), source="code: it selects and reports on val.tsv")
    split_dev: float = option(
        0.1, "that share of the sentences of train", minimum=0.01, maximum=0.5)
    repair: bool = option(
        False, "read tags that break the scheme as seqeval does instead of refusing them")


def read_columns(source: Source, labels: Sequence[str] = LABELS,
                 repair: bool = False) -> list[Example]:
    """The sentences of a two-column file; the row number is the id.

    repair  read tags that break the scheme as seqeval does
    """
    places = {tag: i for i, tag in enumerate(labels)}
    examples = []
    for row, record in enumerate(two_columns(source)):
        words, sentence_tags = tagged_words(record, "words", "tags", labels, "IOBES", repair)
        label = tuple(places[tag] for tag in sentence_tags)
        examples.append(Example(id=str(row), words=words, label=label, group=str(row)))
    return examples


def load(options: LoadOptions) -> Data:
    """The corpus from the user's folder; without test.tsv, val.tsv is the test set."""
    settings: Bc2gmOptions = options.settings or Bc2gmOptions()
    reader = partial(read_columns, repair=settings.repair)
    files = {"train": ("train.tsv",), "dev": DEV_FILES, "test": TEST_FILES}
    data = corpora.read_splits("bc2gm_iobes", options, files, reader, LABELS, optional=("test",))
    if data.test:
        return data
    val = {"test": data.sha256["dev"], "train": data.sha256["train"]}
    if settings.dev == "val":
        note = "val.tsv is both dev and test, as in the published code"
        return replace(data, test=data.dev, sha256=val, notes=(note,))
    train, dev = corpora.split(data.train, settings.split_dev, options.seed)
    note = (f"val.tsv is test; dev: {len(dev):,} of the {len(data.train):,} sentences of train, by "
            f"seed {options.seed}")
    return replace(data, train=train, dev=dev, test=data.dev, sha256=val, notes=(note,))


BC2GM_IOBES = Task(
    name="bc2gm_iobes",
    task_type="tags",
    about="gene mentions, IOBES tags",
    metric="entity_f1_strict",
    metrics=("entity_f1_strict", "entity_f1", "piece_tag_micro_f1"),
    load=load,
    lookalike=lookalike("bc2gm_iobes"),
    labels=LABELS,
    label_names={
        "B-GENE": "gene begins",
        "I-GENE": "gene goes on",
        "E-GENE": "gene ends",
        "S-GENE": "gene of one word",
    },
    scheme="IOBES",
    unit="sentence",
    texts="abstracts",
    citation="Smith et al. 2008, Overview of BioCreative II gene mention recognition",
    licence="not stated (biobert-distillation); the same files: CC BY 4.0 "
            "(cambridgeltl/MTL-Bioinformatics-2016)",
    source="https://github.com/dsashulya/biobert-distillation at fa32db9, bc2gm/; "
    "cambridgeltl/MTL-Bioinformatics-2016 at df0df02, data/BC2GM-IOBES",
    # The project's README has word-piece tag F1 on val.tsv (`piece_tag_micro_f1`), no entity F1,
    # so no published score has this task's metric.
    rows={"train": 12574, "dev": 2519, "test": 5038},
    mentions={"train": 15197, "dev": 3061, "test": 6325},
    sha256={
        "train": "92aa8fe61b4acff595f54ea9468f49cf31819cf93523a6513cba595761c70548",
        "dev": "b3d85136f296af8cda67c80917d5e29366e99eb36b497db15edf5c6f7789d199",
        "test": "f3533ead4f5dbe3a7b74cf0554329bce927c77f6824a81e133ad634672287ca8",
    },
    recipes=NER_KD,
    max_length=202,
    options=Bc2gmOptions,
)
