"""What the fuzzer damages: valid inputs of every kind, with the commands that read them.

The costly part, a trained run with its export, is made once for all cases.
"""

import importlib.util
import json
import shutil
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests import factory, fresh, layout_files, test_bad_files

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
    """

    files: list
    words: tuple
    decides: bool = False
    environ: dict = field(default_factory=dict)


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
        import numpy as np

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


def augment(base, folder):
    layout_files.TAGGED["bio"](folder / "in.tsv", layout_files.TRAIN)
    return Prepared([folder / "in.tsv"], ("augment", folder / "in.tsv", folder / "out.tsv"))


def pretrain(base, folder):
    (folder / "corpus.txt").write_text("".join(f"{text}\n" for text, _ in texts(20)))
    words = ("run", "--method", "ve_kd", "--task", "files", "--train", base / "train.jsonl", "--test", base / "test.jsonl", *RUN,
             "--set", f"corpus={folder / 'corpus.txt'}", "--dry-run")
    return Prepared([folder / "corpus.txt"], words, True)


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
                                                  "labels.json", "model.safetensors")]
    words = {
        "predict": ("predict", folder / "model", "fever and cough", "--json"),
        "check": ("check", "files", "--train", base / "train.jsonl", "--test", base / "test.jsonl", "--model", folder / "model"),
        "run": ("run", "--method", "finetune", "--task", "files", "--train", base / "train.jsonl", "--test", base / "test.jsonl", *RUN[2:],
                "--student", folder / "model", "--results-dir", folder / "results"),
        "plan": ("run", "--method", "finetune", "--task", "files", "--train", base / "train.jsonl", "--test", base / "test.jsonl", *RUN[2:],
                 "--student", folder / "model", "--dry-run"),
    }[verb]
    return Prepared([path for path in files if path.is_file()], words, verb == "plan")


def labels(base, folder):
    shutil.copytree(base / "student", folder / "model")
    return Prepared([folder / "model" / "labels.json"], ("predict", folder / "model", "fever and cough", "--json"))


def results(verb, base, folder):
    shutil.copytree(base / "results", folder / "results")
    where, run = ("--results-dir", folder / "results"), (base / "run").read_text()
    files = [*(folder / "results").glob("records/*/*"), *(folder / "results").glob("models/*/*.json")]
    words = {"predict": ("predict", run, "fever", "--json", *where), "evaluate": ("evaluate", run, "--test", base / "test.jsonl", *where),
             "verify": ("verify", folder / "results"), "runs": ("runs", *where), "clean": ("clean", *where), "table": ("table", *where)}[verb]
    return Prepared(sorted(files), words)


def tables(verb, base, folder):
    shutil.copytree(base / "study", folder / "study")
    records = sorted((folder / "study").glob("records/*/*"))
    where = ("--results-dir", folder / "study")
    words = {"table": ("table", *where), "markdown": ("table", *where, "--format", "markdown"), "runs": ("runs", *where),
             "verify": ("verify", folder / "study"), "report": ("report", *where, "--no-intervals", "-o", folder / "report.html"),
             "study": ("study", folder / "study"), "filter": ("table", "method=d*", "--no-intervals", *where)}[verb]
    if verb == "study":
        records = [folder / "study" / "study.toml"]
    return Prepared(records, words)


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
    found |= {f"corpus: {task}": partial(corpus, task) for task in test_bad_files.LAYOUTS}
    plain = (convert_data, unlabelled, augment, pretrain, predict_file, suite, labels, intervals, reported, old_weights, tensorflow, plugin,
             models_folder)
    found |= {made.__name__: made for made in plain}
    found |= {f"model: {verb}": partial(model, verb) for verb in ("predict", "check", "run", "plan")}
    found |= {f"results: {verb}": partial(results, verb) for verb in ("predict", "evaluate", "verify", "runs", "clean", "table")}
    found |= {f"tables: {verb}": partial(tables, verb) for verb in ("table", "markdown", "runs", "verify", "report", "study", "filter")}
    return dict(sorted(found.items()))


def base_folder(place):
    """The folder of `make_base`, made where it is not there."""
    folder = Path(place)
    if not folder.exists():
        make_base(folder)
    return folder
