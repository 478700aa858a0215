"""Does a test notice when a rule of the protocol is broken? Named changes, each of which has to.

    python -m tests.mutations [--sample N --seed S] [--workers 1|2] [NAME ...]

Each change is made in a copy of the project, the tests that ought to notice it are run there, and
what they let pass is listed: exit 1. First these tests have to pass without any change, else their
failures mean nothing. No bytecode is written, as Python would take that of a file of equal length
and age for the file's own.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("bench.py", "pyproject.toml", "README.md", "CONTRIBUTING.md", "constraints.txt",
         "benchmarks", "docs", "kdbench", "methods", "results", "tasks", "tests")
LEFT_OUT = {"results": ("local", "models", "signals", "locks")}  # what runs leave there
SECONDS = 300  # of the tests of one change: a change that makes them hang is noticed too


@dataclass(frozen=True)
class Mutation:
    """In `file`, `new` in the place of `old`, which is there once; one of `tests` has to fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def tests_of(file: str, *names: str) -> tuple[str, ...]:
    return tuple(f"tests/{file}.py::{name}" for name in names)


def own(*names: str) -> tuple[str, ...]:
    return tests_of("test_own_files", *names)


def layouts(*names: str) -> tuple[str, ...]:
    return tests_of("test_layouts", *names)


def protocol(*names: str) -> tuple[str, ...]:
    return tests_of("test_protocol", *names)


def upkeep(*names: str) -> tuple[str, ...]:
    return tests_of("test_upkeep", *names)


def answered(*names: str) -> tuple[str, ...]:
    return tests_of("test_teacher_files", *names)


def geometry(*names: str) -> tuple[str, ...]:
    return tests_of("test_geometry", *names)


CONTROL = protocol("test_the_control_minimises_hintons_equation")
AS_PUBLISHED = tests_of(
    "test_reported", "test_another_variant_teacher_or_option_is_not_the_published_one")
CENTRAL = tests_of("test_windows", "test_every_word_is_answered_once_where_it_stands_most_central")
KEPT = protocol("test_the_best_epochs_weights_are_kept_and_of_equals_the_firsts")
RATE = protocol("test_the_rate_rises_to_its_peak_and_falls_to_zero")
ORDER = protocol("test_the_order_of_the_data_depends_on_seed_and_epoch_alone")
GROUPS = protocol("test_biases_and_norms_do_not_decay_and_the_rest_has_the_heads_rate")
SCORED = protocol("test_dev_selects_and_test_is_scored_once")
FILES = protocol("test_a_split_is_read_from_the_file_of_its_name")
CUT = protocol("test_a_word_cut_off_by_the_limit_is_scored_as_o")
SHARES = protocol("test_masks_hide_80_swap_10_and_keep_10_of_15_per_cent")
LATENCY = protocol("test_latencies_are_milliseconds_and_percentiles")
SIZES = protocol("test_sizes_are_parameters_and_millions_of_bytes")
WHOLE = protocol("test_a_file_is_replaced_at_once_or_not_at_all")
NAIVE = tests_of("test_metrics", "test_naive_predictors_know_the_labels_of_train_alone")
UNITS = tests_of("test_statistics", "test_a_unit_is_compared_with_itself")
COUNTS = tests_of(
    "test_metrics", "test_evaluate_gives_the_main_metric_its_counts_by_unit_and_all_others")
NEGATIVE = tests_of("test_metrics", "test_micro_f1_leaves_the_negative_class_out_on_both_sides")
STUDENTS_T = tests_of(
    "test_statistics", "test_where_all_units_are_alike_it_is_the_t_interval_over_seeds")
SMOOTHED = tests_of(
    "test_ner_kd", "test_smoothed_cross_entropy_gives_the_rest_to_the_other_classes")
DAMAGED = tests_of(
    "test_readback", "test_a_damaged_record_is_named_by_every_verb_that_reads_records")
KNOWS = tests_of("test_teacher_heads", "test_a_teacher_keeps_what_its_head_knows")
GOLDEN = tests_of("test_golden", "test_published_numbers")

LOSSES = (
    Mutation("kl-reversed", "kdbench/train/losses.py",
             "F.kl_div(F.log_softmax(student, -1), F.log_softmax(teacher, -1),",
             "F.kl_div(F.log_softmax(teacher, -1), F.log_softmax(student, -1),", CONTROL),
    Mutation("two-class-kl-from-the-student", "kdbench/train/losses.py",
             "p = teacher.sigmoid()",
             "p = student.sigmoid()", CONTROL),
    Mutation("t-squared-left-out", "kdbench/train/losses.py",
             "return temperature**2 * each",
             "return each", CONTROL),
    Mutation("alpha-on-the-soft-targets", "kdbench/train/losses.py",
             "Term(*over_answers(each, batch), 1 - self.alpha)",
             "Term(*over_answers(each, batch), self.alpha)", CONTROL),
    Mutation("one-minus-alpha-on-the-labels", "kdbench/train/losses.py",
             "Term(hard.total, hard.per, self.alpha)",
             "Term(hard.total, hard.per, 1 - self.alpha)", CONTROL),
    Mutation("soft-targets-over-labelled-examples", "kdbench/train/losses.py",
             'return torch.ones_like(each), "examples"',
             'return torch.ones_like(each), "labelled"', CONTROL),
    Mutation("words-the-teacher-has-not-read", "kdbench/train/losses.py",
             '(batch.words >= 0) & batch.signals["logits_known"].bool()',
             "batch.words >= 0", CONTROL),
    Mutation("words-the-student-has-not-read", "kdbench/train/losses.py",
             '(batch.words >= 0) & batch.signals["logits_known"].bool()',
             'batch.signals["logits_known"].bool()', CONTROL),
    Mutation("label-smoothing-ignored", "kdbench/train/losses.py",
             "label_smoothing=smoothing)",
             "label_smoothing=0.0)",
             protocol("test_label_smoothing_spreads_its_share_over_all_classes")),
    Mutation("entropy-negated", "kdbench/train/losses.py",
             "return -(log_p.exp() * log_p).sum(-1)",
             "return (log_p.exp() * log_p).sum(-1)",
             protocol("test_the_calibrated_loss_rewards_doubt")),
    Mutation("control-without-unlabelled-text", "methods/logit_kd.py",
             "examples = (*lab.data.train, *lab.unlabelled)",
             "examples = lab.data.train", CONTROL),
    Mutation("control-with-alpha-as-temperature", "methods/logit_kd.py",
             "SoftTargets(lab.task.task_type, o.temperature, o.alpha,",
             "SoftTargets(lab.task.task_type, o.alpha, o.temperature,", CONTROL),
    Mutation("standardised-by-the-teachers-own-range", "kdbench/train/losses.py",
             "standardised(ours), standardised(theirs)", "standardised(ours), theirs",
             tests_of("test_logit_family", "test_standardised_logits_are_their_equation")),
    Mutation("dkd-with-the-target-among-the-others", "methods/dkd.py",
             "rest = z.masked_fill(hot, torch.finfo(z.dtype).min)", "rest = z.clone()",
             tests_of("test_logit_family", "test_decoupled_parts_are_their_equations")),
    Mutation("annealing-from-the-full-size", "methods/annealing_kd.py",
             "return 1 - (temperature - 1) / most", "return 1.0",
             tests_of("test_logit_family", "test_annealed_logits_are_their_equation")),
    Mutation("pkd-without-directions", "methods/pkd.py",
             "F.normalize(student.float(), dim=-1) - F.normalize(teacher.float(), dim=-1)",
             "student.float() - teacher.float()",
             tests_of("test_logit_family", "test_the_patient_loss_is_its_equation")),
    Mutation("dist-without-means", "methods/dist.py",
             "each - (share * each).sum(-1, keepdim=True) for each", "each for each",
             tests_of("test_logit_family", "test_distances_are_pearsons")),
    Mutation("minilm-of-the-last-layer-alone", "methods/minilm.py",
             "outputs.attentions[layer - 1]", "outputs.attentions[-1]",
             tests_of("test_layer_methods", "test_minilm_reads_the_teachers_layer")),
    Mutation("minilm-with-the-wrong-scale", "methods/minilm.py",
             "math.sqrt(rows.shape[-1])", "math.sqrt(each.shape[-1])",
             tests_of("test_layer_methods", "test_relations_are_their_equation_whatever_the_attention_heads_and_widths")),
    Mutation("equal-steps-for-teachers-too", "kdbench/train/lab.py",
             "budget = self.budget if counted and role is not Role.TEACHER else None",
             "budget = self.budget if counted else None",
             tests_of("test_equal_steps", "test_teachers_and_what_stands_for_published_weights_are_not_counted")),
    Mutation("equal-steps-of-the-teachers-row", "kdbench/runs/planning.py",
             "settings = replace(settings, steps_equal=None)", "settings = replace(settings)",
             tests_of("test_equal_steps", "test_the_teachers_row_is_its_own_and_no_other")),
    Mutation("equal-steps-a-training-each", "kdbench/train/equal_steps.py",
             "return shares(self.total, self.asked)[self.begun - 1]", "return self.total",
             tests_of("test_equal_steps", "test_every_student_of_a_table_has_the_same_number_of_steps")),
    Mutation("equal-steps-found-by-other-cells", "kdbench/train/lab.py",
             '**({"rehearsal": owner} if owner else {}),', "",
             tests_of("test_equal_steps", "test_a_rehearsal_is_found_by_no_other_cell")),
    Mutation("recipe-without-its-share", "methods/recipe.py",
             "epochs * o.layer_share)", "epochs)",
             tests_of("test_recipe", "test_epochs_are_shared_out_so_that_all_take_one_training")),
    Mutation("recipe-with-shares-that-leave-no-logits", "methods/recipe.py",
             "if o.logits and taken >= 1:", "if o.logits and taken > 1.5:",
             tests_of("test_recipe", "test_what_the_models_do_not_have_is_said_before_anything_is_trained")),
    Mutation("recipe-logits-from-the-beginning", "methods/recipe.py",
             "student = lab.train(student,", "student = lab.train(lab.student(),",
             tests_of("test_chains", "test_every_training_goes_on_from_the_one_before_and_the_last_is_the_student")),
    Mutation("recipe-labels-from-the-beginning", "methods/recipe.py",
             'return lab.finetune(student, "labels"',
             'return lab.finetune(lab.student(), "labels"',
             tests_of("test_chains", "test_every_training_goes_on_from_the_one_before_and_the_last_is_the_student")),
    Mutation("recipe-layers-of-the-untrained-teacher", "methods/recipe.py",
             'student = self.layer_training(lab, teacher, student, kind, "layers"',
             'student = self.layer_training(lab, lab.teacher(), student, kind, "layers"',
             tests_of("test_chains", "test_layers_are_read_of_the_teacher_that_is_meant")),
    Mutation("recipe-without-the-teachers-weight", "methods/recipe.py",
             "SoftTargets(lab.task.task_type, o.temperature, o.alpha)",
             "SoftTargets(lab.task.task_type, o.temperature, 1.0)",
             tests_of("test_chains", "test_temperature_and_weight_are_those_of_the_options")),
    Mutation("recipe-rate-of-0-is-none", "methods/recipe.py",
             "next(rate for rate in rates if rate is not None)",
             "next(rate for rate in rates if rate)",
             tests_of("test_chains", "test_a_rate_of_0_is_a_rate_and_not_the_default")),
    Mutation("minilm-relations-thrown-away", "methods/minilm.py",
             "return lab.finetune(student)",
             "return lab.finetune(lab.student())",
             tests_of("test_chains", "test_every_training_goes_on_from_the_one_before_and_the_last_is_the_student")),
    Mutation("tinybert-layers-of-the-untrained-teacher", "methods/tinybert.py",
             'student = self.layer_training(lab, losses, teacher, student, "layers"',
             'student = self.layer_training(lab, losses, lab.teacher(), student, "layers"',
             tests_of("test_chains", "test_layers_are_read_of_the_teacher_that_is_meant")),
    Mutation("tinybert-prediction-from-the-beginning", "methods/tinybert.py",
             "return lab.train(student, SoftTargets",
             "return lab.train(lab.student(), SoftTargets",
             tests_of("test_chains", "test_every_training_goes_on_from_the_one_before_and_the_last_is_the_student")),
    Mutation("static-without-the-teachers-weight", "methods/static.py",
             "SoftTargets(lab.task.task_type, o.temperature, o.alpha)",
             "SoftTargets(lab.task.task_type, o.temperature, 1.0)",
             tests_of("test_chains", "test_temperature_and_weight_are_those_of_the_options")),
    Mutation("static-without-unlabelled-text", "methods/static.py",
             "examples = (*lab.data.train, *lab.unlabelled)",
             "examples = lab.data.train",
             tests_of("test_chains", "test_texts_without_labels_are_learned_from_wherever_the_teacher_answers")),
    Mutation("pretrained-kd-labels-from-the-beginning", "methods/pretrained_kd.py",
             "return lab.finetune(student, epochs=epochs * several * (1 - share))",
             "return lab.finetune(lab.student(), epochs=epochs * several * (1 - share))",
             tests_of("test_chains", "test_every_training_goes_on_from_the_one_before_and_the_last_is_the_student")),
    Mutation("annealing-kd-labels-as-long-as-all-texts", "methods/annealing_kd.py",
             "epochs=epochs * several * (1 - share)",
             "epochs=epochs * (1 - share)",
             tests_of("test_logit_family", "test_shares_are_of_the_training_whatever_its_epochs_and_texts")),
    Mutation("texts-of-test-in-a-corpus-untold", "methods/general_text.py",
             "for note in test_among(lab.data, found):",
             "for note in test_among(lab.data, ()):",
             tests_of("test_chains", "test_texts_of_test_in_a_corpus_are_told_and_noted")),
    Mutation("recipe-copies-beside-text", "methods/recipe.py",
             "return 0 if self.options.unlabelled and lab.unlabelled else 1", "return 1",
             tests_of("test_recipe", "test_copies_are_made_of_tagged_sentences_where_nothing_else_is_there_to_read")),
    Mutation("recipe-with-the-plain-attention", "methods/recipe.py",
             "teacher.module.register_forward_pre_hook(hook)", "pass",
             tests_of("test_recipe", "test_the_layers_are_tinyberts_and_the_relations_minilms")),
    Mutation("tinybert-with-projections-drawn-anew", "methods/tinybert.py",
             '(lab, losses, teacher, student, "layers"',
             '(lab, self.losses(lab, teacher, student), teacher, student, "layers"',
             tests_of("test_layer_methods", "test_what_is_learned_of_the_projections_goes_from_text_to_task")),
    Mutation("glmd-with-padding", "methods/glmd.py",
             'chosen = batch.inputs["attention_mask"].numpy() > 0',
             'chosen = batch.inputs["attention_mask"].numpy() >= 0',
             tests_of("test_glmd", "test_the_loss_on_words_is_its_equation_over_real_tokens")),
    Mutation("glmd-without-the-masks", "methods/glmd.py",
             "            super().collate(batch)",
             "            super().collate(replace(batch, inputs=copy.deepcopy(batch.inputs)))",
             tests_of("test_glmd", "test_masked_positions_alone_are_the_targets_of_masked_lm_training")),
    Mutation("glmd-without-the-fine-tuned-encoder", "methods/glmd.py",
             "with_encoder(lab.teacher(MLM), tuned) if head",
             "lab.teacher(MLM) if head",
             tests_of("test_glmd", "test_the_second_training_hears_the_fine_tuned_teacher")),
    Mutation("glmd-with-a-student-as-it-came", "methods/glmd.py",
             "student = with_encoder(lab.student(), student)",
             "student = lab.student()",
             tests_of("test_glmd", "test_the_third_training_goes_on_from_the_words")),
    Mutation("glmd-with-a-teacher-that-is-frozen-for-all", "methods/glmd.py",
             "teacher = replace(teacher, module=copy.deepcopy(teacher.module))",
             "pass",
             tests_of("test_glmd", "test_the_second_training_hears_the_fine_tuned_teacher")),
    Mutation("static-with-special-tokens-in-the-mean", "methods/static_model.py",
             "(attention_mask > 0) & ~special", "(attention_mask > 0)",
             tests_of("test_static", "test_logits_of_a_text_are_their_equation_without_special_tokens_and_padding")),
    Mutation("static-with-the-second-text-in-both-means", "methods/static_model.py",
             "read & ~second", "read",
             tests_of("test_static", "test_logits_of_a_pair_compare_its_texts_wherever_the_separators_stand")),
    Mutation("static-of-the-components-that-vary-least", "methods/static.py",
             "[1][:, ::-1][:, :size]", "[1][:, :size]",
             tests_of("test_static", "test_principal_components_are_those_of_the_singular_values")),
    Mutation("static-without-weights", "methods/static.py",
             "return a / (a + share / max(share.sum(), 1e-12))", "return np.ones(len(counts))",
             tests_of("test_static", "test_weights_by_frequency_are_their_equations")),
    Mutation("an-assistant-of-the-labels-alone", "methods/takd.py",
             "signals=lab.signals(assistant", "signals=lab.signals(teacher",
             tests_of("test_logit_family", "test_an_assistant_stands_between_has_a_row_and_is_found_again")),
)

