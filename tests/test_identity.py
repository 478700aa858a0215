"""A figure is what its record says: what decides a result decides its id, and nothing else does.

The first half is a table: every input changes the id of a cell, the key of a stage or the key of signals, or is
listed as outside with a reason. The second half are the ways in which a cache once gave old or foreign figures.
"""

from __future__ import annotations

import ast
import copy
import functools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path

import factory
import fresh
import numpy as np
import pytest
import torch
from accelerate import Accelerator

from kdbench.base import code
from kdbench.base.errors import BadInput
from kdbench.base.identity import record_id
from kdbench.base.options import by_content
from kdbench.base.registry import METHODS, TASKS, Entry
from kdbench.cli.verbs import main
from kdbench.data.task import Data, Example, Task
from kdbench.data.windows import Windows
from kdbench.models.heads import Head
from kdbench.models.load import build
from kdbench.models.sources import resolve
from kdbench.runs import cell, planning
from kdbench.runs.planning import plan
from kdbench.runs.plugins import load_plugin
from kdbench.runs.request import Request
from kdbench.runs.runner import Runner
from kdbench.runs.workers import message
from kdbench.score import metrics
from kdbench.train import spec
from kdbench.train.content import content_of, model_content
from kdbench.train.lab import Lab
from kdbench.train.losses import SoftTargets, Supervised
from kdbench.train.method import Objective, Term
from kdbench.train.signals import Teacher
from kdbench.train.spec import Settings
from kdbench.train.stage_cache import StageCache
from kdbench.train.training import Training

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "bench.py"
WORDS = ("dose", "gene", "drug", "cell")


# ---- cells -----------------------------------------------------------------------------------------


def rows(split: str, count: int = 12) -> list[Example]:
    return [Example(f"{split}{i}", text=f"{WORDS[i % 4]} number {i} of {split}", label=i % 2, group=f"d{i // 2}")
            for i in range(count)]


def corpus(**changes) -> Data:
    given = {split: tuple(rows(split)) for split in ("train", "dev", "test")}
    return Data(**{**given, "labels": ("no", "yes"), "domain_text": ("a text", "another"), **changes})


def task(data: Data, **changes) -> Task:
    facts = {"name": "made-up", "task_type": "single", "about": "made up", "metric": "macro_f1", "metrics": ("accuracy",), "unit": "row"}
    return Task(**{**facts, "load": lambda options: data, "lookalike": lambda seed: data, **changes})


@pytest.fixture
def cell_id(monkeypatch):
    """The id of a cell on made-up data, as the runner plans it; what is changed is named."""

    def of(data: Data | None = None, facts: dict | None = None, controls: bool = False, role: str = "method", **request) -> str:
        data = corpus() if data is None else data
        monkeypatch.setitem(TASKS._entries, "made-up", Entry("made-up", task(data, **(facts or {})), ("single",)))
        planning.load_data.cache_clear()
        cell.known_weights.cache_clear()
        device = request.pop("device", "cpu")
        seed = request.pop("seed", 0)
        asked = Request(**{"method": "logit_kd", "task": "made-up", "teacher": "tiny:bert", **request}, seeds=(seed,), controls=controls)
        return next(planned.id for planned in plan(asked, device=device) if planned.role == role)

    return of


def changed(split: str, **how) -> Data:
    """The made-up corpus with one row of `split` changed."""
    data = corpus()
    examples = list(data.split(split))
    examples[3] = replace(examples[3], **how)
    return replace(data, **{split: tuple(examples)})


SETTINGS = {
    "epochs": 2, "batch_size": 16, "lr": 1e-4, "teacher_lr": 1e-4, "weight_decay": 0.1, "warmup": 0.2, "max_length": 64,
    "accumulate": 2, "warmup_rule": "int",
    "select": "last", "max_train_examples": 8, "max_dev_examples": 8, "labels": 4, "max_steps": 3, "precision": "fp32",
    "batch_tokens": 512, "compile": True, "signal_memory": 0.5, "checkpoint_seconds": 1.0, "min_texts": 9, "latency": "off",
    "long": "windows", "stride": 3, "pooling": "max", "steps_equal": 12,
}
OF_WINDOWS = ("stride", "pooling")  # settings that say nothing of texts that are cut
REQUESTS = {
    "method": "finetune", "teacher": "tiny:roberta", "student": "tiny:bert", "options": {"alpha": 0.5}, "seed": 1,
    "device": "cuda",
}
DATA = {
    **{f"{split}: {what}": changed(split, **how) for split in ("train", "dev", "test")
       for what, how in {"text": {"text": "other"}, "label": {"label": 0}, "group": {"group": "other"}, "id": {"id": "x"},
                         "pair": {"pair": "more"}, "words": {"words": ("a",)}}.items()},
    "order of the rows": replace(corpus(), train=tuple(reversed(corpus().train))),
    "one row less": replace(corpus(), test=corpus().test[:-1]),
    "names of the labels": corpus(labels=("no", "maybe")),
    "order of the labels": corpus(labels=("yes", "no")),
    "unlabelled text": corpus(domain_text=("a text", "a third")),
}
FACTS = {"metric": {"metric": "accuracy"}, "further metrics": {"metrics": ("micro_f1",)}, "negative labels": {"negative": ("no",)}}


@pytest.mark.parametrize("name", [f.name for f in fields(Settings)])
def test_every_setting_changes_the_id_or_is_outside_for_a_reason(name, cell_id):
    beside = {"long": "windows"} if name in OF_WINDOWS else {}
    same = cell_id(settings=beside) == cell_id(settings={**beside, name: SETTINGS[name]})
    assert same == (name in spec.OUTSIDE)
    assert all(len(reason) > 20 for reason in spec.OUTSIDE.values())


@pytest.mark.parametrize("name", REQUESTS)
def test_what_is_asked_for_changes_the_id(name, cell_id):
    assert cell_id() != cell_id(**{name: REQUESTS[name]})


def test_every_field_of_a_request_is_looked_at():
    by_content = {"settings", "task", "data_dir", "files", "unlabelled", "task_options", "recipe", "variant", "teacher_labels", "teacher_options",
                  "teacher_weights", "tuning"}
    of_no_cell = {"controls", "resources", "published", "trials"}  # what runs beside, where, what others had, what chose it
    assert {f.name for f in fields(Request)} == by_content | of_no_cell | {"seeds"} | REQUESTS.keys() - {"seed", "device"}


@pytest.mark.parametrize("what", DATA)
def test_the_data_change_the_id_though_no_checksum_is_given(what, cell_id):
    assert cell_id() != cell_id(DATA[what])


@pytest.mark.parametrize("what", FACTS)
def test_what_a_task_scores_changes_the_id(what, cell_id):
    assert cell_id() != cell_id(facts=FACTS[what])


@pytest.mark.parametrize("part", ["training", "scoring", "logit_kd", "metric"])
def test_a_raised_version_changes_the_id(part, cell_id, monkeypatch):
    before = cell_id()
    if part == "metric":
        # in both places: one that stands in METRICS alone is a plugin's, and known by its code
        changed = replace(metrics.METRICS["macro_f1"], version=2)
        monkeypatch.setitem(metrics.METRICS, "macro_f1", changed)
        monkeypatch.setattr(metrics, "BUILT_IN", {**metrics.BUILT_IN, "macro_f1": changed})
    elif part == "logit_kd":
        monkeypatch.setattr(code, "built_in", lambda name: 2)
    else:
        monkeypatch.setattr(code, "core", lambda name: 2 if name == part else 1)
    assert cell_id() != before


