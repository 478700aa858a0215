"""BLURB's classification tasks in LinkBERT's JSON lines: one label, label vectors, sentence pairs,
one score.

Split sizes and checksums are those of the files in the VE-KD repository (commit 6b16046), which
equal BLURB's published counts; recipes are the fine-tuning commands of its README (`warmup`: steps,
or below 1 a share of them). Published scores are from the BLURB paper (Gu et al. 2021, table 6:
mean of 5 runs, of 10 for bioasq, pubmedqa and biosses, after a search on dev) and from LinkBERT
(Yasunaga et al. 2022), in percent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from kdbench.base.options import option
from kdbench.data import corpora
from kdbench.data.readers import Record, Source, json_lines, table, unique_ids
from kdbench.data.task import Data, Example, LoadOptions, Task
from kdbench.tasks.embedded import lookalike
from kdbench.tasks.recipes import DOKTRA_CHEMPROT, linkbert

FILES = {"train": ("train.json",), "dev": ("dev.json",), "test": ("test.json",)}
SYSTEMS = ("BERT", "RoBERTa", "BioBERT", "SciBERT", "ClinicalBERT", "BlueBERT", "PubMedBERT",
           "BioLinkBERT-base")
VE_KD = "https://github.com/pZvfkv3t8PA9vAc/VE-KD at 6b16046, evaluation_data/seqcls"


def published(*scores: float | None) -> tuple[tuple[str, float], ...]:
    """(system, score) of one row of the BLURB table, in the order of `SYSTEMS`; None where none was
    found.
    """
    return tuple((system, score) for system, score in zip(SYSTEMS, scores, strict=True)
                 if score is not None)


def own_id(id: str) -> str:
    """The row itself, where the files name no document."""
    return id


def before_dot(id: str) -> str:
    """The document of ``16357751.T1.T2`` and of ``DDI-DrugBank.d0.s0.p0``, whose corpus name ends
    at the first dot.
    """
    corpus, _, rest = id.partition(".")
    return f"{corpus}.{rest.partition('.')[0]}" if corpus.startswith("DDI-") else corpus


def before_underscore(id: str) -> str:
    """The document of ``22239943_s0``."""
    return id.partition("_")[0]


def read_single(source: Source, labels: tuple[str, ...], document: Callable[[str], str],
                pair: bool) -> list[Example]:
    """Rows ``{"id", "sentence", "label"}``, or with `pair` ``{"id", "sentence1", "sentence2",
    "label"}``.

    document  from an id to that of the document that the row is from
    """
    records, places = json_lines(source), {label: i for i, label in enumerate(labels)}
    return [
        Example(id=id, text=record.text("sentence1" if pair else "sentence"),
                pair=record.text("sentence2") if pair else None,
                label=record.index("label", places), group=document(id))
        for id, record in zip(unique_ids(records), records, strict=True)
    ]


def load_single(name: str, labels: tuple[str, ...], options: LoadOptions,
                document: Callable[[str], str] = own_id, pair: bool = False) -> Data:
    """One of the tasks with one label a text, from the user's folder."""
    reader = partial(read_single, labels=labels, document=document, pair=pair)
    return corpora.read_splits(name, options, FILES, reader, labels)


CHEMPROT_LABELS = ("0", "CPR:3", "CPR:4", "CPR:5", "CPR:6", "CPR:9")
CHEMPROT = Task(
    name="chemprot",
    task_type="single",
    about="relation between a chemical and a protein that one sentence names",
    metric="micro_f1",
    metrics=("micro_f1", "macro_f1", "accuracy"),
    load=partial(load_single, "chemprot", CHEMPROT_LABELS, document=before_dot),
    lookalike=lookalike("chemprot"),
    labels=CHEMPROT_LABELS,
    label_names={
        "0": "no relation",
        "CPR:3": "activator, upregulator",
        "CPR:4": "inhibitor, downregulator",
        "CPR:5": "agonist",
        "CPR:6": "antagonist",
        "CPR:9": "substrate, product",
    },
    negative=("0",),
    unit="PubMed abstract (PMID)",
    texts="abstracts",
    citation="Krallinger et al. 2017, Overview of the BioCreative VI chemical-protein interaction "
             "track",
    licence="not stated in the source repository (ChrisC1224/ChemProt)",
    source=f"{VE_KD}/chemprot_hf",
    published=published(71.86, 72.98, 76.14, 75.24, 72.04, 71.46, 77.24, 77.57),
    rows={"train": 18035, "dev": 11268, "test": 15745},
    sha256={
        "train": "b2c5850edd702a9713f4df080011d1d250013562dc36fab330e2bc68c69cc61f",
        "dev": "013eeab489c3f4e8241d18593561d46429ae06af7460155bd5b726c88efc063e",
        "test": "4a4d783e5e4d2c2ec8a120b0cc4768d2ba3c59f2ead4e8296d0324d39488a49c",
    },
    recipes={
        **linkbert(lr=3e-5, batch_size=32, epochs=10, max_length=256, warmup=0),
        "doktra": DOKTRA_CHEMPROT,
    },
    max_length=256,
)