TRAINING = (
    Mutation("worst-epoch-kept", "kdbench/train/training.py",
             "if value > best or (training.ties_improve and value == best):",
             "if value < best or best == -math.inf:", KEPT),
    Mutation("last-of-equal-epochs-kept", "kdbench/train/training.py",
             "if value > best or (training.ties_improve and value == best):",
             "if value >= best:", KEPT),
    Mutation("last-weights-kept", "kdbench/train/fit.py",
             "self.trainee.load_state_dict(self.best_state)",
             "pass", KEPT),
    Mutation("warm-up-left-out", "kdbench/train/training.py",
             "return (step + 1) / (warm + 1)",
             "return 1.0", RATE),
    Mutation("warm-up-steps-as-a-share", "kdbench/train/training.py",
             "training.warmup if training.warmup > 1 else training.warmup * total",
             "training.warmup * total", RATE),
    Mutation("decay-left-out", "kdbench/train/training.py",
             "return max(0.0, (total - step) / max(1.0, total - warm))",
             "return 1.0", RATE),
    Mutation("one-peak-rate-for-all", "kdbench/train/fit.py",
             'group["lr"] = peak * rate',
             'group["lr"] = self.peaks[0] * rate', RATE),
    Mutation("order-ignores-the-seed", "kdbench/train/fit.py",
             'drawn = seed_for(seed, "order", str(epoch))',
             'drawn = seed_for(0, "order", str(epoch))', ORDER),
    Mutation("order-ignores-the-epoch", "kdbench/train/fit.py",
             'drawn = seed_for(seed, "order", str(epoch))',
             'drawn = seed_for(seed, "order")', ORDER),
    Mutation("order-of-each-stage-its-own", "kdbench/train/fit.py",
             "return whole_order(self.corpus, self.training, epoch, self.seed, self.world)",
             "return whole_order(self.corpus, self.training, epoch, len(self.stage), self.world)",
             ORDER),
    Mutation("parts-divided-by-one-parts-count", "kdbench/train/fit.py",
             "counts = self.global_counts(parts)",
             "counts = parts[0].counts",
             protocol("test_a_batch_in_parts_has_the_gradient_of_the_whole_batch")),
    Mutation("clipping-left-out", "kdbench/train/fit.py",
             "clip(self.trainee.parameters(), self.training.clip)",
             "pass", protocol("test_gradients_are_clipped_to_the_norm_and_keep_their_direction")),
    Mutation("biases-decay", "kdbench/train/training.py",
             "plain = parameter.ndim < 2 and not training.decay_all",
             "plain = False", GROUPS),
    Mutation("head-at-the-encoders-rate", "kdbench/train/training.py",
             '"lr": training.head_lr if head else training.lr',
             '"lr": training.lr', GROUPS),
    Mutation("masks-80-to-90", "kdbench/train/mlm.py",
             "chosen[fate < 0.8]",
             "chosen[fate < 0.9]", SHARES),
    Mutation("no-masked-token-as-it-is", "kdbench/train/mlm.py",
             "chosen[fate >= 0.9]",
             "chosen[fate >= 0.8]", SHARES),
    Mutation("special-tokens-masked", "kdbench/train/mlm.py",
             "allowed = ~np.isin(ids, self.special) & (",
             "allowed = (", SHARES),
    Mutation("masks-of-the-first-epoch", "kdbench/train/mlm.py",
             'seed_for(self.seed, "mask", str(self.epoch), example.key)',
             'seed_for(self.seed, "mask", example.key)',
             protocol("test_masks_are_drawn_anew_in_every_epoch_and_by_the_seed")),
)

