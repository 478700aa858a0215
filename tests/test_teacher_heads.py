"""A fine-tuned teacher keeps its head, whatever its labels are called, or one line says why not.

One small encoder has a head fitted to made-up labels. Each case writes its rows in another order,
under other names or in another scheme, as a folder; the teacher that comes of it must answer as the
head did.
"""

import json
from functools import lru_cache

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from students import TEXTS, student

from kdbench.base.errors import BadInput
from kdbench.base.progress import forget_said
from kdbench.data.tags import encode, lenient_spans, tag_set
from kdbench.data.task import Data, Example, Task
from kdbench.models.heads import output_layer
from kdbench.models.sources import resolve
from kdbench.serve.serving import labels_of, open_artefact
from kdbench.train import agreement
from kdbench.train.lab import Lab, Role
from kdbench.train.signals import StoredSignals
from kdbench.train.spec import Settings
from kdbench.train.stage_cache import StageCache

METRICS = {"single": "accuracy", "multi": "micro_f1", "regression": "pearson", "tags": "entity_f1"}
IOBES = tag_set(("Drug", "Gene"), "IOBES")  # what the tagger was trained on
VERBS, BINARY = ("none", "inhibits", "activates"), ("no", "yes")
SEVERAL = ("growth", "death", "repair")
RIDGE = 1e-2  # larger weights would round off more than the tests allow


def spans_of(words):
    """Drugs of one word and of three, genes of one."""
    found = [(i, i + 1, "Gene" if word in ("kinase", "beta-receptor") else "Drug") for i, word in enumerate(words)
             if word in ("aspirin", "warfarin", "kinase", "beta-receptor")]
    return [*found, *([(0, 3, "Drug")] if words[0] == "an" else [])]


def label_of(text, task_type, labels):
    if task_type == "tags":
        words = text.split()
        types = {name.partition("-")[2] for name in labels}
        scheme = "IOBES" if any(name[:2] in ("E-", "S-") for name in labels) else "IOB" if "B" in {n[0] for n in labels} else "IO"
        known = [span for span in sorted(spans_of(words)) if span[2] in types]
        return tuple(labels.index(tag) for tag in encode(known, len(words), scheme))
    if task_type == "multi":
        return ("aspirin" in text) * 1, ("kinase" in text) * 1, ("activates" in text) * 1
    if task_type == "regression":
        return float(next(word for word in text.split() if word.isdigit()))
    verb = "inhibits" if "inhibits" in text else "activates"
    return int(verb == "activates") if len(labels) == 2 else 0 if "warfarin" in text else VERBS.index(verb)


def corpus(task_type, labels, own=None):
    """Examples whose labels are called `labels`, in the order of the labels `own` that the head was fitted to."""
    rows = []
    for i, text in enumerate(TEXTS):
        value = {"words": tuple(text.split())} if task_type == "tags" else {"text": text}
        rows.append(Example(str(i), label=label_of(text, task_type, own or labels), **value))
    return Data(tuple(rows), tuple(rows), tuple(rows), tuple(labels) if task_type != "regression" else ())


def make_lab(folder, task_type, data, teacher):
    task = Task(name="made", task_type=task_type, about="", metric=METRICS[task_type], metrics=(METRICS[task_type],),
                labels=data.labels, load=lambda _: data, unit="example")
    settings = Settings(precision="fp32", latency="off", max_length=64)
    return Lab(task, data, 0, "corrected", settings, resolve("tiny-student"), teacher, StageCache(folder), Accelerator(cpu=True))


