"""The encoders of the hub that have a name here, and what is known of each.

The facts are those of the models' cards and papers. What they do not state is `UNKNOWN`, and the
open web is too: nobody knows which abstracts a crawl holds. The learning rate is that of published
fine-tunings of the model, or of models of its size and kind.
"""

from __future__ import annotations

from typing import NamedTuple

YES, NO, UNKNOWN = "yes", "no", "not known"
APACHE, MIT, CC0 = "Apache-2.0", "MIT", "CC0-1.0"


class Encoder(NamedTuple):
    """One encoder.

    hub        its id there
    about      what it is, in a few words
    lr         learning rate of its fine-tuning
    millions   of parameters, rounded; 0: not known
    licence    of the weights, as their card states it
    read       what it was trained on, in a few words
    abstracts  are biomedical abstracts among that? `YES`, `NO` or `UNKNOWN`
    notes      are clinical notes?
    aliases    further names of it
    kind       its architecture, by the name that `tiny:KIND` has for it
    """

    hub: str
    about: str
    lr: float
    millions: float
    licence: str
    read: str
    abstracts: str
    notes: str = NO
    aliases: tuple[str, ...] = ()
    kind: str = "bert"


WIKIPEDIA = "Wikipedia and books"
CRAWLS = "Wikipedia, books, news and crawls of the open web"
WEB = "Wikipedia, books, news and web pages"
PUBMED = "PubMed abstracts"
PUBMED_PMC = "PubMed abstracts and PMC articles"
MIMIC = "PubMed abstracts, then MIMIC-III notes"
S2ORC = "web pages, questions and answers, then titles and abstracts of S2ORC"

GENERAL: dict[str, Encoder] = {
    "bert": Encoder("bert-base-uncased", "BERT base, uncased", 3e-5, 110, APACHE, WIKIPEDIA, NO),
    "mbert": Encoder("bert-base-multilingual-uncased", "multilingual BERT base, uncased", 3e-5,
                     167, APACHE, "Wikipedia in 102 languages", NO),
    "roberta": Encoder("roberta-base", "RoBERTa base", 2e-5, 125, MIT, WEB, UNKNOWN, UNKNOWN,
                       kind="roberta"),
    "roberta-large": Encoder("roberta-large", "RoBERTa large", 1e-5, 355, MIT, WEB, UNKNOWN,
                             UNKNOWN, kind="roberta"),
    "albert-xlarge-v2": Encoder("albert-xlarge-v2", "ALBERT xlarge v2", 1e-5, 58, APACHE,
                                WIKIPEDIA, NO, kind="albert"),
    "deberta-v3-xsmall": Encoder("microsoft/deberta-v3-xsmall", "DeBERTa v3 xsmall", 5e-5, 71, MIT,
                                 WEB, UNKNOWN, UNKNOWN, kind="deberta-v3"),
    "modernbert": Encoder("answerdotai/ModernBERT-base", "ModernBERT base", 5e-5, 149, APACHE,
                          "web pages, code and scientific papers", UNKNOWN, UNKNOWN,
                          kind="modernbert"),
    "ettin-17m": Encoder("jhu-clsp/ettin-encoder-17m", "Ettin encoder, 7x256", 1e-4, 17, MIT,
                         "web pages, code, forums and scientific papers", UNKNOWN, UNKNOWN,
                         kind="modernbert"),
    "ettin-32m": Encoder("jhu-clsp/ettin-encoder-32m", "Ettin encoder, 10x384", 1e-4, 32, MIT,
                         "web pages, code, forums and scientific papers", UNKNOWN, UNKNOWN,
                         kind="modernbert"),
    "ettin-68m": Encoder("jhu-clsp/ettin-encoder-68m", "Ettin encoder, 19x512", 1e-4, 68, MIT,
                         "web pages, code, forums and scientific papers", UNKNOWN, UNKNOWN,
                         kind="modernbert"),
    "ettin-150m": Encoder("jhu-clsp/ettin-encoder-150m", "Ettin encoder, 22x768", 5e-5, 150, MIT,
                          "web pages, code, forums and scientific papers", UNKNOWN, UNKNOWN,
                          kind="modernbert"),
    "mpnet": Encoder("microsoft/mpnet-base", "MPNet base", 2e-5, 109, UNKNOWN, WEB, UNKNOWN,
                     UNKNOWN, kind="mpnet"),
    "minilm": Encoder("sentence-transformers/all-MiniLM-L6-v2",
                      "MiniLM 6x384, a general encoder that trains on a CPU", 1e-4, 22.7, APACHE,
                      S2ORC, YES, UNKNOWN),
    "minilm-l12": Encoder("microsoft/MiniLM-L12-H384-uncased", "MiniLM 12x384", 5e-5, 33, MIT,
                          UNKNOWN, UNKNOWN, UNKNOWN),
    "electra-small": Encoder("google/electra-small-discriminator", "ELECTRA small, 12x256", 3e-4,
                             14, APACHE, CRAWLS, UNKNOWN, UNKNOWN, kind="electra"),
    "electra-base": Encoder("google/electra-base-discriminator", "ELECTRA base", 1e-4, 109, APACHE,
                            CRAWLS, UNKNOWN, UNKNOWN, kind="electra"),
    "mobilebert": Encoder("google/mobilebert-uncased", "MobileBERT, 24 bottleneck layers", 5e-5,
                          25, APACHE, WIKIPEDIA, NO, kind="mobilebert"),
    "kobert": Encoder("kykim/bert-kor-base", "Korean BERT base", 1e-5, 118, UNKNOWN,
                      "Korean text", UNKNOWN, UNKNOWN),
    "multilingual-e5-small": Encoder("intfloat/multilingual-e5-small",
                                     "multilingual E5 small, 12x384", 5e-5, 118, MIT,
                                     "pairs of the multilingual web, and of S2ORC", YES, UNKNOWN),
    # Microsoft's own Multilingual-MiniLM names no tokenizer that is found by itself
    "multilingual-minilm": Encoder(
        "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
        "multilingual MiniLM, 12x384", 5e-5, 118, APACHE, UNKNOWN, UNKNOWN, UNKNOWN),
    "eurobert": Encoder("EuroBERT/EuroBERT-210m", "EuroBERT of 15 languages, 12x768", 2e-5, 210,
                        APACHE, "web pages of 15 languages, code and mathematics", UNKNOWN,
                        UNKNOWN, kind="eurobert"),
}