SCORES = (
    Mutation("dev-score-from-test", "kdbench/train/scoring.py",
             'self.score(model, "dev", watched)',
             'self.score(model, "test", watched)', SCORED),
    Mutation("raw-texts-cut-as-before", "kdbench/serve/serving.py",
             "spaced(words_of(text, labels.word_pattern)[0], labels.word_prefix)",
             "spaced(words_of(text)[0], labels.word_prefix)",
             tests_of("test_words", "test_texts_and_their_words_get_the_same_entities")),
    Mutation("words-without-their-blanks", "kdbench/data/words.py",
             "return [*words[:1], *(prefix + word for word in words[1:])]",
             "return list(words)",
             tests_of("test_byte_level", "test_a_list_of_words_has_the_tokens_of_its_text")),
    Mutation("rule-that-cuts-at-blanks-alone", "kdbench/data/word_rules.py",
             "if sum(shares) > sum(best_shares):",
             "if shares[0] >= best_shares[0]:",
             tests_of("test_words", "test_the_rule_is_learned_from_the_words")),
    Mutation("raw-score-of-the-corpus-words", "kdbench/runs/raw_text.py",
             "given = entities(lab, found[i], cuts[i]) if i in found else entities(lab, predicted[i], own)",
             "given = entities(lab, predicted[i], own)",
             tests_of("test_words", "test_the_score_on_raw_texts_is_that_of_predict")),
    Mutation("latency-of-another-protocol", "kdbench/serve/card.py",
             'latency = row.get("latency") or {}',
             'latency = record.get("latency") or {}',
             tests_of("test_card", "test_every_latency_stands_beside_its_own_protocol")),
    Mutation("test-score-from-dev", "kdbench/runs/runner.py",
             'scores["test"], found["test"] = lab.score(student, "test")',
             'scores["test"], found["test"] = lab.score(student, "dev")', SCORED),
    Mutation("test-scored-twice", "kdbench/runs/runner.py",
             'scores["test"], found["test"] = lab.score(student, "test")',
             'scores["test"], found["test"] = [lab.score(student, "test") for _ in "ab"][0]', SCORED),
    Mutation("test-split-is-dev", "kdbench/data/task.py",
             '"test": self.test}[name]',
             '"test": self.dev}[name]', protocol("test_splits_are_what_their_names_say")),
    Mutation("test-read-from-the-dev-file", "kdbench/data/corpora.py",
             'Data(examples["train"], examples["dev"], examples["test"]',
             'Data(examples["train"], examples["dev"], examples["dev"]',
             FILES),
    Mutation("own-test-read-from-the-dev-file", "tasks/files.py",
             'Data(examples.get("train", ()), examples["dev"], examples["test"]',
             'Data(examples.get("train", ()), examples["dev"], examples["dev"]', FILES),
    Mutation("rows-without-a-label-move-the-numbers", "tasks/file_spare.py",
             '"id": str(number)}', '"id": str(number + 1)}',
             tests_of("test_without_label", "test_a_file_teaches_them_by_text_and_by_row_number")),
    Mutation("an-empty-list-is-a-missing-label", "tasks/file_spare.py",
             "is_missing(value) or blank", "not value or blank",
             tests_of("test_without_label", "test_rows_without_a_label_are_the_rest")),
    Mutation("notes-of-test-read-from-dev", "tasks/emr.py",
             'splits["dev"], splits["test"], EMR_LABELS',
             'splits["dev"], splits["dev"], EMR_LABELS', FILES),
    Mutation("limit-takes-the-first-rows", "kdbench/data/task.py",
             'sorted(random.Random(f"{seed}/{name}").sample(range(len(examples)), most))',
             "range(most)", protocol("test_limits_draw_rows_by_a_seed_and_leave_test_whole")),
    Mutation("facts-by-position", "kdbench/data/task.py",
             "@dataclass(frozen=True, kw_only=True)",
             "@dataclass(frozen=True)", protocol("test_a_task_takes_its_facts_by_name_alone")),
    Mutation("cut-words-as-class-0", "kdbench/train/scoring.py",
             'self.data.labels.index("O"))',
             "0)", CUT),
    Mutation("paths-for-git", "kdbench/runs/whereabouts.py",
             'write_text(ignored, "*\\n")', "pass",
             own("test_where_the_files_lie_stays_out_of_the_record_and_of_git")),
    Mutation("changed-files-exported", "kdbench/runs/artefacts.py",
             "if digests == before or (before is None and not changed):", "if True:",
             own("test_a_file_that_is_gone_or_changed_is_named")),
    Mutation("rows-without-a-text-left-out", "kdbench/serve/asked.py",
             "found.append({**place, **(nothing if row.example is None else next(given))})",
             "found += [{**place, **next(given)}] if row.example is not None else []",
             own("test_rows_without_a_text_keep_their_place")),
    Mutation("few-labels-one-draw-for-all-seeds", "kdbench/data/few_labels.py",
             'random.Random(f"{seed}/labels/{number}")', 'random.Random(f"{number}")',
             tests_of("test_few_labels", "test_draws_are_stratified_by_seed_and_grow")),
    Mutation("few-labels-rest-keeps-its-own", "kdbench/data/few_labels.py",
             'id=f"unlabelled-{example.id}", label=None)', 'id=f"unlabelled-{example.id}")',
             tests_of("test_few_labels", "test_the_rest_has_no_labels_and_everything_else")),
    Mutation("few-labels-without-a-rare-one", "kdbench/data/few_labels.py",
             "while 0 in shares and len(sizes) <= count:", "while False:",
             tests_of("test_few_labels", "test_a_rare_label_is_among_few", "test_quotas")),
    Mutation("few-labels-control-has-the-rest", "kdbench/runs/planning.py",
             "if not cell.method.uses_teacher:", "if False:",
             tests_of("test_few_labels", "test_cells_of_few_labels")),
    Mutation("few-labels-verified-as-all", "kdbench/data/few_labels.py",
             "    if count is None:",
             "    if True:",
             tests_of("test_few_labels", "test_a_run_its_record_and_its_table")),
    Mutation("few-labels-a-group-a-seed", "kdbench/report/groups.py",
             'for name in ("train", "rest"):', 'for name in ("rest",):',
             tests_of("test_few_labels", "test_a_run_its_record_and_its_table",
                      "test_a_curve_for_each_row")),
    Mutation("unlabelled-rows-scored", "kdbench/runs/artefacts.py",
             "tuple(example for example in found if example.label is not None)", "tuple(found)",
             own("test_files_of_one_class_and_rows_without_a_label")),
    Mutation("a-path-sent-to-the-hub", "kdbench/base/hub.py",
             "if Path(owner).exists():", "if False:", own("test_a_path_is_no_id")),
    Mutation("a-hub-that-is-asked-six-times", "kdbench/data/layouts/datasets_folder.py",
             "if not tried and (offline := hub.unreachable()):", 'if (offline := ""):',
             own("test_offline_a_data_set_is_missed_at_once")),
    Mutation("every-comma-divides-labels", "kdbench/data/layouts/label_lists.py",
             "return bool(several) and several <= alone", "return bool(several)",
             own("test_when_a_comma_divides_labels")),
    Mutation("texts-side-by-side-are-one", "kdbench/data/layouts/brackets.py",
             "if TEXTS.fullmatch(inner):", "if False:",
             layouts("test_lists_as_programs_print_them")),
    Mutation("tags-as-labels-of-texts", "tasks/file_labels.py",
             "if schemes.are_tags({tag for label in labels for tag in label.split()}):",
             "if False:", layouts("test_tags_are_no_labels_of_texts")),
    Mutation("tags-behind-tabs-alone", "kdbench/data/layouts/tagfiles.py",
             'BLANK, DELIMITERS = "", ("", ",", ";")', 'BLANK, DELIMITERS = "", ("",)',
             layouts("test_words_and_tags_with_other_delimiters")),
    Mutation("a-tag-too-few-beside-a-text", "kdbench/data/layouts/tag_strings.py",
             "if len(words) != len(own) or not words:", "if not words:",
             layouts("test_a_text_beside_its_tags")),
    Mutation("wrong-tags-made-right", "kdbench/data/layouts/like_train.py",
             "if not _right(sentences, own):", "if False:",
             layouts("test_a_test_file_of_another_scheme")),
    Mutation("two-annotators-two-rows", "kdbench/data/layouts/spanfiles.py",
             "first.setdefault(str(text), who) != who:", "False:",
             layouts("test_annotators_of_prodigy")),
    Mutation("corpora-of-one-name-are-one", "kdbench/report/groups.py",
             "if len(contents.get(group.task, ())) > 1:", "if False:",
             own("test_corpora_of_one_name_and_other_content_are_told_apart")),
    Mutation("own-test-overlaps-dev", "tasks/files.py",
             'examples["train"], examples[split] = corpora.split(examples["train"], share, seed,',
             '_, examples[split] = corpora.split(examples["train"], share, seed,',
             own("test_without_a_test_file_a_seeded_share_of_whole_groups_is_test")),
    Mutation("labels-of-test-alone-are-classes", "tasks/files.py",
             '(first, *settings.labels_from)', "SPLITS",
             own("test_a_label_that_only_test_has")),
    Mutation("entities-of-xml-expanded", "kdbench/data/layouts/bioc_xml.py",
             'if "<!ENTITY" in text:', "if False:",
             own("test_xml_that_declares_entities_is_not_read")),
    Mutation("cut-words-as-class-0-in-exports", "kdbench/runs/artefacts.py",
             'outside = data.labels.index("O") if task.tagging else 0',
             "outside = 0", CUT),
    Mutation("negative-class-counted", "kdbench/score/counts.py",
             "if label not in info.negative]",
             "]",
             NEGATIVE),
    Mutation("naive-knows-the-split", "kdbench/score/metrics.py",
             "labels = gold_labels(task.task_type, data.train or data.dev)",
             "labels = gold_labels(task.task_type, examples)", NAIVE),
    Mutation("threshold-from-the-split", "kdbench/score/metrics.py",
             'np.mean(gold_labels("single", data.train)',
             'np.mean(gold_labels("single", data.split(split))', NAIVE),
    Mutation("documents-ignored-as-units", "kdbench/score/metrics.py",
             "example.group or example.id for example in examples",
             "example.id for example in examples",
             COUNTS),
)

STATISTICS = (
    Mutation("seeds-not-spread", "kdbench/score/statistics.py",
             "(drawn - 1 / seeds) * np.sqrt(seeds / (seeds - 1))",
             "(drawn - 1 / seeds)",
             tests_of("test_statistics", "test_weighted_seeds_have_the_variance_of_their_mean")),
    Mutation("seeds-not-drawn-jointly", "kdbench/score/statistics.py",
             "drawn_b = drawn_a if paired else",
             "drawn_b =", UNITS),
    Mutation("units-not-drawn-jointly", "kdbench/score/statistics.py",
             "replicate(b, finish, units, drawn_b)",
             "replicate(b, finish, unit_weights(b.shape[1], replicates, 9), drawn_b)", UNITS),
    Mutation("units-paired-by-position", "kdbench/score/statistics.py",
             "return [names[i] for i in order], np.asarray(counts)[order]",
             "return [names[i] for i in order], np.asarray(counts)", UNITS),
    Mutation("normal-for-student", "kdbench/score/statistics.py",
             "freedom *= max(1.0, (spread / of_seeds) ** 2)",
             "freedom = np.inf",
             STUDENTS_T),
    Mutation("holm-left-out", "kdbench/score/statistics.py",
             "(len(p) - rank) * p[i]",
             "p[i]",
             tests_of("test_statistics", "test_holm_equals_golden_values_of_statsmodels")),
)

UNITS_AND_FILES = (
    Mutation("latency-in-seconds", "kdbench/serve/measure.py",
             "return 1000 * (time.perf_counter() - begun)",
             "return time.perf_counter() - begun",
             protocol("test_a_wall_clocks_seconds_become_milliseconds")),
    Mutation("p95-is-p90", "kdbench/serve/measure.py",
             "np.percentile(single, (50, 95))",
             "np.percentile(single, (50, 90))", LATENCY),
    Mutation("throughput-a-millisecond", "kdbench/serve/measure.py",
             "1000 * BATCH * len(spent) / sum(spent)",
             "BATCH * len(spent) / sum(spent)", LATENCY),
    Mutation("megabytes-of-2-to-the-20", "kdbench/serve/measure.py",
             "sum(tensors.values()) / 1e6",
             "sum(tensors.values()) / 2**20", SIZES),
    Mutation("frozen-parameters-as-trained", "kdbench/serve/measure.py",
             "p.numel() for p in parameters if p.requires_grad",
             "p.numel() for p in parameters", SIZES),
    Mutation("files-written-in-place", "kdbench/base/folders.py",
             'partial = target.with_name(f".{target.name}.{os.getpid()}.part")',
             "partial = target", WHOLE),
    Mutation("name-before-the-disk-has-it", "kdbench/base/folders.py",
             "os.fsync(stream.fileno())",
             "pass", protocol("test_a_file_is_on_the_disk_before_it_has_its_name")),
    Mutation("signals-written-in-place", "kdbench/train/signals.py",
             "with new_path(signal_file(folder, signals.key, name)) as path:",
             "for path in (signal_file(folder, signals.key, name),):", protocol("test_signals_have_their_name_when_they_are_whole")),
    Mutation("collate-of-ones-own-ahead", "kdbench/train/objective.py",
             'bool(getattr(objective.collate, "early", False))',
             "True", tests_of("test_feeding", "test_weights_are_those_without_the_thread",
                              "test_a_collate_of_ones_own_stays_in_its_step_until_it_is_marked")),
    Mutation("thread-left-behind", "kdbench/train/feeding.py",
             "self._thread.shutdown(cancel_futures=True)",
             "pass", tests_of("test_feeding", "test_two_batches_wait_and_no_more")),
    Mutation("a-resumed-epoch-from-its-first-batch", "kdbench/train/fit.py",
             "self.feed.begin(batches[self.batch_number:])",
             "self.feed.begin(batches)",
             tests_of("test_feeding", "test_a_training_that_is_killed_goes_on_to_the_same_weights")),
    Mutation("built-while-dev-is-measured", "kdbench/train/feeding.py",
             "return self.ahead.lock if self.ahead is not None else threading.Lock()",
             "return threading.Lock()",
             tests_of("test_feeding", "test_nothing_is_built_while_dev_is_measured")),
    Mutation("padding-of-the-largest-text-of-all", "kdbench/train/resident.py",
             "values = values.narrow(dimension, 0, size)",
             "pass",
             tests_of("test_feeding", "test_signals_on_the_device_are_those_of_the_host_and_in_fp32_so_are_those_that_go_up")),
    Mutation("signals-in-16-bits-in-fp32-too", "kdbench/train/resident.py",
             "if not self.low or values.dtype",
             "if values.dtype",
             tests_of("test_feeding", "test_signals_on_the_device_are_those_of_the_host_and_in_fp32_so_are_those_that_go_up")),
    Mutation("moments-of-the-measurement-stay", "kdbench/train/compiling.py",
             "trainer.optimizer.state.clear()",
             "pass",
             tests_of("test_compiling", "test_the_faster_way_is_kept_and_nothing_else_of_the_measurement")),
    Mutation("weights-of-the-measurement-stay", "kdbench/train/compiling.py",
             "tensor.copy_(value)",
             "pass",
             tests_of("test_compiling", "test_the_faster_way_is_kept_and_nothing_else_of_the_measurement")),
    Mutation("the-slower-way-kept", "kdbench/train/compiling.py",
             'float("inf")) < facts["plain_ms"]',
             'float("inf")) > facts["plain_ms"]',
             tests_of("test_compiling", "test_the_faster_way_is_kept_and_nothing_else_of_the_measurement")),
    Mutation("small-blocks-on-an-accelerator", "methods/divergences.py",
             "return max(Divergences.BLOCK, most)",
             "return Divergences.BLOCK",
             tests_of("test_ve_kd", "test_a_block_is_a_cache_on_a_cpu_and_a_share_of_the_memory_on_an_accelerator")),
    Mutation("batches-of-tokens-without-padding", "kdbench/train/batching.py",
             "(len(batches[-1]) + 1) * widest > tokens",
             "sum(lengths[i] for i in batches[-1]) + lengths[index] > tokens",
             tests_of("test_fit", "test_a_batch_of_tokens_has_as_many_examples_as_fit_with_their_padding")),
    Mutation("threads-chosen-anew", "kdbench/runs/threads.py",
             "kept.write_text(str(number))",
             "pass", tests_of("test_threads", "test_a_cell_that_was_begun_goes_on_with_as_many")),
    Mutation("two-threads-for-a-tiny-model", "kdbench/runs/threads.py",
             "most > 1 and widest(cell) >= WIDE",
             "most > 1",
             tests_of("test_threads", "test_a_tiny_model_has_one_thread_and_a_wide_one_the_cores_that_are_idle")),
    Mutation("checkpoint-over-the-last-one", "kdbench/train/resuming.py",
             'name = f"step-{self.step}"',
             'name = "step-0"', protocol("test_a_kill_in_a_checkpoint_leaves_the_one_before_it")),
)