@pytest.mark.parametrize("name", METHODS.names())
def test_every_option_changes_the_id(name, tmp_path):
    """Each option of each method, set to another value of its kind."""
    (tmp_path / "text").write_text("one\n")
    method = METHODS.get(name)
    where = {"dsg_kd": "emr", "ner_kd": "bc2gm_iobes"}.get(name, "chemprot")

    def id_with(options: dict) -> str:
        return plan(Request(name, where, options=options, controls=False), device="cpu")[0].id

    base = id_with({})
    for field in fields(method.Options):
        other = another(field, tmp_path / "text")
        assert id_with({field.name: other}) != base, field.name


def another(field, file: Path):
    facts, default = field.metadata, field.default
    if facts.get("file"):
        return str(file)
    if facts.get("choices"):
        if isinstance(default, tuple):
            return default[:-1]
        return next(choice for choice in facts["choices"] if choice != default)
    if isinstance(default, bool):
        return not default
    if isinstance(default, int) or "int" in str(field.type):
        return (default or facts.get("minimum") or 0) + 1
    value = (default or 0.0) / 2 + 0.05
    return value if value != default else value / 2


def test_a_file_given_as_an_option_is_known_by_its_content(tmp_path):
    (tmp_path / "a").mkdir()
    files = [tmp_path / "c.txt", tmp_path / "a" / "same.txt", tmp_path / "other.txt"]
    for path, text in zip(files, ("one line\n", "one line\n", "one line more\n"), strict=True):
        path.write_text(text)
    cells = [plan(Request("adapt", "chemprot", options={"corpus": str(path)}, controls=False))[0] for path in files]
    assert cells[0].id == cells[1].id != cells[2].id
    assert cells[0].description["options"]["corpus"] == by_content(files[0])
    assert "c.txt" not in json.dumps(cells[0].description) and str(tmp_path) not in json.dumps(cells[0].description)


def test_unlabelled_text_changes_the_id(cell_id, tmp_path):
    (tmp_path / "one").write_text("a text\nanother\n")
    (tmp_path / "same").write_text("a text\nanother\n")
    (tmp_path / "two").write_text("a text\nothers\n")
    ids = [cell_id(unlabelled=tmp_path / name) for name in ("one", "same", "two")]
    assert ids[0] == ids[1] != ids[2] and cell_id() not in ids


def saved(folder: Path) -> Path:
    model = build(resolve("tiny:bert"), Head("single", ("no", "yes")), seed=1, texts=lambda: ["gene dose drug cell"] * 9)
    model.module.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("what", ["weights", "tokenizer", "configuration"])
def test_a_model_folder_is_known_by_its_content(what, cell_id, tmp_path):
    folder = saved(tmp_path / "model")
    shutil.copytree(folder, tmp_path / "elsewhere" / "model")
    before = cell_id(student=str(folder))
    assert before == cell_id(student=str(tmp_path / "elsewhere" / "model"))
    if what == "weights":
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    elif what == "tokenizer":
        path = folder / "tokenizer.json"
        path.write_text(path.read_text().replace('"gene"', '"gens"'))
    else:
        path = folder / "config.json"
        path.write_text(path.read_text().replace('"hidden_dropout_prob": 0.1', '"hidden_dropout_prob": 0.2'))
    assert before != cell_id(student=str(folder))


def test_a_teacher_is_another_cell_than_a_control_of_the_same_name(cell_id):
    same = {"teacher": "tiny:bert", "student": "tiny:bert", "controls": True}
    assert cell_id(role="teacher", **same) != cell_id(role="control", **same)


PRINT_IDS = """
import os, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from kdbench.runs.planning import plan
from kdbench.runs.plugins import load_plugin
from kdbench.runs.request import Request
load_plugin({plugin!r})
import torch
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
data = Path({data!r})
files = {{split: data / f"{{split}}.tsv" for split in ("train", "dev", "test")}}
asked = Request("constant", "files", teacher={model!r}, student="tiny-student", files=files, options={{"lexicon": str(data / "words.txt")}},
                unlabelled=data / "words.txt", seeds=(0, 1))
print(*(cell.id for cell in plan(asked)))
from held import HELD
from kdbench.train.content import content_of
print(content_of(HELD, "x"))
print(*HELD["a"], *HELD["b"])
"""
HELD = "HELD = {'b': {1, 'x'}, 'a': frozenset({'q', 'w'}), 'c': lambda x: x in {'u', 'v'}}\n"


@pytest.fixture(scope="module")
def two_places(tmp_path_factory):
    """What PRINT_IDS prints in two folders, for two users, with other threads and hash seeds: lines, each as words."""
    printed = []
    for place, threads in (("one", "1"), ("another/deeper", "2")):
        folder = tmp_path_factory.mktemp("places") / place
        folder.mkdir(parents=True)
        for split, count in (("train", 9), ("dev", 4), ("test", 5)):
            lines = "".join(f"{split} text {i}\t{'yes' if i % 2 else 'no'}\n" for i in range(count))
            (folder / f"{split}.tsv").write_text(f"text\tlabel\n{lines}")
        (folder / "words.txt").write_text("dose\n")
        (folder / "plugin.py").write_text(CONSTANT)
        saved(folder / "model")
        program = PRINT_IDS.format(root=str(ROOT), plugin=str(folder / "plugin.py"), data=str(folder), model=str(folder / "model"))
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "HOME": str(folder), "USER": place[:3], "LOGNAME": place[:3],
                       "HOSTNAME": place[:3], "PYTHONHASHSEED": threads, "TZ": "Asia/Seoul", "LC_ALL": "C"}
        (folder / "print_ids.py").write_text(program)
        (folder / "held.py").write_text(HELD)
        done = subprocess.run([sys.executable, "print_ids.py"], cwd=folder, env=environment, capture_output=True, text=True, check=True)
        printed.append([line.split() for line in done.stdout.splitlines()])
    return printed


def test_ids_are_equal_in_another_folder_for_another_user_and_with_other_threads(two_places):
    one, other = two_places
    assert one[0] == other[0] and len(set(one[0])) == 8


# ---- stages ----------------------------------------------------------------------------------------


def make_lab(folder: Path, data: Data | None = None, teacher: str = "tiny:bert", student: str = "tiny-student", seed: int = 0,
             facts: dict | None = None, **settings) -> Lab:
    given = {"precision": "fp32", "epochs": 1, "batch_size": 8, "select": "last", "latency": "off", **settings}
    data = corpus() if data is None else data
    return Lab(task(data, **(facts or {})), data, seed, "corrected", Settings(**given), resolve(student), resolve(teacher),
               StageCache(folder), Accelerator(cpu=True))


class Scaled(Objective):
    """A loss with a constant of its own."""

    scale = 1.0

    def __init__(self, weight=1.0, helper=None):
        super().__init__()
        self.weight, self.helper = weight, helper
        self.head = torch.nn.Linear(2, 2)
        torch.nn.init.constant_(self.head.weight, 0.5)
        torch.nn.init.zeros_(self.head.bias)

    def forward(self, student, batch):
        return {"loss": Term(self.weight * self.outputs(student, batch).logits.square().sum())}