@lru_cache(maxsize=8)
def fitted(task_type, labels):
    """A model, the rows of a head that answers these labels, and the logits of these rows on each text (a word: of tags).

    The rows solve for the labels on the encoder's vectors.
    """
    model = student("tiny:bert", task_type)
    data = corpus(task_type, labels)
    layer, vectors = output_layer(model.module), []
    hook = layer.register_forward_hook(lambda _, inputs, output: vectors.append(inputs[0]))
    model.module.eval()
    wanted = []
    with torch.no_grad():
        for e in data.train:
            words = list(e.words) or e.text
            encoded = model.tokenizer(words, is_split_into_words=bool(e.words), return_tensors="pt")
            model.module(**encoded)
            if task_type == "tags":
                ids = encoded.word_ids()
                places = [i for i, word in enumerate(ids) if word is not None and ids[i - 1] != word]
                vectors[-1] = vectors[-1][0, places]
                wanted.append(8 * torch.eye(len(labels))[list(e.label)] - 4)
            elif task_type == "single":
                wanted.append(8 * torch.eye(len(labels))[[e.label]] - 4)
            else:
                wanted.append(torch.tensor([e.label], dtype=torch.float32).view(1, -1) * (8 if task_type == "multi" else 1)
                              - (4 if task_type == "multi" else 0))
    hook.remove()
    seen, targets = torch.cat(vectors).double(), torch.cat(wanted).double()
    seen = torch.cat([seen, torch.ones(len(seen), 1)], 1)
    solved = torch.linalg.solve(seen.T @ seen + RIDGE * torch.eye(seen.shape[1]), seen.T @ targets)
    logits = (seen @ solved).float().numpy()
    cuts = np.cumsum([len(e.words) or 1 for e in data.train])[:-1]
    texts = [rows if task_type == "tags" else rows[0] for rows in np.split(logits, cuts)]
    return model, solved[:-1].T.float().contiguous(), solved[-1].float().contiguous(), texts


def write(folder, task_type, labels, names, **config):
    """A folder with the fitted head under `names`: by name the label of its row, or None for a row that never wins."""
    model, weight, bias, _ = fitted(task_type, labels)
    folder.mkdir()
    layer = output_layer(model.module)
    order = [labels.index(label) if label in labels else -1 for label in names.values()]
    rows = torch.cat([weight, torch.zeros(1, weight.shape[1])])[order]
    values = torch.cat([bias, torch.tensor([-30.0])])[order]
    before = layer.weight, layer.bias
    layer.weight, layer.bias = torch.nn.Parameter(rows), torch.nn.Parameter(values)
    model.module.save_pretrained(folder)
    layer.weight, layer.bias = before
    model.tokenizer.save_pretrained(folder)
    content = json.loads((folder / "config.json").read_text())
    content.update({"id2label": {str(i): name for i, name in enumerate(names)}, "num_labels": len(names),
                    "label2id": {name: i for i, name in enumerate(names)}, "problem_type": None, **config})
    (folder / "config.json").write_text(json.dumps({k: v for k, v in content.items() if v != "gone"}))
    return folder


def answers(task_type, labels, names, binary=False):
    """(R,) logits of the folder's own rows on each text, of tags (W, R): as the head was before it was written."""
    if binary:
        return [row[1:] - row[:1] for row in fitted("single", BINARY)[3]]
    order = [labels.index(label) if label in labels else -1 for label in names.values()]
    never = [np.concatenate([row, np.full_like(row[..., :1], -30.0)], -1) for row in fitted(task_type, labels)[3]]
    return [row[..., order] for row in never]


def same(labels, **others):
    """Rows under the names of the labels themselves."""
    return {label: label for label in labels} | others


def shifted(labels):
    return {label: label for label in [*labels[1:], labels[0]]}


def spelt(how, labels=IOBES):
    """The rows of `labels` under the names that `how` makes of letter and type."""
    return {how(*label.split("-")) if "-" in label else "O": label for label in labels}


BILOU = {"B": "B", "I": "I", "E": "L", "S": "U"}
BMEWO = {"B": "B", "I": "M", "E": "E", "S": "W"}
BIO, IO, ONE = tag_set(("Drug", "Gene"), "IOB"), tag_set(("Drug", "Gene"), "IO"), tag_set(("Drug",), "IOB")
USED, BY_NAME, BY_TAG, NEW = "head used as it came", "head used, rows matched by name", "head used, rows matched by tag", "new head trained: "
AGREED = "head used, rows matched by agreement with the training labels"