METHODS = (
    Mutation("doktra-boundary-on-the-other-side", "methods/doktra.py",
             "(student_cls > -margin) & (teacher_cls <= 0)",
             "(student_cls > -margin) & (teacher_cls > 0)",
             tests_of("test_doktra", "test_the_boundary_loss_is_its_formula_in_a_plain_loop")),
    Mutation("doktra-margin-taken-off", "methods/doktra.py",
             "(student_cls + margin).square() * too_high",
             "(student_cls - margin).square() * too_high",
             tests_of("test_doktra", "test_the_boundary_loss_is_its_formula_in_a_plain_loop")),
    Mutation("doktra-certainty-rewarded", "methods/doktra.py",
             '"examples", -self.beta)',
             '"examples", self.beta)', protocol("test_the_calibrated_loss_rewards_doubt")),
    Mutation("doktra-switches-an-epoch-late", "methods/doktra.py",
             "if self.epoch >= self.switch:",
             "if self.epoch > self.switch:",
             tests_of("test_doktra", "test_the_loss_switches_after_gamma_of_the_epochs")),
    Mutation("dsg-kd-rows-not-divided", "methods/word_states.py",
             ".mean((1, 2)) / columns[:, None] * real",
             ".mean((1, 2)) * real",
             tests_of("test_dsg_kd", "test_matrix_products_equal_the_formulas_word_by_word")),
    Mutation("layers-one-to-one", "methods/layer_pairs.py",
             "(round(i * teacher / count), round(i * student / count))",
             "(i, i)", tests_of("test_dsg_kd", "test_layers_are_spread_evenly")),
    Mutation("dsg-kd-base-with-mlkds-rates", "methods/dsg_kd.py",
             "1e-2 if published_base else 1e-3",
             "1e-3", tests_of("test_dsg_kd", "test_rates_and_stopping_follow_the_variant")),
    Mutation("recipe-of-a-mode-is-the-methods", "kdbench/data/task.py",
             "names = [*modes, method, METHODS.baseline().name]",
             "names = [method, METHODS.baseline().name]",
             tests_of("test_tasks", "test_a_mode_has_the_settings_that_its_own_script_gives")),
    Mutation("export-at-the-rate-of-the-whole-file", "kdbench/runs/artefacts.py",
             "return facts if rate is None else replace(facts, positive_rate=rate)",
             "return facts", tests_of("test_cli", "test_an_export_has_the_score_of_its_run")),
    Mutation("evaluation-at-another-threshold", "kdbench/runs/artefacts.py",
             "rate = labels.positive_rate if labels.threshold is None else labels.threshold",
             "rate = None", tests_of("test_limits", "test_a_fresh_process_scores_as_the_training_did")),
    Mutation("a-trained-student-has-one-threshold-for-all", "kdbench/runs/runner.py",
             "student = replace(student, key=digest({\"answers\": own}, 24))", "pass",
             tests_of("test_limits", "test_two_runs_of_a_student_that_came_trained_keep_their_thresholds")),
    Mutation("percentile-of-the-shortest", "kdbench/data/lengths.py",
             "ordered = sorted(lengths)", "ordered = sorted(lengths, reverse=True)",
             tests_of("test_limits", "test_the_default_is_the_99th_percentile_in_eights")),
    Mutation("limit-by-the-test-texts", "kdbench/train/limits.py",
             'default_limit(of_train, own)', 'default_limit(lengths["test"], own)',
             tests_of("test_limits", "test_cut_texts_and_entities_are_those_of_a_hand_count")),
    Mutation("a-text-at-the-limit-counts-as-cut", "kdbench/data/lengths.py",
             "sum(length > limit for length in lengths)", "sum(length >= limit for length in lengths)",
             tests_of("test_limits", "test_check_counts_what_is_cut_with_a_model_and_about_without")),
    Mutation("caption-silent-on-cut-texts", "kdbench/report/groups.py",
             "*self.cut_texts, *self.read_before]", "*self.read_before]",
             tests_of("test_limits", "test_a_class_that_the_last_sentence_decides_is_learnt_by_default")),
    Mutation("answers-silent-on-cut-texts", "kdbench/cli/students.py",
             "if note := cut_note(found, predictor.artefact.reads):", "if note := \"\":",
             tests_of("test_limits", "test_answers_to_texts_that_are_cut_are_said_on_standard_error")),
    Mutation("window-by-room-alone", "kdbench/data/windows.py", "rank = inside * (most + 2) + room", "rank = room", CENTRAL),
    Mutation("window-by-tokens-alone", "kdbench/data/windows.py", "rank = inside * (most + 2) + room", "rank = inside",
             CENTRAL),
    Mutation("window-without-the-beginning-of-a-word", "kdbench/data/windows.py",
             "rank[(first < starts[:, None]) | (inside <= 0)] = -1", "pass", CENTRAL),
    Mutation("maximum-of-logits-without-a-zero", "kdbench/data/windows.py", 'if task_type == "single":',
             'if task_type == "none":',
             tests_of("test_windows", "test_several_windows_make_one_answer_and_one_stays_as_it_is")),
    Mutation("pairs-divided-in-both-texts", "kdbench/data/windows.py",
             'encode(divided, "only_second", stride)', 'encode(divided, "longest_first", stride)',
             tests_of("test_windows", "test_the_first_text_of_a_pair_stands_in_every_window")),
    Mutation("a-teachers-first-window-alone", "kdbench/train/windows.py", "return known(values)", "return values[0]",
             tests_of("test_windows", "test_a_teachers_words_are_those_of_its_windows")),
    Mutation("a-teachers-first-vector-alone", "kdbench/train/windows.py", "return np.mean(values, axis=0)", "return values[0]",
             tests_of("test_windows", "test_a_teachers_answer_and_vector_of_a_text_are_those_of_its_windows")),
    Mutation("rows-of-tokens-for-several-windows", "kdbench/train/windows.py",
             "if others and isinstance(corpus, WindowedCorpus) and corpus.divided:", "if False:",
             tests_of("test_windows", "test_what_is_compared_token_by_token_says_why_it_is_left_out")),
    Mutation("signals-whose-key-knows-no-windows", "kdbench/train/teaching.py",
             '**({"windows": asdict(teacher.windows)} if teacher.windows else {}),', "",
             tests_of("test_whole_notes", "test_stages_and_signals_know_how_long_texts_are_read")),
    Mutation("stages-of-cut-texts-with-another-key", "kdbench/train/training.py",
             'for name in ("batch_tokens", "windows"):', 'for name in ("batch_tokens",):',
             tests_of("test_whole_notes", "test_stages_and_signals_know_how_long_texts_are_read")),
    Mutation("windows-that-are-not-served", "kdbench/serve/serving.py",
             "return windows_each(texts, labels, windows)",
             "return one_row_each(texts, labels, [window[0] for window in windows])",
             tests_of("test_whole_notes", "test_models_that_answer_together_read_in_windows_of_their_own")),
    Mutation("options-before-given-settings", "kdbench/base/options.py",
             "found[name] = settings[setting]", "pass",
             tests_of("test_variants", "test_a_given_setting_is_what_a_method_trains_with")),
    Mutation("options-before-published-settings", "kdbench/base/options.py",
             "found[name] = published[setting]", "pass",
             tests_of("test_variants", "test_show_prints_the_settings_that_train")),
    Mutation("published-epochs-before-given-ones", "kdbench/base/options.py",
             'settings.get(field.metadata.get("follows", "")) is None', "True",
             tests_of("test_variants", "test_an_option_that_goes_with_a_setting_gives_way_to_it")),
    Mutation("defaults-called-published", "tasks/recipes.py",
             '"gamma": 0.7, "distil_epochs": 5}, _NO_COMMAND)',
             '"gamma": 0.7, "distil_epochs": 5})',
             tests_of("test_tasks", "test_defaults_of_a_program_are_not_called_published")),
    Mutation("ve-kd-tolerance-once-a-batch", "methods/ve_kd.py",
             "(total - count * tolerance)",
             "(total - tolerance)",
             tests_of("test_ve_kd", "test_within_the_tolerance_the_gradient_is_exactly_zero")),
    Mutation("ve-kd-tolerance-on-the-raw-loss", "methods/ve_kd.py",
             'weight if o.tolerance_on == "weighted" else 1',
             "1", tests_of("test_ve_kd", "test_thresholds_of_each_loss")),
    Mutation("ve-kd-gradient-without-temperature", "methods/divergences.py",
             ".mul_(kl * heat)",
             ".mul_(kl)",
             tests_of("test_ve_kd", "test_divergences_in_blocks_are_the_whole_ones")),
    Mutation("ner-kd-smoothing-of-torch", "methods/ner_losses.py",
             "label_smoothing=smoothing * classes / max(classes - 1, 1)",
             "label_smoothing=smoothing",
             SMOOTHED),
    Mutation("ner-kd-layers-of-the-shallower", "methods/ner_losses.py",
             "layer_pairs(teacher, student, student)",
             "layer_pairs(teacher, student, min(teacher, student))",
             tests_of("test_ner_kd", "test_layer_pairs")),
    Mutation("ner-kd-the-least-directions", "methods/ner_students.py",
             ".eigenvectors.flip(-1)[:, :width]", ".eigenvectors[:, :width]",
             tests_of("test_ner_kd", "test_a_reduced_embedding_is_the_best_of_its_width")),
    Mutation("ner-kd-alpha-on-the-soft-terms", "methods/ner_losses.py",
             "soft = 1 - self.options.alpha if",
             "soft = self.options.alpha if", GOLDEN),
)

def identity(*names: str) -> tuple[str, ...]:
    return tests_of("test_identity", *names)


DATA = identity("test_the_data_change_the_id_though_no_checksum_is_given")
STAGE = identity("test_a_stage_knows_the_model_by_its_content")
OBJECTIVE = identity("test_a_stage_knows_the_objective_by_its_code_and_all_that_it_holds")
DECIDES = identity("test_what_else_decides_a_stage")
POOL = identity("test_another_strategy_of_a_pool_gives_other_signals")

