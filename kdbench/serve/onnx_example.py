"""A student's answer with onnxruntime, tokenizers and numpy alone, as code for its card.

The code answers one text at a time, as int8 needs it, and gives what `predict` gives. What holds
for one student alone (a threshold, token ids that attention must not see, a blank before words, a
second model) stands in its code only where it has it.
"""

from __future__ import annotations

from kdbench.serve import onnx_windows
from kdbench.serve.labels import Labels
from kdbench.serve.onnx_windows import logits_of_text

LOADING = '''\
import json{imports}
from pathlib import Path

import numpy as np
import onnxruntime{windowed}
from tokenizers import Tokenizer

folder = Path("{folder}")
about = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
'''

MODEL = '''\
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
tokenizer.no_padding()
tokenizer.enable_truncation(about["max_length"]{stride})  # the length limit: {limit} tokens
session = onnxruntime.InferenceSession(str(folder / "model.onnx"))


def logits_of(encoded):
    rows = {{
        "input_ids": encoded.ids,
        "attention_mask": {mask},
        "token_type_ids": encoded.type_ids,
    }}
    inputs = {{}}
    for node in session.get_inputs():
        inputs[node.name] = np.array([rows[node.name]], dtype=np.int64)
    return session.run(["logits"], inputs)[0][0].astype(np.float64)
'''

MEMBERS = '''\
models = []
for name in about["members"]:
    tokenizer = Tokenizer.from_file(str(folder / name / "tokenizer.json"))
    tokenizer.no_padding()
    own = json.loads((folder / name / "labels.json").read_text(encoding="utf-8"))
    tokenizer.enable_truncation(own["max_length"], stride=own.get("stride", 0))
    models.append((tokenizer, onnxruntime.InferenceSession(str(folder / name / "model.onnx"))))


def logits_of(session, encoded):
    rows = {"input_ids": encoded.ids, "attention_mask": encoded.attention_mask,
            "token_type_ids": encoded.type_ids}
    inputs = {}
    for node in session.get_inputs():
        inputs[node.name] = np.array([rows[node.name]], dtype=np.int64)
    return session.run(["logits"], inputs)[0][0].astype(np.float64)
'''

SOFTMAX = '''

def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
'''

SINGLE = '''

def answer(text, pair=None):
    chances = {chances}
    best = int(chances.argmax()){threshold}
    return {{"label": about["labels"][best], "probability": float(chances[best])}}
'''

MULTI = '''

def answer(text, pair=None):
    chances = 1 / (1 + np.exp(-{logits}))  # the sigmoid
    limit = 0.5 if about["threshold"] is None else about["threshold"]
    pairs = zip(about["labels"], chances)
    return {{"predicted": [label for label, chance in pairs if chance >= limit]}}
'''

REGRESSION = '''

def answer(text, pair=None):
    return {{"value": float({logits}[0])}}
'''

TAGS = '''

def answer(text):
    spans = [match.span() for match in re.finditer({pattern}, text)]  # {about}
    words = {words}
    encoded = tokenizer.encode(words, is_pretokenized=True)
    chances = softmax(logits_of(encoded))
    found, open_type = [], None  # the type of an entity that the next word may continue
    for word, (start, end) in enumerate(spans):
        if word not in encoded.word_ids:  # beyond the length limit
            break
        piece = encoded.word_ids.index(word)  # a word has the tag of its first piece
        prefix, _, name = about["labels"][chances[piece].argmax()].partition("-")
        if prefix in ("I", "E") and name == open_type:
            found[-1]["end"] = end
        elif prefix != "O":
            found.append({{"type": name, "start": start, "end": end}})
        open_type = name if prefix in ("B", "I") else None
    return [{{"text": text[entity["start"]:entity["end"]], **entity}} for entity in found]
'''

ASKED = '''

print(answer("Aspirin inhibits the enzyme."))
'''


def onnx_example(labels: Labels, folder: str) -> str:
    """The code for the ONNX export in `folder` of a student with these labels."""
    logits = logits_of_one(labels)
    answer = {"single": single, "multi": lambda _: MULTI.format(logits=logits), "tags": tags,
              "regression": lambda _: REGRESSION.format(logits=logits)}[labels.task_type](labels)
    windowed = labels.stride is not None
    loading = LOADING.format(imports="\nimport re" if labels.task_type == "tags" else "",
                             windowed="\nimport tokenizers" if windowed else "", folder=folder)
    loading += onnx_windows.CHECK * windowed
    powers = SOFTMAX if labels.task_type in ("single", "tags") else ""
    models = (MEMBERS if labels.members else model(labels)) + powers
    return loading + models + logits_of_text(labels) + answer + ASKED


def logits_of_one(labels: Labels) -> str:
    """The expression of a text's logits by one model."""
    if labels.stride is None:
        return "logits_of(tokenizer.encode(text, pair))"
    return "logits_of_text(text, pair)"


def model(labels: Labels) -> str:
    """The code that loads one model and computes its logits."""
    mask = "encoded.attention_mask"
    if labels.unattended_ids:
        mask = f"[int(token not in {labels.unattended_ids}) for token in encoded.ids]"
    stride = "" if labels.stride is None else ', stride=about["stride"]'
    return MODEL.format(limit=labels.max_length, stride=stride, mask=mask)


def single(labels: Labels) -> str:
    """The code of the most probable label; of two, by the threshold where there is one."""
    chances = f"softmax({logits_of_one(labels)})"
    if labels.members:
        one = "logits_of(session, tokenizer.encode(text, pair))"
        if labels.stride is not None:
            one = "logits_of_text(tokenizer, session, text, pair)"
        chances = (f"np.mean([softmax({one})\n"
                   "                       for tokenizer, session in models], axis=0)")
    threshold = ""
    if labels.threshold is not None and len(labels.labels) == 2:
        threshold = '\n    best = int(chances[1] >= about["threshold"])'
    return SINGLE.format(chances=chances, threshold=threshold)


def tags(labels: Labels) -> str:
    """The code of the entities of a text."""
    words, about = "[text[start:end] for start, end in spans]", ""
    pattern = 'r"' + labels.word_pattern + '"'
    if labels.word_prefix:
        words = (f"[text[start:end] if i == 0 else {labels.word_prefix!r} + text[start:end]\n"
                 "             for i, (start, end) in enumerate(spans)]")
    if labels.word_rule:
        from kdbench.data.word_rules import ABOUT

        pattern = 'about["word_pattern"]'
        about = ABOUT.get(labels.word_rule, "")
    code = TAGS if labels.stride is None else onnx_windows.TAGS
    return code.format(pattern=pattern, about=about or "the word rule", words=words)
