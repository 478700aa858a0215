"""What the fuzzer damages: valid inputs of every kind, with the commands that read them.

The costly part, a trained run with its export, is made once for all cases.
"""

import hashlib
import importlib.util
import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from tests import factory, fresh, layout_files, students, test_bad_files

RUN = ("--student", "tiny:bert", "--teacher", "tiny:bert", "--epochs", "1", "--max-steps", "1", "--latency", "off", "--no-controls",
       "--threads", "1")
SUITE = """about = "two cells"
seeds = [0, 1]
controls = false
cpu_hours = 0.1
[defaults]
task = "chemprot"
teacher = "tiny-teacher"
student = "tiny-student"
epochs = 2
lr = 0.001
[[cells]]
method = ["finetune", "logit_kd"]
options = { logit_kd = { temperature = [1.0, 2.0] } }
batch_size = 16
resources = { cpus = 2 }
published = [{ metric = "micro_f1", value = 70.1, method = "finetune" }]
"""
WITHOUT = {"docbin"} if importlib.util.find_spec("spacy") is None else set()


@dataclass
class Prepared:
    """Files to damage, and a command that reads them.

    files    one of them is damaged
    words    the command; the first word is the verb
    decides  the files' content is part of a cell's id
    environ  further variables
    answer   gives the answer of a command that ended well, from its folder and output: damaged files must not change it without a word
    finds    the command is to find the damage: exit code 1, or 2
    signal   is sent to the command after some seconds
    """

    files: list
    words: tuple
    decides: bool = False
    environ: dict = field(default_factory=dict)
    answer: Callable | None = None
    finds: bool = False
    signal: int = 0


def printed(folder, out):
    """What the command printed, without the place of this case."""
    return out.replace(str(folder), "FOLDER")


def texts(count):
    return [(f"note {i}: fever for {i % 5} days", ("routine", "urgent")[i % 2]) for i in range(count)]


def several(count):
    return [(text, ("pain", label) if i % 3 else (label,)) for i, (text, label) in enumerate(texts(count))]


def make_base(folder):
    """A results folder with a trained run, synthetic records, an export, and a data set."""
    folder.mkdir(parents=True)
    split_files(folder)
    words = ["run", "--method", "finetune", "--task", "files", "--train", folder / "train.jsonl", "--test", folder / "test.jsonl", *RUN,
             "--results-dir", folder / "results"]
    fresh.run(["-c", "import sys; from kdbench.cli.verbs import main; sys.exit(main(sys.argv[1:]))", *words], cwd=folder, check=True)
    made, = (folder / "results" / "records" / "files").glob("*.json")
    stage, = (folder / "results" / "models").iterdir()
    shutil.copytree(stage, folder / "student")
    weights(folder / "old", stage)
    study(folder / "study")
    (folder / "run").write_text(made.stem)
    students.write(folder / "tagger", task_type="tags")
    program = "import sys; from kdbench.cli.verbs import main; sys.exit(main(sys.argv[1:]))"
    for words in (["label", made.stem, "--file", folder / "test.jsonl", "-o", folder / "labelled.jsonl", "--results-dir", folder / "results"],
                  [*longer(folder), "--results-dir", folder / "whole"]):
        fresh.run(["-c", program, *words], cwd=folder, check=True)
    done = fresh.run(["-c", KILLED, *longer(folder), "--results-dir", folder / "killed"], cwd=folder)
    assert done.returncode == 9 and [*folder.glob("killed/models/*.partial/latest")], done.stderr


# a run that ends, as by a kill, after its second checkpoint
KILLED = """
import os, sys
from kdbench.cli.verbs import main
usual, calls = os.replace, []
def replace(source, target):
    usual(source, target)
    calls.append(os.path.basename(target))
    if calls.count("latest") == 2:
        os._exit(9)
os.replace = replace
sys.exit(main(sys.argv[1:]))
"""


def longer(folder):
    """A run with checkpoints."""
    return ("run", "--method", "logit_kd", "--task", "files", "--train", folder / "train.jsonl", "--test", folder / "test.jsonl",
            *(word if word != "1" or RUN[i - 1] != "--max-steps" else "6" for i, word in enumerate(RUN)), "--checkpoint-seconds", "0",
            "--batch-size", "8")


def split_files(folder):
    for split, count in (("train", 24), ("test", 10)):
        layout_files.SINGLE["json lines"](folder / f"{split}.jsonl", texts(count + len(split)))


def weights(folder, stage):
    """The same model as an older checkpoint."""
    import torch
    from safetensors.torch import load_file

    folder.mkdir()
    torch.save(load_file(stage / "model.safetensors"), folder / "pytorch_model.bin")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(stage / name, folder / name)
    vocabulary = json.loads((stage / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in sorted(vocabulary, key=vocabulary.get)))