IDENTITY = (
    Mutation("id-without-the-content", "kdbench/base/identity.py",
             'return digest({"cell": cell, "content": content})',
             'return digest({"cell": cell})', DATA),
    Mutation("data-known-by-checksums-alone", "kdbench/runs/cell.py",
             '"data": self.data.digests,',
             '"data": dict(self.data.sha256),', DATA),
    Mutation("rows-without-their-group", "kdbench/data/task.py",
             "example.words, example.label, example.group]",
             "example.words, example.label]", DATA),
    Mutation("file-known-by-its-path", "kdbench/base/options.py",
             "found[field.name] = by_content(found[field.name])",
             "found[field.name] = str(found[field.name])",
             identity("test_a_file_given_as_an_option_is_known_by_its_content")),
    Mutation("teacher-and-control-are-one-cell", "kdbench/runs/cell.py",
             'content["role"] = "teacher"',
             "pass",
             identity("test_a_teacher_is_another_cell_than_a_control_of_the_same_name")),
    Mutation("method-without-its-code", "kdbench/runs/cell.py",
             '"method": code.method_code(type(method)),',
             "",
             identity("test_a_raised_version_changes_the_id")),
    Mutation("metrics-without-their-version", "kdbench/score/metrics.py",
             "        return metric.version",
             "        return 1",
             identity("test_a_raised_version_changes_the_id")),
    Mutation("edited-code-taken-for-its-version", "kdbench/base/code.py",
             'return stated if kept().get(name) == {"version": stated, "digest": found} else found',
             "return stated",
             identity("test_edited_code_has_its_digest_for_a_version")),
    Mutation("a-setting-is-forgotten", "kdbench/train/spec.py",
             "if k not in OUTSIDE and not",
             'if k not in OUTSIDE and k != "warmup" and not',
             identity("test_every_setting_changes_the_id_or_is_outside_for_a_reason")),
    Mutation("stage-without-weights", "kdbench/train/content.py",
             "        sha256.update(tensor_bytes(tensor))",
             "        pass", STAGE),
    Mutation("stage-without-hooks", "kdbench/train/content.py",
             "parts[name] = [content_of(cls, place, seen), own, hooks_of(part, place, seen)]",
             "parts[name] = [content_of(cls, place, seen), own]", STAGE),
    Mutation("stage-without-tokenizer", "kdbench/train/content.py",
             '"tokenizer": tokenizer_content(model.tokenizer),',
             "", STAGE),
    Mutation("stage-without-the-name-that-draws-dropout", "kdbench/train/lab.py",
             '"stage": stage,  # its name draws the dropout',
             "", DECIDES),
    Mutation("stage-without-labels", "kdbench/train/content.py",
             "rows.append((example.key, example.label) if plain",
             "rows.append(example.key if plain", DECIDES),
    Mutation("stage-without-dev", "kdbench/train/scoring.py",
             '"dev": self.data.digests["dev"],',
             "",
             identity("test_dev_decides_a_stage_where_it_selects")),
    Mutation("attributes-that-cannot-be-hashed-are-dropped", "kdbench/train/content.py",
             "        own[key] = content_of(value, f\"{place}.{key}\", seen)",
             "        own[key] = value if is_simple(value) else None", OBJECTIVE),
    Mutation("class-without-what-it-captured", "kdbench/train/content_code.py",
             'content_of(each, f"{name}, which {where} captured", seen)',
             "None", OBJECTIVE + POOL),
    Mutation("pool-left-out-of-the-key", "kdbench/train/teaching.py",
             '"pool": content_of(teacher.pool, "the pool"),',
             "", POOL),
    Mutation("lambdas-of-a-file-are-one", "kdbench/train/content_code.py",
             'found["instructions"] = instructions(value.__code__)',
             "pass", POOL),
    Mutation("a-pool-gives-logits-of-its-own", "kdbench/train/signals.py",
             "if taken := sorted(values.keys() & set(BUILT_IN)):",
             "if taken := []:",
             identity("test_a_pool_may_not_give_a_built_in_name_to_something_else")),
    Mutation("cache-without-checksums", "kdbench/base/checksums.py",
             'if file_digest(folder / name) != facts["sha256"]:',
             "if False:",
             identity("test_a_changed_byte_in_the_cache_is_seen")),
    Mutation("overwrite-takes-the-cache", "kdbench/train/stage_cache.py",
             "return path.exists() and path.stat().st_mtime >= self.not_before",
             "return path.exists()",
             identity("test_workers_renew_what_is_older_than_the_command")),
    Mutation("plugins-of-one-name-are-one", "kdbench/runs/plugins.py",
             'name = f"kdbench_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"',
             'name = f"kdbench_plugin_{path.stem}"',
             identity("test_two_plugins_of_one_name_are_both_loaded")),
    Mutation("stages-exchanged-in-the-cache", "kdbench/train/stage_cache.py",
             'if facts.get("key") != key:',
             "if False:",
             identity("test_a_stage_in_the_place_of_another_is_not_taken")),
    Mutation("core-replaced-by-a-plugin", "kdbench/base/code.py",
             "return digest([plain, foreign]) if foreign else plain",
             "return plain",
             identity("test_what_replaces_a_part_of_the_core_has_figures_of_its_own")),
    Mutation("globals-are-not-read", "kdbench/train/content_code.py",
             'found["globals"] = globals_read(value, where, seen)',
             "pass",
             identity("test_what_is_read_through_others_decides")),
    Mutation("signals-known-by-their-key-alone", "kdbench/train/lab.py",
             '"signals": signals_content(signals) if signals is not None else None,',
             '"signals": signals.key if signals is not None else None,',
             identity("test_signals_that_a_method_changed_are_other_signals")),
    Mutation("metric-of-the-selection-without-its-code", "kdbench/train/scoring.py",
             "watched = [metrics.code_of_metric(name) for name in self.watched(training)]",
             "watched: list = []",
             identity("test_a_metric_of_a_plugin_decides_the_kept_epoch")),
    Mutation("selection-without-the-negative-labels", "kdbench/train/scoring.py",
             '"negative": self.task.negative,',
             "",
             identity("test_the_labels_that_the_metric_leaves_out_select_an_epoch")),
    Mutation("tokenizers-settings-left-out", "kdbench/models/sources.py",
             '"config.json", "tokenizer_config.json", "special',
             '"config.json", "special',
             identity("test_all_that_decides_how_a_folder_reads_is_in_its_identity")),
    Mutation("plugin-known-without-its-helpers", "kdbench/base/sources.py",
             'imported_beside(current, content, roots) if current.suffix == ".py" else ():',
             '() if current.suffix == ".py" else ():',
             identity("test_a_plugin_is_known_with_all_files_of_its_own_that_it_imports")),
)

FIGURES = (
    Mutation("precision-and-recall-exchanged", "kdbench/score/counts.py",
             "precision, recall = column(0, 2), column(0, 1)",
             "precision, recall = column(0, 1), column(0, 2)",
             tests_of("test_metrics", "test_entities_equal_seqeval_in_its_default_mode")),
    Mutation("macro-precision-over-all-classes", "kdbench/score/counts.py",
             "return ratio((finish(by_class) * occurs).sum(axis=-1), occurs.sum(axis=-1))",
             "return finish(by_class).mean(axis=-1)",
             tests_of("test_metrics", "test_single_label_metrics_equal_scikit_learn")),
    Mutation("counts-that-seqeval-denies", "kdbench/score/scoring.py",
             "if not abs(stated - counted) <= CLOSE:",
             "if False:",
             tests_of("test_metrics",
                      "test_entity_scores_that_our_counts_do_not_give_are_refused")),
    Mutation("beside-a-replaced-metric", "kdbench/score/metrics.py",
             "if name in METRICS and METRICS[name] is BUILT_IN.get(name)}",
             "if name in METRICS}",
             tests_of("test_metrics",
                      "test_nothing_stands_beside_a_metric_that_a_plugin_replaced")),
    Mutation("unread-words-scored-as-read", "kdbench/score/tagging.py",
             "read = np.array([len(piece) > 0 for piece in pieces], dtype=bool)",
             "read = np.array([True for piece in pieces], dtype=bool)",
             tests_of("test_metrics", "test_what_was_read_is_scored_as_seqeval_scores_it")),
    Mutation("entities-that-end-beyond-the-limit-forgotten", "kdbench/score/tagging.py",
             "lost = before[last + 1] > before[first]",
             "lost = before[first + 1] > before[first]",
             tests_of("test_metrics", "test_words_and_entities_beyond_the_limit_are_counted")),
    Mutation("caption-silent-on-the-limit", "kdbench/report/groups.py",
             "*self.beyond_limit, *self.raw_texts,", "*self.raw_texts,",
             tests_of("test_tables", "test_a_caption_says_how_much_lies_beyond_the_length_limit")),
    Mutation("beyond-the-limit-unverified", "kdbench/report/checks.py",
             "if stored != found:",
             "if False:",
             tests_of("test_verify", "test_what_is_reported_beside_a_metric")),
    Mutation("lacking-ratio-unnoticed", "kdbench/report/checks.py",
             "wanted = {*made, *more} if more & case.test_scores.keys() else made",
             "wanted = {*made, *(more & case.test_scores.keys())}",
             tests_of("test_verify", "test_what_is_reported_beside_a_metric")),
    Mutation("ratios-of-an-earlier-metric", "kdbench/report/rows.py",
             "if made.get(metric, made.get(known.of, known.version)) != known.version:",
             "if made.get(metric, known.version) != known.version:",
             tests_of("test_tables",
                      "test_precision_of_an_earlier_metric_does_not_stand_beside_todays")),
    Mutation("csv-without-what-stands-beside", "kdbench/report/columns.py",
             "found = [*RATIOS, *map(",
             "found = [*map(",
             tests_of("test_tables",
                      "test_precision_and_recall_are_in_csv_and_json_where_records_have_them")),
    Mutation("retry-not-in-the-table", "kdbench/report/tables.py",
             'if "accumulate_asked" in stage:',
             "if False:",
             tests_of("test_tables", "test_a_training_that_ran_out_of_memory_is_said")),
    Mutation("retry-not-in-the-record", "kdbench/train/lab.py",
             'more["accumulate_asked"] = training.accumulate',
             "pass",
             tests_of("test_grid", "test_out_of_memory_halves_the_batch_and_changes_nothing_else")),
    Mutation("disagreement-without-the-connector", "methods/doktra.py",
             "return float(boundary_disagreement(*self.vectors(s, t)))",
             "return float(boundary_disagreement(s, t))",
             tests_of("test_doktra",
                      "test_boundary_disagreement_of_a_split_is_that_of_the_published_program")),
    Mutation("disagreement-of-the-student-with-itself", "methods/doktra.py",
             "lab.vectors(trained, examples), lab.vectors(teacher, examples))",
             "lab.vectors(trained, examples), lab.vectors(trained, examples))",
             tests_of("test_doktra",
                      "test_the_disagreement_is_that_of_plain_passes_and_touches_nothing")),
    Mutation("published-beside-corrected", "kdbench/report/comparability.py",
             'if not is_control(row.method) and variant != "published":',
             "if False:",
             AS_PUBLISHED),
    Mutation("published-beside-another-teacher", "kdbench/report/comparability.py",
             "if teacher is not None and hub_name(teacher) != hub_name(theirs):",
             "if False:",
             AS_PUBLISHED),
    Mutation("published-beside-other-options", "kdbench/report/comparability.py",
             "if (ours := written(row.options[name])) not in allowed:",
             "if False:",
             AS_PUBLISHED),
    Mutation("published-beside-a-training-cut-short", "kdbench/report/comparability.py",
             'if steps := row.settings.get("max_steps"):',
             "if steps := None:",
             tests_of("test_reported", "test_trainings_cut_short_are_not_comparable")),
    Mutation("clean-beside-a-running-process", "kdbench/runs/clean.py",
             "if kept and leftover.kind in GUARDED:",
             "if False:",
             upkeep("test_nothing_goes_that_a_running_process_may_need")),
    Mutation("clean-what-began-since-the-look", "kdbench/runs/clean.py",
             "guarded = leftover.kind in GUARDED and bool(inventory.at_work())",
             "guarded = False",
             upkeep("test_nothing_goes_that_a_running_process_may_need")),
    Mutation("clean-what-a-damaged-record-needs", "kdbench/runs/clean.py",
             "for path, why in inventory.damaged.items():",
             "for path, why in ():",
             upkeep("test_what_a_damaged_record_refers_to_stays")),
    Mutation("clean-through-a-link", "kdbench/runs/clean.py",
             "return (inventory.folder / name).is_symlink()",
             "return False",
             upkeep("test_a_folder_of_models_that_is_a_link_is_left_alone")),
    Mutation("a-shared-stage-is-ones-own", "kdbench/runs/inventory.py",
             "own = [key for key in keys_of(record) if self.users[key] == 1]",
             "own = [key for key in keys_of(record) if self.users[key] >= 1]",
             upkeep("test_sizes_are_those_on_disk")),
    Mutation("compare-shows-texts-unasked", "kdbench/report/compare.py",
             "who, text_of(example) if example and texts else None))",
             "who, text_of(example) if example else None))",
             upkeep("test_texts_are_shown_only_when_asked_for")),
    Mutation("compare-on-other-test-data", "kdbench/report/compare.py",
             "if test_data(first) != test_data(second):",
             "if False:",
             upkeep("test_runs_that_cannot_be_compared")),
    Mutation("scores-below-zero", "kdbench/report/plots.py",
             "floor = 0.0 if low >= 0 else -math.inf",
             "floor = -math.inf",
             geometry("test_an_axis_of_scores_ends_just_around_them")),
    Mutation("a-latency-beside-work-without-a-mark", "kdbench/report/columns.py",
             "alone = [seed for seed in known if not was_beside(row, seed)]",
             "alone = known",
             geometry("test_a_teacher_timed_beside_other_work_stands_in_the_column_of_its_student")),
    Mutation("teachers-of-one-name", "kdbench/report/pictures.py",
             'return f"{name}, {row.student}" if len(teachers) > 1 else name',
             "return name",
             geometry("test_teachers_of_two_names_are_told_apart")),
    Mutation("a-budget-said-twice", "kdbench/report/advice.py",
             "if steps and steps[-1][0] == amount:",
             "if False:",
             geometry("test_no_line_of_advice_says_the_same_twice")),
    Mutation("silent-work", "kdbench/base/activity.py",
             "due = self.last + SILENCE_SECONDS",
             "due = self.last + 100 * SILENCE_SECONDS",
             tests_of("test_waiting", "test_silent_work_is_said_again_and_again")),
    Mutation("a-process-that-ended-holds-a-lock", "kdbench/base/holders.py",
             "return psutil.Process(self.pid).create_time() <= self.since + 1",
             "return psutil.pid_exists(self.pid)",
             tests_of("test_waiting", "test_who_ended_holds_nothing")),
)