# type of task, labels that the head was fitted to, its rows (name: label), the task's labels, what else, what is said
CASES = {
    "the same": ("single", VERBS, same(VERBS), VERBS, {}, USED),
    "another order": ("single", VERBS, shifted(VERBS), VERBS, {}, BY_NAME),
    "two, turned round": ("single", BINARY, {"yes": "yes", "no": "no"}, BINARY, {}, BY_NAME),
    "case": ("single", VERBS, {"NONE": "none", "Activates": "activates", "INHIBITS": "inhibits"}, VERBS, {}, BY_NAME + " (without case"),
    "blanks and hyphens": ("single", VERBS, {"adverse event": "none", "drug-use": "inhibits", " Other": "activates"},
                           ("Adverse_Event", "drug use", "other"), {}, BY_NAME + " (without case"),
    "superset": ("single", VERBS, same(VERBS, neutral="neutral", mixed="mixed"), VERBS, {}, BY_NAME + "; not used: neutral, mixed"),
    "superset, another order": ("single", VERBS, {"more": "x", **shifted(VERBS)}, VERBS, {}, BY_NAME + "; not used: more"),
    "subset": ("single", VERBS, same(VERBS[:2]), VERBS, {}, NEW + "its labels (none, inhibits) lack activates"),
    "other names": ("single", VERBS, {"a": "none", "b": "inhibits", "c": "activates"}, VERBS, {}, NEW + "its labels (a, b, c) are not"),
    "no names": ("single", BINARY, {"LABEL_0": "no", "LABEL_1": "yes"}, BINARY, {}, AGREED),
    "no names, turned round": ("single", BINARY, {"LABEL_0": "yes", "LABEL_1": "no"}, BINARY, {}, AGREED),
    "no names, three": ("single", VERBS, {"LABEL_0": "activates", "LABEL_1": "none", "LABEL_2": "inhibits"}, VERBS, {}, AGREED),
    "numbers on our side": ("single", BINARY, {"POSITIVE": "yes", "NEGATIVE": "no"}, ("0", "1"), {}, AGREED),
    "numbers as numbers": ("single", BINARY, {0: "no", 1: "yes"}, ("0", "1"), {}, USED),
    "no names and no use": ("single", VERBS, {"LABEL_0": "x", "LABEL_1": "x", "LABEL_2": "x"}, VERBS, {}, NEW + "its rows have no names"),
    "no names, wrong size": ("single", VERBS, {f"LABEL_{i}": VERBS[min(i, 2)] for i in range(5)}, VERBS, {}, NEW + "its labels (LABEL_0"),
    "named by the user": ("single", VERBS, {"LABEL_0": "activates", "LABEL_1": "none", "LABEL_2": "inhibits"}, VERBS,
                          {"given": "LABEL_0=activates,LABEL_1=none, LABEL_2=inhibits"}, "head used, rows matched by --teacher-labels"),
    "named by the user, the other way": ("single", VERBS, {"a": "none", "b": "inhibits", "c": "activates"}, VERBS,
                                         {"given": "none=a,inhibits=b,activates=c"}, "head used, rows matched by --teacher-labels"),
    "named by place": ("single", VERBS, {"a": "activates", "b": "none", "c": "inhibits"}, VERBS, {"given": "activates,none,inhibits"},
                       "head used, rows matched by --teacher-labels"),
    "two rows of one label": ("single", VERBS, same(VERBS), BINARY, {"given": "none=no,inhibits=no,activates=yes", "least": 0.8},
                              "head used, rows matched by --teacher-labels"),
    "one logit, named": ("single", ("yes",), {"Yes": "yes"}, BINARY, {"binary": True}, BY_NAME + ": its one logit is that of yes"),
    "one logit, without a name": ("single", ("yes",), {"LABEL_0": "yes"}, BINARY, {"binary": True}, AGREED),
    "one logit, the first label's": ("single", ("yes",), {"LABEL_0": "yes"}, ("yes", "no"), {"binary": True}, AGREED),
    "a number for two labels": ("single", ("yes",), {"LABEL_0": "yes"}, BINARY, {"binary": True, "problem_type": "regression"},
                                NEW + "its head gives a number"),
    "several labels a text, for one": ("single", VERBS, shifted(VERBS), VERBS, {"problem_type": "multi_label_classification"}, BY_NAME),
    "names by label2id alone": ("single", VERBS, shifted(VERBS), VERBS, {"id2label": "gone"}, BY_NAME),
    "several": ("multi", SEVERAL, shifted(SEVERAL), SEVERAL, {"problem_type": "multi_label_classification"}, BY_NAME),
    "several, superset": ("multi", SEVERAL, {"more": "x", **same(SEVERAL)}, SEVERAL, {}, BY_NAME + "; not used: more"),
    "several, no names": ("multi", SEVERAL, {"LABEL_0": "repair", "LABEL_1": "growth", "LABEL_2": "death"}, SEVERAL, {}, AGREED),
    "one label a text, for several": ("multi", SEVERAL, same(SEVERAL), SEVERAL, {"problem_type": "single_label_classification"},
                                      NEW + "its head gives one label a text"),
    "a number": ("regression", ("score",), {"LABEL_0": "score"}, ("score",), {"problem_type": "regression"}, USED),
    "two rows for a number": ("regression", ("score",), {"a": "score", "b": "x"}, ("score",), {}, NEW + "it has 2 rows (a, b)"),
    "tags": ("tags", BIO, same(BIO), BIO, {}, USED),
    "tags, another order": ("tags", BIO, shifted(BIO), BIO, {}, BY_TAG),
    "tags, other spelling": ("tags", BIO, spelt(lambda letter, kind: f"{letter.lower()}_{kind.upper()}", BIO), BIO, {}, BY_TAG + "; DRUG taken for Drug"),
    "tags, letters behind": ("tags", BIO, spelt(lambda letter, kind: f"{kind}-{letter}", BIO), BIO, {}, BY_TAG),
    "tags, rows that no word gets": ("tags", BIO, {"[PAD]": "x", "X": "x", **same(BIO)}, BIO, {}, BY_TAG + "; not used: [PAD], X"),
    "IOBES for BIO": ("tags", IOBES, same(IOBES), BIO, {}, BY_TAG + ": IOBES as BIO"),
    "BILOU for BIO": ("tags", IOBES, spelt(lambda letter, kind: f"{BILOU[letter]}-{kind}"), BIO, {}, BY_TAG + ": BILOU as BIO"),
    "BMEWO for IOBES": ("tags", IOBES, spelt(lambda letter, kind: f"{BMEWO[letter]}-{kind}"), IOBES, {}, BY_TAG + ": BMEWO as IOBES"),
    "IOBES for IO": ("tags", IOBES, same(IOBES), IO, {}, BY_TAG + ": IOBES as IO"),
    "BIO for IOBES": ("tags", BIO, same(BIO), IOBES, {}, BY_TAG + ": BIO as IOBES"),
    "BIO for IO": ("tags", BIO, same(BIO), IO, {}, BY_TAG + ": BIO as IO"),
    "IO for BIO": ("tags", IO, same(IO), BIO, {}, BY_TAG + ": IO as BIO"),
    "types alone for BIO": ("tags", IO, {"O": "O", "drug": "I-Drug", "Gene": "I-Gene"}, BIO, {}, BY_TAG + ": IO as BIO"),
    "tags of further types": ("tags", BIO, same(BIO), ONE, {}, BY_TAG + "; counted as O: Gene"),
    "IOBES of further types for BIO": ("tags", IOBES, same(IOBES), ONE, {}, BY_TAG + ": IOBES as BIO; counted as O: Gene"),
    "a type is missing": ("tags", ONE, same(ONE), BIO, {}, NEW + "its labels (O, B-Drug, I-Drug) have no tags of Gene"),
    "tags without names": ("tags", BIO, {f"LABEL_{i}": tag for i, tag in enumerate(shifted(BIO))}, BIO, {}, AGREED),
    "types named by the user": ("tags", BIO, spelt(lambda letter, kind: f"{letter}-{ {'Drug': 'Chemical', 'Gene': 'Protein'}[kind]}", BIO), BIO,
                                {"given": "Chemical=Drug,Protein=Gene"}, "head used, rows matched by --teacher-labels"),
}


