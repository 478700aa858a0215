"""Command lines of words that nobody means, and variables of the environment."""

from tests.fuzz.damage import TEXTS
from tests.fuzz.material import RUN

VALUES = ("inf", "-inf", "nan", "1e999", "-1", "0", "9" * 30, "1e-320", "0-2000000000", "5-3", "0,0", "abc", "", " ", "-", "None", "\u0663", "\u00b2", "1_000", "0x10",
          "a=b", "=", "a=b=c", "../..", "/dev/zero", "/dev/null", "/", "~", "x" * 5000, "cut:9", "cut:0", "cut:1:cut:1", "tiny:bert", "files", "*", "[", "owner/kernel",
          "method=[", "\u00df,\u0130", "predictions:/dev/zero", "predictions:.", "x=predictions:a", "utf-16", "rot13", "hex", "idna", "2147483648", "99999999999", "1e9")
FLAGS = ("--lr", "--epochs", "--batch-size", "--seeds", "--threads", "--workers", "--warmup", "--weight-decay", "--max-length", "--accumulate", "--max-steps",
         "--max-train-examples", "--batch-tokens", "--precision", "--checkpoint-seconds", "--signal-memory", "--latency", "--compile", "--teacher", "--student",
         "--teacher-labels", "--variant", "--set", "--task-set", "--encoding", "--recipe", "--unlabelled", "--train", "--dev", "--test", "--data-dir",
         "--results-dir", "--only", "--engine", "--tracker", "--device", "--method", "--task", "--plugin", "--select", "--teacher-lr", "--warmup-rule", "--labels",
         "--long", "--stride", "--pooling", "--teacher-set", "--min-confidence", "--teacher-weights")
OTHER = (("list",), ("show",), ("check",), ("prepare",), ("convert",), ("convert-data",), ("augment",), ("export",), ("evaluate",), ("predict",), ("runs",),
         ("compare",), ("clean",), ("label",), ("verify",), ("study",), ("table",), ("report",), ("pretrain",))
MORE = ("--json", "--format", "--columns", "--limit", "--older-than", "--texts", "--no-intervals", "--against", "--model", "--file", "--backend", "--formats",
        "--latency", "--seed", "--corpus", "-o", "--words", "--encoding", "--task-set", "--threads", "--method", "--student", "--all", "--from", "--task",
        "--against-corpus")
VARIABLES = ("KDBENCH_PLUGINS", "KDBENCH_MODELS", "KDBENCH_DATA", "OMP_NUM_THREADS", "COLUMNS", "TMPDIR", "LANG", "RANK", "WORLD_SIZE", "NO_COLOR", "HF_HOME")


def words(draw, base, folder):
    """A command line, and variables."""
    environ = {}
    if draw.random() < 0.3:
        environ[draw.choice(VARIABLES)] = clean([value(draw)])[0]
    if draw.random() < 0.6:
        found = ["run", "--method", "finetune", "--task", "files", "--train", base / "train.jsonl", "--test", base / "test.jsonl", *RUN, "--results-dir", folder / "r",
                 "--dry-run"]
        for _ in range(draw.choice([1, 1, 2])):
            found += [draw.choice(FLAGS), value(draw)]
        return clean(found), environ
    found = list(draw.choice(OTHER))
    for _ in range(draw.randint(0, 3)):
        flag = draw.choice([*MORE, "--results-dir", "--data-dir"])
        found += [flag, value(draw)] if draw.random() < 0.5 else [value(draw)]
    return clean(found), environ


def value(draw):
    return draw.choice(draw.choice([VALUES, VALUES, TEXTS]))


def clean(found):
    """A command line cannot hold a NUL or half of a surrogate pair."""
    return tuple(str(word).replace("\0", "").replace("\ud800", "\udc80") for word in found)
