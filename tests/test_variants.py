"""What the variants are said to be: every difference in a list, and nothing of ours in what `corrected` computes."""

import dataclasses

import pytest

import kdbench
from kdbench.base import options
from kdbench.base.options import option
from kdbench.base.registry import METHODS
from kdbench.cli import variants
from kdbench.models.load import Role
from kdbench.runs.listing import show_method, show_recipe
from kdbench.runs.planning import plan
from kdbench.runs.request import Request
from kdbench.train.lab import Lab

LISTS = ("### Intent", "### Variants of ours", "### Not reproduced")
PUBLISHED = ("doktra", "dsg_kd", "ve_kd", "ner_kd")


def section(name):
    return variants.section(name)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_method_has_three_lists_and_none_is_empty(name):
    page = section(name)
    places = [page.index(each) for each in LISTS]
    assert places == sorted(places) and "None." not in page


@pytest.mark.parametrize("name", METHODS.names())
def test_every_option_on_which_the_variants_differ_stands_on_the_page(name):
    method = METHODS.get(name)
    page, shown = section(name), show_method(name)
    for field in dataclasses.fields(method.Options):
        facts = field.metadata
        differs = facts.get("published", field.default) != field.default
        assert (f"| `{field.name}` |" in page) == (differs or facts["why"] == "ours"), field.name
    for what, reason in method.not_reproduced:
        assert what in page and reason in page and what.split(",")[0] in " ".join(shown.split())


def test_an_alternative_of_ours_is_in_neither_variant():
    with pytest.raises(TypeError, match="ours"):
        option(1.0, "a weight", published=2.0, why="ours")
    for name in METHODS.names():
        cls = METHODS.get(name).Options
        assert all(row["default"] == row["published"] for row in options.alternatives(cls))
        assert {row["why"] for row in options.differing(cls)} <= {"intent", "protocol"}


@pytest.mark.parametrize("name, option_name, value", [
    ("doktra", "expander", "frozen_teacher"), ("doktra", "temperature", 1.0), ("ve_kd", "new_token_mask", 1.0),
    ("ve_kd", "embedding_init", "random"), ("ve_kd", "unk_targets", True), ("ner_kd", "p_label_wise", 0.5),
    ("ner_kd", "p_mention", 0.5), ("ner_kd", "p_shuffle", 0.5), ("ner_kd", "attention", "scores"), ("ner_kd", "soft_loss", "auto")])
def test_corrected_is_the_intent_and_no_more(name, option_name, value):
    assert getattr(options.build(METHODS.get(name).Options, "corrected", {}, name), option_name) == value


# what an audit found, by method: options, and words of what is not reproduced
FOUND = {
    "doktra": (
        "warmup", "final separator", "abd_scale", "abd_batch", "expander", "pad_bug", "HoC",
        "second_schedule", "before the seed", "type bool", "albert-xlarge", "double quote",
        "temperature", "plant-phenotype", "DDI-int"),
    "dsg_kd": (
        "warmup_rule", "ties_improve", "stays_stalled", "keep", "ten draws",
        "without a code-switched word", "attn_align", "attn_columns", "attn_kind", "eval_loss_on",
        "exchanged in the log", "measurement of the kept weights", "subsample", "last epoch",
        "spans", "ensemble", "run_2.sh", "base_recipe", "random order", "no seed sets",
        "pre-trained again"),
    "ve_kd": (
        "warmup_rule", "reshuffle", "pretrain_length", "unk_targets", "accumulation", "sinusoidal",
        "fp16", "30,522", "new_token_mask", "mlm_mix", "tolerance_on", "projection",
        "words beyond the limit", "BIOSSES", "np.float", "student_pretrained_weights"),
    "ner_kd": (
        "eps", "eval_steps", "select_by", "decay_all", "nine tags", "layer_map", "mse_over",
        "packed", "each other's names", "lower_case", "alpha", "ends at its last commit", "shuffle",
        "mr_bug", "shuffle_of", "label_draw", "stop_words", "drop_last", "appends", "stages",
        "save_steps", "two projections", "attention", "soft_loss"),
}