@pytest.fixture(autouse=True)
def afresh():
    forget_said()
    agreement._FOUND.clear()


def teacher_of(tmp_path, task_type, labels, names, wanted, facts):
    """The folder, and a lab whose teacher it is."""
    from dataclasses import replace

    config = {name: value for name, value in facts.items() if name in ("problem_type", "id2label")}
    if facts.get("binary"):
        folder = one_logit(tmp_path / "own", names, config)
        own = ("yes", "no") if wanted[0] == "yes" else BINARY
        texts = [Example(e.id, text=e.text, label=e.label if own is BINARY else 1 - e.label) for e in corpus("single", BINARY).train]
        data = Data(*[tuple(texts)] * 3, tuple(wanted))
    else:
        folder = write(tmp_path / "own", task_type, labels, names, **config)
        data = corpus(task_type, wanted, order_of(task_type, labels, wanted, facts))
    source = replace(resolve(str(folder)), labels=facts.get("given", ""))
    return folder, make_lab(tmp_path / "results", task_type, data, source)


def order_of(task_type, labels, wanted, facts):
    """The labels by which examples are made; only their names may differ from those of the task."""
    if task_type == "tags":
        return wanted
    return labels if len(labels) == len(wanted) else BINARY


def one_logit(folder, names, config):
    """A head of one row: the second minus the first of two."""
    write(folder, "single", BINARY, {"a": "no", "b": "yes"}, **config)
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    for name in ("classifier.weight", "classifier.bias"):
        state[name] = state[name][1:] - state[name][:1]
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    content = json.loads((folder / "config.json").read_text())
    content.update({"id2label": {"0": next(iter(names))}, "label2id": {next(iter(names)): 0}, "num_labels": 1, **config})
    (folder / "config.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_teacher_keeps_what_its_head_knows(tmp_path, capsys, case):
    task_type, labels, names, wanted, facts, said = CASES[case]
    folder, lab = teacher_of(tmp_path, task_type, labels, names, wanted, facts)
    model = lab.teacher()
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("own: ")]
    assert lines == [f"own: {model.notes[0]}"] and model.notes[0].startswith(said), lines
    assert lab.notes == lines
    if said.startswith(NEW):
        assert not model.ready and output_layer(model.module).out_features == max(len(lab.data.labels), 1)
        own = torch.nn.Parameter(fitted(task_type, labels)[1]) if not facts.get("binary") else ()
        assert not any(torch.equal(row, other) for row in output_layer(model.module).weight for other in own)
        return
    assert model.ready and lab.finetune(model) is model
    score = lab.score(model, "test")[0].main
    assert score == pytest.approx(expected_score(task_type, labels, names, wanted, lab, facts), abs=1e-6)
    assert score > facts.get("least", 0.95), "the head that came answers its texts"
    compare_signals(task_type, labels, names, wanted, lab, model, facts)