def study(folder):
    """Made-up records with their counts, and a study's page."""
    from kdbench.runs import store

    for made in factory.study(seeds=range(2), methods=("doktra",)):
        units, counts = factory.counts_of(made)
        store.write(folder, made, {"test_units": np.array(units), "test_counts": counts})
    (folder / "study.toml").write_text('title = "a study"\nabout = "made up"\ncommands = ["bench.py run x"]\n[names]\n"student" = "doktra"\n')


# ---- kinds: each copies what it needs into an empty folder ---------------------------------------


def data(writers, rows, name, base, folder):
    train, test = folder / f"train-{name[0]}.data", folder / f"test-{name[0]}.data"
    writers[name](train, rows(24) if callable(rows) else layout_files.TRAIN)
    writers[name](test, rows(30)[24:] if callable(rows) else layout_files.TEST)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return Prepared(files, ("run", "--method", "finetune", "--task", "files", "--train", train, "--test", test, *RUN, "--dry-run"), True)


def convert_data(base, folder):
    shutil.copy(base / "train.jsonl", folder)
    return Prepared([folder / "train.jsonl"], ("convert-data", folder / "train.jsonl", folder / "out.jsonl"))


def corpus(task, base, folder):
    place = test_bad_files.write(folder / "data", task)
    return Prepared(sorted(path for path in place.iterdir()), ("check", task, "--data-dir", folder / "data"))


def unlabelled(base, folder):
    path = folder / "texts.txt"
    path.write_text("".join(f"{text}\n" for text, _ in texts(20)))
    words = ("run", "--method", "logit_kd", "--task", "files", "--train", base / "train.jsonl", "--test", base / "test.jsonl", *RUN,
             "--unlabelled", path, "--dry-run")
    return Prepared([path], words, True)


def teacher_file(base, folder):
    rows = [json.loads(line) for line in (base / "train.jsonl").read_text().splitlines()]
    names = sorted({row["label"] for row in rows})
    answers = [{"label": names[0], "confidence": 0.7}, {"votes": {names[0]: 2, names[1]: 1}}, {"probabilities": {names[0]: 0.25, names[1]: 0.75}}]
    path = folder / "answers.jsonl"
    path.write_text("".join(json.dumps({"text": row["text"], **answers[i % 3]}) + "\n" for i, row in enumerate(rows)))
    words = ("run", "--method", "logit_kd", "--task", "files", "--train", base / "train.jsonl", "--test", base / "test.jsonl", *RUN)
    at = words.index("--teacher")
    return Prepared([path], (*words[:at + 1], f"predictions:{path}", *words[at + 2:], "--dry-run"), True)


def augment(base, folder):
    layout_files.TAGGED["bio"](folder / "in.tsv", layout_files.TRAIN)
    return Prepared([folder / "in.tsv"], ("augment", folder / "in.tsv", folder / "out.tsv"))


def pretrain(base, folder):
    (folder / "corpus.txt").write_text("".join(f"{text}\n" for text, _ in texts(20)))
    words = ("run", "--method", "ve_kd", "--task", "files", "--train", base / "train.jsonl", "--test", base / "test.jsonl", *RUN,
             "--set", f"corpus={folder / 'corpus.txt'}", "--dry-run")
    return Prepared([folder / "corpus.txt"], words, True)


def label_file(base, folder):
    shutil.copy(base / "labelled.jsonl", folder)
    words = ("run", "--method", "finetune", "--task", "files", "--train", folder / "labelled.jsonl", *RUN, "--dry-run")
    return Prepared([folder / "labelled.jsonl"], words, True)


def words_file(base, folder):
    path = folder / "words.txt"
    path.write_text('["took", "TNF-\u03b1", "."]\n{"tokens": ["took", "it"]}\ntook TNF .\n')
    return Prepared([path], ("predict", base / "tagger", "--words", "--file", path, "--json"))


def asked(writers, rows, name, base, folder):
    """Files of any layout that a student is asked about."""
    path = folder / f"asked-{name[0]}.data"
    writers[name](path, rows(12) if callable(rows) else layout_files.TEST)
    files = [each for each in sorted(folder.rglob("*")) if each.is_file()]
    return Prepared(files, ("predict", base / ("student" if callable(rows) else "tagger"), "--file", path, "--json"))


