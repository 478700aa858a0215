"""DoKTra's layout: `train.tsv`, `dev.tsv`, `test.tsv`, some with a header and a column before the
text.

Which files have the header differs from task to task and is fixed in the published code: without
one a row is ``sentence TAB label``, with one ``index TAB sentence TAB label``. HoC's rows (BLUE's)
are ``labels TAB sentence TAB index``, the labels written ``0_0,1_1,...,9_0``. A quote is text. The
splits of DoKTra's paper are not public; BLUE's (chemprot, ddi, i2b2, hoc) and BioBERT's (gad) are
what its code reads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from kdbench.base.options import option
from kdbench.data import corpora
from kdbench.data.readers import Record, Source, shown, table
from kdbench.data.task import SPLITS, Data, Example, LoadOptions, Task
from kdbench.tasks.blurb_seqcls import CHEMPROT, DDI, GAD, HALLMARKS, HOC, before_underscore
from kdbench.tasks.embedded import lookalike
from kdbench.tasks.recipes import DOKTRA_CHEMPROT, DOKTRA_CHEMPROT_STUDENT, DOKTRA_DEFAULTS

FILES = {split: (f"{split}.tsv",) for split in SPLITS}
ALL = frozenset(SPLITS)
# rows of a file, given its labels and whether it has a header
Reader: TypeAlias = Callable[[Source, tuple[str, ...], bool], list[Example]]
REMEDY = ("; where header and first column are not as in the published code, say --task-set "
          "header=all or header=none")


@dataclass(frozen=True)
class TsvOptions:
    """Which files have a header."""

    header: str = option(
        "published",
        "files with a header and a further column: as in the published code, all or none",
        choices=("published", "all", "none"), source="code")


def rows_of(source: Source, headed: bool) -> tuple[list[Record], list[str]]:
    """The rows and the names of their columns, two without a header and three with one."""
    records = table(source, "\t", header=headed)
    columns = list(records[0].fields)
    wanted = 3 if headed else 2
    if len(columns) != wanted:
        raise records[0].mistake(
            f"{len(columns)} columns, not {wanted} ({'a' if headed else 'no'} header expected)",
            f"a row is {'index, ' if headed else ''}sentence, label{REMEDY}",
        )
    return records, columns


def read_rows(source: Source, labels: tuple[str, ...], headed: bool) -> list[Example]:
    """The rows of a task with one label a sentence; the row number is the id."""
    records, columns = rows_of(source, headed)
    text, label = columns[-2:]
    places = {name: i for i, name in enumerate(labels)}
    if records[0].fields[label] not in places:
        raise records[0].mistake(f"unknown label {shown(records[0].fields[label])}",
                               f"the task's are {', '.join(labels)}{REMEDY}")
    return [Example(id=str(row), text=record.text(text), label=record.index(label, places),
                    group=str(row))
            for row, record in enumerate(records)]


def read_hoc(source: Source, labels: tuple[str, ...], headed: bool) -> list[Example]:
    """BLUE's rows; without a header there is no index, and each sentence is its own document."""
    records, columns = rows_of(source, headed)
    label, text = columns[:2] if headed else columns[::-1]
    examples = []
    for row, record in enumerate(records):
        id = record.id(columns[2]) if headed else str(row)
        examples.append(Example(id=id, text=record.text(text), group=before_underscore(id),
                                label=hallmarks(record, label, len(labels))))
    return examples


def hallmarks(record: Record, name: str, width: int) -> tuple[int, ...]:
    """``0_0,1_1,2_0,...`` as a vector of 0 and 1."""
    pairs = record.text(name).split(",")
    vector = tuple(int(pair == f"{i}_1") for i, pair in enumerate(pairs))
    if len(pairs) != width or pairs != [f"{i}_{value}" for i, value in enumerate(vector)]:
        raise record.mistake(
            f"labels are {shown(record.fields[name])}, not 0_v,1_v,...,{width - 1}_v with v 0 or 1",
            f"give one pair a label{REMEDY}",
        )
    return vector


def load(name: str, labels: tuple[str, ...], published: frozenset[str], reader: Reader,
         options: LoadOptions) -> Data:
    """One of the tasks from the user's folder.

    published  the splits whose file has a header in the published code
    """
    settings: TsvOptions = options.settings or TsvOptions()
    headed = {"published": published, "all": ALL, "none": frozenset()}[settings.header]

    def read_split(source: Source) -> list[Example]:
        return reader(source, labels, source.path.stem in headed)

    return corpora.read_splits(name, options, FILES, read_split, labels)


def _task(name: str, labels: tuple[str, ...], headed: frozenset[str], how_to_get: str,
          reader: Reader = read_rows, task_type: str = "single", **facts: Any) -> Task:
    """What the tasks of this layout share.

    headed  the splits whose file has a header in the published code;  facts  fields of `Task`
    """
    return Task(
        name=name,
        task_type=task_type,
        labels=labels,
        load=partial(load, name, labels, headed, reader),
        lookalike=lookalike(name),
        options=TsvOptions,
        how_to_get=how_to_get,
        **{"unit": "sentence", "recipes": DOKTRA_DEFAULTS, "max_length": 256, **facts},
    )


def names_without_negative(task: Task) -> dict[str, str]:
    """The labels spelled out, but those of no relation, which have another name here."""
    return {label: name for label, name in task.label_names.items() if label not in task.negative}


BLUE = ("the splits are BLUE's: https://github.com/ncbi-nlp/BLUE_Benchmark (release files or "
        "blue/bert/create_*.py)")
MICRO = ("micro_f1", "macro_f1", "accuracy")

