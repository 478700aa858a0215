"""The lab: the tools that a method works with.

Models and training of one cell are here; signals of a teacher in `teaching.py`, scores in
`scoring.py`. Every training is a stage, which is found again by its content.
"""

from __future__ import annotations

import copy
import math
import random
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from kdbench.base import code, machine
from kdbench.base.activity import doing
from kdbench.base.errors import Skip
from kdbench.base.identity import digest, seed_for
from kdbench.base.progress import Phases, say
from kdbench.data.contamination import test_among
from kdbench.data.task import Data, Example, Task
from kdbench.models.common_words import texts_to_learn
from kdbench.models.heads import Head
from kdbench.models.layers import cut
from kdbench.models.load import Model, Role, build
from kdbench.models.sources import Source
from kdbench.models.teachers import require_model
from kdbench.train.agreement import ordered
from kdbench.train.answering import Answering, trained_teacher
from kdbench.train.batching import Corpus
from kdbench.train.content import (
    examples_content,
    model_content,
    objective_content,
    signals_content,
)
from kdbench.train.equal_steps import StepBudget, Steps
from kdbench.train.fit import Trainer, steps_of
from kdbench.train.limits import Limits
from kdbench.train.losses import Supervised
from kdbench.train.memory import free_cache, out_of_memory
from kdbench.train.mlm import MaskedLM, unlabelled
from kdbench.train.objective import Objective
from kdbench.train.processes import agreed, wait_for_all
from kdbench.train.scoring import Measures
from kdbench.train.signals import Signals, Teacher
from kdbench.train.spec import Settings
from kdbench.train.stage_cache import StageCache, damage_of_stage, read_stage, write_stage
from kdbench.train.teaching import Teaching
from kdbench.train.training import Training, refuse_non_finite
from kdbench.train.windows import check_signals