BIOMEDICAL: dict[str, Encoder] = {
    "biobert": Encoder("dmis-lab/biobert-base-cased-v1.1", "BioBERT base v1.1, cased", 2e-5, 108,
                       UNKNOWN, PUBMED, YES),
    "bio_roberta": Encoder("allenai/biomed_roberta_base", "BioMed-RoBERTa base", 2e-5, 125,
                           UNKNOWN, "scientific papers of S2ORC", YES, UNKNOWN, kind="roberta"),
    "bio_mbert": Encoder("StivenLancheros/mBERT-base-Biomedical-NER",
                         "multilingual BERT, biomedical NER", 3e-5, 0, UNKNOWN, UNKNOWN, UNKNOWN,
                         UNKNOWN),
    "biomedbert": Encoder("microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract-fulltext",
                          "BiomedBERT (PubMedBERT) of abstracts and articles", 3e-5, 109, MIT,
                          PUBMED_PMC, YES, aliases=("pubmedbert",)),
    "biomedbert-abstract": Encoder("microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
                                   "BiomedBERT (PubMedBERT) of abstracts alone", 3e-5, 109, MIT,
                                   PUBMED, YES, aliases=("pubmedbert-abstract",)),
    "biolinkbert": Encoder("michiyasunaga/BioLinkBERT-base", "BioLinkBERT base", 3e-5, 108, APACHE,
                           "PubMed abstracts beside those that they cite", YES),
    "scibert": Encoder("allenai/scibert_scivocab_uncased", "SciBERT, uncased", 3e-5, 110, UNKNOWN,
                       "papers of Semantic Scholar, most of them biomedical", YES),
    "sapbert": Encoder("cambridgeltl/SapBERT-from-PubMedBERT-fulltext",
                       "SapBERT, BiomedBERT aligned with UMLS names", 3e-5, 109, APACHE,
                       f"{PUBMED_PMC}, then names of UMLS", YES),
    "bioformer-8l": Encoder("bioformers/bioformer-8L", "Bioformer, 8x512", 5e-5, 43, APACHE,
                            PUBMED_PMC, YES),
    "bioformer-16l": Encoder("bioformers/bioformer-16L", "Bioformer, 16x384", 5e-5, 42, APACHE,
                             PUBMED_PMC, YES),
    "distilbiobert": Encoder("nlpie/distil-biobert", "DistilBioBERT, 6x768", 5e-5, 65, MIT, PUBMED,
                             YES),
    "biodistilbert": Encoder("nlpie/bio-distilbert-cased", "BioDistilBERT, 6x768, cased", 5e-5, 65,
                             MIT, f"{WIKIPEDIA}, then {PUBMED}", YES, kind="distilbert"),
    "compactbiobert": Encoder("nlpie/compact-biobert", "CompactBioBERT, 6x768", 5e-5, 65, MIT,
                              PUBMED, YES),
    "biomobilebert": Encoder("nlpie/bio-mobilebert", "BioMobileBERT, 24 bottleneck layers", 5e-5,
                             25, MIT, f"{WIKIPEDIA}, then {PUBMED}", YES, kind="mobilebert"),
    "tinybiobert": Encoder("nlpie/tiny-biobert", "TinyBioBERT, 4x312", 1e-4, 15, MIT, PUBMED, YES),
}