HEADS = (
    Mutation("rows-as-they-stand-where-they-have-no-names", "kdbench/train/agreement.py",
             "tuple(found.rows.groups[i] for i in order)",
             "tuple(found.rows.groups)", KNOWS),
    Mutation("rows-without-names-whatever-they-agree-with", "kdbench/train/agreement.py",
             "if not seen.convinces:",
             "if False:", KNOWS),
    Mutation("joined-rows-by-their-first", "kdbench/models/merged.py",
             "logits[..., self.rows].amax(-1)",
             "logits[..., self.rows][..., 0]", KNOWS),
    Mutation("a-borrowed-row-is-not-behind", "kdbench/models/merged.py",
             "BEHIND if label in rows.late else 0.0",
             "0.0", KNOWS),
    Mutation("further-types-are-not-o", "kdbench/models/tag_rows.py",
             'key = ("O", "")',
             'key = ("", "")', KNOWS),
    Mutation("one-label-for-several", "kdbench/models/rows.py",
             'problem == "single_label_classification"',
             "False", KNOWS),
    Mutation("labels-of-a-teacher-are-no-content", "kdbench/models/sources.py",
             '"labels": self.labels}',
             "}", tests_of("test_best_teacher", "test_labels_of_a_teacher_are_part_of_the_id")),
    Mutation("the-toy-on-real-data", "kdbench/runs/planning.py",
             "if request.data_dir is None and not request.files:",
             "if True:",
             tests_of("test_best_teacher", "test_the_largest_encoder_up_to_base_size_is_taken")),
    Mutation("the-toy-without-end", "kdbench/train/lab.py",
             "round(steps * batch / len(texts))), steps)",
             "round(steps * batch / len(texts))), 10**9)",
             tests_of("test_best_teacher",
                      "test_a_toy_is_trained_for_no_more_steps_than_its_recipe_says")),
    Mutation("a-share-of-nothing", "kdbench/report/rows.py",
             "if other is None or not beats_naive(other, split):",
             "if other is None:",
             tests_of("test_teacher_shares", "test_a_share_is_given_of_a_teacher_that_reads")),
)

READ_BACK = (
    Mutation("checkpoint-of-another-training", "kdbench/train/resuming.py",
             'raise ValueError("it is of another training")', "pass",
             tests_of("test_readback",
                      "test_a_whole_checkpoint_is_gone_on_from_and_none_is_of_another_training")),
    Mutation("pointer-before-the-checkpoint-is-on-the-disk", "kdbench/train/resuming.py",
             "sync_below(place)", "pass",
             tests_of("test_readback",
                      "test_a_checkpoint_is_on_the_disk_before_the_pointer_moves")),
    Mutation("a-teacher-of-nan", "kdbench/train/signals.py",
             "self.check_logits(outputs, batch)", "pass",
             tests_of("test_readback", "test_a_teacher_without_numbers_is_refused_by_name")),
    Mutation("answers-of-nan", "kdbench/train/prediction.py",
             'if not finite_logits(logits, inputs.get("attention_mask")):', "if False:",
             tests_of("test_readback", "test_a_teacher_without_numbers_is_refused_by_name")),
    Mutation("weights-of-nan-loaded", "kdbench/models/load.py",
             "if name := non_finite(module):", 'if name := "":',
             tests_of("test_readback",
                      "test_a_model_whose_weights_are_no_numbers_is_not_loaded")),
    Mutation("nan-predicted", "kdbench/serve/serving.py",
             "if not np.isfinite(rows[i]).all():", "if False:",
             tests_of("test_readback", "test_predict_prints_no_number_that_is_none")),
    Mutation("record-edited", "kdbench/base/checksums.py",
             'return "" if sums.get("content") == content_digest(content) else CHANGED',
             'return ""', DAMAGED),
    Mutation("predictions-exchanged", "kdbench/runs/stored.py",
             "if wrong := damage_of_files(record, path.parent):", 'if wrong := "":', DAMAGED),
    Mutation("labels-of-another-head", "kdbench/serve/fitting.py",
             "if wrong := misfit(labels, config):",
             'if wrong := "":',
             tests_of("test_readback", "test_labels_that_do_not_fit_the_model_are_refused")),
    Mutation("records-gone-at-the-end", "kdbench/runs/grid.py",
             "check_there(runner.folder, records)", "pass",
             tests_of("test_readback", "test_the_results_folder_that_is_gone_at_the_end")),
    Mutation("what-a-living-process-writes-is-swept", "kdbench/base/folders.py",
             "if place is None or place < 0:",
             "if place is not None and place < 0:",
             tests_of("test_readback", "test_leftovers_of_killed_processes_are_swept"
                      "_and_those_of_living_ones_stay")),
)


# ---- nobody's notes leave the house --------------------------------------------------------------


def privacy(*names: str) -> tuple[str, ...]:
    return tests_of("test_privacy", *names)


PRIVACY = (
    Mutation("a word of one text too few is learned", "kdbench/models/common_words.py",
             "if times >= rule.least}", "if times >= rule.least - 4}",
             privacy("test_a_vocabulary_learns_words_that_several_texts_hold")),
    Mutation("units are texts, whatever the groups", "kdbench/models/common_words.py",
             "by_unit[unit].update(words(text))", "by_unit[text + str(len(by_unit))].update(words(text))",
             privacy("test_a_vocabulary_learns_words_that_several_texts_hold")),
    Mutation("rare words leave no characters", "kdbench/models/tokenizer.py",
             "if not c.isspace()) if rule.least > 1 else []", "if not c.isspace()) if rule.least > 99 else []",
             privacy("test_a_vocabulary_learns_words_that_several_texts_hold")),
    Mutation("the rule is no part of the id", "kdbench/runs/cell.py",
             "if self.learns_words and self.settings.min_texts > 1:", "if self.learns_words and self.settings.min_texts > 99:",
             privacy("test_the_rule_is_part_of_the_id_where_it_decides_the_vocabulary")),
    Mutation("the text of a task without checksums is public", "kdbench/data/task.py",
             'self.origin != "lookalike" and self.published_files is not True', 'self.origin != "lookalike" and self.published_files is False',
             privacy("test_units_of_public_data_keep_their_names")),
    Mutation("units in clear", "kdbench/runs/units.py",
             "    return hashed(salt, units), fingerprint(salt)", "    return list(units), fingerprint(salt)",
             privacy("test_units_of_public_data_keep_their_names")),
    Mutation("units without their places", "kdbench/runs/units.py",
             'return tuple(f"{place:0{width}d} of {test}" for place in range(len(units)))', "return tuple(units)",
             privacy("test_units_are_hashed_and_pair_as_before")),
    Mutation("a salt that all can read", "kdbench/runs/units.py",
             "os.O_EXCL, 0o600)", "os.O_EXCL, 0o644)", privacy("test_units_are_hashed_and_pair_as_before")),
    Mutation("an error quotes the note", "kdbench/runs/quotes.py",
             "if len(units) < LEAST_TEXTS}", "if len(units) < 1}",
             privacy("test_a_failed_run_quotes_no_note_and_no_path")),
    Mutation("an error names the file", "kdbench/runs/quotes.py",
             "message = message.replace(text, HIDDEN)", "message = message.replace(text, text)",
             privacy("test_a_failed_run_quotes_no_note_and_no_path")),
    Mutation("an error quotes what few texts hold", "kdbench/runs/quotes.py",
             "return 0 < len(holders) < LEAST_TEXTS", "return False",
             privacy("test_a_message_keeps_no_quote_and_no_number_of_few_texts")),
    Mutation("a skipped run names the file", "kdbench/runs/runner.py",
             "reason=reason_kept(str(skip), cell, self.folder))", "reason=str(skip))",
             privacy("test_the_reason_of_a_skipped_run_names_no_file")),
    Mutation("a text is the name of a column", "kdbench/data/layouts/tables.py",
             "if is_surely_header(cells) or max(map(len, cells)) <= LONGEST_NAME:", "if cells:",
             privacy("test_a_note_is_no_name_of_a_column")),
    Mutation("side files with paths are on no list", "kdbench/runs/holdings.py",
             "    for path in sorted((inventory.folder / PATHS).glob(\"*/*.json\")):",
             "    for path in ():",
             privacy("test_planted_names_leave_the_house_in_nothing")),
    Mutation("the place in a note on reading", "kdbench/runs/quotes.py",
             'return [PLACE.sub("", note) for note in data.notes]', "return [note for note in data.notes]",
             privacy("test_notes_on_how_files_were_read_name_no_patient")),
    Mutation("strict privacy exports all the same", "kdbench/runs/artefacts.py",
             "        refuse(found, record[\"id\"])", "        pass",
             privacy("test_planted_names_leave_the_house_in_nothing")),
    Mutation("names are no kind of entry", "kdbench/serve/contains.py",
             "if begins and len(text) > 1 and text.isalpha() and not small:", "if begins and len(text) > 99 and text.isalpha() and not small:",
             privacy("test_kinds_of_entries_are_listed")),
    Mutation("numbers are no kind of entry", "kdbench/serve/contains.py",
             "return len(text) > 1 and text.isdigit()", "return len(text) > 99 and text.isdigit()",
             privacy("test_kinds_of_entries_are_listed")),
    Mutation("streams that a terminal obeys", "kdbench/cli/verbs.py",
             "    with neutral_streams():", "    with __import__('contextlib').nullcontext():",
             privacy("test_every_stream_of_the_command_line_is_neutral")),
    Mutation("a line that a terminal obeys", "kdbench/base/progress.py",
             'WATCH.write(f"{visible(line)}\\n")', 'WATCH.write(f"\\r\\x1b[2K{line}\\n")',
             privacy("test_progress_and_single_lines_are_neutral")),
    Mutation("a formula in a cell", "kdbench/base/visible.py",
             "if computed and not is_number(line) else line", "if computed and is_number(line) else line",
             privacy("test_a_spreadsheet_computes_no_cell")),
    Mutation("a cell of several lines", "kdbench/base/visible.py",
             'return BREAKS.sub(" ", text)', "return text",
             privacy("test_a_cell_of_a_table_is_one_line_without_html")),
    Mutation("HTML in a study's page", "kdbench/report/study.py",
             'return {**found, "README.md": without_html(found["README.md"])}', "return found",
             privacy("test_a_study_page_holds_no_html")),
    Mutation("plugins that nobody hears of", "kdbench/cli/verbs.py",
             "        tell(unasked)", "        pass",
             privacy("test_plugins_that_nobody_asked_for_are_named_once_and_can_be_left_out")),
    Mutation("packages' plugins all the same", "kdbench/runs/plugins.py",
             "    if os.environ.get(NO_PACKAGES):", "    if os.environ.get(NO_PACKAGES) is False:",
             privacy("test_plugins_that_nobody_asked_for_are_named_once_and_can_be_left_out")),
)

