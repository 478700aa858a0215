"""Tiny students with random weights, in memory or as the folders that training leaves."""

from dataclasses import replace

from kdbench.models.heads import Head
from kdbench.models.load import Model, build
from kdbench.models.sources import Source, resolve
from kdbench.models.tokenizer import train_tokenizer
from kdbench.models.zoo import Recipe
from kdbench.serve.serving import labels_of

TEXTS = [f"{drug} {verb} the {target} of {number} cells, but not (at all) of others"
         for drug in ("aspirin", "warfarin", "an unknown drug") for verb in ("inhibits", "activates")
         for target in ("kinase", "beta-receptor") for number in range(4)]
LABELS = {"single": ("none", "inhibits", "activates"), "multi": ("growth", "death", "repair"), "regression": (),
          "tags": ("O", "B-GENE", "I-GENE")}
BILSTM = Recipe(config={"type": "kdbench_bilstm", "embedding_size": 32, "hidden_size": 32, "classifier_size": 16})
RECIPES = {"bilstm": BILSTM, "bilstm: cnn": Recipe(config={**BILSTM.config, "embedding": "cnn"})}


def student(name: str = "tiny:bert", task_type: str = "single", seed: int = 0) -> Model:
    """A student in memory, with a tokenizer trained on TEXTS."""
    source = Source(name, recipe=RECIPES[name]) if name in RECIPES else resolve(name)
    tokenizer = train_tokenizer("bert", TEXTS, 4000)
    return build(source, Head(task_type, LABELS[task_type]), seed=seed, texts=lambda: TEXTS, tokenizer=tokenizer)


def write(folder, name: str = "tiny:bert", task_type: str = "single", max_length: int = 128, **facts):
    """Write a student's folder; `facts` go into its labels.json."""
    model = student(name, task_type)
    model.module.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    replace(labels_of(model, max_length), **facts).write(folder)
    return folder
