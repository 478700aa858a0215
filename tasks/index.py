"""The built-in tasks: name, place, task types and one line each; reading this imports no task."""

from __future__ import annotations

from kdbench.base.registry import ANY, Entry

_SEQCLS = "kdbench.tasks.blurb_seqcls"
_TOKCLS = "kdbench.tasks.blurb_tokcls"
_TSV = "kdbench.tasks.relation_tsv"

TASKS = (
    Entry("chemprot", f"{_SEQCLS}:CHEMPROT", ("single",),
          "BLURB: chemical-protein relations in a sentence"),
    Entry("ddi", f"{_SEQCLS}:DDI", ("single",), "BLURB: drug-drug interactions in a sentence"),
    Entry("gad", f"{_SEQCLS}:GAD", ("single",), "BLURB: is a gene associated with a disease"),
    Entry("hoc", f"{_SEQCLS}:HOC", ("multi",), "BLURB: hallmarks of cancer, scored by document"),
    Entry("bioasq", f"{_SEQCLS}:BIOASQ", ("single",), "BLURB: yes/no questions on a context"),
    Entry("pubmedqa", f"{_SEQCLS}:PUBMEDQA", ("single",),
          "BLURB: yes/no/maybe questions on an abstract"),
    Entry("biosses", f"{_SEQCLS}:BIOSSES", ("regression",),
          "BLURB: similarity of two biomedical sentences"),
    Entry("bc2gm", f"{_TOKCLS}:BC2GM", ("tags",), "BLURB: gene mentions"),
    Entry("jnlpba", f"{_TOKCLS}:JNLPBA", ("tags",), "BLURB: GENIA entities, five types as one"),
    Entry("ebmnlp", f"{_TOKCLS}:EBMNLP", ("tags",),
          "BLURB: participants, interventions, outcomes of trials"),
    Entry("ncbi-disease", f"{_TOKCLS}:NCBI_DISEASE", ("tags",), "BLURB: disease mentions"),
    Entry("bc5cdr-disease", f"{_TOKCLS}:BC5CDR_DISEASE", ("tags",), "BLURB: disease mentions"),
    Entry("bc5cdr-chem", f"{_TOKCLS}:BC5CDR_CHEM", ("tags",), "BLURB: chemical mentions"),
    Entry("bc2gm_iobes", "kdbench.tasks.bc2gm:BC2GM_IOBES", ("tags",),
          "BC2GM in two columns, IOBES tags"),
    Entry("chemprot_tsv", f"{_TSV}:CHEMPROT_TSV", ("single",),
          "DoKTra's layout: chemical-protein relations"),
    Entry("gad_tsv", f"{_TSV}:GAD_TSV", ("single",), "DoKTra's layout: gene-disease associations"),
    Entry("ddi_tsv", f"{_TSV}:DDI_TSV", ("single",),
          "DoKTra's layout: drug-drug interactions, BLUE's split"),
    Entry("hoc_tsv", f"{_TSV}:HOC_TSV", ("multi",),
          "DoKTra's layout: hallmarks of cancer, BLUE's protocol"),
    Entry("i2b2", f"{_TSV}:I2B2", ("single",),
          "DoKTra's layout: relations in clinical notes (agreement needed)"),
    Entry("fpb", f"{_TSV}:FPB", ("single",), "DoKTra's layout: Financial PhraseBank sentiment"),
    Entry("fts", f"{_TSV}:FTS", ("single",), "DoKTra's layout: FinTextSen sentiment"),
    Entry("emr", "kdbench.tasks.emr:EMR", ("single",),
          "code-switched emergency notes: emergency or not"),
    Entry("ktas_ed", "kdbench.tasks.emr:KTAS_ED", ("single",),
          "Korean emergency departments: complaint, triage"),
    Entry("files", "kdbench.tasks.files:FILES", ANY,
          "your own files; the task type is read from the content"),
)