LIMITS = (
    Mutation("a-long-line-is-read", "kdbench/base/reading.py",
             "if self.open_bytes + first > self.longest:",
             "if first > self.longest:",
             tests_of("test_reading", "test_a_long_line_ends_the_reading_within_it")),
    Mutation("arrays-by-what-the-archive-says", "kdbench/base/reading.py",
             "return max(member.file_size, math.prod(shape) * dtype.itemsize)",
             "return member.file_size",
             tests_of("test_reading", "test_arrays_are_measured_before_they_are_unpacked")),
    Mutation("depth-unmeasured", "kdbench/base/reading.py",
             "        if depth > DEPTH_LIMIT + 1:",
             "        if depth > 10 * DEPTH_LIMIT:",
             tests_of("test_reading", "test_json_that_is_none_or_too_deep")),
    Mutation("gzip-without-end", "kdbench/base/reading.py",
             "if found.tell() > limit:", "if False:",
             tests_of("test_reading", "test_what_grows_as_no_text_does_is_not_unpacked")),
    Mutation("archives-are-listed", "kdbench/base/reading.py",
             "entries > ARRAYS_MOST or length > ARRAYS_LIST or comment", "False",
             tests_of("test_reading", "test_an_archive_with_very_many_files_is_not_listed")),
    Mutation("parquet-without-end", "kdbench/data/layouts/datasets_folder.py",
             "if size + sum(dictionaries.values()) > reading.TEXT_LIMIT:", "if False:",
             tests_of("test_reading", "test_a_parquet_file_of_a_few_bytes_and_many_rows")),
    Mutation("any-regular-expression-cuts-words", "kdbench/serve/label_values.py",
             "return isinstance(value, str) and is_known(value)",
             "return isinstance(value, str)",
             tests_of("test_readback", "test_labels_that_do_not_fit_the_model_are_refused")),
    Mutation("task-json-edited", "kdbench/serve/about.py",
             "found = checksums.read_object(folder / FILE)",
             "found = json.loads((folder / FILE).read_text())",
             tests_of("test_attacks", "test_a_task_json_that_was_changed_is_refused")),
    Mutation("attention-as-a-file-says", "kdbench/models/configs.py",
             "config._attn_implementation = None", "pass",
             tests_of("test_attacks",
                      "test_a_configuration_does_not_choose_how_attention_is_computed")),
    Mutation("parameters-beyond-the-weights", "kdbench/models/configs.py",
             "if weights is not None and asked > PER_BYTE * weights + FREE:",
             "if weights is None:",
             tests_of("test_attacks",
                      "test_a_configuration_that_asks_for_too_much_or_makes_no_sense")),
    Mutation("growth-unbounded", "kdbench/base/tokenizer_files.py",
             "    if growth(found) > GROWTH_LIMIT:",
             "    if False:",
             tests_of("test_attacks", "test_a_tokenizer_that_does_not_end")),
    Mutation("redirects-to-any-host", "kdbench/data/transfer.py",
             "if not same_host or after.scheme",
             "if after.scheme",
             tests_of("test_attacks", "test_redirects_to_elsewhere_are_not_followed")),
    Mutation("parts-written-through-links", "kdbench/data/transfer.py",
             'flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)',
             'flags |= getattr(os, "O_BINARY", 0)',
             tests_of("test_attacks", "test_a_part_that_is_a_link_is_not_written_through")),
    Mutation("linked-records-followed", "kdbench/runs/stored.py",
             "return path.is_symlink() or path.parent.is_symlink()",
             "return path.is_symlink()",
             tests_of("test_attacks",
                      "test_a_linked_folder_of_records_is_neither_read_nor_written")),
)

# ---- every architecture, and what a teacher has read ---------------------------------------------


def zoo(*names: str) -> tuple[str, ...]:
    return tests_of("test_zoo", *names)


def read(*names: str) -> tuple[str, ...]:
    return tests_of("test_contamination", *names)


ZOO = (
    Mutation("the first types of layers stay, whichever layers do", "kdbench/models/layers.py",
             "[types[i] for i in kept]", "types[:len(kept)]",
             zoo("test_the_kept_layers_keep_how_far_they_see")),
    Mutation("layers are cut, and not renumbered", "kdbench/models/layers.py",
             "setattr(owner, name, renumbered(module, [children[i] for i in kept]))",
             "setattr(owner, name, nn.ModuleList([children[i] for i in kept]))",
             zoo("test_a_model_of_fewer_layers_answers_as_it_does_when_it_is_loaded_again")),
    Mutation("of tied weights the first name", "kdbench/train/weights.py",
             "key=lambda name: (not name.startswith(encoder), name)", "key=lambda name: name",
             zoo("test_a_file_has_each_tied_weight_once")),
    Mutation("MPNet reads as far as BERT", "kdbench/models/zoo.py",
             '"longformer", "mpnet", "roberta",', '"longformer", "roberta",',
             zoo("test_positions_that_start_behind_the_padding_index")),
    Mutation("untied rows stay where they were", "kdbench/models/vocabulary.py",
             "output.weight.copy_(rows.of(loose))", "pass",
             zoo("test_untied_output_rows_follow_their_entries")),
    Mutation("the padding of the old vocabulary", "kdbench/models/vocabulary.py",
             "module.config.pad_token_id = embedding.padding_idx = new.pad_token_id", "pass",
             zoo("test_a_larger_vocabulary_leaves_the_old_tokens_their_logits")),
    Mutation("a window is looked into", "kdbench/train/masks.py",
             '"allow_is_bidirectional_skip": False}', '"allow_is_bidirectional_skip": True}',
             zoo("test_on_a_gpu_no_mask_is_looked_into")),
    Mutation("a head without its first part", "kdbench/train/mlm.py",
             '("head", "decoder"),', '("decoder",),',
             zoo("test_hidden_states_attention_and_the_masked_lm_head_can_be_read")),
    Mutation("a run of 49", "kdbench/data/contamination.py",
             "RUN = 50  #", "RUN = 49  #", read("test_a_run_of_forty_nine_is_none")),
    Mutation("grams farther apart than a run allows", "kdbench/data/contamination.py",
             "STRIDE, GRAM = 25, 26", "STRIDE, GRAM = 27, 26", read("test_a_run_is_found_wherever_it_begins")),
    Mutation("pieces do not overlap", "kdbench/data/contamination.py",
             "waiting, parts, size = piece[-keep:] if keep else \"\", [], 0", "waiting, parts, size = \"\", [], 0",
             read("test_a_text_is_found_wherever_the_pieces_of_the_corpus_end")),
    Mutation("any folder of a name is that model", "kdbench/models/has_read.py",
             "return source.folder is None or local_folder(source.name) == source.folder", "return True",
             read("test_names_aliases_and_hub_ids_are_one_model_and_a_users_folder_of_the_name_is_not")),
    Mutation("a corpus that was never compared holds no test text", "kdbench/models/has_read.py",
             "if None in counted or state not in (YES, NO):", "if state not in (YES, NO):",
             read("test_a_pretrained_model_is_known_by_the_counts_of_its_corpus")),
)

ANSWERS = (
    Mutation("unanswered-texts-teach", "kdbench/train/losses.py",
             'return batch.signals["logits_weight"][:, 0], "answered"',
             'return torch.ones_like(each), "answered"',
             answered("test_texts_without_an_answer_take_part_with_their_labels_alone")),
    Mutation("answers-over-all-texts", "kdbench/train/losses.py",
             'return batch.signals["logits_weight"][:, 0], "answered"',
             'return batch.signals["logits_weight"][:, 0] + 0, "examples"',
             answered("test_texts_without_an_answer_take_part_with_their_labels_alone")),
    Mutation("several-lines-the-first-counts", "kdbench/data/teacher_answers.py",
             "values = mean_of([one.values for one in said])",
             "values = said[0].values.copy()",
             answered("test_several_lines_about_one_text_are_votes_in_any_order")),
    Mutation("confidence-ignored", "kdbench/data/answers.py",
             "values[chosen] = confidence",
             "values[chosen] = 1.0",
             answered("test_answers_to_one_label_are_probabilities_by_text_and_by_id")),
    Mutation("percent-taken-for-probabilities", "kdbench/data/answers.py",
             "if values.max() > 1 + EXACT or abs(total - 1) > ROUNDED:",
             "if total <= 0:",
             answered("test_a_damaged_file_is_refused_in_one_line")),
    Mutation("half-words-tagged", "kdbench/data/word_answers.py",
             "if not touched or (borders[first][0], borders[last][1]) != place:",
             "if not touched:",
             answered("test_words_that_an_unusable_span_touches_teach_nothing")),
    Mutation("offset-left-out", "kdbench/data/teacher_answers.py",
             'if offset is not None and task_type != "multi":',
             "if False:",
             answered("test_a_file_from_a_model_gives_the_models_student_bit_for_bit")),
    Mutation("weights-of-teachers-ignored", "kdbench/train/answering.py",
             "share = np.array([share for share, _ in known])",
             "share = np.array([1.0 for share, _ in known])",
             answered("test_the_mean_of_several_teachers_is_that_of_their_probabilities")),
    Mutation("a-file-by-its-name", "kdbench/models/teachers.py",
             '{"predictions": self.content}',
             '{"predictions": self.name}',
             answered("test_what_decides_of_the_options_is_part_of_the_identity")),
    Mutation("half-a-split-scored", "kdbench/train/answering.py",
             "if len(rows) < len(examples) or (not lab.task.tagging and any(unknown)):",
             "if not rows:",
             answered("test_a_file_that_does_not_answer_test_teaches_and_has_no_score_of_its_own")),
)


SEARCH = (
    Mutation("trial-scored-on-test", "kdbench/data/apart.py",
             "test=away if part == TRIAL else data.test",
             "test=data.test",
             tests_of("test_shrink", "test_a_trial_is_scored_on_a_part_of_dev_that_chooses_no_epoch_and_a_final_on_test")),
    Mutation("trial-and-epoch-by-the-same-rows", "kdbench/data/apart.py",
             "if example.unit not in apart)",
             "if True)",
             tests_of("test_shrink", "test_a_trial_is_scored_on_a_part_of_dev_that_chooses_no_epoch_and_a_final_on_test")),
    Mutation("trial-of-another-dev-than-its-record-says", "kdbench/data/few_labels.py",
             'limited = with_dev_apart(limited, share, settings["part"])',
             "pass",
             tests_of("test_shrink", "test_a_record_of_a_trial_says_how_its_data_are_found_again")),
    Mutation("tuned-by-the-epochs-own-dev", "kdbench/search/tuned.py",
             'trial.user_attrs["rung 0"]["score"], -trial.number',
             'trial.user_attrs["rung 0"]["dev"], -trial.number',
             tests_of("test_shrink", "test_what_chose_an_epoch_chooses_no_trial")),
    Mutation("tuned-by-what-one-call-has-seen", "kdbench/search/tuned.py",
             "elif trials.elsewhere():", "elif False:",
             tests_of("test_shrink", "test_calls_side_by_side_choose_among_the_same_trials")),
    Mutation("each-trial-has-a-teacher-of-its-own", "kdbench/search/tuned.py",
             'if first is not None and first.teacher is not None and point["settings"]:', "if False:",
             tests_of("test_shrink", "test_trials_and_finals_have_the_teacher_of_the_table")),
    Mutation("tuned-without-its-number", "kdbench/search/tuned.py",
             'tuning["tuned"] = tuned',
             "pass",
             tests_of("test_shrink", "test_every_method_and_control_has_the_same_number_of_trials_of_its_own")),
    Mutation("tuned-without-the-defaults", "kdbench/search/trials.py",
             "if point is None and number == 0 and self.defaults is not None:",
             "if False:",
             tests_of("test_shrink", "test_the_first_trial_is_the_defaults")),
    Mutation("given-up-by-luck", "kdbench/search/trials.py",
             "return given_up and self.tells(step)",
             "return given_up",
             tests_of("test_shrink", "test_nobody_is_given_up_where_nobody_has_learned_anything")),
    Mutation("refused-points-count-as-trials", "kdbench/search/trials.py",
             'if record["status"] == "skipped":',
             "if False:",
             tests_of("test_shrink", "test_a_point_that_a_method_refuses_is_no_trial_and_is_not_drawn_again_and_again",
                      "test_a_search_whose_every_point_is_refused_ends")),
    Mutation("refused-points-teach-the-sampler-nothing", "kdbench/search/trials.py",
             "self.study.tell(owned.trial, state=TrialState.PRUNED)",
             "self.study.tell(owned.trial, state=TrialState.PRUNED if given_up else TrialState.FAIL)",
             tests_of("test_shrink", "test_a_point_that_a_method_refuses_is_no_trial_and_is_not_drawn_again_and_again")),
    Mutation("worker-of-another-cell", "kdbench/runs/workers.py",
             "self.running[process.sentinel] = Running(process, number, slot, before)",
             "self.running[process.sentinel] = Running(process, slot, slot, before)",
             tests_of("test_threads", "test_cells_on_one_gpu_have_a_part_of_its_memory_each")),
    Mutation("peak-memory-of-the-parent", "kdbench/base/machine.py",
             'if line.startswith("VmHWM:"):',
             'if line.startswith("none:"):',
             tests_of("test_measure", "test_peak_memory_of_a_fresh_process_has_no_part_of_this_one")),
    Mutation("no-difference-is-no-doubt", "kdbench/score/kept.py",
             "half *= math.sqrt(spread + self.unseen)",
             "half *= math.sqrt(spread)",
             tests_of("test_certify", "test_a_student_that_differs_in_a_few_units_alone_is_hardly_ever_certified_at_the_margin",
                      "test_the_same_answers_keep_all_as_far_as_so_many_units_can_tell")),
    Mutation("half-an-export-is-one", "kdbench/search/finals.py",
             'if not (place / "README.md").is_file():  # it is written last',
             "if not place.is_dir():",
             tests_of("test_shrink", "test_half_an_export_is_made_anew")),
    Mutation("a-rare-label-stops-a-certificate", "kdbench/runs/certify.py",
             "if most is not None and found.mentions >= LEAST_MENTIONS:",
             "if most is not None:",
             tests_of("test_certify", "test_a_rare_label_has_no_part_in_the_verdict")),
    Mutation("search-over-its-budget", "kdbench/search/shapes.py",
             "if most is not None and figure > most)",
             "if False)",
             tests_of("test_shrink", "test_the_fastest_form_within_the_budget_is_taken")),
    Mutation("a-late-trial-again-and-again", "kdbench/search/search.py",
             "self.late.add(owned.number)",
             "pass",
             tests_of("test_shrink", "test_a_trial_that_has_no_time_for_its_next_rung_is_left_once")),
    Mutation("first-trials-go-on-alone", "kdbench/search/search.py",
             "if late or owned.number in held:",
             "if late:",
             tests_of("test_shrink",
                      "test_the_first_trials_are_compared_before_one_of_them_goes_on")),
    Mutation("finals-with-labels-of-their-own", "kdbench/search/wish.py",
             'alone["labels_seed"] = 0',
             "pass",
             tests_of("test_shrink",
                      "test_students_of_every_seed_have_the_labels_that_their_teacher_had")),
    Mutation("a-dead-worker-ends-a-trial", "kdbench/search/trials.py",
             "if died(record) and deaths < MOST_DEATHS:",
             "if False:",
             tests_of("test_shrink", "test_a_worker_that_dies_costs_no_trial")),
    Mutation("controls-of-other-trials", "kdbench/report/groups.py",
             'row.settings.get("tuned") == other.settings.get("tuned"),',
             "True,",
             tests_of("test_shrink", "test_a_tuned_row_is_compared_with_a_control_of_as_many_trials")),
    Mutation("a-search-of-other-texts", "kdbench/search/wish.py",
             "    return file_digest(unlabelled)",
             "    return str(unlabelled)",
             tests_of("test_shrink",
                      "test_a_search_is_of_the_texts_without_labels_and_not_of_their_file")),
    Mutation("temperature-without-its-threshold", "kdbench/serve/temperature.py",
             "threshold=scaled_probability(labels.threshold, temperature)",
             "threshold=labels.threshold",
             tests_of("test_temperature", "test_a_threshold_and_several_labels_answer_as_before")),
    Mutation("finals-by-speed-alone", "kdbench/search/finals.py",
             'enough = self.on_dev["verdict"] == YES',
             "enough = True",
             tests_of("test_shrink", "test_finals_are_ordered_by_dev")),
    Mutation("temperature-fitted-on-test", "kdbench/search/finals.py",
             "temperature=temperature_of(results_dir, record, task, data.dev)",
             "temperature=temperature_of(results_dir, record, task, data.test)",
             tests_of("test_temperature", "test_what_a_search_delivers_has_the_temperature_of_dev")),
    Mutation("gain-over-a-row-of-another-student", "kdbench/report/tables.py",
             "and one.row.student == line.row.student",
             "and True",
             tests_of("test_tables", "test_a_column_compares_with_any_row_of_the_same_student")),
    Mutation("certificate-of-one-seed", "kdbench/runs/certify.py",
             "pair = pair_of(ours, theirs, metric)",
             "pair = pair_of(ours[:1], theirs, metric)",
             tests_of("test_shrink", "test_the_delivered_file_scores_and_costs_what_its_certificate_says")),
    Mutation("certificate-without-the-spread", "kdbench/score/kept.py",
             "half *= math.sqrt(spread + self.unseen)",
             "half = 0.0",
             tests_of("test_certify", "test_a_student_at_the_margin_is_hardly_ever_certified")),
    Mutation("certificate-of-the-seeds-alone", "kdbench/score/kept.py",
             "return Contrast(value, value - half, value + half, of_seeds)",
             "return Contrast(value, value - half / 2, value + half / 2, of_seeds)",
             tests_of("test_certify", "test_a_student_at_the_margin_is_hardly_ever_certified")),
)