def expected_score(task_type, labels, names, wanted, lab, facts):
    """The score of the head's own answers, in the words of the task."""
    rows, gold = answers(task_type, labels, names, facts.get("binary")), [e.label for e in lab.data.test]
    if task_type == "tags":
        own = list(names.values())
        types = {name.partition("-")[2] for name in wanted}
        both = found = due = 0
        for logits, label in zip(rows, gold, strict=True):
            spans = {s for s in lenient_spans([own[i] for i in logits.argmax(-1)]) if s[2] in types}
            true = set(lenient_spans([wanted[i] for i in label]))
            both, found, due = both + len(spans & true), found + len(spans), due + len(true)
        return 2 * both / (found + due)
    logits = np.stack(rows)
    if task_type == "regression":
        return np.corrcoef(logits[:, 0], gold)[0, 1]
    if task_type == "multi":
        own = [list(names.values()).index(label) for label in labels]
        said, true = logits[:, own] > 0, np.array(gold, bool)
        return 2 * (said & true).sum() / (said.sum() + true.sum())
    if facts.get("binary"):
        said = np.where(logits[:, 0] > 0, wanted.index("yes"), wanted.index("no"))
        return float((said == np.array(gold)).mean())
    own = [labels.index(label) if label in labels else -1 for label in names.values()]
    said = np.array([own[i] for i in logits.argmax(-1)])
    if len(wanted) < len(labels):
        said = (said == labels.index("activates")) * 1
    return float((said == np.array(gold)).mean())


def compare_signals(task_type, fitted_to, names, wanted, lab, model, facts):
    """The logits that students learn from are those of the head's rows, where each label has one."""
    signals = lab.signals(model)
    assert isinstance(signals, StoredSignals)
    own, labels = list(names.values()), rows_of(task_type, fitted_to, names, wanted, facts)
    if labels is None:
        return
    for example, logits in zip(lab.data.train, answers(task_type, fitted_to, names), strict=True):
        expected = np.stack([logits[..., [own.index(row) for row in rows]].max(-1) for rows in labels], -1)
        np.testing.assert_allclose(signals.rows["logits"][example.key], expected, rtol=1e-5, atol=1e-5)