def with_constant(value):
    class Inside(Scaled):
        def forward(self, student, batch):
            return {"loss": Term(value * self.outputs(student, batch).logits.square().sum())}

    return Inside()


def moved(objective: Objective) -> Objective:
    with torch.no_grad():
        objective.head.weight[0, 0] += 1e-3
    return objective


def with_class_value() -> Objective:
    return type("Scaled", (Scaled,), {"scale": 2.0, "__module__": __name__, "__qualname__": "Scaled"})()


@dataclass
class Holder:
    values: tuple = (1, 2)


MODELS_CHANGED = {
    "a weight": lambda model: model.module.classifier.weight.data[0, 0].add_(1e-3),
    "a bias is frozen": lambda model: model.module.classifier.bias.requires_grad_(False),
    "a dropout": lambda model: setattr(model.module.dropout, "p", 0.3),
    "the configuration": lambda model: setattr(model.module.config, "hidden_act", "relu"),
    "a hook": lambda model: model.module.register_forward_hook(lambda module, given, made: made),
    "another class of part": lambda model: setattr(model.module, "dropout", torch.nn.Identity()),
    "hidden ids": lambda model: setattr(model, "unattended_ids", (3,)),
    "its tokenizer": lambda model: model.tokenizer.add_tokens(["zzz"]),
}
OBJECTIVES_CHANGED = {
    "an attribute": lambda: Scaled(2.0),
    "an attribute that is a list": lambda: Scaled(1.0, [1, 2]),
    "a dictionary": lambda: Scaled(1.0, {"a": {1: (2, {3})}}),
    "an array": lambda: Scaled(1.0, np.arange(3)),
    "a tensor": lambda: Scaled(1.0, torch.arange(3)),
    "a data class": lambda: Scaled(1.0, Holder()),
    "a function": lambda: Scaled(1.0, lambda x: x),
    "a partial function": lambda: Scaled(1.0, functools.partial(max, 1)),
    "what a class captured": lambda: with_constant(2.0),
    "a value of its class": with_class_value,
    "its first weights": lambda: moved(Scaled()),
    "another class": lambda: Supervised("single"),
}
TRAININGS_CHANGED = {
    "epochs": 2, "batch_size": 4, "lr": 1e-4, "head_lr": 1e-3, "weight_decay": 0.1, "decay_all": True, "warmup": 0.2,
    "schedule": "constant", "clip": 2.0, "accumulate": 2, "betas": (0.8, 0.9), "eps": 1e-6, "order": "file", "select": "best",
    "patience": 2, "watch": ("score", "-loss"), "max_length": 64, "warmup_rule": "ceil", "select_by": "-loss", "eval_steps": 5,
    "ties_improve": True, "stays_stalled": True, "batch_tokens": 512, "windows": Windows(3),
}


def key_of(lab: Lab, change=None, objective=None, examples=None, stage="s", seed=0, **training) -> str:
    model = lab.student()
    model.tokenizer = copy.deepcopy(model.tokenizer)
    if change:
        change(model)
    chosen = replace(Training(select="last", batch_size=8), **training)
    return lab.stage_key(model, objective or Scaled(), chosen, examples or lab.data.train, None, stage, seed)


@pytest.mark.parametrize("what", MODELS_CHANGED)
def test_a_stage_knows_the_model_by_its_content(what, tmp_path):
    assert key_of(make_lab(tmp_path)) == key_of(make_lab(tmp_path)) != key_of(make_lab(tmp_path), MODELS_CHANGED[what])


@pytest.mark.parametrize("what", OBJECTIVES_CHANGED)
def test_a_stage_knows_the_objective_by_its_code_and_all_that_it_holds(what, tmp_path):
    lab, other = make_lab(tmp_path), OBJECTIVES_CHANGED[what]
    assert key_of(lab, objective=other()) == key_of(lab, objective=other()) != key_of(lab)


@pytest.mark.parametrize("name", [f.name for f in fields(Training)])
def test_every_field_of_a_training_changes_the_stage(name, tmp_path):
    lab = make_lab(tmp_path)
    assert name in TRAININGS_CHANGED, "a new field of Training: give it another value here"
    assert key_of(lab) != key_of(lab, **{name: TRAININGS_CHANGED[name]})


@pytest.mark.parametrize("what", ["text", "label", "order", "seed", "stage", "precision", "max_steps", "compile"])
def test_what_else_decides_a_stage(what, tmp_path):
    lab = make_lab(tmp_path)
    train = lab.data.train
    other = {
        "text": lambda: key_of(lab, examples=changed("train", text="other").train),
        "label": lambda: key_of(lab, examples=changed("train", label=0).train),
        "order": lambda: key_of(lab, examples=train[::-1]),
        "seed": lambda: key_of(lab, seed=1),
        "stage": lambda: key_of(lab, stage="another"),  # its name draws the dropout
        "precision": lambda: key_of(make_lab(tmp_path, precision="bf16")),
        "max_steps": lambda: key_of(make_lab(tmp_path, max_steps=3)),
        "compile": lambda: key_of(make_lab(tmp_path, compile="on")),
    }[what]()
    assert other != key_of(lab)


@pytest.mark.parametrize("select", ["best", "last"])
def test_dev_decides_a_stage_where_it_selects(select, tmp_path):
    lab, other = make_lab(tmp_path), make_lab(tmp_path, changed("dev", label=0))
    third = make_lab(tmp_path, facts={"metric": "accuracy"})
    keys = [key_of(each, select=select) for each in (lab, other, third)]
    assert len(set(keys)) == (3 if select == "best" else 1)


def test_a_trained_model_and_the_same_from_the_cache_are_one(tmp_path):
    made = []
    for _ in range(2):
        lab = make_lab(tmp_path)
        trained = lab.train(lab.student(), Supervised("single"), stage="s")
        made.append((lab.stages[-1]["cached"], model_content(trained), trained.key))
    assert [cached for cached, *_ in made] == [False, True] and made[0][1:] == made[1][1:]


class Opaque:
    __slots__ = ()


@pytest.mark.parametrize("held", [sys.stdout, (each for each in "ab"), memoryview(b"ab")], ids=["file", "generator", "view"])
def test_what_cannot_be_hashed_is_refused_in_one_sentence(held, tmp_path):
    lab = make_lab(tmp_path)
    with pytest.raises(BadInput, match="cannot be hashed") as error:
        key_of(lab, objective=Scaled(1.0, [held]))
    assert "Scaled.helper[0]" in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(BadInput, match="held, which the pool captured"):
        content_of(lambda outputs, batch: held, "the pool")


def test_an_object_says_itself_what_decides():
    class Cache:
        def __init__(self, rule):
            self.rule, self.found = rule, {}

        def identity(self):
            return self.rule

    one, other = Cache("a"), Cache("a")
    one.found["x"] = 1
    assert content_of(one, "x") == content_of(other, "x") != content_of(Cache("b"), "x")


def test_a_circle_is_no_endless_loop():
    one, other = Holder([]), Holder([])
    one.values.append(one)
    other.values.append(other)
    assert content_of(one, "x") == content_of(other, "x")