@pytest.mark.parametrize("name, words", FOUND.items())
def test_nothing_that_was_found_is_missing(name, words):
    assert [word for word in words if word not in section(name)] == []


GIVEN = {"lr": 3e-4, "warmup": 0.4, "warmup_rule": "ceil", "weight_decay": 0.2, "select": "last"}
SMALL = {"epochs": 1, "max_train_examples": 32, "max_dev_examples": 16, "max_steps": 2, "latency": "off",
         "teacher": "tiny:bert", "student": "tiny:bert", "device": "cpu"}


# every method, and the published variants, which differ in their published settings; the rest is slow
ASKED = [*((name, "corrected", "default") for name in METHODS.names()), *((name, "published", "paper") for name in PUBLISHED)]
MORE = [*((name, "corrected", "paper") for name in METHODS.names()), *((name, "published", "default") for name in PUBLISHED)]


@pytest.mark.parametrize("name, variant, recipe", [*ASKED, *(pytest.param(*each, marks=pytest.mark.slow) for each in MORE)])
def test_a_given_setting_is_what_a_method_trains_with(name, variant, recipe, tmp_path, monkeypatch, no_data):
    """Once: options of the method stood before --warmup, --select and others, in silence."""
    trained, usual = [], Lab.stage_key

    def noted(lab, model, objective, training, examples, signals, stage, *seed_and_measures):
        if stage not in ("domain text", "masked LM"):  # they have options of their own
            trained.append((stage, model.role, training))
        return usual(lab, model, objective, training, examples, signals, stage, *seed_and_measures)

    monkeypatch.setattr(Lab, "stage_key", noted)
    task = {"dsg_kd": "emr", "ner_kd": "bc2gm_iobes"}.get(name, "gad" if name == "ve_kd" else "chemprot")
    options = {"assistant": "cut:1"} if name == "takd" else {}
    record = kdbench.run(name, task, variant=variant, recipe=recipe, results_dir=tmp_path, controls=False,
                         options=options, **SMALL, **GIVEN)
    assert record["status"] == "done" and trained
    for stage, role, training in trained:
        # a teacher has --teacher-lr, which published settings may give
        asked = {name: value for name, value in GIVEN.items() if role is not Role.TEACHER or name != "lr"}
        assert {setting: getattr(training, setting) for setting in asked} == asked, stage


@pytest.mark.parametrize("name, task", [
    ("dsg_kd", "emr"), ("dsg_kd", "gad"), ("ve_kd", "chemprot"), ("doktra", "chemprot"), ("ner_kd", "bc2gm_iobes")])
def test_show_prints_the_settings_that_train(name, task, no_data):
    for variant in options.VARIANTS:
        cell = plan(Request(name, task, variant=variant, recipe="paper", student="tiny:bert"))[-1]
        fields = {field.name: field.metadata for field in dataclasses.fields(METHODS.get(name).Options)}
        for option_name, value in cell.options.items():
            setting = fields[option_name].get("setting")
            if setting and value is not None:
                assert value == getattr(cell.settings, setting), option_name
        shown = dict(line.split()[:2] for line in show_recipe(name, task).split("\n\n")[0].splitlines()[1:]
                     if len(line.split()) > 2 and not line.startswith("  --set"))
        for setting in ("lr", "warmup", "warmup_rule", "weight_decay", "select", "epochs"):
            assert shown[setting] == str(getattr(cell.settings, setting)), setting


def test_an_option_that_goes_with_a_setting_gives_way_to_it():
    """--epochs 1 once trained DoKTra's transfer for the five epochs of the published settings."""
    asked = Request("doktra", "gad_tsv", recipe="paper", student="tiny:bert", settings={"epochs": 1})
    cell = plan(asked)[-1]
    assert cell.settings.epochs == 1 and cell.options["distil_epochs"] is None