def rows_of(task_type, labels, names, wanted, facts):
    """For each label of the task the labels of the rows that stand for it; None where rows are shared."""
    own = list(names.values())
    if facts.get("binary") or task_type == "regression":
        return None
    if task_type != "tags":
        if facts.get("given", "").startswith("none=no"):
            return [["none", "inhibits"], ["activates"]]
        return [[label] for label in labels]
    have = {name[0] for name in own if "-" in name}
    if any(name[0] not in have | {"O"} and not (name[0] == "I" and "I" in have) for name in wanted):
        return None
    letters = {"I": "BIES"} if "B-Drug" not in wanted else {"B": "BS", "I": "IE"} if "S-Drug" not in wanted else {x: x for x in "BIES"}
    types = {name.partition("-")[2] for name in wanted}
    outside = ["O", *(name for name in own if "-" in name and name.partition("-")[2] not in types)]
    return [outside if name == "O" else [f"{x}-{name[2:]}" for x in letters[name[0]] if f"{x}-{name[2:]}" in own] for name in wanted]


@pytest.mark.parametrize("case", ["IOBES for BIO", "IO for BIO", "two rows of one label", "one logit, named"])
def test_joined_rows_are_stored_and_read_again(tmp_path, case):
    task_type, labels, names, wanted, facts, _ = CASES[case]
    folder, lab = teacher_of(tmp_path, task_type, labels, names, wanted, facts)
    model = lab.teacher()
    model.module.save_pretrained(tmp_path / "stored")
    model.tokenizer.save_pretrained(tmp_path / "stored")
    labels_of(model, 64).write(tmp_path / "stored")
    assert labels_of(model, 64).labels == tuple(wanted)
    batch = lab.corpus(model, lab.data.test, 64)
    served = open_artefact(tmp_path / "stored").logits(batch.tokens, batch.types)
    with torch.no_grad():
        for row, text in zip(served, batch.tokens, strict=True):
            ours = model.module.eval()(input_ids=torch.tensor([text])).logits[0].numpy()
            np.testing.assert_allclose(row, ours, rtol=1e-5, atol=1e-5)
    # and it teaches as it is, or in another order, as any head does
    again = make_lab(tmp_path / "more", task_type, lab.data, resolve(str(tmp_path / "stored")))
    other = again.teacher()
    assert other.ready and other.notes == (USED,)
    assert again.score(other, "test")[0].main == pytest.approx(lab.score(model, "test")[0].main, abs=1e-6)


def test_a_head_that_is_joined_can_be_trained_further(tmp_path):
    """DoKTra calibrates its teacher."""
    task_type, labels, names, wanted, facts, _ = CASES["IOBES for BIO"]
    _, lab = teacher_of(tmp_path, task_type, labels, names, wanted, facts)
    model = lab.teacher()
    trained = lab.finetune(lab.model(lab.teacher_source, role=Role.TEACHER).__class__(**{**vars(model), "ready": False}), epochs=1)
    assert lab.score(trained, "test")[0].main > 0.9
    folder = lab.cache.stage(trained.key)
    corpus_of = lab.corpus(trained, lab.data.test, 64)
    labels_of(trained, 64).write(folder)
    assert open_artefact(folder).logits(corpus_of.tokens[:1], corpus_of.types and corpus_of.types[:1])[0].shape[-1] == len(wanted)


@pytest.mark.parametrize(("names", "given", "said"), [
    ({"a": "no", "b": "yes"}, "a=nope", "write TEACHER=TASK; the teacher has a, b, the task has no, yes"),
    ({"a": "no", "b": "yes"}, "c=no", "write TEACHER=TASK"),
    ({"a": "no", "b": "yes"}, "no,yes,maybe", "names 3 rows, and the teacher's head has 2"),
    ({"a": "no", "b": "yes"}, "a=no", "lack yes"),
    ({"LABEL_0": "no", "LABEL_1": "yes"}, "LABEL_1=no", "lack yes"),
], ids=str)
def test_labels_that_do_not_fit_are_refused(tmp_path, names, given, said):
    _, lab = teacher_of(tmp_path, "single", BINARY, names, BINARY, {"given": given})
    with pytest.raises(BadInput, match="--teacher-labels") as refused:
        lab.teacher()
    assert said in str(refused.value)


def test_a_list_in_place_of_names_is_one_line(tmp_path):
    folder = write(tmp_path / "own", "single", BINARY, same(BINARY), id2label=["no", "yes"])
    with pytest.raises(BadInput, match="id2label is no table of labels"):
        make_lab(tmp_path, "single", corpus("single", BINARY), resolve(str(folder))).teacher()