def test_keys_do_not_depend_on_hash_seeds(two_places):
    one, other = two_places
    assert one[1] == other[1]
    assert one[2] != other[2], "the seeds order these sets alike, so that equal keys say nothing"


# ---- signals ---------------------------------------------------------------------------------------


def pool_of(strategy):
    def pool(outputs, batch):
        take = {"first": lambda x: x[:, 0], "mean": lambda x: x.mean(1)}[strategy]
        return {"mine": list(take(outputs.hidden_states[-1]))}

    return pool


class Pool:
    def __init__(self, strategy):
        self.strategy = strategy

    def __call__(self, outputs, batch):
        return pool_of(self.strategy)(outputs, batch)

    def method(self, outputs, batch):
        return self(outputs, batch)


STRATEGY = "first"


def by_global(outputs, batch):
    return pool_of(STRATEGY)(outputs, batch)


POOLS = {
    "closure": pool_of, "object": Pool, "bound method": lambda strategy: Pool(strategy).method,
    "partial": lambda strategy: functools.partial(lambda how, outputs, batch: pool_of(how)(outputs, batch), strategy),
    "default": lambda strategy: (lambda outputs, batch, how=strategy: pool_of(how)(outputs, batch)),
    "two lambdas": lambda strategy: {
        "first": lambda outputs, batch: {"mine": list(outputs.hidden_states[-1][:, 0])},
        "mean": lambda outputs, batch: {"mine": list(outputs.hidden_states[-1].mean(1))},
    }[strategy],
}


@pytest.mark.parametrize("kind", factory.slow_beside(POOLS, ("closure", "object")))
def test_another_strategy_of_a_pool_gives_other_signals(kind, tmp_path):
    """Once: a pool whose key was left out took over the signals of another."""
    lab, seen = make_lab(tmp_path), []
    for strategy in ("first", "mean", "first"):
        found = lab.signals(lab.teacher(), ("mine",), pool=POOLS[kind](strategy), hidden_states=True)
        seen.append((found.key, next(iter(found.rows["mine"].values()))))
    assert seen[0][0] == seen[2][0] != seen[1][0]
    assert not np.array_equal(seen[0][1], seen[1][1])
    assert [stage["cached"] for stage in lab.stages] == [False, False]


def test_a_global_that_a_pool_reads_decides(monkeypatch):
    before = content_of(by_global, "pool")
    monkeypatch.setitem(globals(), "STRATEGY", "mean")
    assert content_of(by_global, "pool") != before


def teacher(lab: Lab, model=None, most=64, **how) -> Teacher:
    return Teacher(model or lab.teacher(), ("logits",), "single", most, device=torch.device("cpu"), autocast=None, **how)


def test_what_else_decides_signals(tmp_path):
    lab = make_lab(tmp_path)
    moved = lab.teacher()
    with torch.no_grad():
        moved.module.classifier.weight[0, 0] += 1e-3
    keys = [
        lab.signals_key(teacher(lab), lab.data.train),
        lab.signals_key(teacher(lab, moved), lab.data.train),
        lab.signals_key(teacher(lab), lab.data.dev),
        lab.signals_key(teacher(lab, attentions=True), lab.data.train),
        lab.signals_key(teacher(lab, most=48), lab.data.train),
        make_lab(tmp_path, precision="bf16").signals_key(teacher(lab), lab.data.train),
    ]
    assert len(set(keys)) == len(keys)
    assert keys[0] == lab.signals_key(teacher(lab), lab.data.train[::-1]), "signals belong to texts, not to an order"


@pytest.mark.parametrize("name", ["logits", "cls", "token_logits", "hidden_states", "attentions"])
def test_a_pool_may_not_give_a_built_in_name_to_something_else(name, tmp_path):
    """Once: a plugin's own `logits` became those of the control beside it."""
    lab = make_lab(tmp_path)

    def pool(outputs, batch):
        return {name: list(7 * outputs.logits)}

    batch = lab.corpus(lab.teacher(), lab.data.train, 64).batch([0])
    with pytest.raises(BadInput, match="may not give this name"):
        lab.signals(lab.teacher(), (name,), pool=pool, hidden_states=True, attentions=True).add(batch)


def test_a_pool_gives_what_was_asked_for(tmp_path):
    lab = make_lab(tmp_path)
    with pytest.raises(BadInput, match="mine, more were asked for, and the pool gave mine"):
        lab.signals(lab.teacher(), ("mine", "more"), pool=pool_of("first"), hidden_states=True)


def test_logits_beside_own_signals_are_the_teachers(tmp_path):
    lab = make_lab(tmp_path)
    both = lab.signals(lab.teacher(), ("logits", "mine"), pool=pool_of("first"), hidden_states=True)
    alone = lab.signals(lab.teacher())
    for key, value in alone.rows["logits"].items():
        np.testing.assert_allclose(value, both.rows["logits"][key], atol=1e-6)


def test_stored_and_live_signals_are_not_one(tmp_path):
    lab = make_lab(tmp_path)
    stored, live = lab.signals(lab.teacher()), lab.signals(lab.teacher(), live=True)
    assert stored.key != live.key


@pytest.mark.parametrize("where", ["signals", "models"])
def test_a_changed_byte_in_the_cache_is_seen(where, tmp_path):
    made = []
    for step in range(3):
        lab = make_lab(tmp_path)
        taught = lab.signals(lab.teacher())
        lab.train(lab.student(), SoftTargets("single", 2.0, 0.5), stage="s", signals=taught)
        made.append([stage["cached"] for stage in lab.stages])
        if step == 1:
            path = next((tmp_path / where).rglob("*logits.safetensors" if where == "signals" else "model.safetensors"))
            content = bytearray(path.read_bytes())
            content[-40] ^= 1  # the file is as long as before and its header whole
            path.write_bytes(content)
    assert made[:2] == [[False, False], [True, True]] and made[2][0 if where == "signals" else 1] is False


# ---- versions of the code --------------------------------------------------------------------------


def test_versions_have_the_digests_of_the_code_that_is_here():
    """A change of meaning raises a version; a change of form is confirmed: `python -m kdbench.base.code --confirm`."""
    assert code.outdated() == []
    for name in code.places():
        assert METHODS.get(name).version == code.kept()[name]["version"]
    assert all(code.core_file(name).is_file() for name in code.CORE_FILES)


SOURCE = '''"""Doc."""
import os
SCALE = 2.0


class Loss:
    """Doc."""

    def forward(self, x: int) -> int:
        """Doc."""
        return SCALE * x  # a comment
'''


def shape_of(text: str) -> str:
    return json.dumps(code.shape(ast.parse(text).body[2:]))


@pytest.mark.parametrize(("old", "new", "same"), [
    ("# a comment", "# another", True), ('"""Doc."""', '"""Other."""', True), ("x: int) -> int", "x)", True),
    ("SCALE * x", "SCALE * (x)", True), ("2.0", "3.0", False), ("2.0", "2", False), ("SCALE * x", "x * SCALE", False),
    ("* x", "/ x", False), ("forward", "backward", False),
])
def test_a_digest_sees_meaning_and_not_form(old, new, same):
    assert (shape_of(SOURCE) == shape_of(SOURCE.replace(old, new))) is same