def again(before, base, folder):
    """A run that finds a folder of results, or of one that was killed: the same figures, whatever is damaged there."""
    shutil.copytree(base / before, folder / "results")
    words = longer(base) if before != "results" else (
        "run", "--method", "finetune", "--task", "files", "--train", base / "train.jsonl", "--test", base / "test.jsonl", *RUN)
    places = ("models/*.partial/latest", "models/*.partial/*/*", "signals/*", "models/*/*", "records/*/*", "locks/*", "paths/*/*", "*")
    files = [path for place in places for path in (folder / "results").glob(place) if path.is_file()]
    return Prepared(files, (*words, "--results-dir", folder / "results"), answer=figures)


def figures(folder, out):
    """The scores of a results folder and what lies beside them."""
    found = []
    for path in sorted((folder / "results").glob("records/*/*.json")):
        made = json.loads(path.read_text())
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
            # units are hashed with the salt of their folder, which a run that was killed had not made
            beside = {name: arrays[name].tolist() for name in arrays.files if name != "test_units"}
        found.append([made["id"], made["score"], beside])
    return json.dumps(found, sort_keys=True)


def stopped(number, base, folder):
    """A run that is asked to stop: the exit code says so, in one line."""
    words = (*longer(base), "--results-dir", folder / "results")
    return Prepared([], words, signal=number)


def predict_file(base, folder):
    path = folder / "texts.jsonl"
    path.write_text('{"text": "fever for a day"}\nplain text\n\n{"sentence1": "one", "sentence2": "two"}\n')
    return Prepared([path], ("predict", base / "student", "--file", path, "--json"))


def suite(base, folder):
    (folder / "suite.toml").write_text(SUITE)
    return Prepared([folder / "suite.toml"], ("run", folder / "suite.toml", "--dry-run"))


def model(verb, base, folder):
    shutil.copytree(base / "student", folder / "model")
    files = [folder / "model" / name for name in ("config.json", "config.json", "tokenizer.json", "tokenizer.json", "tokenizer_config.json",
                                                  "labels.json", "task.json", "model.safetensors")]
    words = {
        "predict": ("predict", folder / "model", "fever and cough", "--json"),
        "check": ("check", "files", "--train", base / "train.jsonl", "--test", base / "test.jsonl", "--model", folder / "model"),
        "run": ("run", "--method", "finetune", "--task", "files", "--train", base / "train.jsonl", "--test", base / "test.jsonl", *RUN[2:],
                "--student", folder / "model", "--results-dir", folder / "results"),
        "plan": ("run", "--method", "finetune", "--task", "files", "--train", base / "train.jsonl", "--test", base / "test.jsonl", *RUN[2:],
                 "--student", folder / "model", "--dry-run"),
    }[verb]
    return Prepared([path for path in files if path.is_file()], words, verb == "plan", answer=printed if verb == "predict" else None)


def labels(base, folder):
    shutil.copytree(base / "student", folder / "model")
    return Prepared([folder / "model" / "labels.json"], ("predict", folder / "model", "fever and cough", "--json"), answer=printed)


def results(verb, base, folder):
    shutil.copytree(base / "results", folder / "results")
    where, run = ("--results-dir", folder / "results"), (base / "run").read_text()
    places = ("records/*/*", "models/*/*", "paths/*/*", "*")
    files = [path for place in places for path in (folder / "results").glob(place) if path.is_file()]
    words = {"predict": ("predict", run, "fever", "--json", *where), "evaluate": ("evaluate", run, "--test", base / "test.jsonl", *where),
             "evaluate own": ("evaluate", run, *where), "label": ("label", run, "--file", base / "test.jsonl", "-o", folder / "out.jsonl", *where),
             "export": ("export", run, folder / "out", "--formats", "safetensors", "--latency", "quick", *where),
             "verify": ("verify", folder / "results"), "runs": ("runs", *where), "clean": ("clean", *where), "table": ("table", *where)}[verb]
    if verb == "verify":
        files = [path for path in files if path.parent.name not in ("results", "files") or path.parent.parent.name == "records"]
    return Prepared(sorted(files), words, answer=ANSWERS.get(verb), finds=verb == "verify")


def written(folder, out):
    """The files that a command made, without what tells of time and place."""
    names = ("model.safetensors", "tokenizer.json", "labels.json", "out.jsonl")
    files = [path for path in sorted(folder.rglob("*")) if path.name in names and "results" not in path.parts]
    return json.dumps([hashlib.sha256(path.read_bytes()).hexdigest() for path in files])


ANSWERS = {"predict": printed, "evaluate": printed, "evaluate own": printed, "label": written, "export": written, "table": printed}


