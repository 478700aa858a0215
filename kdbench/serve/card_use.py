"""The part of a model card on how the student is used: code that runs as it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdbench.serve.labels import Labels
from kdbench.serve.onnx_example import onnx_example

AUTO = {"tags": "AutoModelForTokenClassification"}
SEQUENCES = "AutoModelForSequenceClassification"
ANSWERS = {
    "single": "A text has one label, the most probable by the softmax of its logits",
    "multi": "A text has every label whose probability, the sigmoid of its logit, reaches 0.5",
    "regression": "The only logit of a text is its value",
    "tags": "A word has the tag that is most probable at its first piece",
}


def is_own(config: Mapping[str, Any]) -> bool:
    """Is the architecture one that transformers lacks, by what config.json says?"""
    import transformers

    names = config.get("architectures") or ()
    return bool(names) and not all(hasattr(transformers, name) for name in names)


def usage(task_type: str, form: str, folder: str, labels: Labels | None,
          config: Mapping[str, Any], onnx: str = "") -> str:
    """How to load the student with the libraries it needs, and with kdbench.

    form    the format of the export in `folder`
    config  its config.json; empty for an ensemble
    onnx    the folder of an ONNX export beside it
    """
    parts = []
    if form.startswith("onnx"):
        onnx = folder
    else:
        parts.append(with_transformers(task_type, folder, labels, is_own(config)))
    if onnx and labels is not None:
        parts.append(with_onnx(labels, onnx))
        if not labels.members and not is_own(config):
            parts.append(with_optimum(labels, onnx))
    return "\n\n".join([*parts, with_kdbench(folder)])


def with_kdbench(folder: str) -> str:
    """Answers in words."""
    return f"""With kdbench:

```python
from kdbench.serve.predict import load_predictor

print(load_predictor("{folder}").predict(["..."]))
```"""


def with_onnx(labels: Labels, folder: str) -> str:
    """What the graph takes and gives, and code that answers."""
    facts = [
        "`model.onnx` takes `input_ids`, `attention_mask` and, where the model reads them, "
        "`token_type_ids`: int64 (batch, length). It gives `logits`: float32 "
        f"(batch, {'length, ' if labels.task_type == 'tags' else ''}{len(labels.labels) or 1}). "
        "One text at a time: activations of an int8 model are scaled over the batch.",
        f"{answers(labels)}. The student reads at most {labels.max_length} tokens{more(labels)}.",
    ]
    if labels.members:
        facts.append(f"Two models answer together, {' and '.join(labels.members)}: their class "
                     "probabilities are averaged.")
    return "\n\n".join([
        "With onnxruntime, tokenizers and numpy alone:",
        f"```python\n{onnx_example(labels, folder)}```", *facts])


def more(labels: Labels) -> str:
    """How it reads longer texts, in words; empty where they are cut."""
    if labels.stride is None:
        return ""
    said = f" at once, and a longer text in windows that share {labels.stride}"
    if labels.task_type == "tags":
        return f"{said}: a word has its tag from the window in which it stands most central"
    return f"{said}: its logits are the {labels.pooling} over them"


def answers(labels: Labels) -> str:
    """How logits become answers, in words."""
    said = ANSWERS[labels.task_type]
    if labels.task_type == "multi" and labels.threshold is not None:
        return said.replace("0.5", f"{labels.threshold:.4g}")
    if labels.task_type == "single" and labels.threshold is not None and len(labels.labels) == 2:
        label = labels.labels[1]
        return f"A text is `{label}` where its probability reaches {labels.threshold:.4g}"
    if labels.task_type == "tags":
        from kdbench.data.word_rules import ABOUT

        cut = ABOUT.get(labels.word_rule, "cut at blanks and punctuation")
        return f"{said}. Texts are {cut}: the words are the matches of `word_pattern`"
    return said


def with_optimum(labels: Labels, folder: str) -> str:
    """How to load the folder as a model of optimum."""
    name = AUTO.get(labels.task_type, SEQUENCES).replace("AutoModel", "ORTModel")
    return f"""With optimum (`optimum[onnxruntime]`), the folder is a model of transformers' kind:

```python
from optimum.onnxruntime import {name}
from transformers import AutoTokenizer

model = {name}.from_pretrained("{folder}")
tokenizer = AutoTokenizer.from_pretrained("{folder}")
```"""


def with_transformers(task_type: str, folder: str, labels: Labels | None, own: bool) -> str:
    """How to load the folder with transformers; of an ensemble, what it is."""
    if labels is not None and labels.members:
        return (f"Two models answer together, {' and '.join(labels.members)}: their class "
                "probabilities are averaged.")
    auto = AUTO.get(task_type, SEQUENCES)
    registers = "import kdbench.models.architectures  # transformers lacks this model\n" * own
    said = f"""```python
from transformers import {auto}, AutoTokenizer
{registers}
model = {auto}.from_pretrained("{folder}")
tokenizer = AutoTokenizer.from_pretrained("{folder}")
```"""
    if labels is not None and labels.unattended_ids:
        ids = ", ".join(map(str, labels.unattended_ids))
        said += (f"\n\nSet `attention_mask` to 0 at token ids {ids}, which this student was "
                 "trained not to see.")
    if labels is not None and labels.word_prefix:
        said += ("\n\nA list of words (`is_split_into_words`) needs a blank before every word but "
                 "the first: this tokenizer reads the blank with the word.")
    return said
