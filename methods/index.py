"""The built-in methods, the models that their papers name, and the architectures that they bring;
reading this imports no method.
"""

from __future__ import annotations

from typing import Any

from kdbench.base.registry import ANY, Entry
from kdbench.models.zoo import Recipe

METHODS = (
    Entry("finetune", "kdbench.methods.finetune:Finetune", ANY,
          "control: the student fine-tuned without a teacher", control="student, no teacher"),
    Entry("logit_kd", "kdbench.methods.logit_kd:LogitKD", ANY,
          "control: plain logit distillation (Hinton et al. 2015)", control="logit distillation"),
    Entry("doktra", "kdbench.methods.doktra:DoKTra", ("single", "multi"),
          "calibrated teacher, activation-boundary transfer (Choi et al. 2022)"),
    Entry("dsg_kd", "kdbench.methods.dsg_kd:DsgKD", ("single",),
          "hidden states and attention of code-switched words (Cho et al. 2024)",
          aliases=("mlkd",)),
    Entry("ve_kd", "kdbench.methods.ve_kd:VeKD", ANY,
          "vocabulary expansion and tolerant masked-LM distillation (Gao et al. 2024)"),
    Entry("ner_kd", "kdbench.methods.ner_kd:NerKD", ("tags",),
          "tagger to BiLSTM or TinyBERT with data augmentation (biobert-distillation, 2021)"),
    Entry("dkd", "kdbench.methods.dkd:DKD", ("single", "tags"),
          "target class and others, weighed by themselves (Zhao et al. 2022)"),
    Entry("dist", "kdbench.methods.dist:DIST", ("single", "tags"),
          "correlations of classes and of texts (Huang et al. 2022)"),
    Entry("pkd", "kdbench.methods.pkd:PKD", ("single", "multi", "regression"),
          "first positions of inner layers: skip, last, random (Sun et al. 2019)"),
    Entry("annealing_kd", "kdbench.methods.annealing_kd:AnnealingKD", ANY,
          "logits from a damped to their full size, then labels (Jafari et al. 2021)"),
    Entry("pretrained_kd", "kdbench.methods.pretrained_kd:PretrainedKD", ANY,
          "masked-LM student, logits on unlabelled text, labels (Turc et al. 2019)"),
    Entry("tinybert", "kdbench.methods.tinybert:TinyBERT", ANY,
          "embedding, hidden states and attention scores, on text and task (Jiao et al. 2020)"),
    Entry("minilm", "kdbench.methods.minilm:MiniLM", ANY,
          "relations of queries, keys, values of one layer, then labels (Wang et al. 2021)"),
    Entry("glmd", "kdbench.methods.glmd:GLMD", ANY,
          "words as the teacher predicts them, on text and task, then logits (Tan et al. 2023)"),
    Entry("recipe", "kdbench.methods.recipe:Recipe", ANY,
          "ours: layers, logits, labels, on copies and unlabelled text too"),
    Entry("takd", "kdbench.methods.takd:TAKD", ANY,
          "through an assistant of a size between (Mirzadeh et al. 2020)"),
    Entry("born_again", "kdbench.methods.born_again:BornAgain", ANY,
          "the teacher's own beginning as its student (Furlanello et al. 2018)"),
    Entry("static", "kdbench.methods.static:Static", ("single", "multi", "regression"),
          "mean of the teacher's token vectors, as Model2Vec (Tulkens, van Dongen 2024)"),
    Entry("adapt", "kdbench.methods.adapt:Adapt", ANY,
          "control: masked-LM adaptation of the student, then fine-tuning"),
)

# what `bench.py shrink` tries where no method is named: the best that is known, and what it has to
# beat
SEARCHED = ("recipe", "ner_kd", "logit_kd", "finetune", "static")

PRETRAIN = "adapt"  # what `bench.py pretrain` runs where no method is named

# KM-BERT's own page names archives, which no hub has; that its two vocabularies are DSG-KD's
# --vocab_type S and B is our reading.
PUT_IT = ("give NEW_FOLDER for the name, or call it `{}` in the folder that KDBENCH_MODELS names "
          "(docs/models.md)")
KMBERT = ("KM-BERT{}: unpack http://www.kurias.co.kr/file/5847315836/{}.tar (see "
          "github.com/KU-RIAS/KM-BERT-Korean-Medical-BERT), then "
          "`bench.py convert FOLDER NEW_FOLDER` and " + PUT_IT)
PRETRAIN_IT = ("KM-BERT{} pre-trained again on emergency notes, which is not published: make it of "
               "your own with `bench.py pretrain NEW_FOLDER --student {} --corpus NOTES "
               "--set new_tokens=0` and " + PUT_IT)


def encoder(model_type: str, layers: int, width: int, inner: int) -> dict[str, Any]:
    """The configuration of an encoder with 12 heads and random weights."""
    return {"type": model_type, "hidden_size": width, "num_hidden_layers": layers,
            "num_attention_heads": 12, "intermediate_size": inner}


def kmbert(name: str, recipe: Recipe, about: str, *aliases: str) -> Entry:
    """One of the four KM-BERTs; DSG-KD's --vocab_type is S where nothing is said."""
    return Entry(name, recipe, (), about, aliases)


def large(name: str, config: dict[str, Any], about: str) -> Entry:
    """A student that takes up to a second a step: not worth an hour on look-alike data."""
    return Entry(name, Recipe(config=config, lr=5e-5), (), about, toy_steps=10)


MODELS = (
    kmbert("kmbert", Recipe(lr=1e-5, origin=KMBERT.format("", "kmbert/kmbert", "kmbert")),
           "KM-BERT, Korean medical BERT (DSG-KD's kmbert, --vocab_type S; local folder)",
           "kmbert-s"),
    kmbert("kmbert-b",
           Recipe(lr=1e-5, origin=KMBERT.format(" with medical words", "kmbert_vocab/kmbert_vocab",
                                                "kmbert-b")),
           "KM-BERT with the bigger vocabulary (--vocab_type B; local folder)"),
    kmbert("kmbert-re", Recipe(lr=1e-5, origin=PRETRAIN_IT.format("", "kmbert", "kmbert-re")),
           "KM-BERT pre-trained again on notes (--vocab_type S --is_pt True; local folder)",
           "kmbert-s-re"),
    kmbert("kmbert-b-re",
           Recipe(lr=1e-5, origin=PRETRAIN_IT.format(" with medical words", "kmbert-b",
                                                     "kmbert-b-re")),
           "the bigger one pre-trained again (--vocab_type B --is_pt True; local folder)"),
    Entry("tinybert", Recipe(config=encoder("bert", 4, 312, 1200), lr=1e-3), (),
          "TinyBERT 4x312 over the teacher's word pieces, random weights"),
    large("vekd-6x768", encoder("distilbert", 6, 768, 3072),
          "VE-KD's student, 6 layers of 768 (random until ve_kd trains it)"),
    large("vekd-6x384", encoder("distilbert", 6, 384, 3072),
          "VE-KD's narrow student, 6 layers of 384"),
    large("vekd-12x768", encoder("bert", 12, 768, 3072),
          "VE-KD's method on a full-size student, 12 layers of 768"),
)

# modules that register model types of their own with transformers
ARCHITECTURES = ("kdbench.methods.gelu_head", "kdbench.methods.static_model")