DDI_LABELS = ("0", "DDI-effect", "DDI-mechanism", "DDI-advise", "DDI-int")
DDI = Task(
    name="ddi",
    task_type="single",
    about="interaction between two drugs that one sentence names",
    metric="micro_f1",
    metrics=("micro_f1", "macro_f1", "accuracy"),
    load=partial(load_single, "ddi", DDI_LABELS, document=before_dot),
    lookalike=lookalike("ddi"),
    labels=DDI_LABELS,
    label_names={
        "0": "no interaction",
        "DDI-effect": "effect",
        "DDI-mechanism": "pharmacokinetic mechanism",
        "DDI-advise": "advice",
        "DDI-int": "interaction without details",
    },
    negative=("0",),
    unit="document of DrugBank or MedLine",
    texts="abstracts",
    citation="Herrero-Zazo et al. 2013, The DDI corpus",
    licence="CC BY-NC 4.0 (isegura/DDICorpus): non-commercial",
    source=f"{VE_KD}/DDI_hf",
    published=published(80.04, 79.52, 80.88, 81.06, 78.20, 77.78, 82.36, 82.72),
    rows={"train": 25296, "dev": 2496, "test": 5716},
    # the checksum of the published train file is not known: a rebuilt one has its rows in another
    # order
    sha256={
        "dev": "d679e5c9c5ff23b559324af78b71c27460ca191d19a2d5f56f25a8504aa8a021",
        "test": "3f4b28078de89ca6676e6d3b0c342671b83aa414ceee6f06b6aa67840fd28fa1",
    },
    recipes=linkbert(lr=2e-5, batch_size=32, epochs=5, max_length=256, warmup=0),
    max_length=256,
)

GAD_LABELS = ("0", "1")
GAD = Task(
    name="gad",
    task_type="single",
    about="whether a sentence says that a gene is associated with a disease",
    metric="f1_positive",
    metrics=("f1_positive", "accuracy"),
    load=partial(load_single, "gad", GAD_LABELS),
    lookalike=lookalike("gad"),
    labels=GAD_LABELS,
    label_names={"0": "no association", "1": "association"},
    unit="sentence",
    texts="abstracts",
    citation="Bravo et al. 2015, Extraction of relations between genes and diseases from text (BMC "
             "Bioinformatics)",
    licence="not stated",
    source=f"{VE_KD}/GAD_hf (fold 1 of BioBERT's distribution)",
    published=published(80.41, 80.63, 82.36, 82.38, 80.48, 79.15, 83.96, 84.39),
    rows={"train": 4261, "dev": 535, "test": 534},
    sha256={
        "train": "d6670fe689adebf850ec22fc598e066c5be0312fd5f627ba21a3f47bfe630ff3",
        "dev": "bc2841a6c8d4dcea0de611f965a24fbb2d383148d5d26df9855f6043098f5c63",
        "test": "9d0f7afc516c38112306cfcf26613d0d8e2d23d7e9f1a8d7a2a8bf3f75e35911",
    },
    recipes=linkbert(lr=3e-5, batch_size=32, epochs=10, max_length=256, warmup=0),
    max_length=256,
)


@dataclass(frozen=True)
class HocOptions:
    """What one text is."""

    level: str = option(
        "sentence",
        "what the model reads: one sentence, or the sentences of an abstract joined; scored by "
        "document",
        choices=("sentence", "abstract"),
        source="the files: sentences; BLURB's definition: abstracts")


