"""A killed run, called again, ends with the same figures as an undisturbed one."""

import json
import os
import random
import time
from pathlib import Path

import fresh
import pytest
import torch
from accelerate import Accelerator
from transformers import PreTrainedModel

from kdbench.base.errors import BadInput
from kdbench.base.registry import TASKS
from kdbench.data.task import Data, Example, Task
from kdbench.models.heads import Head
from kdbench.models.load import build
from kdbench.models.sources import resolve
from kdbench.runs import store
from kdbench.train.batching import Corpus
from kdbench.train.fit import Trainer
from kdbench.train.lab import Lab
from kdbench.train.losses import SoftTargets, Supervised
from kdbench.train.spec import Settings, settings
from kdbench.train.stage_cache import StageCache
from kdbench.train.training import Training, clip

BENCH = Path(__file__).resolve().parent.parent / "bench.py"
WORDS = ["dose", "cell", "gene", "drug", "blocks", "raises", "binds", "lowers", "in", "the", "of", "serum", "mouse", "human"]


def texts(count: int, seed: int) -> list[Example]:
    rng = random.Random(seed)
    rows = [" ".join(rng.choices(WORDS, k=rng.randint(3, 12))) for _ in range(count)]
    return [Example(str(i), text=row, label=int("gene" in row)) for i, row in enumerate(rows)]


class Kill(Exception):
    """Stands in for the signal inside one process."""


def fitting(folder: Path, dies_at: int | None = None, select: str = "best", compile: bool = False,
            max_steps: int | None = None) -> Trainer:
    examples = texts(48, 1)  # six steps an epoch
    model = build(resolve("tiny-student"), Head("single", ("no", "yes")), seed=3, texts=lambda: [e.text for e in examples])
    corpus = Corpus(model, examples, 32, "single", 2)
    scores = [0.5, 0.7, 0.6, 0.65]  # the second epoch is the best one

    made = Trainer(model.module, Supervised("single"), corpus, Training(epochs=4, batch_size=8, lr=1e-3, select=select),
                   accelerator=Accelerator(cpu=True), seed=5, stage="test", evaluate=lambda: {"score": scores[made.epoch]},
                   folder=folder, checkpoint_seconds=0.0, compile=compile, max_steps=max_steps)
    if dies_at is not None:
        step = made.one_step

        def one_step(indices, total):
            if made.step == dies_at:
                raise Kill
            step(indices, total)

        made.one_step = one_step
    return made


def lab_of(data: Data, protocol: Settings, folder: Path) -> Lab:
    task = Task(name="t", task_type="single", about="text", metric="accuracy", load=lambda _: data)
    return Lab(task, data, 0, "corrected", protocol, resolve("tiny-student"), resolve("tiny:bert"),
               StageCache(folder), Accelerator(cpu=True))


@pytest.mark.parametrize("most", [1e-3, 5.0, 1e9])
def test_clipping_is_that_of_torch(most):
    torch.manual_seed(0)
    pairs = [(torch.nn.Parameter(torch.zeros(7, n)), torch.randn(7, n)) for n in (3, 5)]
    given = [[torch.nn.Parameter(p.detach().clone()) for p, _ in pairs] for _ in range(2)]
    for parameters in given:
        for parameter, (_, gradient) in zip(parameters, pairs, strict=True):
            parameter.grad = gradient.clone()
        parameters.append(torch.nn.Parameter(torch.zeros(1)))  # that has no gradient
    clip(given[0], most)
    torch.nn.utils.clip_grad_norm_(given[1], most, foreach=True)
    for ours, theirs in zip(given[0][:2], given[1][:2], strict=True):
        assert torch.equal(ours.grad, theirs.grad)


def test_compiling_is_for_the_training_alone(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda forward, **how: compiled.append((forward.__self__, how)) or forward)
    trainer = fitting(tmp_path, compile=True)
    encoder = trainer.student.base_model
    trainer.run()
    assert compiled == [(encoder, {"dynamic": True})]
    assert "forward" not in vars(encoder), "later readers have batches of other shapes"