def copy_of_project(folder: Path) -> Path:
    for name in ("kdbench", "methods", "tasks", "benchmarks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(BENCH, folder)
    return folder


def versions_in(folder: Path) -> dict:
    program = ("import json; from kdbench.base import code\n"
               "found = {**{part: code.core(part) for part in code.VERSIONS}, **{n: code.built_in(n) for n in code.places()}}\n"
               "print(json.dumps(found))")
    done = fresh.run(["-c", program], cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize(("file", "old", "new", "affected"), [
    ("methods/doktra.py", "(student_cls > -margin)", "(student_cls >= -margin)", {"doktra"}),
    pytest.param("methods/code_switching.py", "isalpha()", "isalnum()", {"dsg_kd"}, marks=pytest.mark.slow),
    ("methods/ve_kd.py", "total - count * tolerance", "total - tolerance", {"ve_kd", "adapt"}),
    ("methods/augmentation.py", "import re\n", "import re  # a comment\n", set()),
    ("kdbench/train/losses.py", "temperature**2 * each", "temperature * each", {"training"}),
    ("kdbench/score/counts.py", "2 * sums[..., 0]", "3 * sums[..., 0]", {"scoring"}),
    pytest.param("kdbench/base/progress.py", "import sys", "import sys as system", set(), marks=pytest.mark.slow),
])
def test_edited_code_has_its_digest_for_a_version(tmp_path, file, old, new, affected):
    """What nobody raised a version for is not taken for the version: neither its cells nor its stages are found."""
    folder = copy_of_project(tmp_path / "copy")
    path = folder / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    found = versions_in(folder)
    assert {name for name, version in found.items() if isinstance(version, str)} == affected


def test_a_move_to_another_file_keeps_the_version(tmp_path):
    folder = copy_of_project(tmp_path / "copy")
    path = folder / "methods" / "doktra.py"
    text = path.read_text()
    begin, end = text.index("def boundary_disagreement"), text.index("class Calibrated")
    helper = folder / "methods" / "boundaries.py"
    helper.write_text("from torch import Tensor\n\n\n" + text[begin:end])
    there = "from kdbench.methods.boundaries import boundary_disagreement\n"
    path.write_text((text[:begin] + text[end:]).replace("from kdbench.train.lab", f"{there}from kdbench.train.lab", 1))
    assert versions_in(folder) == versions_in(ROOT)


def test_committed_records_keep_their_ids():
    paths = sorted((ROOT / "results").glob("*/records/*/*.json"))
    assert len(paths) > 100
    for path in paths:
        record = json.loads(path.read_text())
        assert record["id"] == path.stem == record_id(record["cell"], record["content"]), path


# ---- the ways in which figures were old or foreign --------------------------------------------------

CONSTANT = '''
from dataclasses import dataclass
from kdbench.train.losses import task_logits
from kdbench.train.method import Method, Objective, Term, option
from kdbench.base.registry import METHODS

SCALE = 1.0


class Constant(Objective):
    def forward(self, student, batch):
        logits = task_logits(self.outputs(student, batch), batch)
        return {"loss": Term(SCALE * (logits - batch.signals["logits"]).square().sum())}


@METHODS.register("constant", task_types=("single",), about="squared logits times a constant")
class ConstantKD(Method):
    name = "constant"
    title = citation = equations = needs = "none"
    task_types = ("single",)

    @dataclass(frozen=True)
    class Options:
        lexicon: str | None = option(None, "a file", file=True)

    def fit(self, lab):
        signals = lab.signals(lab.finetune(lab.teacher()), ("logits",))
        return lab.train(lab.student(), Constant(), stage="constant", signals=signals)
'''
SMALL = ["--teacher", "tiny:bert", "--max-train-examples", "64", "--max-dev-examples", "32", "--epochs", "1", "--latency", "off",
         "--device", "cpu", "--threads", "1"]


def bench(folder: Path, *words: str, wrong: bool = False, program: Path = BENCH) -> list[dict] | str:
    environment = {k: v for k, v in os.environ.items() if k != "KDBENCH_DATA"}
    if program != BENCH:
        environment["PYTHONPATH"] = str(program.parent)
    where = [] if wrong else ["--json", "--results-dir", str(folder / "r")]
    done = fresh.run([program, *words, *where], cwd=folder, env=environment)
    assert done.returncode == (2 if wrong else 0), done.stderr
    return done.stderr if wrong else json.loads(done.stdout)


def here(capsys, folder: Path, *words: str) -> list[dict]:
    """The same in this process, where no plugin stays registered and no code is edited."""
    capsys.readouterr()
    assert main([*words, "--json", "--results-dir", str(folder / "r")]) == 0
    return json.loads(capsys.readouterr().out)


def stages(record: dict) -> dict[str, bool]:
    return {stage["name"]: stage["cached"] for stage in record["cost"]["stages"]}


@pytest.mark.parametrize("where", ["plugin", pytest.param("file beside it", marks=pytest.mark.slow), "built in"])
def test_an_edited_loss_gives_new_figures(where, tmp_path):
    """Once: the same id, every stage from the cache, the old figures."""
    program, plugin = BENCH, tmp_path / "mine.py"
    if where == "built in":
        program = copy_of_project(tmp_path / "copy") / "bench.py"
        path, old, new = program.parent / "methods" / "doktra.py", "(student_cls - margin).square()", "(student_cls - 9 * margin).square()"
        words = ["--method", "doktra", "--set", "beta_teacher=0"]
    else:
        plugin.write_text(CONSTANT)
        path, old, new = plugin, "SCALE = 1.0", "SCALE = 100.0"
        if where == "file beside it":
            plugin.write_text("import sys\nfrom pathlib import Path\nsys.path.insert(0, str(Path(__file__).parent))\n"
                              + CONSTANT.replace("SCALE = 1.0", "from scale import SCALE"))
            path = tmp_path / "scale.py"
            path.write_text("SCALE = 1.0\n")
        words = ["--plugin", str(plugin), "--method", "constant"]
    words += ["--task", "chemprot", "--no-controls", *SMALL]
    (first,) = bench(tmp_path, *words, program=program)
    (again,) = bench(tmp_path, *words, program=program)
    assert again == first
    path.write_text(path.read_text().replace(old, new))
    (second,) = bench(tmp_path, *words, program=program)
    assert second["id"] != first["id"] and second["curves"] != first["curves"] and second["artefact"] != first["artefact"]
    assert stages(second)["transfer" if where == "built in" else "constant"] is False
    assert stages(second)["calibrated teacher" if where == "built in" else "fine-tuning"] is (where != "built in"), \
        "what the change does not concern is found again, and only that"


def test_overwrite_trains_anew_and_puts_it_into_the_cache(tmp_path, no_data, capsys):
    words = ["--method", "logit_kd", "--task", "chemprot", *SMALL]
    first = here(capsys, tmp_path, *words)
    cached = {path: path.stat().st_mtime_ns for path in (tmp_path / "r").rglob("*.safetensors")}
    second = here(capsys, tmp_path, *words, "--overwrite")
    assert [r["id"] for r in first] == [r["id"] for r in second] and [r["score"] for r in first] == [r["score"] for r in second]
    fresh = {path: path.stat().st_mtime_ns for path in (tmp_path / "r").rglob("*.safetensors")}
    assert fresh.keys() == cached.keys() and all(fresh[path] > cached[path] for path in cached)
    trained = [stage["key"] for record in second for stage in record["cost"]["stages"] if not stage["cached"]]
    assert len(trained) == len(set(trained)) == 4, "each stage once: the teacher, its signals, two students"


POISON = CONSTANT.replace('("logits",))', '("logits",), pool=lambda outputs, batch: {"logits": list(9 * outputs.logits)})')


def test_a_plugins_own_logits_do_not_reach_the_control(tmp_path, no_data, capsys):
    (tmp_path / "poison.py").write_text(POISON)
    words = ["--plugin", str(tmp_path / "poison.py"), "--method", "constant", "--task", "chemprot", *SMALL, "--no-controls"]
    line = bench(tmp_path, *words, "--results-dir", str(tmp_path / "r"), wrong=True)
    assert "may not give this name" in line and "Traceback" not in line
    (control,) = here(capsys, tmp_path, "--method", "logit_kd", "--task", "chemprot", *SMALL, "--no-controls")
    shutil.rmtree(tmp_path / "r")
    (alone,) = here(capsys, tmp_path, "--method", "logit_kd", "--task", "chemprot", *SMALL, "--no-controls")
    assert control["curves"] == alone["curves"] and control["score"] == alone["score"]


TASK = '''
from kdbench.base.registry import Entry
from kdbench.data.task import Data, Example, Task
from kdbench.base.registry import TASKS


def load(options):
    rows = {split: (options.data_dir / "mine" / f"{split}.txt").read_text().splitlines() for split in ("train", "dev", "test")}
    made = {split: tuple(Example(f"{split}{i}", text=line[2:], label=int(line[0])) for i, line in enumerate(lines))
            for split, lines in rows.items()}
    return Data(**made, labels=("no", "yes"))


MINE = Task(name="mine", task_type="single", about="is it urgent", metric="macro_f1", load=load, labels=("no", "yes"), unit="note")
TASKS.add(Entry("mine", MINE, ("single",), MINE.about))
'''


def test_a_changed_corpus_without_checksums_gives_new_figures(tmp_path):
    """Once: the corpus and its labels changed, and the same command printed the old table under the same id."""
    (tmp_path / "task.py").write_text(TASK)
    folder = tmp_path / "data" / "mine"
    folder.mkdir(parents=True)
    for split, count in (("train", 40), ("dev", 10), ("test", 11)):
        lines = [f"{i % 2} note {i} of {split} is {'urgent' if i % 2 else 'calm'}\n" for i in range(count)]
        (folder / f"{split}.txt").write_text("".join(lines))
    words = ["--plugin", str(tmp_path / "task.py"), "--method", "finetune", "--task", "mine", "--data-dir", str(tmp_path / "data"),
             "--no-controls", *SMALL]
    (first,) = bench(tmp_path, *words)
    test = folder / "test.txt"
    test.write_text("".join(f"{1 - int(line[0])}{line[1:]}\n" for line in test.read_text().splitlines()))
    (second,) = bench(tmp_path, *words)
    assert second["id"] != first["id"] and second["score"]["all"]["test"] != first["score"]["all"]["test"]
    assert stages(second) == {"fine-tuning": True}, "the labels of test teach nothing"
    train = folder / "train.txt"
    train.write_text(train.read_text().replace("urgent", "serious"))
    (third,) = bench(tmp_path, *words)
    assert third["id"] != second["id"] and stages(third) == {"fine-tuning": False}


def test_self_distillation_has_its_teacher_and_honest_seconds(tmp_path, no_data, capsys):
    """Once: teacher and student of one name left no teacher's row, and the student had cost nothing."""
    words = ["--method", "logit_kd", "--task", "chemprot", *SMALL, "--student", "tiny:bert", "--teacher-lr", "2e-3"]
    found = {(record["role"], record["cell"]["method"]): record for record in here(capsys, tmp_path, *words)}
    assert found.keys() == {("teacher", "finetune"), ("control", "finetune"), ("method", "logit_kd")}
    student = found["method", "logit_kd"]["cost"]
    assert student["student_seconds"] > 0 and student["teacher_seconds"] > 0
    roles = {stage["name"]: stage["role"] for stage in student["stages"]}
    assert roles == {"fine-tuning": "teacher", "signals": "teacher", "soft targets": "student"}
    assert found["teacher", "finetune"]["artefact"] != found["control", "finetune"]["artefact"], "the teacher has a rate of its own"
    assert main(["table", "--results-dir", str(tmp_path / "r"), "--no-intervals", "--format", "json"]) == 0
    assert [row["role"] for row in json.loads(capsys.readouterr().out)] == ["teacher", "control", "method"]


def test_two_plugins_of_one_name_are_both_loaded(tmp_path):
    """Once: the second `models.py` was ignored in silence."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "models.py").write_text(CONSTANT.replace('"constant"', f'"constant_{folder}"'))
    words = ["--plugin", str(tmp_path / "a" / "models.py"), "--plugin", str(tmp_path / "b" / "models.py")]
    done = fresh.run([BENCH, "list", "methods", "--json", *words], check=True)
    names = {method["name"] for method in json.loads(done.stdout)["methods"]}
    assert {"constant_a", "constant_b"} <= names


@pytest.mark.parametrize("text", ["x = 1\n", "\n".join(line for line in CONSTANT.splitlines() if "register(" not in line)])
def test_a_plugin_that_registers_nothing_says_so(tmp_path, text):
    (tmp_path / "empty.py").write_text(text)
    line = bench(tmp_path, "list", "--plugin", str(tmp_path / "empty.py"), wrong=True)
    assert "registers nothing" in line and "@METHODS.register" in line and line.count("\n") == 1


def test_a_plugin_that_changed_since_it_was_loaded_is_refused(tmp_path):
    path = tmp_path / "later.py"
    path.write_text(CONSTANT.replace('"constant"', '"later"'))
    try:
        load_plugin(path)
        load_plugin(tmp_path / "." / "later.py")  # the same file is no second one
        path.write_text(path.read_text().replace("SCALE = 1.0", "SCALE = 2.0"))
        with pytest.raises(BadInput, match="changed after it was loaded"):
            load_plugin(path)
    finally:
        METHODS._entries.pop("later", None)


def test_workers_renew_what_is_older_than_the_command(tmp_path):
    assert Runner(tmp_path, device="cpu").renew == 0
    told = Runner(tmp_path, device="cpu", overwrite=True)
    planned, = plan(Request("finetune", "chemprot", controls=False), device="cpu")
    assert message(planned, told, "", 1)["renew"] == told.renew > 0
    cache, old = StageCache(tmp_path, told.renew), tmp_path / "old"
    old.write_text("")
    assert cache.is_current(old) and not cache.is_current(tmp_path / "not there")
    os.utime(old, (told.renew - 60, told.renew - 60))
    assert not cache.is_current(old)


# ---- the next cases of each kind: found by somebody who had not seen the code ------------------------

SETUPS = {
    "a folder that it puts on the path": (
        "import sys\nfrom pathlib import Path\nsys.path.insert(0, str(Path(__file__).parent / 'lib'))\nfrom helper import SCALE\n",
        {"lib/helper.py": "SCALE = 1.0\n"}, "lib/helper.py"),
    "a package with absolute imports": (
        "import sys\nfrom pathlib import Path\nsys.path.insert(0, str(Path(__file__).parent))\nfrom pack.a import SCALE\n",
        {"pack/__init__.py": "", "pack/a.py": "from pack.b import SCALE\n", "pack/b.py": "SCALE = 1.0\n"}, "pack/b.py"),
    "a package that imports what is beside it": (
        "import sys\nfrom pathlib import Path\nsys.path.insert(0, str(Path(__file__).parent))\nfrom up.a import SCALE\n",
        {"up/__init__.py": "", "up/a.py": "from beside_it import SCALE\n", "beside_it.py": "SCALE = 1.0\n"}, "beside_it.py"),
    "importlib": (
        "import importlib, sys\nfrom pathlib import Path\nsys.path.insert(0, str(Path(__file__).parent))\n"
        "SCALE = importlib.import_module('by_name').SCALE\n",
        {"by_name.py": "SCALE = 1.0\n"}, "by_name.py"),
    "a name that is put together": (
        "import importlib, sys\nfrom pathlib import Path\nsys.path.insert(0, str(Path(__file__).parent))\n"
        "SCALE = importlib.import_module('by_' + 'parts').SCALE\n",
        {"by_parts.py": "SCALE = 1.0\n"}, "by_parts.py"),
    "an import that waits for its call": (
        "SCALE = 1.0\ndef later():\n    from by_call import SCALE\n    return SCALE\n",
        {"by_call.py": "SCALE = 1.0\n"}, "by_call.py"),
}
# a registration alone: a method's base class would load torch in each of these processes
REGISTERED = '''
from kdbench.base.registry import METHODS


@METHODS.register("mine", task_types=("single",), about="a name")
class Mine:
    pass
'''
HASH = "import sys; sys.path.insert(0, {root!r})\nfrom kdbench.runs.plugins import load_plugin\nname = load_plugin({plugin!r})\n" \
       "print(sys.modules[name].__kdbench_source__)"


def hash_of(plugin: Path) -> str:
    program = HASH.format(root=str(ROOT), plugin=str(plugin))
    return fresh.run(["-c", program], check=True).stdout.strip()


@pytest.mark.parametrize("how", SETUPS)
def test_a_plugin_is_known_with_all_files_of_its_own_that_it_imports(how, tmp_path):
    begin, files, changed = SETUPS[how]
    for place in ("one", "two"):
        folder = tmp_path / place
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        (folder / "mine.py").write_text(begin + REGISTERED)
        (folder / "stranger.py").write_text("x = 1\n")
    before = hash_of(tmp_path / "one" / "mine.py")
    assert before == hash_of(tmp_path / "two" / "mine.py")
    (tmp_path / "two" / "stranger.py").write_text("x = 2\n")
    assert before == hash_of(tmp_path / "two" / "mine.py"), "what it does not import is not its own"
    (tmp_path / "two" / changed).write_text("SCALE = 3.0\n")
    assert before != hash_of(tmp_path / "two" / "mine.py")


def test_a_metric_of_a_plugin_decides_the_kept_epoch(tmp_path, monkeypatch):
    def score(sign):
        def direct(gold, predicted, info):
            return sign * float((np.asarray(predicted).argmax(1) == gold).mean())

        return metrics.Metric("mine", "accuracy with a sign", ("single",), direct=direct)

    def key(metric: str) -> str:
        return key_of(make_lab(tmp_path, facts={"metric": metric}), select="best")

    keys = []
    for sign in (1.0, -1.0, 1.0):
        monkeypatch.setitem(metrics.METRICS, "mine", score(sign))
        keys.append(key("mine"))
    assert keys[0] == keys[2] != keys[1], "functions of one source that captured different values"
    plain = key("accuracy")
    monkeypatch.setitem(metrics.METRICS, "accuracy", replace(metrics.METRICS["accuracy"], higher_is_better=False))
    assert key("accuracy") != plain


def around(old):
    @functools.wraps(old)
    def mine(*given, **more):
        return old(*given, **more)

    return mine


@pytest.mark.parametrize("how", ["wraps", "partial", "object", "inherited"])
def test_no_replacement_looks_like_the_original(how, cell_id, monkeypatch):
    from kdbench.train import losses

    before = cell_id()
    new = {"wraps": around(losses.soft_targets), "partial": functools.partial(around, 3.0), "object": Holder(),
           "inherited": around(Objective.outputs)}[how]
    where = "kdbench.train.losses.SoftTargets.outputs" if how == "inherited" else "kdbench.train.losses.soft_targets"
    monkeypatch.setattr(where, new, raising=False)
    assert cell_id() != before


@pytest.mark.parametrize("where", [
    "kdbench.train.losses.soft_targets", "kdbench.train.losses.SoftTargets.forward",
    "kdbench.train.signals.built_in", "kdbench.train.batching.Corpus.batch", "kdbench.score.counts.ratio"])
def test_what_replaces_a_part_of_the_core_has_figures_of_its_own(where, cell_id, monkeypatch):
    """Once: a plugin that put its own loss into the core changed the controls under their usual ids."""
    before = cell_id()

    def mine(*given, **more):
        return 7.0

    monkeypatch.setattr(where, mine)
    assert cell_id() != before
    monkeypatch.undo()


def test_a_metric_in_the_place_of_another_is_not_that_metric(monkeypatch):
    assert metrics.code_of_metric("macro_f1") == 1
    monkeypatch.setitem(metrics.METRICS, "macro_f1", replace(metrics.METRICS["accuracy"], name="macro_f1"))
    assert metrics.code_of_metric("macro_f1") != 1


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "spm.model"])
def test_all_that_decides_how_a_folder_reads_is_in_its_identity(name, cell_id, tmp_path):
    folder = saved(tmp_path / "model")
    before = cell_id(student=str(folder))
    (folder / name).write_text((folder / name).read_text() + " " if (folder / name).is_file() else "{}")
    assert cell_id(student=str(folder)) != before


@pytest.mark.parametrize(("file", "old", "new", "affected"), [
    ("methods/doktra.py", "import entropy, soft_targets, ", "import entropy, entropy as soft_targets, ", {"doktra"}),
    pytest.param("kdbench/train/fit.py", "import math\n", "import cmath as math\n", {"training"}, marks=pytest.mark.slow),
    ("kdbench/runs/runner.py", 'lab.score(student, "test")', 'lab.score(student, "dev")', {"scoring"}),
])
def test_a_swapped_import_and_a_swapped_split_are_edits(tmp_path, file, old, new, affected):
    test_edited_code_has_its_digest_for_a_version(tmp_path, file, old, new, affected)


W = torch.ones(2)


class State:
    value = 1.0


def through():
    return W


def reads_through(outputs, batch):
    return through()


def reads_object(outputs, batch):
    return State.value


def reads_attribute(outputs, batch):
    return reads_attribute.w


class OwnDict(dict):
    pass


class OwnFloat(float):
    pass


class Slotted:
    __slots__ = ("__w",)

    def __init__(self, w):
        self.__w = w


def owned(kind, w):
    made = kind({"a": 1}) if kind is OwnDict else kind(1.0)
    made.w = w
    return made


def generator(w):
    import random

    made = random.Random(0)
    made.gauss_next = w
    return made


def wrapped(w):
    @functools.wraps(torch.nn.functional.mse_loss)
    def inside(x):
        return w * x

    return inside


def made_elsewhere(w):
    """A class whose method another module made."""
    space = {"__name__": "elsewhere_made"}
    exec(compile(f"def forward(self):\n    return {w}\n", __file__, "exec"), space)
    return type("Made", (), {"forward": space["forward"], "__module__": __name__, "__qualname__": "Made"})


def with_activation(w):
    layer = torch.nn.TransformerEncoderLayer(2, 1, 2, activation=lambda x: w * x)
    for parameter in layer.parameters():
        torch.nn.init.ones_(parameter)
    return layer


class Part(torch.nn.Module):
    def __init__(self, name, value):
        super().__init__()
        setattr(self, name, value)


def hooked(w):
    part = torch.nn.Linear(1, 1)
    torch.nn.init.ones_(part.weight)
    torch.nn.init.ones_(part.bias)
    part.register_forward_hook(functools.partial(lambda w, module, given, made: w * made, w))
    return part


def class_with(**members):
    return type("Own", (), {**members, "__module__": __name__, "__qualname__": "Own"})


READ = {
    "a part's config": lambda w: Part("config", {"w": w}),
    "a part's epochs": lambda w: Part("epochs", w),
    "a library's part with a function": with_activation,
    "a hook that is a partial function": hooked,
    "a class with a partial function": lambda w: class_with(k=functools.partial(max, w)),
    "a class with a partial method": lambda w: class_with(k=functools.partialmethod(max, w)),
    "a bound built-in method": lambda w: {"w": w}.get,
    "a wrapped function": wrapped,
    "a method that another module made": made_elsewhere,
    "a dict of one's own": lambda w: owned(OwnDict, w),
    "a number of one's own": lambda w: owned(OwnFloat, w),
    "a default": lambda w: __import__("collections").defaultdict(functools.partial(float, w)),
    "the order of a dict": lambda w: {"a": 1, "b": 2} if w == 1 else {"b": 2, "a": 1},
    "a mask": lambda w: np.ma.masked_array([1.0, 2.0], [w == 1, False]),
    "private slots": Slotted,
    "an enumeration": lambda w: __import__("enum").Enum("E", {"A": w}).A,
    "a generator's state": generator,
    "a cached function": lambda w: functools.lru_cache(lambda x, w=w: w * x),
    "a function under no gradient": lambda w: torch.inference_mode()(lambda x, w=w: w * x),
}


# one of each way to hold a value; further ones are slow
ODD = ("a part's config", "a class with a partial method", "a wrapped function", "a default", "an enumeration", "the order of a dict")


@pytest.mark.parametrize("what", factory.slow_beside(READ, ODD))
def test_what_a_value_holds_in_odd_places_decides(what):
    one, same, other = (content_of(READ[what](w), "x") for w in (1.0, 1.0, 3.0))
    assert one == same != other


Pair = __import__("collections").namedtuple("Pair", "a b")
Level = __import__("enum").IntEnum("Level", {"LOW": 1})


def ordinary(outputs, batch):
    LOG.info("said")
    return Pair(Level.LOW, isinstance(1, NUMBER)), slice(1), ..., DAY


LOG = __import__("logging").getLogger("ordinary")
NUMBER = int | float
DAY = __import__("datetime").date(2030, 1, 1)


@dataclass
class Named:
    identity: float = 1.0


@pytest.mark.parametrize("value", [ordinary, LOG, Pair(1, 2), Level.LOW, Named(), DAY, __import__("decimal").Decimal("1.5"),
                                   torch.inference_mode()(ordinary), Pair, Level])
def test_what_people_write_every_day_is_not_refused(value):
    assert content_of(value, "x") == content_of(value, "x")


def test_what_a_method_draws_itself_does_not_depend_on_the_cache(tmp_path):
    drawn = []
    for _ in range(2):
        lab = make_lab(tmp_path)
        lab.draw_anew()
        lab.train(lab.student(), Supervised("single"), stage="s")
        drawn.append((lab.stages[-1]["cached"], torch.nn.Linear(2, 2).weight))
    assert [cached for cached, _ in drawn] == [False, True] and torch.equal(drawn[0][1], drawn[1][1])


def test_a_pool_that_reads_labels_is_known_with_them(tmp_path):
    lab, other = make_lab(tmp_path), changed("train", label=0).train
    own = teacher(lab, pool=pool_of("first"))
    assert lab.signals_key(own, lab.data.train) != lab.signals_key(own, other)
    assert lab.signals_key(teacher(lab), lab.data.train) == lab.signals_key(teacher(lab), other)


def test_what_is_read_through_others_decides(monkeypatch):
    before = [content_of(f, "x") for f in (reads_through, reads_object)]
    monkeypatch.setitem(globals(), "W", 3 * torch.ones(2))
    monkeypatch.setattr(State, "value", 3.0)
    assert all(a != content_of(f, "x") for a, f in zip(before, (reads_through, reads_object), strict=True))
    reads_attribute.w = 1.0
    first = content_of(reads_attribute, "x")
    reads_attribute.w = 3.0
    assert content_of(reads_attribute, "x") != first


def test_signals_that_a_method_changed_are_other_signals(tmp_path):
    lab = make_lab(tmp_path)
    found = lab.signals(lab.teacher())
    objective, training = SoftTargets("single", 2.0, 0.5), Training(select="last")
    before = lab.stage_key(lab.student(), objective, training, lab.data.train, found, "s", 0)
    for key in found.rows["logits"]:
        found.rows["logits"][key] = found.rows["logits"][key] * 3
    assert lab.stage_key(lab.student(), objective, training, lab.data.train, found, "s", 0) != before


def test_a_module_that_is_loaded_anew_is_new_code(tmp_path, monkeypatch):
    """As in a notebook: the file is edited and reloaded in one process."""
    import importlib

    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "edited_in_place.py"
    path.write_text("class Thing:\n    scale = 1.0\n")
    module = importlib.import_module("edited_in_place")
    first = code.code_of(module.Thing)
    path.write_text("class Thing:\n    scale = 30.0\n")
    assert code.code_of(module.Thing) == first, "what runs is still what was loaded"
    importlib.reload(module)
    assert code.code_of(module.Thing) != first
    del sys.modules["edited_in_place"]


def test_a_stage_in_the_place_of_another_is_not_taken(tmp_path):
    def trained(seed):
        lab = make_lab(tmp_path, seed=seed)
        lab.train(lab.student(), Supervised("single"), stage="s")
        return lab.stages[-1]["cached"], lab.cache.stage(lab.stages[-1]["key"])

    (_, one), (_, other) = trained(0), trained(1)
    one.rename(tmp_path / "kept")
    other.rename(one)
    (tmp_path / "kept").rename(other)
    assert trained(0)[0] is False


def test_the_labels_that_the_metric_leaves_out_select_an_epoch(tmp_path):
    keys = [key_of(make_lab(tmp_path, facts={"negative": negative}), select="best") for negative in ((), ("no",))]
    assert keys[0] != keys[1]


def test_masked_lm_steps_of_a_teacher_are_the_teachers_cost(tmp_path):
    lab = make_lab(tmp_path, teacher="tiny-teacher", max_steps=2)
    lab.teacher()
    assert [(stage["name"], stage["role"]) for stage in lab.stages] == [("masked LM", "teacher")]