CLINICAL: dict[str, Encoder] = {
    "cbert": Encoder("emilyalsentzer/Bio_ClinicalBERT", "ClinicalBERT", 3e-5, 108, MIT,
                     "PubMed abstracts and articles, then MIMIC-III notes", YES, YES),
    "bluebert": Encoder("bionlp/bluebert_pubmed_mimic_uncased_L-12_H-768_A-12",
                        "BlueBERT base, uncased", 3e-5, 109, CC0, MIMIC, YES, YES),
    "bioclinical-modernbert": Encoder(
        "thomas-sounack/BioClinical-ModernBERT-base", "BioClinical ModernBERT base", 5e-5, 150,
        MIT, "biomedical literature, then clinical notes of 20 data sets", YES, YES,
        kind="modernbert"),
    "clinicaldistilbert": Encoder("nlpie/clinical-distilbert", "ClinicalDistilBERT, 6x768", 5e-5,
                                  65, MIT, MIMIC, YES, YES, kind="distilbert"),
}

# made here, of one of those above: no download
MADE: dict[str, Encoder] = {
    "minilm-pubmed": Encoder("", "MiniLM as a domain teacher, made by `pretrain` (local folder)",
                             1e-4, 22.7, APACHE, f"{S2ORC}; then biomedical abstracts", YES,
                             UNKNOWN),
}

ENCODERS: dict[str, Encoder] = {**GENERAL, **BIOMEDICAL, **CLINICAL, **MADE}


# what the texts of a task are
KINDS = {"abstracts": "biomedical abstracts", "notes": "clinical notes", "other": "other texts"}


class Reading(NamedTuple):
    """Whether a model has read some texts: `YES`, `NO` or `UNKNOWN`, and why, in a few words."""

    state: str
    why: str = ""


def of_encoder(encoder: Encoder | None, texts: str) -> Reading:
    """Whether an encoder has read texts of a kind, one of `KINDS`."""
    if encoder is None:
        return Reading(UNKNOWN)
    state = {"abstracts": encoder.abstracts, "notes": encoder.notes}.get(texts, UNKNOWN)
    return Reading(state, "" if encoder.read == UNKNOWN else f"it has read {encoder.read}")


def encoder_of(name: str) -> Encoder | None:
    """The encoder of that name, alias or hub id; None where none is known by it."""
    if name in ENCODERS:
        return ENCODERS[name]
    for encoder in ENCODERS.values():
        if name in encoder.aliases or name == encoder.hub != "":
            return encoder
    return None


def in_words(encoder: Encoder) -> str:
    """Size and licence of the weights, as a list of models shows them."""
    size = f"{encoder.millions:g} M" if encoder.millions else "size not known"
    licence = encoder.licence if encoder.licence != UNKNOWN else "licence not known"
    return f"{size}, {licence}"
