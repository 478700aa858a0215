"""Tiny students with random weights, in memory or as the folders that training leaves."""

from dataclasses import replace

from kdbench.models import Head, Model, build, resolve, train_tokenizer
from kdbench.serving import labels_of

TEXTS = [f"{drug} {verb} the {target} of {number} cells, but not (at all) of others"
         for drug in ("aspirin", "warfarin", "an unknown drug") for verb in ("inhibits", "activates")
         for target in ("kinase", "beta-receptor") for number in range(4)]
LABELS = {"single": ("none", "inhibits", "activates"), "multi": ("growth", "death", "repair"), "regression": (),
          "tags": ("O", "B-GENE", "I-GENE")}


def student(name: str = "tiny:bert", kind: str = "single", seed: int = 0) -> Model:
    return build(resolve(name), Head(kind, LABELS[kind]), seed=seed, texts=lambda: TEXTS, tokenizer=train_tokenizer("bert", TEXTS))


def write(folder, name: str = "tiny:bert", kind: str = "single", max_length: int = 128, **facts):
    """A student's folder; `facts` go into its labels.json."""
    model = student(name, kind)
    model.module.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    replace(labels_of(model, max_length), **facts).write(folder)
    return folder