def read_hoc(source: Source, labels: tuple[str, ...], level: str) -> list[Example]:
    """Rows ``{"id": "PMID_sN", "sentence", "label": [0/1 x 10]}``, at `level` abstract merged by
    PMID.
    """
    records = json_lines(source)
    sentences = [
        Example(id=id, text=record.text("sentence"), label=record.hot("label", len(labels)),
                group=before_underscore(id))
        for id, record in zip(unique_ids(records), records, strict=True)
    ]
    return merged(sentences) if level == "abstract" else sentences


def merged(sentences: list[Example]) -> list[Example]:
    """One example a document: its sentences in file order, and the union of their labels."""
    documents: dict[str, list[Example]] = {}
    for sentence in sentences:
        documents.setdefault(sentence.group, []).append(sentence)
    examples = []
    for group, parts in documents.items():
        text = " ".join(part.text for part in parts)
        columns = zip(*(part.label for part in parts), strict=True)
        examples.append(Example(id=group, text=text, group=group, label=tuple(map(max, columns))))
    return examples


def load_hoc(options: LoadOptions) -> Data:
    """HoC from the user's folder."""
    settings: HocOptions = options.settings or HocOptions()
    reader = partial(read_hoc, labels=HALLMARKS, level=settings.level)
    return corpora.read_splits("hoc", options, FILES, reader, HALLMARKS)


HALLMARKS = (
    "activating invasion and metastasis",
    "avoiding immune destruction",
    "cellular energetics",
    "enabling replicative immortality",
    "evading growth suppressors",
    "genomic instability and mutation",
    "inducing angiogenesis",
    "resisting cell death",
    "sustaining proliferative signaling",
    "tumor promoting inflammation",
)
HOC = Task(
    name="hoc",
    task_type="multi",
    about="which of the ten hallmarks of cancer an abstract is about",
    metric="document_micro_f1",
    metrics=("document_micro_f1", "document_example_f1", "micro_f1"),
    load=load_hoc,
    lookalike=lookalike("hoc"),
    labels=HALLMARKS,
    unit="PubMed abstract (PMID)",
    texts="abstracts",
    citation="Baker et al. 2016, Automatic semantic classification of literature according to the "
             "hallmarks of cancer",
    licence="not stated in the source repository",
    source=f"{VE_KD}/HoC_hf (1,295 / 186 / 371 abstracts, a row a sentence)",
    published=published(80.20, 79.66, 81.54, 80.66, 80.74, 80.48, 82.32, 84.35),
    rows={"train": 12119, "dev": 1798, "test": 3547},
    sha256={
        "train": "58942b831983fbefa4e0fe1182a03f2284731bd27a0812992079c5dbfa7e2cc7",
        "dev": "23f94f7889b2a2e0f9a7a0bc47dc662082da0a10d54a5ddad37e96bccd5f6e31",
        "test": "5db92d861454bc469ab7727a5fec72bd30ebf74e5928b359de094f37b0051cc5",
    },
    recipes=linkbert(lr=4e-5, batch_size=32, epochs=40, max_length=512, warmup=0),
    max_length=512,
    options=HocOptions,
)

BIOASQ_LABELS = ("yes", "no")
BIOASQ = Task(
    name="bioasq",
    task_type="single",
    about="answer to a biomedical yes/no question, given passages of abstracts",
    metric="accuracy",
    metrics=("accuracy", "macro_f1"),
    load=partial(load_single, "bioasq", BIOASQ_LABELS, pair=True),
    lookalike=lookalike("bioasq"),
    labels=BIOASQ_LABELS,
    unit="question",
    texts="abstracts",
    citation="Nentidis et al. 2019, Results of the seventh edition of the BioASQ challenge",
    licence="not stated in the source repository; BioASQ itself asks for registration",
    source=f"{VE_KD}/bioasq_hf",
    published=published(70.36, 75.20, 84.14, 78.86, 68.50, 68.71, 87.56, 91.43),
    rows={"train": 670, "dev": 75, "test": 140},
    sha256={
        "train": "ecc125e0b59a23756165e9bc7d969e001fce7973e0d9d3936456eb98f68af476",
        "dev": "4c199489a946dfbe4d2626bcf9d550fc79bb4d71f7c6395b75056adb1d83a362",
        "test": "fa352c491122d082581f426f5b8e8860c420ee470ea73f716418a057479220b1",
    },
    recipes=linkbert(lr=2e-5, batch_size=16, epochs=20, max_length=512, warmup=100),
    max_length=512,
)