def tables(verb, base, folder):
    shutil.copytree(base / "study", folder / "study")
    records = sorted((folder / "study").glob("records/*/*"))
    where = ("--results-dir", folder / "study")
    words = {"table": ("table", *where), "markdown": ("table", *where, "--format", "markdown"), "runs": ("runs", *where),
             "verify": ("verify", folder / "study"), "report": ("report", *where, "--no-intervals", "-o", folder / "report.html"),
             "study": ("study", folder / "study"), "filter": ("table", "method=d*", "--no-intervals", *where),
             "compare": ("compare", *[path.stem for path in records if path.suffix == ".json"][:2], *where)}[verb]
    if verb == "study":
        records = [folder / "study" / "study.toml"]
    answer = printed if verb in ("table", "markdown", "filter", "compare") else None
    return Prepared(records, words, answer=answer, finds=verb == "verify")


def intervals(base, folder):
    shutil.copytree(base / "study", folder / "study")
    path = folder / "study" / "intervals.json"
    from kdbench.score import statistics

    one = {"mean": 0.1, "low": 0.0, "high": 0.2, "p": 0.5}
    path.write_text(json.dumps({"code": statistics.code(), "intervals": {"ab" * 12: one}}))
    return Prepared([path], ("verify" if len(str(folder)) % 2 else "table", *((folder / "study",) if len(str(folder)) % 2 else (
        "--results-dir", folder / "study"))))


def reported(base, folder):
    from kdbench.base.places import shipped

    shutil.copytree(base / "study", folder / "study")
    shutil.copy(shipped("results") / "reported.csv", folder)
    return Prepared([folder / "reported.csv"], ("table", "--results-dir", folder / "study", "--no-intervals", "--against", folder / "reported.csv"))


def old_weights(base, folder):
    shutil.copytree(base / "old", folder / "old")
    return Prepared(sorted((folder / "old").iterdir()), ("convert", folder / "old", folder / "new"))


def tensorflow(base, folder):
    place = folder / "tf"
    place.mkdir()
    (place / "model.ckpt.index").write_bytes(bytes(range(256)))
    (place / "model.ckpt.data-00000-of-00001").write_bytes(bytes(64))
    shutil.copyfile(base / "old" / "config.json", place / "bert_config.json")
    shutil.copyfile(base / "old" / "vocab.txt", place / "vocab.txt")
    return Prepared(sorted(place.iterdir()), ("convert", place, folder / "new"))


def plugin(base, folder):
    path = folder / "plugin.py"
    path.write_text("from kdbench.base.registry import MODELS_EXTRA\n")
    return Prepared([path], ("list", "models"), environ={"KDBENCH_PLUGINS": str(path)})


def models_folder(base, folder):
    shutil.copytree(base / "student", folder / "models" / "biobert")
    words = ("run", "--method", "finetune", "--task", "files", "--train", base / "train.jsonl", "--test", base / "test.jsonl", "--student", "tiny:bert",
             "--dry-run")
    files = [folder / "models" / "biobert" / name for name in ("config.json", "model.safetensors", "tokenizer.json")]
    return Prepared(files, words, environ={"KDBENCH_MODELS": str(folder / "models")})


def kinds():
    """All kinds of input by name."""
    found = {}
    for group, (writers, rows) in {"tags": (layout_files.TAGGED, None), "texts": (layout_files.SINGLE, texts),
                                   "labels": (layout_files.MULTI, several), "vectors": (layout_files.VECTORS, several)}.items():
        for name in writers.keys() - WITHOUT:
            found[f"{group}: {name}"] = partial(data, writers, rows, name)
            found[f"asked: {group}: {name}"] = partial(asked, writers, rows, name)
    found |= {f"corpus: {task}": partial(corpus, task) for task in test_bad_files.LAYOUTS}
    plain = (convert_data, label_file, words_file, unlabelled, teacher_file, augment, pretrain, predict_file, suite, labels, intervals, reported, old_weights, tensorflow, plugin,
             models_folder)
    found |= {made.__name__: made for made in plain}
    found |= {f"model: {verb}": partial(model, verb) for verb in ("predict", "check", "run", "plan")}
    found |= {f"results: {verb}": partial(results, verb) for verb in ("predict", "evaluate", "evaluate own", "label", "export", "verify", "runs", "clean",
                                                                        "table")}
    found |= {f"again: {before}": partial(again, before) for before in ("results", "killed", "whole")}
    found |= {f"stopped: {number.name}": partial(stopped, number) for number in (signal.SIGINT, signal.SIGTERM)}
    found |= {f"tables: {verb}": partial(tables, verb) for verb in ("table", "markdown", "runs", "verify", "report", "study", "filter",
                                                                       "compare")}
    return dict(sorted(found.items()))


def base_folder(place):
    """The folder of `make_base`, made where it is not there."""
    folder = Path(place)
    if not folder.exists():
        make_base(folder)
    return folder
