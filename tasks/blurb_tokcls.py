"""BLURB's tagging tasks in LinkBERT's JSON lines: rows ``{"id", "tokens": [...], "ner_tags":
[...]}``.

Split sizes, mention counts and checksums are those of the files in the VE-KD repository (commit
6b16046); recipes and published scores as in `blurb_seqcls`. The files name no document, so
statistics resample sentences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from kdbench.base.options import option
from kdbench.data import corpora, tags
from kdbench.data.readers import Source, json_lines, tagged_words, unique_ids
from kdbench.data.task import Data, Example, LoadOptions, Task
from kdbench.tasks.blurb_seqcls import FILES, published
from kdbench.tasks.embedded import lookalike
from kdbench.tasks.recipes import linkbert

VE_KD = "https://github.com/pZvfkv3t8PA9vAc/VE-KD at 6b16046, evaluation_data/tokcls"
MTL = "CC BY 4.0 (cambridgeltl/MTL-Bioinformatics-2016)"
ONE_TYPE = ("O", "B", "I")
PICO = ("O", "B-INT", "B-OUT", "B-PAR")  # every word of a span carries B-, as the files have it


@dataclass(frozen=True)
class TagOptions:
    """The scheme of the tags, and what is done with broken ones."""

    scheme: str = option(
        "IOB", "tags that the model learns; the files have IOB", choices=tuple(tags.PREFIXES))
    repair: bool = option(
        False, "read tags that break the scheme as seqeval does instead of refusing them")


@dataclass(frozen=True)
class RepairOptions:
    """What is done with broken tags."""

    repair: bool = option(
        False, "read tags that break the scheme as seqeval does instead of refusing them")


def read_tagged(source: Source, labels: tuple[str, ...], repair: bool, target: str,
                learnt: tuple[str, ...]) -> list[Example]:
    """The sentences, their tags checked against `labels` and IOB, and converted to the scheme
    `target` (`learnt`).
    """
    records, places = json_lines(source), {tag: i for i, tag in enumerate(learnt)}
    examples = []
    for id, record in zip(unique_ids(records), records, strict=True):
        words, given = tagged_words(record, "tokens", "ner_tags", labels, "IOB", repair)
        converted = given if target == "IOB" else tags.convert(given, "IOB", target)
        label = tuple(places[tag] for tag in converted)
        examples.append(Example(id=id, words=words, label=label, group=id))
    return examples


def load_tagged(name: str, labels: tuple[str, ...], options: LoadOptions) -> Data:
    """One of the tagging tasks from the user's folder, its tags in the scheme of the options.

    labels  the tags of the files
    """
    settings: TagOptions | RepairOptions = options.settings or TagOptions()
    target = settings.scheme if isinstance(settings, TagOptions) else "IOB"
    learnt = labels
    if target != "IOB":
        learnt = tags.tag_set({tags.parts(tag)[1] for tag in labels[1:]}, target)
    reader = partial(read_tagged, labels=labels, repair=settings.repair, target=target,
                     learnt=learnt)
    data = corpora.read_splits(name, options, FILES, reader, learnt)
    if target != "IO":
        return data
    note = "IO tags: mentions that touch count as one, in the gold labels too"
    return replace(data, notes=(*data.notes, note))


def _task(name: str, about: str, mentions: Mapping[str, int], **facts: Any) -> Task:
    """What BLURB's tasks with one entity type share."""
    return Task(
        name=name,
        about=about,
        task_type="tags",
        mentions=mentions,
        metric="entity_f1",
        metrics=("entity_f1", "entity_f1_strict", "piece_tag_micro_f1"),
        load=partial(load_tagged, name, ONE_TYPE),
        lookalike=lookalike(name),
        labels=ONE_TYPE,
        scheme="IOB",
        unit="sentence",
        texts="abstracts",
        options=TagOptions,
        max_length=512,
        **facts,
    )


BC2GM = _task(
    "bc2gm", "gene mentions in sentences of abstracts", {"train": 15197, "dev": 3061, "test": 6325},
    label_names={"B": "gene begins", "I": "gene goes on"},
    citation="Smith et al. 2008, Overview of BioCreative II gene mention recognition",
    licence=MTL,
    source=f"{VE_KD}/BC2GM_hf",
    published=published(80.90, 80.90, 83.82, 83.36, 81.71, 81.87, 84.52, 84.90),
    rows={"train": 12574, "dev": 2519, "test": 5038},
    sha256={
        "train": "1d370bd4a1bc65cc35fe9bd1416789d2a97e57e811d0e2824693943aba7e85c1",
        "dev": "d93e59da4ceedc890d69dda34e4c365756a1903cf4cc3c882b89128d95d7c80c",
        "test": "ccfe7134761213fb95d5d15d037c39d58a96a406f4b4ab32b604430c2d018e07",
    },
    recipes=linkbert(lr=6e-5, batch_size=32, epochs=50, max_length=512, warmup=0.1),
)