@pytest.mark.parametrize(("most", "epochs"), [(1, 1), (6, 1), (7, 2), (15, 3), (24, 4), (1000, 4)])
def test_a_training_ends_after_so_many_steps(tmp_path, most, epochs):
    short = fitting(tmp_path / "short", max_steps=most)
    history = short.run()
    assert short.step == min(most, 24) and len(history) == epochs
    with pytest.raises(Kill):
        fitting(tmp_path / "killed", dies_at=short.step - 1, max_steps=most).run()
    again = fitting(tmp_path / "killed", max_steps=most)
    assert again.run() == history
    for a, b in zip(short.student.parameters(), again.student.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_rate_has_come_down_when_a_short_training_ends(tmp_path):
    short = fitting(tmp_path, max_steps=20)
    short.run()
    # warm-up takes 0.1 of the 20 steps; the last of the 18 others stands at one eighteenth
    assert short.optimizer.param_groups[0]["lr"] == pytest.approx(1e-3 / 18)


def test_a_full_size_model_is_tried_on_lookalikes_and_trained_on_corpora():
    task = TASKS.get("gad")
    assert settings({}, task, lookalike=True, most=10).max_steps == 10
    assert settings({"max_steps": "7"}, task, lookalike=True, most=10).max_steps == 7
    assert settings({}, task, lookalike=False, most=10).max_steps is None
    assert "max_steps" not in Settings().identity() and Settings(max_steps=7).identity()["max_steps"] == 7
    with pytest.raises(BadInput, match="--max-steps"):
        settings({"max_steps": "0"}, task, lookalike=True)


@pytest.mark.parametrize(("most", "read"), [(2, 16), (12, 96)])
def test_a_short_training_asks_the_teacher_for_what_it_reads(tmp_path, most, read):
    data = Data(tuple(texts(96, 1)), (), (), ("no", "yes"))
    protocol = Settings(batch_size=8, epochs=1, latency="off", select="last", max_steps=most)
    lab = lab_of(data, protocol, tmp_path)
    teacher = lab.teacher()
    counted = []
    teacher.module.register_forward_hook(lambda module, given, made: counted.append(len(made.logits)))
    lab.train(lab.student(), SoftTargets("single", 2.0, 0.5), stage="test", signals=lab.signals(teacher))
    assert sum(counted) == read


def test_compiling_makes_another_record_and_none_was_made_with_it_before():
    for how in ("off", "auto"):  # what is measured decides no id
        assert Settings(compile=how).identity() == Settings().identity() and "compile" not in Settings().identity()
    assert Settings(compile="on").identity()["compile"] is True
    task = TASKS.get("gad")
    for older, now in ((True, "on"), (False, "off"), ("yes", "on"), ("auto", "auto")):
        assert settings({"compile": older}, task, lookalike=True).compile == now
    with pytest.raises(BadInput, match="--compile: 'fast' is not one of off, on, auto"):
        settings({"compile": "fast"}, task, lookalike=True)


@pytest.mark.slow
def test_a_compiled_training_computes_the_same(tmp_path):
    plain, compiled = (fitting(tmp_path / str(how), compile=how) for how in (False, True))
    for made in (plain, compiled):
        for module in made.student.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        made.run()
    for a, b in zip(plain.student.parameters(), compiled.student.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-3)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """select -> the training that nobody killed, and its history."""
    made = {select: fitting(tmp_path_factory.mktemp(select), select=select) for select in ("best", "last")}
    return {select: (whole, whole.run()) for select, whole in made.items()}


@pytest.mark.parametrize("select", ["best", "last"])
@pytest.mark.parametrize("dies_at", [1, 7, 12, 20])
def test_weights_and_history_are_those_of_an_undisturbed_run(undisturbed, tmp_path, dies_at, select):
    whole, history = undisturbed[select]
    with pytest.raises(Kill):
        fitting(tmp_path / "killed", dies_at, select).run()
    again = fitting(tmp_path / "killed", select=select)
    assert again.run() == history
    assert again.step == whole.step == 24
    for (name, one), (_, other) in zip(whole.student.state_dict().items(), again.student.state_dict().items(), strict=True):
        assert torch.equal(one, other), name


def test_a_checkpoint_that_was_cut_off_is_not_read(tmp_path):
    with pytest.raises(Kill):
        fitting(tmp_path, 10).run()
    good = (tmp_path / "latest").read_text()
    (tmp_path / "step-11").mkdir()  # killed while writing the next one
    (tmp_path / "step-11" / "trainee.safetensors").write_bytes(b"half")
    again = fitting(tmp_path)
    again.resume()
    assert again.step == int(good.removeprefix("step-"))


@pytest.mark.parametrize("name", ["trainee.safetensors", "state.safetensors", "best.safetensors", "state.json"])
def test_a_checkpoint_of_which_a_crash_left_half_costs_time_and_nothing_else(undisturbed, tmp_path, name, capsys):
    _, history = undisturbed["best"]
    with pytest.raises(Kill):
        fitting(tmp_path / "killed", 15).run()
    path = tmp_path / "killed" / (tmp_path / "killed" / "latest").read_text() / name
    path.write_bytes(path.read_bytes()[:-20])
    assert fitting(tmp_path / "killed").run() == history
    assert "is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["model.safetensors", "stage.json"])
def test_a_trained_stage_of_which_a_crash_left_half_is_trained_anew(tmp_path, name):
    data = Data(tuple(texts(16, 1)), (), (), ("no", "yes"))
    protocol = Settings(batch_size=8, epochs=1, latency="off", select="last")
    lab = lab_of(data, protocol, tmp_path)

    def trained():
        model = lab.train(lab.student(), SoftTargets("single", 2.0, 0.5), stage="test", signals=lab.signals(lab.teacher()))
        return model, lab.cache.stage(model.key)

    first, folder = trained()
    for path in (folder / name, *(tmp_path / "signals").iterdir()):
        path.write_bytes(path.read_bytes()[:-20])
    second, _ = trained()
    assert [stage["cached"] for stage in lab.stages] == [False] * 4
    for a, b in zip(first.module.parameters(), second.module.parameters(), strict=True):
        assert torch.equal(a, b)
    trained()
    assert lab.stages[-1]["cached"]


def command(results: Path, task: str) -> list[str]:
    return [str(BENCH), "--method", "doktra", "--task", task, "--teacher", "tiny:bert", "--epochs", "2",
            "--max-train-examples", "128", "--max-dev-examples", "32", "--latency", "off", "--no-controls", "--device", "cpu",
            "--checkpoint-seconds", "0", "--results-dir", str(results)]


def figures(results: Path) -> list:
    kept = ("cell", "score", "curves", "data", "models")
    return [{name: record[name] for name in kept} for record in store.records(results)]


def test_what_a_killed_process_left_of_a_stage_goes_with_the_next_training(tmp_path):
    """Also where the next process has its id, as in containers."""
    train, dev = (tuple(Example(f"{split}{i}", f"text {i}", label=i % 2) for i in range(8)) for split in ("train", "dev"))
    data, protocol = Data(train, dev, dev, ("no", "yes")), Settings(epochs=1, max_steps=1)
    if (child := os.fork()) == 0:
        PreTrainedModel.save_pretrained = lambda *_, **__: os._exit(9)
        lab_of(data, protocol, tmp_path).finetune(lab_of(data, protocol, tmp_path).student())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert [path.suffix for path in (tmp_path / "models").glob(".*")] == [".partial"]
    lab_of(data, protocol, tmp_path).finetune(lab_of(data, protocol, tmp_path).student())
    assert not list((tmp_path / "models").glob(".*")) and list((tmp_path / "models").glob("*/stage.json"))


@pytest.mark.parametrize(("kills", "real"), [
    pytest.param(1, False, id="look-alike"), pytest.param(10, False, marks=pytest.mark.slow, id="ten kills"),
    pytest.param(1, True, marks=pytest.mark.realdata, id="real GAD")])
def test_a_run_killed_by_the_system_goes_on_to_the_same_record(tmp_path, kills, real):
    environment = {k: v for k, v in os.environ.items() if real or k != "KDBENCH_DATA"}
    environment["OMP_NUM_THREADS"] = "1"
    task = "gad" if real else "chemprot"  # of the real corpora the one with the smallest test split
    fresh.run(command(tmp_path / "whole", task), env=environment, check=True, timeout=900)
    killed = tmp_path / "killed"
    rng = random.Random(kills)
    for _ in range(kills):
        started = fresh.Started(command(killed, task), env=environment)
        process = started.process
        deadline = time.monotonic() + 900
        before = set(killed.glob("models/*/latest"))  # rglob would go into folders that vanish meanwhile
        while time.monotonic() < deadline and process.is_alive() and not set(killed.glob("models/*/latest")) - before:
            time.sleep(0.02)  # until training is under way
        time.sleep(rng.random())
        process.kill()  # by SIGKILL; it may have ended before
        process.join()
    fresh.run(command(killed, task), env=environment, check=True, timeout=900)
    assert figures(killed) == figures(tmp_path / "whole")
    assert {record["data"]["kind"] for record in store.records(killed)} == {"real" if real else "lookalike"}
    for path in killed.rglob("*.json"):
        json.loads(path.read_text())