MUTATIONS = (*LOSSES, *TRAINING, *SCORES, *STATISTICS, *UNITS_AND_FILES, *READ_BACK, *PRIVACY,
             *METHODS, *IDENTITY, *FIGURES, *HEADS, *LIMITS, *ZOO, *ANSWERS, *SEARCH)


# ---- one copy, one change, one run of tests ------------------------------------------------------


class Unusable(Exception):
    """The list, or the project as it stands, is in no state to be tested by changes."""


@dataclass(frozen=True)
class Outcome:
    """What became of a mutation: killed by the test `by`, or by nothing."""

    mutation: Mutation
    by: str
    seconds: float


def changed(mutation: Mutation, root: Path) -> str:
    """The text of the mutated file; `Unusable` unless the old text stands there exactly once."""
    text = (root / mutation.file).read_text(encoding="utf-8")
    if (found := text.count(mutation.old)) != 1:
        where = f"{mutation.name}: {mutation.file} has {mutation.old!r}"
        raise Unusable(f"{where} {found} times, not once; bring the list up to date")
    return text.replace(mutation.old, mutation.new)


def environment(copy: Path) -> dict[str, str]:
    """Ours without what would lead tests astray, and with the copy before whatever is installed."""
    strangers = ("PYTEST_", "KDBENCH_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(strangers)}
    # the tests set these too late for a torch that is there already
    return {**kept, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false"}


class Copy:
    """A copy of the project, and a process there that runs tests in forks of itself.

    Most of a short test's time is the start of torch and transformers: they are imported once, the
    project's own modules anew in each fork.
    """

    def __init__(self, folder: Path):
        self.folder = folder.resolve()
        for name in PARTS:
            if (ROOT / name).is_dir():
                left_out = shutil.ignore_patterns("__pycache__", *LEFT_OUT.get(name, ()))
                shutil.copytree(ROOT / name, self.folder / name, ignore=left_out)
            else:
                shutil.copyfile(ROOT / name, self.folder / name)
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from tests.mutations import serve; serve()"], cwd=self.folder,
            env=environment(self.folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        found = json.loads(self.answer() or '[""]')
        if not all(Path(path).is_relative_to(self.folder) for path in found):
            raise Unusable(f"the copy in {self.folder} is not what Python imports there: {found}")

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def run(self, tests: Sequence[str], seconds: float) -> tuple[int, str]:
        """pytest's exit status and what it printed; 1 where it takes longer than `seconds`."""
        assert self.process.stdin is not None
        output = self.folder / "output.txt"
        self.process.stdin.write(json.dumps([list(tests), str(output), seconds]) + "\n")
        self.process.stdin.flush()
        status = self.answer()
        if not status:
            raise Unusable(f"the process that runs tests in {self.folder} has ended")
        return int(status), output.read_text(encoding="utf-8", errors="replace")

    def close(self) -> None:
        self.process.communicate()  # the end of its input is the end of it

    def outcome(self, mutation: Mutation) -> Outcome:
        """Make the change, run the tests that ought to notice, take the change back."""
        path, text = self.folder / mutation.file, changed(mutation, self.folder)
        before, begun = path.read_text(encoding="utf-8"), time.monotonic()
        try:
            path.write_text(text, encoding="utf-8")
            status, said = self.run(mutation.tests, SECONDS)
        finally:
            path.write_text(before, encoding="utf-8")
        if status not in (0, 1):
            why = f"pytest's status {status}: {last_line(said)}"
            raise Unusable(f"{mutation.name}: the tests did not run ({why})")
        failed = [line for line in said.splitlines() if line.startswith(("FAILED ", "ERROR "))]
        by = failed[-1].partition(" ")[2].partition(" - ")[0] if failed else ""
        return Outcome(mutation, by or ("a test" if status else ""), time.monotonic() - begun)


WARM = ("pytest", "numpy", "scipy.stats", "sklearn.metrics", "seqeval.metrics", "torch",
        "torch.onnx", "accelerate", "transformers", "transformers.models.bert.modeling_bert",
        "transformers.models.roberta.modeling_roberta", "onnx", "onnxruntime",
        "onnxruntime.quantization", "datasets")


def serve() -> None:
    """In a copy: say what is imported there; then run each list of tests that comes, in a fork."""
    asked = ("kdbench", "kdbench.train.losses", "kdbench.methods.doktra", "kdbench.tasks.lookalikes")
    found = [importlib.util.find_spec(name) for name in asked]
    print(json.dumps([spec.origin if spec else "" for spec in found]), flush=True)
    for name in WARM:
        importlib.import_module(name)
    strangers = [name for name in sys.modules if name.partition(".")[0] == "kdbench"]
    for name in strangers:
        del sys.modules[name]  # only looked up: each fork reads its own
    for line in sys.stdin:
        tests, output, seconds = json.loads(line)
        child = os.fork()
        if not child:
            in_fork(tests, output)
        print(end_of(child, seconds, output), flush=True)


def in_fork(tests: Sequence[str], output: str) -> NoReturn:
    """Run the tests and end with pytest's status; what they print goes to `output`."""
    import pytest

    os.setsid()
    written = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, stream in ((nothing, 0), (written, 1), (written, 2)):
        os.dup2(number, stream)
    status = 3
    try:
        words = ("-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--tb=line", *tests)
        status = int(pytest.main(list(words)))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def end_of(child: int, seconds: float, output: str) -> int:
    """The status with which the fork ends; 1, and its end, where it takes longer than `seconds`."""
    last = time.monotonic() + seconds
    try:
        while time.monotonic() < last:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
    except KeyboardInterrupt:
        os.killpg(child, signal.SIGKILL)
        raise
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    Path(output).write_text(f"FAILED the limit of {seconds:.0f} s\n")
    return 1


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["nothing was printed"])[-1]


def run(chosen: Sequence[Mutation], workers: int = 1) -> list[Outcome]:
    """The outcomes of these mutations, in their order; each is told on standard error as it ends.

    Raises `Unusable` where an old text is not found once, or a test fails without any change.
    """
    for mutation in chosen:
        changed(mutation, ROOT)
    with ExitStack() as stack:
        free: queue.SimpleQueue[Copy] = queue.SimpleQueue()  # each change is alone in its copy
        for _ in range(workers):
            place = stack.enter_context(tempfile.TemporaryDirectory(prefix="kdbench-mutations-"))
            copy = Copy(Path(place))
            stack.callback(copy.close)
            free.put(copy)
        begun = time.monotonic()
        tests = list(dict.fromkeys(test for mutation in chosen for test in mutation.tests))
        status, said = copy.run(tests, 10 * SECONDS)
        if status:
            why = "the tests fail without any change, so their failures mean nothing"
            raise Unusable(f"{why}:\n{said.strip()}")
        say(f"without a change {len(tests)} tests pass in {time.monotonic() - begun:.1f} s")

        def one(mutation: Mutation) -> Outcome:
            copy = free.get()
            try:
                found = copy.outcome(mutation)
            finally:
                free.put(copy)
            told = f"dies in {found.seconds:.1f} s, by {found.by}" if found.by else "SURVIVES"
            say(f"{mutation.name}: {told}")
            return found

        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(one, chosen))


def sample(count: int, seed: int) -> list[Mutation]:
    """`count` mutations of a shuffled list; the next seed has the next ones: each has its turn."""
    shuffled = random.Random(0).sample(MUTATIONS, len(MUTATIONS))
    start = seed * count % len(shuffled)
    return [*shuffled, *shuffled][start:start + min(count, len(shuffled))]


def summary(outcomes: Sequence[Outcome]) -> str:
    """Which test killed which mutation, and what no test has noticed."""
    width = max((len(found.mutation.name) for found in outcomes), default=0)
    lines = [f"{found.mutation.name:{width}}  {found.by or 'SURVIVES'}" for found in outcomes]
    survivors = [found.mutation.name for found in outcomes if not found.by]
    lines.append(f"{len(outcomes) - len(survivors)} of {len(outcomes)} die"
                 + (f"; no test notices {', '.join(survivors)}" if survivors else ""))
    return "\n".join(lines)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutations", description="Break the protocol rule by rule: does a "
        "test notice? Exit 1 where none does, 2 where it cannot be told.")
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="mutations to try (default: all)")
    add("--sample", type=int, metavar="N", help="only N of them, which --seed picks")
    add("--seed", type=int, default=0, metavar="S", help="the next S has the next N (default: 0)")
    add("--workers", type=int, default=1, choices=(1, 2), help="how many side by side (default: 1)")
    given = parser.parse_args(words)
    known = {mutation.name: mutation for mutation in MUTATIONS}
    if strangers := [name for name in given.names if name not in known]:
        say(f"no mutation is called {strangers[0]!r}; there are {', '.join(known)}")
        return 2
    chosen = [known[name] for name in given.names] or list(MUTATIONS)
    if given.sample is not None:
        chosen = sample(given.sample, given.seed)
    try:
        outcomes = run(chosen, given.workers)
    except Unusable as error:
        say(str(error))
        return 2
    print(summary(outcomes))
    return 0 if all(found.by for found in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
