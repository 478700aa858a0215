"""The tools that a method works with: models, training, teacher signals, each found again by its
content.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from safetensors.torch import load_model, save_model

from kdbench.base import code, machine
from kdbench.base.errors import Broken, Skip
from kdbench.base.identity import digest, file_digest, seed_for
from kdbench.base.progress import Phases, Progress, say
from kdbench.data.task import Data, Example, Task
from kdbench.models.load import Head, Model, Role, Source, build, cut
from kdbench.score import metrics
from kdbench.train import signals
from kdbench.train.batching import Corpus, by_length
from kdbench.train.content import known_by, model_content, objective_content, signals_content
from kdbench.train.fit import Trainer, Training
from kdbench.train.losses import Supervised
from kdbench.train.mlm import MaskedLM, unlabelled
from kdbench.train.objective import Objective
from kdbench.train.signals import Teacher
from kdbench.train.spec import Settings


@dataclass
class StageCache:
    """Where trained stages and teacher signals are kept; shared by all cells of a results folder.

    renew  a time (seconds since the epoch): what was made before it is made anew, once
           (`--overwrite`)
    """

    folder: Path
    renew: float = 0.0

    def fresh(self, path: Path) -> bool:
        """Was this file or folder made since `renew`?"""
        return path.exists() and path.stat().st_mtime >= self.renew

    def stage(self, key: str) -> Path:
        return self.folder / "models" / key

    @property
    def signals(self) -> Path:
        return self.folder / "signals"

    def lock(self, key: str) -> FileLock:
        place = self.folder / "locks"
        place.mkdir(parents=True, exist_ok=True)
        return FileLock(place / f"{key}.lock")


@dataclass
class Lab:
    """One cell's bench.

    `data` is what the method may train on; `settings` the protocol; `stages` what was trained, with
    its cost.
    """

    task: Task
    data: Data
    seed: int
    variant: str
    settings: Settings
    student_source: Source
    teacher_source: Source | None
    cache: StageCache
    accelerator: Any
    label: str = ""
    unlabelled: tuple[Example, ...] = ()
    stages: list[dict[str, Any]] = field(default_factory=list)
    curves: list[dict[str, Any]] = field(default_factory=list)
    extra_rows: list[tuple[str, Model]] = field(default_factory=list)
    givers: dict[str, Teacher | None] = field(default_factory=dict)
    diagnostics: dict[str, Callable[[Model, Sequence[Example]],
                                    float]] = field(default_factory=dict)
    phases: Phases = field(default_factory=Phases)
    _corpora: dict[Any, tuple[Corpus, Any]] = field(default_factory=dict)
    _built: dict[Any, Model] = field(default_factory=dict)

    @property
    def forwards(self) -> dict[str, int]:
        """How many texts each teacher has read for this cell; 0 where its signals were there."""
        return {name: giver.forwards if giver else 0 for name, giver in self.givers.items()}

    # --- models ---------------------------------------------------------------------------------

    @property
    def notes(self) -> list[str]:
        """What became of heads that came trained; trainings that took more parts than asked for."""
        found = {f"{model.name}: {note}" for model in self._built.values() for note in model.notes}
        for stage in self.stages:
            if "accumulate_asked" in stage:
                found.add(f"{stage['name']}: out of memory; trained in {stage['accumulate']} parts "
                          f"a batch instead of {stage['accumulate_asked']}")
        return sorted(found)

    @property
    def head(self) -> Head:
        return Head(self.task.task_type, self.data.labels)

    def teacher(self, head: Head | None = None) -> Model:
        """The teacher as it comes, with a fresh head for the task (or `head`)."""
        if self.teacher_source is None:
            raise Skip("this method needs a teacher; name one with --teacher")
        return self.model(self.teacher_source, head, Role.TEACHER)

    def student(self, head: Head | None = None) -> Model:
        """The student as it comes, with a fresh head for the task (or `head`)."""
        return self.model(self.student_source, head)

    def model(self, source: Source, head: Head | None = None, role: Role = Role.STUDENT) -> Model:
        """A fresh copy of what `source` names. What it takes to make it (masked-LM steps of a tiny
        teacher) is `role`'s cost.
        """
        key = source, head or self.head, role
        if key not in self._built:
            self._built[key] = replace(self._build(*key), role=role)
        model = self._built[key]
        return replace(model, module=copy.deepcopy(model.module))

    def _build(self, source: Source, head: Head, role: Role) -> Model:
        seed = seed_for(self.seed, "init", source.name)
        if source.cut:
            base = source.base or self.teacher_source
            if base is None:
                raise Skip(f"{source.name} is cut from the teacher; name one with --teacher")
            return cut(self.model(base, head, role), source.cut)
        encoder = tokenizer = None
        if source.recipe and source.recipe.steps:
            encoder = self._pretrained(source, role)
        if source.recipe and source.recipe.reads_teachers_pieces:
            tokenizer = self.teacher().tokenizer
        return build(source, head, seed=seed, texts=self.texts, tokenizer=tokenizer,
                     encoder=encoder)

    def texts(self) -> list[str]:
        """The task's unlabelled text: the look-alike's domain text, and the training texts."""
        train = [
            " ".join(e.words) if e.words else f"{e.text} {e.pair or ''}".strip()
            for e in self.data.train
        ]
        return [*train, *self.data.domain_text]

    def _pretrained(self, source: Source, role: Role) -> Path:
        """The folder of a tiny teacher after its masked-LM steps, with that head; the same for all
        seeds, like a published one.
        """
        assert source.recipe is not None
        blank = build(source, Head("mlm"), seed=seed_for(0, "init", source.name), texts=self.texts)
        texts = self.data.domain_text or self.texts()
        batch = 32
        epochs = max(1, round(source.recipe.steps * batch / len(texts)))
        self.pretrain(blank, texts, epochs=epochs, batch_size=batch, lr=2e-3, seed=0, role=role)
        return self.cache.stage(self.stages[-1]["key"])

    def pretrain(self, model: Model, texts: Sequence[str], *, seed: int | None = None,
                 **training: Any) -> Model:
        """`model` (with a masked-LM head) after masked-LM training on `texts`."""
        seed = self.seed if seed is None else seed
        tokenizer = model.tokenizer
        objective = MaskedLM(tokenizer.mask_token_id, tokenizer.all_special_ids, len(tokenizer),
                             seed_for(seed, "mask"))
        return self.train(model, objective, stage="masked LM", examples=unlabelled(texts),
                          seed=seed, **{"select": "last", "weight_decay": 0.01, **training})

    # --- training -------------------------------------------------------------------------------

    def training_for(self, model: Model) -> Training:
        """The protocol's training of this model: the user's settings over the task's recipe over
        the model's own rate.
        """
        s = self.settings
        rate = s.teacher_lr if model.role is Role.TEACHER and s.teacher_lr is not None else s.lr
        return Training(epochs=s.epochs, batch_size=s.batch_size,
                        lr=model.lr if rate is None else rate, weight_decay=s.weight_decay,
                        warmup=s.warmup, warmup_rule=s.warmup_rule, accumulate=s.accumulate,
                        select=s.select, max_length=s.max_length)

    def finetune(self, model: Model, stage: str = "fine-tuning", role: Role | None = None,
                 **training: Any) -> Model:
        """`model` after plain supervised training; as it is where it came with the task's head.
        `role` as in `train`.
        """
        if model.ready:
            return model
        return self.train(model, Supervised(self.task.task_type), stage=stage, role=role,
                          **training)

    def train(self, model: Model, objective: Objective, *, stage: str,
              examples: Sequence[Example] | None = None, signals: Any = None,
              seed: int | None = None, role: Role | None = None, **overrides: Any) -> Model:
        """`model` trained under `objective`, from the shelf where the very same training was done
        before.

        examples   default: the task's training examples
        signals    what `Lab.signals` gave; its values stand in `batch.signals`
        role       what the trained model is, and so whose cost this is (default: what `model` is)
        overrides  fields of `Training`
        Learned parts of the objective are trained, saved and restored with the student.
        """
        examples = self.data.train if examples is None else examples
        seed = self.seed if seed is None else seed
        training = replace(self.training_for(model), **overrides)
        role = model.role if role is None else Role(role)
        key = self.stage_key(model, objective, training, examples, signals, stage, seed)
        folder = self.cache.stage(key)
        trained = replace(model, module=copy.deepcopy(model.module), key=key, ready=False,
                          role=role)
        lock = self.cache.lock(key)
        if self.accelerator.is_main_process:
            lock.acquire()
        try:
            cached = self.agree(self.cache.fresh(folder / "stage.json") and is_cached(folder))
            if not cached:
                with machine.training() if self.accelerator.is_main_process else nullcontext():
                    self._fit(trained, objective, examples, signals, training, stage, seed, folder)
        finally:
            if self.accelerator.is_main_process:
                lock.release()
        self.accelerator.wait_for_everyone()
        load_model(trained.module, str(folder / "model.safetensors"))
        if any(True for _ in objective.parameters()):
            load_model(objective, str(folder / "objective.safetensors"))
        trained.module.eval()
        made = json.loads((folder / "stage.json").read_text())
        asked = training.accumulate
        retried = {"accumulate_asked": asked} if made["accumulate"] != asked else {}
        self.stages.append({"name": stage, "role": role, "seconds": made["seconds"],
                            "steps": made["steps"], "accumulate": made["accumulate"], **retried,
                            "cached": cached, "key": key})
        self.curves += [{"stage": stage, "role": role, **entry} for entry in made["history"]]
        self.draw_anew()
        return trained

    def draw_anew(self) -> None:
        """Set torch's random state by the seed and the number of stages so far, trained or found:
        what a method draws itself (a learned projection, say) must not depend on what was there
        already.
        """
        torch.manual_seed(seed_for(self.seed, "method", str(len(self.stages))))

    def stage_key(self, model: Model, objective: Objective, training: Training,
                  examples: Sequence[Example], signals: Any, stage: str, seed: int) -> str:
        """Hash of all that decides a training: what is trained, on what, how, by which code, and
        what selects the epoch.
        """
        s = self.settings
        watched = [metrics.code_of_metric(name) for name in self.watched(training)]
        selection = {
            "dev": self.data.digests["dev"],
            "train": self.data.digests["train"],
            "metric": self.task.metric,
            "negative": self.task.negative,
            "labels": self.data.labels,
            "max_length": s.max_length,
            "code": [code.core("scoring"), watched],
        }
        return digest(
            {
                "code": code.core("training"),
                "model": model_content(model),
                "objective": objective_content(objective),
                "training": training,
                "kind": self.task.task_type,
                "examples": examples_digest(examples),
                "signals": signals_content(signals) if signals is not None else None,
                "stage": stage,  # its name draws the dropout
                "seed": seed,
                "max_steps": s.max_steps,
                "compile": s.compile,
                "bf16": self.bf16(model),
                "device": self.accelerator.device.type,
                "selection": selection if self.selects(training) else None,
            },
            24,
        )

    def watched(self, training: Training) -> list[str]:
        """The metrics whose values on dev decide something."""
        names = {name.removeprefix("-")
                 for name in training.measures} - {"score"} | {self.task.metric}
        return sorted(name for name in names if name in metrics.METRICS)

    def selects(self, training: Training) -> bool:
        """Does the dev set decide which epoch is kept, or when to stop?"""
        return (training.select == "best" or training.patience is not None) and bool(self.data.dev)

    def _fit(self, model: Model, objective: Objective, examples: Sequence[Example], given: Any,
             training: Training, stage: str, seed: int, folder: Path) -> None:
        model.module.train()
        usual = model.module.config._attn_implementation
        if objective.attentions:
            model.module.set_attn_implementation("eager")
        corpus = self.corpus(model, examples, training.max_length)
        measured = self.selects(training)
        partial = folder.with_name(f"{folder.name}.partial")
        if self.accelerator.is_main_process and not self.cache.fresh(partial):
            shutil.rmtree(partial, ignore_errors=True)
        initial = copy.deepcopy((model.module.state_dict(), objective.state_dict()))
        measures = training.measures
        evaluate = (lambda: self.dev_measures(model, measures)) if measured else None
        while True:
            fitting = Trainer(model.module, objective, corpus, training,
                              accelerator=self.accelerator, seed=seed, stage=stage, signals=given,
                              bf16=self.bf16(model), compile=self.settings.compile,
                              evaluate=evaluate, folder=partial,
                              checkpoint_seconds=self.settings.checkpoint_seconds,
                              label=f"{self.label}{model.name}, {stage}", phases=self.phases,
                              steps_before=sum(s["steps"] for s in self.stages),
                              max_steps=self.settings.max_steps)
            try:
                history = fitting.run()
                break
            except (torch.OutOfMemoryError, RuntimeError) as error:
                several = self.accelerator.num_processes > 1  # the others do not know of it
                if not out_of_memory(
                        error) or several or 2 * training.accumulate > training.batch_size:
                    raise
            # outside the handler, so that the failed step's tensors are let go
            training = replace(training, accumulate=2 * training.accumulate)
            say(f"{self.label}{stage}: out of memory; again in {training.accumulate} parts of "
                f"{training.batch_size // training.accumulate}"
                )
            del fitting
            torch.cuda.empty_cache()
            model.module.load_state_dict(initial[0])
            objective.load_state_dict(initial[1])
        # the next stage must not depend on whether this one was found on the shelf
        if objective.attentions:
            model.module.set_attn_implementation(usual)
        if self.accelerator.is_main_process:
            part = folder.with_name(f"{folder.name}.part")  # ours alone: the lock is held
            shutil.rmtree(part, ignore_errors=True)
            model.module.save_pretrained(part)
            # tied weights as `load_model` wants them
            save_weights(model.module, part / "model.safetensors")
            model.tokenizer.save_pretrained(part)
            if any(True for _ in objective.parameters()):
                save_weights(objective, part / "objective.safetensors")
            sums = {path.name: file_digest(path) for path in sorted(part.glob("*.safetensors"))}
            made = {
                "stage": stage, "key": folder.name, "seconds": round(fitting.seconds,
                                                                     3), "steps": fitting.step,
                "accumulate": training.accumulate, "history": history, "sha256": sums
            }
            (part / "stage.json").write_text(json.dumps(made))
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(part, folder)
            shutil.rmtree(partial, ignore_errors=True)

    def agree(self, value: bool) -> bool:
        """What the main process says, on every process."""
        return agreed(self.accelerator, value)

    def bf16(self, model: Model) -> bool:
        """bf16 autocast: as asked, else where the device has it and the model is wide enough to
        gain.
        """
        if self.settings.precision != "auto":
            return self.settings.precision == "bf16"
        device = self.accelerator.device.type
        wide = getattr(model.module.config, "hidden_size", 0) >= 256
        native = torch.cuda.is_bf16_supported(
        ) if device == "cuda" else torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return bool(wide and native)

    def corpus(self, model: Model, examples: Sequence[Example], max_length: int) -> Corpus:
        key = (id(model.tokenizer), type(model.module).__name__, model.module.config.model_type,
               model.hidden_ids, id(examples), max_length)
        if key not in self._corpora:
            made = getattr(examples, "corpus_class", Corpus)(model, examples, max_length,
                                                             self.task.task_type,
                                                             len(self.data.labels))
            # which stay alive with the identities that are their key
            self._corpora[key] = (made, (examples, model.tokenizer))
        return self._corpora[key][0]

    # --- signals --------------------------------------------------------------------------------

    def signals(self, teacher: Model, names: Sequence[str] = ("logits", ), *,
                examples: Sequence[Example] | None = None, pool: signals.Pool | None = None,
                live: bool = False, hidden_states: bool = False, attentions: bool = False) -> Any:
        """The teacher's signals for `examples` (default: the training examples), stored by content.

        kinds   built in (see `kdbench.train.signals.builtin_pool`), or else what `pool` gives
        pool    `pool(outputs, batch)` gives the kinds that are not built in. Its source and
                whatever it captured (of a bound method: its object) decide the key, so let it
                capture what it needs and no more
        live    compute them for every batch as it comes: for what depends on the batch or is too
                large to keep hidden_states, attentions: what the pool reads of the teacher's
                outputs
        """
        examples = self.data.train if examples is None else examples
        s = self.settings
        giver = Teacher(teacher, names, self.task.task_type, s.max_length,
                        device=self.accelerator.device, autocast=lambda: self.autocast(teacher),
                        pool=pool, hidden_states=hidden_states, attentions=attentions)
        teacher.module.to(self.accelerator.device)
        key = self.signals_key(giver, examples)
        with self.cache.lock(f"signals-{key}"):
            fresh = all(
                self.cache.fresh(signals.place(self.cache.signals, key, name)) for name in names)
            found = signals.stored(self.cache.signals, key, names,
                                   self.task.task_type) if fresh and not live else None
            if found is not None:
                self.givers.setdefault(f"{teacher.name}: {'+'.join(names)}", None)
                # or it would be paid for twice
                if not any(stage["key"] == key for stage in self.stages):
                    self.stages.append(signal_stage(key, found.seconds, cached=True))
                return found
            begun = time.monotonic()
            progress = Progress(f"{self.label}{teacher.name}, signals",
                                len({e.key
                                     for e in examples}), "texts",
                                enabled=self.accelerator.is_main_process)
            # of what is not read nothing need be known
            few = s.max_steps and s.max_steps * s.batch_size < len(examples)
            made = signals.compute(giver, examples, key, 0 if few else s.signal_memory * 1e9, live,
                                   lambda done, total: progress.at(done))
            progress.end()
            seconds = time.monotonic() - begun
            if isinstance(made, signals.StoredSignals):
                made.seconds = seconds
                signals.save(made, self.cache.signals)
        self.stages.append(signal_stage(key, seconds, cached=False))
        self.givers[f"{teacher.name}: {'+'.join(names)}"] = giver
        return made

    def signals_key(self, giver: Teacher, examples: Sequence[Example]) -> str:
        """Hash of all that decides signals: the teacher, the texts and how they are cut, the pool,
        the precision.
        """
        return digest(
            {
                "code": code.core("training"),
                "teacher": model_content(giver.model),
                # a pool of a method's own sees the labels too
                "examples": digest(
                    sorted({e.key
                            for e in examples}) if giver.own is None else [(e.key, e.label)
                                                                           for e in examples]),
                "kind": self.task.task_type,
                "max_length": self.settings.max_length,
                "pool": known_by(giver.own, "the pool"),
                "attentions": giver.attentions,
                "bf16": self.bf16(giver.model),
                "device": self.accelerator.device.type,
            },
            24)

    def autocast(self, model: Model) -> Any:
        return torch.autocast(self.accelerator.device.type, dtype=torch.bfloat16,
                              enabled=self.bf16(model))

    # --- scores ---------------------------------------------------------------------------------

    def add_row(self, model: Model, name: str, role: Role | None = None) -> None:
        """Ask for a further row of the table: a model that the method made on its way, its own
        teacher say.

        role  what it is there (default: what the model is); a student's own control is what its
              gain is measured against
        """
        self.extra_rows.append((name, replace(model,
                                              role=model.role if role is None else Role(role))))

    def add_diagnostic(self, name: str, figure: Callable[[Model, Sequence[Example]],
                                                         float]) -> None:
        """Ask for a diagnostic: `figure(student, examples)` of the trained student on dev and test.

        It is taken after the scores and decides nothing; it must train nothing and draw nothing.
        """
        self.diagnostics[name] = figure

    def vectors(self, model: Model, examples: Sequence[Example]) -> np.ndarray:
        """(N, H) the last layer's first position of each text, before any pooler.

        The same as the signal `cls`, but not kept, and no stage with a cost.
        """
        model.module.to(self.accelerator.device)
        giver = Teacher(model, ("cls",), self.task.task_type, self.settings.max_length,
                        device=self.accelerator.device, autocast=lambda: self.autocast(model))
        corpus = giver.corpus(examples)
        found: list[Any] = [None] * len(corpus)
        for indices in by_length(corpus.lengths, signals.BATCH):
            for i, row in zip(indices, giver(corpus, indices)["cls"], strict=True):
                found[i] = row
        return np.stack(found)

    def predict(self, model: Model, examples: Sequence[Example],
                max_length: int | None = None) -> Any:
        """Predictions as the metrics take them: logits (N, C), values (N,), or
        `metrics.WordTags`.
        """
        corpus = self.corpus(model, examples, max_length or self.settings.max_length)
        module = model.module.to(self.accelerator.device)
        was_training = module.training
        module.eval()
        found: list[Any] = [None] * len(corpus)
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        progress = Progress(f"{self.label}{model.name}, prediction", len(corpus), "texts",
                            enabled=self.accelerator.is_main_process)
        read = 0
        with torch.inference_mode(), self.autocast(model):
            for number, indices in enumerate(by_length(corpus.lengths, 64)):
                progress.at(read)
                read += len(indices)
                if number % world != rank:
                    continue
                batch = corpus.batch(indices).to(self.accelerator.device)
                logits = module(**batch.inputs).logits
                if self.task.task_type == "tags":
                    logits = logits.argmax(-1)
                values = logits.float().cpu().numpy()
                for row, i in enumerate(indices):
                    found[i] = values[row]
        if world > 1:
            from accelerate.utils import gather_object

            pairs = gather_object([(i, value)
                                   for i, value in enumerate(found)
                                   if value is not None])
            found = [value for _, value in sorted(pairs, key=lambda pair: pair[0])]
        progress.end()
        module.train(was_training)
        if model.partner is not None:
            found = average(found, self.predict(model.partner, examples, max_length),
                            self.task.task_type)
        if self.task.task_type == "tags":
            tags = [row.astype(np.int64) for row in found]
            return metrics.word_tags(tags, corpus.word_ids or (), [len(e.words) for e in examples],
                                     self.data.labels.index("O"))
        return np.stack(found)[:, 0] if self.task.task_type == "regression" else np.stack(found)

    def score(self, model: Model, split: str,
              names: Sequence[str] | None = None) -> tuple[metrics.Scores, Any]:
        """Scores and predictions of `model` on a split."""
        examples = self.data.split(split)
        predictions = self.predict(model, examples)
        info = metrics.info_for(self.task, self.data, split)
        return metrics.evaluate(self.task, info, examples, predictions, names), predictions

    def dev_measures(self, model: Model, watch: Sequence[str]) -> dict[str, float]:
        watched = [
            name.lstrip("-")
            for name in watch
            if name.lstrip("-") not in ("score", "loss", "loss_on_probabilities")
        ]
        scores, predictions = self.score(model, "dev", watched)
        measures = {"score": scores.main, **scores.all}
        if any("loss" in name for name in watch):
            gold = torch.tensor([e.label for e in self.data.dev])
            logits = torch.from_numpy(np.asarray(predictions))
            measures["loss"] = float(torch.nn.functional.cross_entropy(logits, gold))
            measures["loss_on_probabilities"] = float(
                torch.nn.functional.cross_entropy(logits.softmax(-1), gold))
        if not np.isfinite(measures["score"]):
            raise Broken(f"{self.label}{model.name}: the dev score is not finite")
        return measures

    def seed_for(self, *axes: str) -> int:
        return seed_for(self.seed, *axes)


def examples_digest(examples: Sequence[Example]) -> str:
    """Digest of what is trained on, in its order: texts and labels, or a file's content where they
    are lines of it.
    """
    own = getattr(examples, "identity", None)
    if own:
        return own()
    return digest([(e.key, e.label) if type(e) is Example else known_by(e, "an example")
                   for e in examples])


def is_cached(folder: Path) -> bool:
    """Is a trained stage there, and whole? A crash of the machine can leave half of it, and a hand
    can change it.
    """
    try:
        made = json.loads((folder / "stage.json").read_text())
        sums = made["sha256"]
        same = all(file_digest(folder / Path(name).name) == found for name, found in sums.items())
        return made["key"] == folder.name and bool(sums) and same
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def save_weights(module: torch.nn.Module, path: Path) -> None:
    """The same file for the same weights: safetensors lists the names of tied ones in the order of
    a hash map, and models that are trained further are known by their files.
    """
    save_model(module, str(path))
    with path.open("r+b") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        if "__metadata__" in header:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
            stream.seek(8)
            stream.write(
                json.dumps(header, separators=(",", ":"),
                           ensure_ascii=False).encode().ljust(length))


def signal_stage(key: str, seconds: float, *, cached: bool) -> dict[str, Any]:
    """What the record says of signals: whoever finds them says what they cost when they were
    made.
    """
    return {
        "name": "signals", "role": "teacher", "seconds": round(seconds, 3), "steps": 0,
        "cached": cached, "key": key
    }


def agreed(accelerator: Any, value: Any) -> Any:
    """What the main process says, on every process."""
    if accelerator.num_processes == 1:
        return value
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([value])[0]


def out_of_memory(error: BaseException) -> bool:
    """Is this torch saying that a device, or the machine, has no memory left?"""
    return isinstance(
        error, torch.OutOfMemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(error)


def average(own: list[Any], other: Any, task_type: str) -> list[Any]:
    """log of the mean of two models' class probabilities, as logits again."""
    if task_type != "single":
        raise Skip("the mean of two models' probabilities is defined for one label a text")

    def probabilities(rows: Any) -> np.ndarray:
        rows = np.stack(list(rows)).astype(np.float64)
        rows = np.exp(rows - rows.max(-1, keepdims=True))
        return rows / rows.sum(-1, keepdims=True)

    return list(np.log((probabilities(own) + probabilities(other)) / 2))