PUBMEDQA_LABELS = ("yes", "no", "maybe")
PUBMEDQA = Task(
    name="pubmedqa",
    task_type="single",
    about="answer to the question in a paper's title, given its abstract without the conclusion",
    metric="accuracy",
    metrics=("accuracy", "macro_f1"),
    load=partial(load_single, "pubmedqa", PUBMEDQA_LABELS, pair=True),
    lookalike=lookalike("pubmedqa"),
    labels=PUBMEDQA_LABELS,
    unit="PubMed abstract (PMID)",
    texts="abstracts",
    citation="Jin et al. 2019, PubMedQA: a dataset for biomedical research question answering",
    licence="MIT (pubmedqa/pubmedqa)",
    source=f"{VE_KD}/pubmedqa_hf",
    published=published(51.62, 52.84, 60.24, 57.38, 49.08, 48.44, 55.84, 70.20),
    rows={"train": 450, "dev": 50, "test": 500},
    sha256={
        "train": "2ebba54cf5ab804005724f29a379245526adca9dbbd74a89ef7b736faa6ac19e",
        "dev": "2e540335b855ea05885ec5e185dd5adbcaaf1d6e63f97237c3961d39c6f9ca82",
        "test": "7ef1cd3d1331c2118cf498f3ce106ca39a442a3cf5bba38d54b093f61c052b3e",
    },
    recipes=linkbert(lr=2e-5, batch_size=16, epochs=30, max_length=512, warmup=100),
    max_length=512,
)


def read_biosses(source: Source) -> list[Example]:
    """LinkBERT's rows ``{"id", "sentence1", "sentence2", "label"}``, or BLUE's table with a column
    `score`.
    """
    if source.lines[0].lstrip().startswith("{"):
        return _similarities(json_lines(source), "id", "label")
    records = table(source, "\t")
    return _similarities(records, "index" if "index" in records[0].fields else "column 1", "score")


def _similarities(records: list[Record], id_name: str, score: str) -> list[Example]:
    return [
        Example(
            id=id,
            text=record.text("sentence1"),
            pair=record.text("sentence2"),
            label=record.number(score),
            group=id,
        )
        for id, record in zip(unique_ids(records, id_name), records, strict=True)
    ]


def load_biosses(options: LoadOptions) -> Data:
    """BIOSSES from the user's folder, in either format."""
    files = {split: (f"{split}.json", f"{split}.tsv") for split in FILES}
    return corpora.read_splits("biosses", options, files, read_biosses, ())


BIOSSES = Task(
    name="biosses",
    task_type="regression",
    about="how similar two biomedical sentences are, from 0 (unrelated) to 4 (the same)",
    metric="pearson",
    metrics=("pearson",),
    load=load_biosses,
    lookalike=lookalike("biosses"),
    unit="sentence pair",
    citation="Soğancıoğlu et al. 2017, BIOSSES: a semantic sentence similarity estimation system",
    licence="GPL-3.0 (the data set's card)",
    source="LinkBERT's data.zip, seqcls/BIOSSES_hf; the same split in the release files of "
           "ncbi-nlp/BLUE_Benchmark",
    published=published(82.68, 81.25, 89.52, 86.25, 91.23, 85.38, 92.30, None),
    rows={"train": 64, "dev": 16, "test": 20},
    recipes=linkbert(in_ve_kd=False, lr=1e-5, batch_size=16, epochs=30, max_length=512, warmup=0),
    max_length=512,
    how_to_get="no source with a known checksum: unpack "
               "https://nlp.stanford.edu/projects/myasu/LinkBERT/data.zip (seqcls/BIOSSES_hf) or "
               "BLUE's release (BIOSSES/*.tsv), then `bench.py prepare biosses --from FOLDER`",
)