JNLPBA = _task(
    "jnlpba",
    "molecular biology entities, GENIA's five types as one",
    {"train": 46750, "dev": 4551, "test": 8662},
    label_names={"B": "entity begins", "I": "entity goes on"},
    citation="Collier and Kim 2004, Introduction to the bio-entity recognition task at JNLPBA",
    licence="GENIA Project License (spyysalo/jnlpba)",
    source=f"{VE_KD}/JNLPBA_hf",
    published=published(77.69, 77.86, 78.55, 78.68, 78.07, 77.71, 79.10, 79.03),
    rows={"train": 16807, "dev": 1739, "test": 3856},
    sha256={
        "train": "8ff72eb20b2c9d67a17a2b8b10b0cb40f6b70d79296e6e83e2091bac4f147bb3",
        "dev": "6ebc1a24a11067a3e206cd0de82c2454ef608ab23dc8f5f7b4f74bff36458eb6",
        "test": "77e6b15388335f4effb6f3af42ee798e84d568d0e2776f283662d54e2739ee4d",
    },
    recipes=linkbert(lr=1e-5, batch_size=16, epochs=5, max_length=512, warmup=0.1),
)

NCBI_DISEASE = _task(
    "ncbi-disease", "disease mentions in abstracts", {"train": 5134, "dev": 787, "test": 960},
    label_names={"B": "disease begins", "I": "disease goes on"},
    citation="Doğan et al. 2014, NCBI disease corpus: a resource for disease name recognition",
    licence=MTL,
    source=f"{VE_KD}/NCBI-disease_hf",
    published=published(85.67, 86.62, 89.13, 88.10, 86.32, 88.04, 87.82, 88.18),
    rows={"train": 5424, "dev": 923, "test": 940},
    sha256={
        "train": "5d205383f19cabb556d678ee2a0970135a17396d8e957f6e790fcabb5f05ce2d",
        "dev": "a6852bdacd38326e454c564a32a7aa72cfff053f5dd66dfab409cc1db120e400",
        "test": "e91d46843cf88417decf2ffb8ace0eb811cce4365357e270f80b1c8f45c912de",
    },
    recipes=linkbert(lr=5e-5, batch_size=32, epochs=20, max_length=512, warmup=0.1),
)

BC5CDR_DISEASE = _task(
    "bc5cdr-disease",
    "disease mentions in abstracts (BLURB's table has 4,244 in dev, its files 4,246)",
    {"train": 4182, "dev": 4246, "test": 4424},
    label_names={"B": "disease begins", "I": "disease goes on"},
    citation="Li et al. 2016, BioCreative V CDR task corpus: a resource for chemical disease "
             "relation extraction",
    licence=MTL,
    source=f"{VE_KD}/BC5CDR-disease_hf",
    published=published(81.44, 80.65, 84.70, 84.54, 83.04, 83.69, 85.62, 86.10),
    rows={"train": 4560, "dev": 4581, "test": 4797},
    sha256={
        "train": "3ff14b897d0c88d5f667c0497281ce6a3fba950f9b2cbc06b2f9147e2f982abf",
        "dev": "b2e32961df5a046c15c88cd88902c3c23ad2bd6f0c1013808225e0ee73629db7",
        "test": "c0937f28c76b91ad7122edb88700bec87ac9b2f571c67caecf4d3e491e715934",
    },
    recipes=linkbert(lr=5e-5, batch_size=16, epochs=8, max_length=512, warmup=0.1),
)

BC5CDR_CHEM = _task(
    "bc5cdr-chem",
    "chemical mentions in abstracts",
    {"train": 5203, "dev": 5347, "test": 5385},
    label_names={"B": "chemical begins", "I": "chemical goes on"},
    citation="Li et al. 2016, BioCreative V CDR task corpus: a resource for chemical disease "
             "relation extraction",
    licence=MTL,
    source=f"{VE_KD}/BC5CDR-chem_hf",
    published=published(89.25, 89.43, 92.85, 92.49, 90.80, 91.19, 93.33, 93.75),
    rows={"train": 4560, "dev": 4581, "test": 4797},
    sha256={
        "train": "2b83878c75780f6d6d51aac13829edf0b36e836471bf152e675083f23e65e36c",
        "dev": "b0fdb6c03282d4a388284e2f4faafdb0dfc7b0eb3fab2842c3d7c5cc5b15bf9b",
        "test": "52ce67bef03a1f186dec8226d63531ee07012f875a0c6d4b57d09bd051d6e2db",
    },
    recipes=linkbert(lr=5e-5, batch_size=32, epochs=20, max_length=512, warmup=0.1),
)

EBMNLP = Task(
    name="ebmnlp",
    task_type="tags",
    about="words that name the participants, interventions and outcomes of a clinical trial",
    metric="word_macro_f1",
    metrics=("word_macro_f1", "entity_f1"),
    load=partial(load_tagged, "ebmnlp", PICO),
    lookalike=lookalike("ebmnlp"),
    labels=PICO,
    label_names={"B-INT": "intervention", "B-OUT": "outcome", "B-PAR": "participants"},
    scheme="IOB",
    unit="sentence",
    texts="abstracts",
    citation="Nye et al. 2018, A corpus with multi-level annotations of patients, interventions "
             "and outcomes",
    licence="not stated",
    source=f"{VE_KD}/ebmnlp_hf",
    published=published(72.34, 73.02, 73.18, 73.12, 72.06, 72.54, 73.38, None),
    rows={"test": 2076},
    mentions={"train": 339167, "dev": 85321, "test": 16364},  # labelled words
    # those of train and dev are not known
    sha256={"test": "1f6020c9364e7e6f0043fd030d26e3b09182b659a5be095e83e9f7f94e112b9c"},
    recipes=linkbert(lr=5e-5, batch_size=32, epochs=1, max_length=512, warmup=0),
    max_length=512,
    options=RepairOptions,
)