CHEMPROT_TSV = _task(
    "chemprot_tsv",
    ("CPR:3", "CPR:4", "CPR:5", "CPR:6", "CPR:9", "false"),
    frozenset({"test"}),
    f"{BLUE}; then `bench.py prepare chemprot_tsv --from FOLDER`",
    texts="abstracts",
    about="ChemProt in DoKTra's layout: five relations, or false",
    metric="micro_f1",
    metrics=MICRO,
    negative=("false",),
    label_names=names_without_negative(CHEMPROT),
    citation=CHEMPROT.citation,
    licence=CHEMPROT.licence,
    source="BLUE's or BioBERT's preprocessing of ChemProt",
    # No primary source has DoKTra's tables; these are quoted second-hand.
    published=(
        ("DoKTra ablation, calibrated teacher + KLD (second-hand)", 76.87),
        ("DoKTra, calibrated teacher + ABD (second-hand)", 77.42),
    ),
    recipes={"doktra": DOKTRA_CHEMPROT, "finetune": DOKTRA_CHEMPROT_STUDENT},
    max_length=128,
)
GAD_TSV = _task(
    "gad_tsv",
    ("0", "1"),
    frozenset({"dev"}),
    "BioBERT's distribution of GAD (https://github.com/dmis-lab/biobert): ten folds of train.tsv "
    "and test.tsv; the test split of DoKTra is not documented; then `bench.py prepare gad_tsv "
    "--from FOLDER`",
    texts="abstracts",
    about="GAD in DoKTra's layout",
    metric="f1_positive",
    metrics=("f1_positive", "accuracy"),
    label_names=GAD.label_names,
    citation=GAD.citation,
    licence=GAD.licence,
    source="BioBERT's distribution of GAD",
)
DDI_TSV = _task(
    "ddi_tsv",
    ("DDI-mechanism", "DDI-effect", "DDI-advise", "DDI-int", "DDI-false"),
    ALL,
    f"{BLUE}; they are not BLURB's; then `bench.py prepare ddi_tsv --from FOLDER`",
    texts="abstracts",
    about="DDI in DoKTra's layout (BLUE's split, not BLURB's)",
    metric="micro_f1",
    metrics=MICRO,
    negative=("DDI-false",),
    label_names=names_without_negative(DDI),
    citation=DDI.citation,
    licence=DDI.licence,
    source="BLUE's preprocessing of the DDI corpus",
)
HOC_TSV = _task(
    "hoc_tsv",
    HALLMARKS,
    ALL,
    f"{BLUE}; then `bench.py prepare hoc_tsv --from FOLDER`",
    reader=read_hoc,
    task_type="multi",
    texts="abstracts",
    about="HoC in DoKTra's layout, scored as BLUE scores it: over documents with a hallmark",
    metric="document_example_f1",
    metrics=("document_example_f1", "document_micro_f1", "micro_f1"),
    unit="PubMed abstract (PMID)",
    citation=HOC.citation,
    licence=HOC.licence,
    source="BLUE's preprocessing of HoC",
)
I2B2 = _task(
    "i2b2",
    ("PIP", "TeCP", "TeRP", "TrAP", "TrCP", "TrIP", "TrNAP", "TrWP", "false"),
    ALL,
    "the notes need a signed data use agreement: register at https://portal.dbmi.hms.harvard.edu "
    "(n2c2, 2010 relations), preprocess with BLUE's blue/bert/create_i2b2_bert.py, then `bench.py "
    "prepare i2b2 --from FOLDER`",
    texts="notes",
    about="relations between problems, tests and treatments in clinical notes (i2b2 2010)",
    metric="micro_f1",
    metrics=MICRO,
    negative=("false",),
    label_names={
        "PIP": "problem indicates problem",
        "TeCP": "test for problem",
        "TeRP": "test reveals problem",
        "TrAP": "treatment given for problem",
        "TrCP": "treatment causes problem",
        "TrIP": "treatment improves problem",
        "TrNAP": "treatment not given because of problem",
        "TrWP": "treatment worsens problem",
        "false": "no relation",
    },
    citation="Uzuner et al. 2011, 2010 i2b2/VA challenge on concepts, assertions, and relations in "
             "clinical text",
    licence="data use agreement (n2c2, Harvard DBMI)",
    source="n2c2 portal, then BLUE's preprocessing",
)
SENTIMENTS = ("positive", "neutral", "negative")
FPB = _task(
    "fpb",
    SENTIMENTS,
    frozenset(),
    "Financial PhraseBank, on the hub as takala/financial_phrasebank; DoKTra's split is not "
    "public: write train.tsv, dev.tsv and test.tsv with rows `sentence TAB label`, then `bench.py "
    "prepare fpb --from FOLDER`",
    texts="other",
    about="sentiment of sentences from financial news",
    metric="micro_f1",
    metrics=("micro_f1", "macro_f1", "accuracy"),
    citation="Malo et al. 2014, Good debt or bad debt: detecting semantic orientations in economic "
             "texts",
    licence="CC BY-NC-SA 3.0 (the data set's card)",
    source="Financial PhraseBank",
)
FTS = _task(
    "fts",
    SENTIMENTS,
    frozenset(),
    "no source of FinTextSen with known terms was found, and DoKTra's split is not public: write "
    "train.tsv, dev.tsv and test.tsv with rows `sentence TAB label`, then `bench.py prepare fts "
    "--from FOLDER`",
    texts="other",
    about="sentiment of financial microblogs",
    metric="micro_f1",
    metrics=("micro_f1", "macro_f1", "accuracy"),
    citation="FinTextSen, after Cortis et al. 2017, SemEval-2017 task 5: sentiment on financial "
             "microblogs and news",
    licence="not stated",
    source="FinTextSen",
)