@dataclass
class Lab(Teaching):
    """The tools for one cell.

    data      what the method may train on
    settings  the protocol
    teacher_settings  what the teacher trains with
    stages    what was trained, with its cost
    curves    what was seen while training, one entry an epoch
    teachers  by name the teachers that were asked for signals; None where all of them were there
    budget    of the student's steps, where all methods have the same number
    answer_notes  what of the answers of a teacher that is a file was left out; texts of test among
                  those of a corpus
    """

    task: Task
    data: Data
    seed: int
    variant: str
    settings: Settings
    student_source: Source
    teacher_source: Source | None
    cache: StageCache
    accelerator: Accelerator
    label: str = ""
    unlabelled: tuple[Example, ...] = ()
    own_unlabelled: bool = False  # a file of the user's, and no part of the task
    alone: bool = False  # a search asks for the student alone, without rows to compare it with
    teacher_settings: Settings | None = None  # None: those of the protocol
    stages: list[dict[str, Any]] = field(default_factory=list)
    curves: list[dict[str, Any]] = field(default_factory=list)
    extra_rows: list[tuple[str, Model]] = field(default_factory=list)
    teachers: dict[str, Teacher | None] = field(default_factory=dict)
    answer_notes: set[str] = field(default_factory=set)
    diagnostics: dict[str, Callable[[Model, Sequence[Example]],
                                    float]] = field(default_factory=dict)
    phases: Phases = field(default_factory=Phases)
    budget: StepBudget | None = None
    _corpora: dict[Any, tuple[Corpus, Any]] = field(default_factory=dict)
    _limits: dict[Any, Any] = field(default_factory=dict)
    _built: dict[tuple[Source, Head, Role], Model] = field(default_factory=dict)

    @property
    def forwards(self) -> dict[str, int]:
        """How many texts each teacher has read for this cell; 0 where its signals were there."""
        return {name: each.forwards if each else 0 for name, each in self.teachers.items()}

    @property
    def notes(self) -> list[str]:
        """What became of heads that came trained; trainings that took more parts than asked for."""
        notes = {*self.answer_notes, *test_among(self.data, self.unlabelled)}
        for model in self._built.values():
            notes.update(f"{model.name}: {note}" for note in model.notes)
        for stage in self.stages:
            if "accumulate_asked" in stage:
                notes.add(f"{stage['name']}: out of memory; trained in {stage['accumulate']} parts "
                          f"a batch instead of {stage['accumulate_asked']}")
            notes.update(f"{stage['name']}: {note}" for note in stage.get("notes", ()))
        return sorted(notes)

    def seed_for(self, *axes: str) -> int:
        """The seed of what `axes` name; as `kdbench.base.identity.seed_for`."""
        return seed_for(self.seed, *axes)

    # --- models ---------------------------------------------------------------------------------

    @property
    def head(self) -> Head:
        """The head of the task."""
        return Head(self.task.task_type, self.data.labels)

    def teacher(self, head: Head | None = None) -> Model:
        """The teacher as it comes, with a fresh head for the task (or `head`)."""
        if self.teacher_source is None:
            raise Skip("this method needs a teacher; name one with --teacher")
        require_model(self.teacher_source)
        return self.model(self.teacher_source, head, Role.TEACHER)

    def trained_teacher(self) -> Model | Answering:
        """The teacher, ready to answer: a model is fine-tuned, a file of answers is as it is."""
        return trained_teacher(self)

    def teacher_limits(self) -> Limits | None:
        """`limits` of the teacher; None where nothing took one."""
        for (source, *_), model in self._built.items():
            if source == self.teacher_source:
                return self.limits(model)
        return None

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
        seed = self.seed_for("init", source.name)
        if source.cut:
            base = source.base or self.teacher_source
            if base is None:
                raise Skip(f"{source.name} is cut from the teacher; name one with --teacher")
            return cut(self.model(base, head, role), source.cut, source.which)
        encoder = tokenizer = None
        if source.recipe and source.recipe.steps:
            encoder = self._pretrained(source, role)
        if source.recipe and source.recipe.reads_teachers_pieces:
            tokenizer = self.teacher().tokenizer
        judge = partial(ordered, self, source.identity()) if head == self.head else None
        return build(source, head, seed=seed, texts=self.texts, tokenizer=tokenizer,
                     encoder=encoder, judge=judge)

    def texts(self) -> list[str]:
        """The task's unlabelled text, as `texts_to_learn`."""
        return texts_to_learn(self.data, self.settings.min_texts)

    def _pretrained(self, source: Source, role: Role) -> Path:
        """The folder of a tiny teacher after its masked-LM steps, with that head; the same for all
        seeds, like a published one.
        """
        assert source.recipe is not None
        blank = build(source, Head("mlm"), seed=seed_for(0, "init", source.name), texts=self.texts)
        texts = self.data.domain_text or self.texts()
        batch = 32
        steps = source.recipe.steps
        if len(texts) > steps * batch:
            texts = random.Random(0).sample(list(texts), steps * batch)
        # of fewer texts than a batch, an epoch is one step
        epochs = min(max(1, round(steps * batch / len(texts))), steps)
        self.pretrain(blank, texts, epochs=epochs, batch_size=batch, batch_tokens=None, lr=2e-3,
                      seed=0, role=role, counted=False)
        return self.cache.stage(self.stages[-1]["key"])

    # --- training -------------------------------------------------------------------------------

    def pretrain(self, model: Model, texts: Sequence[str], *, seed: int | None = None,
                 **training: Any) -> Model:
        """`model` (with a masked-LM head) after masked-LM training on `texts`."""
        seed = self.seed if seed is None else seed
        tokenizer = model.tokenizer
        objective = MaskedLM(tokenizer.mask_token_id, tokenizer.all_special_ids, len(tokenizer),
                             seed_for(seed, "mask"))
        return self.train(model, objective, stage="masked LM", examples=unlabelled(texts),
                          seed=seed, **{"select": "last", "weight_decay": 0.01, "windows": None,
                                        **training})

    def finetune(self, model: Model, stage: str = "fine-tuning", role: Role | None = None,
                 **training: Any) -> Model:
        """`model` after plain supervised training; as it is where it came with the task's head.
        `role` as in `train`.
        """
        if model.ready:
            return model
        return self.train(model, Supervised(self.task.task_type), stage=stage, role=role,
                          **training)

    def settings_of(self, role: Role) -> Settings:
        """What a model of this role trains with."""
        if role is Role.TEACHER:
            return self.teacher_settings or self.settings.of_teacher
        return self.settings

    def training_for(self, model: Model) -> Training:
        """The protocol's training of this model: the user's settings over the task's recipe over
        the model's own rate.
        """
        s = self.settings_of(model.role)
        return Training(epochs=s.epochs, batch_size=s.batch_size,
                        batch_tokens=s.batch_tokens, lr=model.lr if s.lr is None else s.lr,
                        weight_decay=s.weight_decay,
                        warmup=s.warmup, warmup_rule=s.warmup_rule, accumulate=s.accumulate,
                        select=s.select, max_length=self.limit(model), windows=self.windows(model))

    def train(self, model: Model, objective: Objective, *, stage: str,
              examples: Sequence[Example] | None = None, signals: Signals | None = None,
              seed: int | None = None, role: Role | None = None, measures: Measures | None = None,
              counted: bool = True, **overrides: Any) -> Model:
        """`model` trained under `objective`, from the cache where the very same training was done
        before.

        examples   default: the task's training examples
        signals    what `Lab.signals` gave; its values stand in `batch.signals`
        role       what the trained model is, and so whose cost this is (default: what `model` is)
        measures   further measures of dev that `watch` or `select_by` names, by name
        counted    does it belong to the method, and its steps to the student's budget?
        overrides  fields of `Training`; of a fraction of `epochs` the last is a part of one
        Learned parts of the objective are trained, saved and restored with the student.
        """
        examples = self.data.train if examples is None else examples
        seed = self.seed if seed is None else seed
        epochs: float = overrides.pop("epochs", self.settings_of(model.role).epochs)
        training = replace(self.training_for(model), epochs=math.ceil(epochs), **overrides)
        role = model.role if role is None else Role(role)
        budget = self.budget if counted and role is not Role.TEACHER else None
        training, steps = self._length(budget, role, epochs, model, training, examples, seed)
        key = self.stage_key(model, objective, training, examples, signals, stage, seed, measures,
                             steps)
        trained = replace(model, module=copy.deepcopy(model.module), key=key, ready=False,
                          role=role)
        if budget is not None and steps.owner:
            budget.trained.append(key)
        folder = self.cache.stage(key)
        main = self.accelerator.is_main_process
        what = f"{self.label}{model.name}, {stage}"
        with self.cache.held(key, what) if main else nullcontext(), doing(what):
            current = self._is_whole(folder, trained, objective, what)
            cached = agreed(self.accelerator, current)
            if not cached:
                with machine.training(what=what) if main else nullcontext():
                    self._fit(trained, objective, examples, signals, training, stage, seed,
                              measures or {}, folder, steps.most)
        wait_for_all(self.accelerator)
        facts = read_stage(folder, trained.module, objective)
        refuse_non_finite(trained.module, objective, what, training)
        trained.module.eval()
        more: dict[str, Any] = {name: facts[name] for name in ("compile", "notes") if name in facts}
        if facts["accumulate"] != training.accumulate:
            more["accumulate_asked"] = training.accumulate
        self.stages.append({"name": stage, "role": role, "seconds": facts["seconds"],
                            "steps": facts["steps"], "accumulate": facts["accumulate"], **more,
                            "cached": cached, "key": key})
        self.curves += [{"stage": stage, "role": role, **entry} for entry in facts["history"]]
        self.draw_anew()
        return trained

    def _length(self, budget: StepBudget | None, role: Role, epochs: float, model: Model,
                training: Training, examples: Sequence[Example],
                seed: int) -> tuple[Training, Steps]:
        """A training and its steps: as asked for, or as the budget has them."""
        if budget is not None and budget.rehearsed:
            share = budget.next(role)
            return replace(training, epochs=share), Steps(share)  # an epoch is a step at least
        most = self.settings.max_steps
        if budget is None and epochs == training.epochs:
            return training, Steps(most)
        asked = self._steps_of(epochs, model, training, examples, seed)
        asked = min(asked, most or asked)
        if budget is None:
            return training, Steps(max(1, round(asked)))
        return budget.rehearse(training, role, asked), Steps(1, budget.owner)

    def _steps_of(self, epochs: float, model: Model, training: Training,
                  examples: Sequence[Example], seed: int) -> float:
        """Optimiser steps of so many epochs."""
        corpus = self.corpus(model, examples, training.max_length, training.windows)
        whole = partial(steps_of, corpus, training, seed=seed,
                        world=self.accelerator.num_processes)
        before = int(epochs)
        return whole(before) + (epochs - before) * (whole(before + 1) - whole(before))

    def _is_whole(self, folder: Path, model: Model, objective: Objective, what: str) -> bool:
        """Is the stage there, and fit to be taken? Of one that is damaged it is told."""
        made = folder / "stage.json"
        if not folder.is_dir() or (made.exists() and not self.cache.is_current(made)):
            return False
        wrong = damage_of_stage(folder, model.module, objective)
        if wrong and self.accelerator.is_main_process:
            say(f"{what}: the stage {folder.name} is damaged ({wrong}); from the beginning")
        return not wrong

    def draw_anew(self) -> None:
        """Set torch's random state by the seed and the number of stages so far, trained or found.

        What a method draws itself (a learned projection, say) must not depend on what was in the
        cache.
        """
        torch.manual_seed(self.seed_for("method", str(len(self.stages))))

    def stage_key(self, model: Model, objective: Objective, training: Training,
                  examples: Sequence[Example], signals: Signals | None, stage: str, seed: int,
                  measures: Measures | None = None, steps: Steps | None = None) -> str:
        """Hash of all that decides a training: what is trained, on what, how, by which code, and
        what selects the epoch.
        """
        most, owner = steps or Steps(self.settings.max_steps)
        return digest(
            {
                "code": code.core("training"),
                "model": model_content(model),
                "objective": objective_content(objective),
                "training": training.content(),
                "task_type": self.task.task_type,
                "examples": examples_content(examples),
                "signals": signals_content(signals) if signals is not None else None,
                "stage": stage,  # its name draws the dropout
                "seed": seed,
                "max_steps": most,
                **({"rehearsal": owner} if owner else {}),
                "compile": bool(self.settings.compiled),
                "bf16": self.bf16(model),
                "device": self.accelerator.device.type,
                "selection": self.selection_content(training, measures or {}),
            },
            24,
        )

    def _fit(self, model: Model, objective: Objective, examples: Sequence[Example],
             signals: Signals | None, training: Training, stage: str, seed: int,
             measures: Measures, folder: Path, max_steps: int | None) -> None:
        """Train `model` in place and write the stage."""
        checkpoints = folder.with_name(f"{folder.name}.partial")
        if self.accelerator.is_main_process and not self.cache.is_current(checkpoints):
            shutil.rmtree(checkpoints, ignore_errors=True)
        model.module.train()
        usual_attention = model.module.config._attn_implementation
        if objective.attentions:
            model.module.set_attn_implementation("eager")
        corpus = self.corpus(model, examples, training.max_length, training.windows)
        check_signals(corpus, signals)
        evaluate = None
        if self.selects(training):
            evaluate = partial(self.dev_measures, model, training.measures, measures)
        make_trainer = partial(
            Trainer, model.module, objective, corpus, accelerator=self.accelerator, seed=seed,
            stage=stage, signals=signals, bf16=self.bf16(model), compile=self.settings.compiled,
            evaluate=evaluate, folder=checkpoints,
            checkpoint_seconds=self.settings.checkpoint_seconds,
            label=f"{self.label}{model.name}, {stage}", phases=self.phases,
            steps_before=sum(s["steps"] for s in self.stages), max_steps=max_steps)
        trainer, history = self._run(make_trainer, model, objective, training, stage)
        refuse_non_finite(model.module, objective, trainer.label, training)
        # the next stage must not depend on whether this one was cached
        if objective.attentions:
            model.module.set_attn_implementation(usual_attention)
        if self.accelerator.is_main_process:
            facts: dict[str, Any] = {
                "stage": stage, "key": folder.name, "seconds": round(trainer.seconds, 3),
                "steps": trainer.step, "accumulate": trainer.training.accumulate,
                "history": history, **trainer.remarks()
            }
            if note := self.precision_note(model):
                facts["notes"] = [*facts.get("notes", ()), note]
            write_stage(folder, model, objective, facts)
            shutil.rmtree(checkpoints, ignore_errors=True)

    def _run(self, make_trainer: Callable[[Training], Trainer], model: Model, objective: Objective,
             training: Training, stage: str) -> tuple[Trainer, list[dict[str, Any]]]:
        """A finished trainer and its history; where memory runs out, trained again in twice as
        many parts a batch.
        """
        initial = copy.deepcopy((model.module.state_dict(), objective.state_dict()))
        while True:
            trainer = make_trainer(training)
            try:
                return trainer, trainer.run()
            except RuntimeError as error:
                several = self.accelerator.num_processes > 1  # the others do not know of it
                most = training.batch_tokens or training.batch_size
                smallest = 2 * training.accumulate > most
                if not out_of_memory(error) or several or smallest:
                    raise
            # outside the handler, so that the failed step's tensors are let go
            training = replace(training, accumulate=2 * training.accumulate)
            size = training.batch_size // training.accumulate
            of = "a batch" if training.batch_tokens else f"of {size}"
            say(f"{self.label}{stage}: out of memory; again in {training.accumulate} parts {of}")
            del trainer
            # or the first step would add to the gradients of the failed one
            model.module.zero_grad(set_to_none=True)
            objective.zero_grad(set_to_none=True)
            free_cache(self.accelerator.device)
            model.module.load_state_dict(initial[0])
            objective.load_state_dict(initial[1])

    # --- what the table shows -------------------------------------------------------------------

    def add_row(self, model: Model, name: str, role: Role | None = None) -> None:
        """Ask for a further row of the table: a model that the method made on its way, its own
        teacher say.

        role  what it is there (default: what the model is); a student's own control is what its
              gain is measured against
        """
        row = replace(model, role=model.role if role is None else Role(role))
        self.extra_rows.append((name, row))

    def add_diagnostic(self, name: str, figure: Callable[[Model, Sequence[Example]],
                                                         float]) -> None:
        """Ask for a diagnostic: `figure(student, examples)` of the trained student on dev and test.

        It is taken after the scores and decides nothing; it must train nothing and draw nothing.
        """
        self.diagnostics[name] = figure
