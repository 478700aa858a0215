"""Tables from records alone: what is compared with what, what is never mixed, and that every format parses."""

import csv
import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from factory import counts_of, record, study

from kdbench.base import code
from kdbench.base.errors import BadInput
from kdbench.base.registry import ANY, METHODS, Entry
from kdbench.base.render import STRONG
from kdbench.report.columns import COLUMNS
from kdbench.report.frames import frame as flat_rows
from kdbench.report.groups import grouped, naive_score
from kdbench.report.tables import FORMATS, build, matrix, render, run_table
from kdbench.runs import selection, suite
from kdbench.score import statistics
from kdbench.score.statistics import Cache

ROOT = Path(__file__).resolve().parent.parent


def only(table):
    (section,) = table.sections
    return {line.name: line for line in section.lines}


def frame(table):
    return flat_rows(table.sections, (*table.columns, *table.data_columns))


# ---- mean and SD -----------------------------------------------------------------------------------------------------


def test_mean_sd_and_number_of_seeds_are_those_of_numpy():
    import numpy as np

    records = study(seeds=range(4), methods=("doktra",))
    scores = [r["score"]["test"] for r in records if r["cell"]["method"] == "doktra"]
    value = only(build(records))["doktra"].values["test"]
    assert (value.mean, value.sd, value.n) == pytest.approx((np.mean(scores), np.std(scores, ddof=1), 4))


def test_one_seed_has_no_sd_and_the_order_of_records_does_not_matter():
    records = study(seeds=[0])
    assert only(build(records))["doktra"].values["test"].sd is None
    records = study()
    assert render(build(records)) == render(build(records[::-1]))


def test_a_score_that_is_missing_is_left_empty():
    records = study(seeds=[0], methods=("doktra",))
    records[-1]["score"]["dev"] = None
    records[-1]["latency"] = None
    values = only(build(records))["doktra"].values
    assert "dev" not in values and "p50_ms" not in values and "test" in values


# ---- controls --------------------------------------------------------------------------------------------------------


def test_rows_that_differ_in_an_option_are_called_as_the_command_line_has_it():
    records = [made for options in ({"augment": ["mention", "shuffle"]}, {"augment": []}, {"augment": [], "packed": False, "hidden": None})
               for made in [record(seed=0, options={"packed": True, **options})]]
    table = build(records)
    assert sorted(line.name for line in table.sections[0].lines) == [
        "doktra [augment=, packed=no]", "doktra [augment=, packed=yes]", "doktra [augment=mention,shuffle, packed=yes]"]


def test_shares_and_gains_are_taken_from_the_right_rows():
    records = study(seeds=range(3))
    lines = only(build(records))
    means = {name: line.values["test"].mean for name, line in lines.items()}
    assert lines["doktra"].values["retained"].mean == pytest.approx(means["doktra"] / means["teacher"])
    assert lines["doktra"].values["gain"].mean == pytest.approx(means["doktra"] - means["finetune"])
    assert lines["doktra"].values["logit_gain"].mean == pytest.approx(means["doktra"] - means["logit_kd"])
    assert "gain" not in lines["finetune"].values and "gain" not in lines["teacher"].values


@pytest.fixture
def own_control(monkeypatch):
    """A control that a plugin registers."""
    entry = Entry("mine", "nowhere:Mine", ANY, "control: made up", control="my control")
    monkeypatch.setitem(METHODS._entries, "mine", entry)
    return entry


def test_a_control_that_a_plugin_registers_stands_among_the_controls(own_control):
    records = study(seeds=[0], methods=("a_method", "zoo"))
    records += [record("mine", test=0.61), record("a_method", test=0.9, variant="published")]
    names = [line.name for line in build(records).sections[0].lines]
    assert names == ["teacher", "finetune", "logit_kd", "mine", "a_method", "a_method (published)", "zoo"]
    shown = run_table(records).splitlines()
    first = [line.split("  ")[0].strip() for line in shown]
    begin = first.index("student, no teacher")
    assert first[begin : begin + 3] == ["student, no teacher", "logit distillation", "my control"]
    lines = only(build(records))
    expected = lines["mine"].values["test"].mean - lines["finetune"].values["test"].mean
    gain = lines["mine"].values["gain"].mean
    assert gain == pytest.approx(expected), "the first control stays the baseline"


def test_the_baseline_is_the_first_control(monkeypatch):
    """Whatever it is called."""
    first, second, *_ = METHODS.controls()
    entries = [replace(first, name="plain"), replace(second, name="distilled")]
    monkeypatch.setattr(METHODS, "controls", lambda: entries)
    lines = only(build([record("plain", test=0.5), record("distilled"), record("zoo")]))
    means = {name: line.values["test"].mean for name, line in lines.items()}
    values = lines["zoo"].values
    assert values["gain"].mean == pytest.approx(means["zoo"] - means["plain"])
    assert values["logit_gain"].mean == pytest.approx(means["zoo"] - means["distilled"])
    assert "gain" not in only(build(study(seeds=[0])))["doktra"].values


def test_gains_pair_seeds():
    """A control of further seeds must not shift the difference."""
    records = study(seeds=range(3), methods=("doktra",))
    more = [record("finetune", seed=9, test=0.1)]
    same = only(build(records))["doktra"].values["gain"].mean
    assert only(build(records + more))["doktra"].values["gain"].mean == pytest.approx(same)


def test_a_row_is_compared_with_the_control_of_its_own_student_teacher_and_settings():
    records = study(seeds=[0], methods=("doktra",))
    records += [record("finetune", student="other-student", test=0.2),
                record("finetune", test=0.3, settings={"epochs": 50}),
                record("logit_kd", teacher="other-teacher", test=0.3)]
    table = build(records)
    row = next(line.row for line in table.sections[0].lines if line.row.method == "doktra")
    group = table.sections[0].group
    assert group.baseline(row).cell["settings"]["epochs"] == 3
    assert group.distillation(row).cell["teacher"] == "bert-teacher"
    assert group.teacher(row).student == "bert-teacher"


def test_rows_that_differ_in_an_option_are_two_rows_named_by_it():
    records = [record(options={"beta": 0.1}), record(options={"beta": 0.5}), record(options={"beta": 0.5}, seed=1),
               record(options={"beta": 0.5}, variant="published")]
    assert sorted(only(build(records))) == ["doktra (published)", "doktra [beta=0.1]", "doktra [beta=0.5]"]


def content(method=None, **changes):
    """What a record says of itself beside its names, as of today's code."""
    made = {**code.VERSIONS, "metrics": {"micro_f1": 1}, "method": {"doktra": method or code.kept()["doktra"]["version"]}}
    return {"data": {"test": "ab"}, "task": {"kind": "single"}, "student": "s", "teacher": "t", "code": made, "device": "cpu",
            "unlabelled": None, **changes}


def test_a_row_that_an_earlier_version_made_is_marked_and_stands_apart():
    now, old = record(content=content()), record(content=content(method=99))
    core = record(seed=1, content=content(code={**content()["code"], "training": 99}))
    table = build([now, old, core])
    assert sorted(only(table)) == ["doktra", "doktra (version 99 of training)", "doktra (version 99)"]
    assert any("made by other code than today's" in note for note in table.notes)
    assert not any("other code" in note for note in build([now]).notes)


def test_edited_code_weights_and_devices_are_told_apart():
    records = [record(content=content()), record(content=content(method="abcdef0123456789")),
               record(content=content(device="cuda")), record(content=content(student="other"))]
    names = sorted(only(build(records)))
    assert len(set(names)) == 4 and any("(edited code of doktra abcdef)" in name for name in names)
    assert sum("on cuda" in name for name in names) == 1 and len({name.partition("student ")[2][:6] for name in names}) == 2


def test_other_test_rows_are_another_table_though_no_checksum_is_given():
    made = [record(content=content(data={"test": test})) for test in ("ab", "cd")]
    assert len(build(made).sections) == 2


def test_a_teacher_that_is_its_own_student_has_both_rows():
    records = [record("finetune", role="teacher", test=0.8, content=content(role="teacher")),
               record("finetune", test=0.8, student="bert-teacher", content=content()),
               record("logit_kd", test=0.9, student="bert-teacher", content=content())]
    lines = only(build(records))
    assert list(lines) == ["teacher", "finetune", "logit_kd"]
    assert lines["logit_kd"].values["gain"].mean == pytest.approx(0.1, abs=0.05)


def test_own_teachers_and_exports_are_rows_that_do_not_compete():
    export = {"name": "onnx_int8", "score": {"dev": 0.9, "test": 0.99}, "size": {"megabytes": 3.0}}
    teacher = {"name": "calibrated teacher", "score": {"dev": 0.9, "test": 0.98}}
    made = record(test=0.7, artefacts=[export], rows_more=[teacher])
    lines = only(build([made, record("finetune", test=0.6)]))
    assert lines["doktra: onnx_int8"].values["megabytes"].mean == 3.0
    assert not lines["doktra: onnx_int8"].row.is_student and not lines["doktra: calibrated teacher"].row.is_student


def test_the_export_of_a_teacher_keeps_a_share_of_the_teacher():
    made = record("finetune", role="teacher", test=0.8)
    made["artefacts"] = [{"name": "onnx_int8", "score": {"metric": "micro_f1", "dev": None, "test": made["score"]["test"] / 2, "all": {}}}]
    lines = only(build([made]))
    assert lines["teacher: onnx_int8"].values["retained"].mean == pytest.approx(0.5)
    assert lines["teacher"].values["retained"].mean == 1


def test_a_student_that_the_method_built_itself_is_compared_with_the_same_without_a_teacher():
    built = [{"name": "bilstm as built here, no teacher", "role": "control", "score": {"dev": 0.65, "test": 0.65}}]
    seeds = range(5)
    own = [record("ner_kd", test=0.7, seed=seed, rows_more=built) for seed in seeds]
    records = [*own, *(record(method, test=0.5, seed=seed) for method in ("finetune", "logit_kd", "doktra") for seed in seeds)]
    lines = only(build(records, counts_of))
    mean = sum(made["score"]["test"] for made in own) / len(own)
    gain = lines["ner_kd"].values["gain"]
    assert gain.mean == pytest.approx(mean - 0.65) and gain.low is None, "its parts have no counts, and so no interval"
    assert "logit_gain" not in lines["ner_kd"].values
    assert lines["doktra"].values["gain"].low is not None and "logit_gain" in lines["doktra"].values


# ---- protocols -------------------------------------------------------------------------------------------------------


def changed(**data):
    made = record(seed=3)
    made["data"] = {**made["data"], **data}
    return made


@pytest.mark.parametrize("other", [
    lambda: changed(kind="real"),
    lambda: changed(sha256={"test": "cd"}),
    lambda: changed(rows={"train": 100, "dev": 400, "test": 400}),
    lambda: record(seed=3, task_options={"level": "abstract"}),
    lambda: record(seed=3, score={"metric": "entity_f1", "dev": 0.5, "test": 0.5, "naive": {}, "all": {}}),
    lambda: record("doktra", "gad", seed=3),
], ids=["real or look-alike", "files", "training rows", "HoC level", "metric", "task"])
def test_distinct_protocols_never_share_a_row_or_a_table(other):
    table = build([record(seed=0), other()])
    assert len(table.sections) == 2
    assert all(line.values["test"].n == 1 for section in table.sections for line in section.lines)
    assert len({(section.title, section.caption) for section in table.sections}) == 2, "a reader can tell them apart"
    assert render(table).partition("### across")[0].count("| method") == 2


def test_titles_say_metric_and_kind_of_data():
    assert "### chemprot · micro_f1 · look-alike data" in render(build(study(seeds=[0])))
    text = render(build([changed(kind="real", published_files=False)]))
    assert "real data" in text and "other files than the published ones" in text


def test_trainings_cut_short_are_called_so():
    short = {"epochs": 3, "max_steps": 10}
    few = [record("finetune", settings=short), record(settings=short)]
    assert "at most 10 steps a training" in run_table(few).replace("\n  ", " ")
    assert "at most 10 steps a training" in build(few).sections[0].caption
    mixed = build([*few, record(settings={"epochs": 3})])
    assert "at most" not in mixed.sections[0].caption
    assert any("max_steps=10" in line.name for line in mixed.sections[0].lines)


def test_latencies_taken_in_two_ways_are_two_columns():
    fast = record("dsg_kd")
    fast["latency"] = {**fast["latency"], "device": "cuda"}
    table = build([record(), fast])
    titles = [column.title for column in table.columns]
    assert "p50 ms [1]" in titles and "p50 ms [2]" in titles and "p50 ms" not in titles
    lines = only(table)
    assert ("p50_ms_1" in lines["doktra"].values) != ("p50_ms_1" in lines["dsg_kd"].values)
    assert sum("latency [" in note for note in table.notes) == 2


# ---- statistics ------------------------------------------------------------------------------------------------------


def test_intervals_tie_groups_and_gap_come_with_the_counts():
    lines = only(build(study(), counts_of))
    gain = lines["dsg_kd"].values["gain"]
    assert gain.low < gain.mean < gain.high and gain.star
    assert gain.mean == pytest.approx(lines["dsg_kd"].values["test"].mean - lines["finetune"].values["test"].mean)
    assert lines["finetune"].tie > "a" == lines["dsg_kd"].tie
    assert lines["teacher"].tie == "", "the teacher is no competitor"
    assert 0 < lines["dsg_kd"].values["recovered"].mean < 1
    assert "**" in render(build(study(), counts_of))


def test_plain_distillation_is_the_row_without_a_later_option():
    plain = study(methods=("doktra",))
    other = [record(method="logit_kd", seed=seed, test=0.95, role="method", options={"temperature": 2.0, "standardise": True}) for seed in range(5)]
    for one in plain:
        if one["cell"]["method"] == "logit_kd":
            one["cell"]["options"] = {"temperature": 2.0}
    for records in ([*plain, *other], [*other, *plain]):
        lines = only(build(records))
        assert "logit_gain" not in lines["logit_kd"].values and lines["logit_kd [standardise=yes]"].values["logit_gain"].mean > 0
        means = {name: line.values["test"].mean for name, line in lines.items()}
        assert lines["doktra"].values["logit_gain"].mean == pytest.approx(means["doktra"] - means["logit_kd"])


def test_a_column_compares_with_any_row_of_the_same_student():
    records = study(methods=("doktra", "dsg_kd"))
    lines = only(build(records, counts_of, ["over:logit_kd", "over:finetune", "gain", "over:doktra"]))
    values = lines["dsg_kd"].values
    over, plain = values["over:finetune"], values["gain"]
    assert (over.mean, over.low, over.high, over.p) == (plain.mean, plain.low, plain.high, plain.p)
    means = {name: line.values["test"].mean for name, line in only(build(records)).items()}
    assert values["over:doktra"].mean == pytest.approx(means["dsg_kd"] - means["doktra"])
    assert values["over:doktra"].low < values["over:doktra"].mean < values["over:doktra"].high
    assert "over:doktra" not in lines["doktra"].values and "over:doktra" not in lines["teacher"].values
    plain_means = only(build(records, None, ["over:doktra"]))["dsg_kd"].values["over:doktra"]
    assert plain_means.mean == pytest.approx(values["over:doktra"].mean) and plain_means.low is None
    (row,) = [row for row in frame(build(records, counts_of, ["over:doktra"])) if row["method"] == "dsg_kd"]
    assert row["over:doktra_low"] == values["over:doktra"].low
    other = [record(method="doktra", student="another", seed=seed, test=0.9) for seed in range(5)]
    (section,) = build([*records, *other], counts_of, ["over:dsg_kd"]).sections
    compared = {(line.name, line.row.student) for line in section.lines if "over:dsg_kd" in line.values}
    assert ("doktra", "small-student") in compared and ("doktra", "another") not in compared
    with pytest.raises(BadInput, match="unknown row 'dsg'"):
        build(records, counts_of, ["over:dsg"])


def test_holm_is_over_the_students_of_the_task():
    plain = only(build(study(methods=("doktra",)), counts_of))["doktra"].values["gain"].p
    many = only(build(study(methods=("doktra", *(f"m{i}" for i in range(8)))), counts_of))["doktra"].values["gain"].p
    assert many > plain


def test_no_verdict_under_five_seeds():
    table = build(study(seeds=range(4)), counts_of)
    for line in table.sections[0].lines:
        assert line.tie == "" and not (gain := line.values.get("gain")) or not gain.star and gain.p is None
    assert any("preliminary" in note for note in table.notes)
    assert only(table)["doktra"].values["gain"].low is not None, "the interval is shown, not judged"


def test_metrics_without_counts_and_records_without_files_have_no_intervals():
    assert only(build(study(), lambda record: None))["doktra"].values["gain"].low is None
    auroc = study(score={"metric": "auroc", "dev": 0.5, "test": 0.6, "naive": {}, "all": {}})
    assert only(build(auroc, counts_of))["doktra"].values["gain"].low is None


def test_intervals_are_cached(tmp_path, monkeypatch):
    cache = Cache(tmp_path / "intervals.json")
    first = render(build(study(), counts_of, cache=cache))
    monkeypatch.setattr(statistics, "crossed_interval", lambda *args, **more: pytest.fail("computed twice"))
    assert render(build(study(), counts_of, cache=Cache(tmp_path / "intervals.json"))) == first


@pytest.mark.parametrize("width", [60, 100, 140])
def test_text_fits_a_terminal_and_says_what_markdown_says(width):
    table = build(study(methods=("doktra", "ner_kd", "ve_kd")), counts_of)
    text = render(table, "text", width)
    assert max(map(len, text.splitlines())) <= width
    (section,) = table.sections
    head, lines = matrix(section, table.columns)
    words = text.split()
    for cell in [*head[2:], *(cell for line in lines for cell in line)]:
        for word in cell.removeprefix(STRONG).split():
            assert word in words or f"{word}," in words, word
    assert render(table, "text", 400).count("doktra") == 1


def test_two_seeds_show_no_interval_because_it_is_wider_than_the_scale():
    cells = {seeds: render(build(study(seeds=range(seeds), methods=("doktra",)), counts_of)) for seeds in (2, 3)}
    assert "]" not in cells[2] and "]" in cells[3]


# ---- across tasks ----------------------------------------------------------------------------------------------------


def test_summary_over_tasks():
    import numpy as np

    tasks = ("chemprot", "gad", "ddi", "hoc", "bioasq", "pubmedqa")
    table = build(study(tasks=tasks), counts_of)
    row = next(row for row in table.across if row.name == "dsg_kd")
    means = [line.values["test"].mean for section in table.sections for line in section.lines if line.name == "dsg_kd"]
    assert row.score.mean == pytest.approx(np.mean(means)) and set(row.tasks) == set(tasks)
    assert sum(row.wins) == 6 and row.wins[0] >= 5 and row.p == pytest.approx(2 / 2**6)
    assert next(row for row in build(study(tasks=tasks[:5]), counts_of).across if row.name == "dsg_kd").p is None
    assert "### across tasks · look-alike data" in render(table)


def test_summary_never_mixes_kinds_of_data_or_protocols():
    real = study(tasks=("gad",), data={"kind": "real", "rows": {"test": 5}})
    assert build(study(tasks=("chemprot",)) + real).across == []
    twice = study(tasks=("chemprot", "ddi")) + study(tasks=("ddi",), task_options={"level": "abstract"})
    assert build(twice).across == []


# ---- formats ---------------------------------------------------------------------------------------------------------


def mixed():
    return [*study(tasks=("chemprot", "bc2gm_iobes")),
            record("ner_kd", status="skipped", reason="a tagger, 100 % | not\nhere"),
            record("doktra", "hoc", status="failed", error={"message": "out of memory"})]


def test_csv_and_json_reload_to_the_same_frame():
    import pandas

    table = build(mixed(), counts_of)
    from_csv = pandas.read_csv(io.StringIO(render(table, "csv")))
    from_json = pandas.DataFrame(json.loads(render(table, "json")))[list(from_csv.columns)]
    from_json = from_json.astype(object).where(from_json.notna(), float("nan"))
    pandas.testing.assert_frame_equal(from_csv.astype(object), from_json, check_dtype=False)
    assert set(from_csv["status"]) == {"done", "skipped", "failed"}
    done = from_csv[from_csv["status"] == "done"]
    assert ((done["test"] > 0) & (done["test"] < 1)).all(), "scores are fractions in data files"


def test_csv_has_one_row_a_line_and_no_line_breaks_inside():
    table = build(mixed())
    rows = list(csv.reader(io.StringIO(render(table, "csv"))))
    assert len(rows) == 1 + len(frame(table))
    assert {len(row) for row in rows} == {len(rows[0])}


def test_markdown_tables_have_equal_columns():
    text = render(build(mixed(), counts_of), "markdown")
    for block in text.split("\n\n"):
        if block.startswith("|"):
            counts = {line.replace("\\|", "").count("|") for line in block.splitlines()}
            assert len(counts) == 1
    assert "skipped: a tagger, 100 % | not here" in text and "failed: out of memory" in text


def balanced(text):
    """Braces and environments of LaTeX."""
    depth, stack, previous = 0, [], ""
    for c in text:
        if c in "{}" and previous != "\\":
            depth += 1 if c == "{" else -1
            assert depth >= 0
        previous = c
    import re

    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        stack.append(name) if kind == "begin" else stack.remove(name)
    return depth == 0 and not stack


def test_latex_is_balanced_and_escaped(tmp_path):
    text = render(build(mixed(), counts_of), "latex")
    code = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert balanced(code) and code.isascii()
    assert "bc2gm\\_iobes" in code and "$\\pm$" in code and "\\textbf{" in code
    rows = [line for line in code.splitlines() if line.endswith(r"\\")]
    assert rows and all(r" & " in row for row in rows)
    if compiler := shutil.which("pdflatex"):
        page = "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}\n" + text + "\\end{document}\n"
        (tmp_path / "t.tex").write_text(page)
        done = subprocess.run([compiler, "-interaction=nonstopmode", "-halt-on-error", "t.tex"], cwd=tmp_path,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-2000:]


def with_ratios(records, precision=0.8, recall=0.6):
    for made in records:
        for split in ("dev", "test"):
            made["score"]["all"][split] |= {"micro_precision": precision, "micro_recall": recall}
    return records


def test_precision_and_recall_are_in_csv_and_json_where_records_have_them():
    older, newer = (
        study(seeds=[0], methods=("doktra",)),
        with_ratios(study(seeds=[0], methods=("dsg_kd",))),
    )
    assert not any("precision" in name for name in frame(build(older))[0]), (
        "what is committed stays as it is"
    )
    rows = {row["method"]: row for row in frame(build([*older, newer[-1]]))}
    assert (
        rows["dsg_kd"]["test_precision"],
        rows["dsg_kd"]["test_recall"],
        rows["dsg_kd"]["dev_precision"],
    ) == (0.8, 0.6, 0.8)
    assert rows["doktra"]["test_precision"] is None and "test_precision_sd" in rows["doktra"]
    shown = render(
        build(newer, columns=["test", "test_precision", "test_recall", "test:micro_recall"])
    )
    assert (
        "test P" in shown and "80.0" in shown and "60.0" in shown and "test micro_recall" in shown
    )
    assert "test P" not in render(build(newer)), "by default a table is as narrow as it was"
    assert "test P" not in render(build(older, columns=["test", "test_precision"])).splitlines()[4]


def test_precision_of_an_earlier_metric_does_not_stand_beside_todays():
    made = with_ratios([record()])
    made[0]["content"] = {"code": {"metrics": {"micro_f1": 0}}}
    assert "test_precision" not in frame(build(made))[0]


def test_diagnostics_are_columns_of_their_own():
    made = study(seeds=[0], methods=("doktra",))
    made[-1]["diagnostics"] = {"boundary_disagreement": {"dev": 0.21, "test": 0.25}}
    row = next(row for row in frame(build(made)) if row["method"] == "doktra")
    assert row["diagnostic:test:boundary_disagreement"] == 0.25
    text = render(build(made, columns=["test", "diagnostic:dev:boundary_disagreement"]))
    assert "dev boundary_disagreement" in text and "21.0%" in text
    with pytest.raises(BadInput, match="write diagnostic:dev:NAME"):
        build(made, columns=["diagnostic:boundary_disagreement"])


def beyond(words, entities):
    return {"test": {"words": words, "all_words": 4000, "entities": entities, "all_entities": 500}}


def test_a_caption_says_how_much_lies_beyond_the_length_limit():
    records = study(seeds=[0], methods=("doktra",))
    said = "beyond the length limit"
    assert said not in render(build(records)), "older records have no count"
    for made, lost in zip(records, (0, 0, 0, 0), strict=True):
        made["score"]["beyond_limit"] = beyond(lost, lost)
    assert said not in render(build(records)), "it concerns no table in which all was read"
    records[-1]["score"]["beyond_limit"] = beyond(1200, 30)
    wanted = (
        f"{said}, and scored as O: 0 to 1,200 of 4,000 words and 0 to 30 of 500 entities of test"
    )
    for form in ("text", "markdown", "latex"):
        assert wanted in " ".join(render(build(records), form).split())
    assert wanted in " ".join(run_table(records).split())
    for made in records:
        made["score"]["beyond_limit"] = beyond(1200, 30)
    assert "scored as O: 1,200 of 4,000 words and 30 of 500 entities" in render(build(records))


def test_a_training_that_ran_out_of_memory_is_said():
    records = study(seeds=[0, 1], methods=("doktra",))
    assert "out of memory" not in render(build(records))
    stage = {
        "name": "transfer",
        "role": "student",
        "seconds": 1.0,
        "steps": 4,
        "accumulate": 4,
        "accumulate_asked": 1,
        "key": "ab",
    }
    for made in records[-2:]:
        made["cost"]["stages"] = [stage]
    notes = [note for note in build(records).notes if "out of memory" in note]
    assert notes == [
        "transfer ran out of memory and was made in 4 parts a batch instead of 1; a loss "
        "that is computed on each part by itself is not the one asked for: "
        "doktra, seed 0; doktra, seed 1"
    ]


def test_columns_can_be_chosen_and_unknown_ones_are_refused():
    text = render(build(study(seeds=[0]), columns=["test", "parameters"]))
    assert "| test" in text and "MB" not in text and " dev" not in text.split("|")[1:20]
    with pytest.raises(BadInput, match="did you mean 'megabytes'"):
        build(study(seeds=[0]), columns=["megabyte"])
    with pytest.raises(BadInput, match="unknown column 'dev:micro_f2'.*micro_f1"):
        build(study(seeds=[0]), columns=["dev:micro_f2"])
    with pytest.raises(BadInput, match="unknown format"):
        render(build(study(seeds=[0])), "html5")
    assert all(len(column.about) > 10 for column in COLUMNS.values()) and "markdown" in FORMATS


def test_nothing_at_all_is_a_table_too():
    for form in FORMATS:
        assert isinstance(render(build([]), form), str)
    assert run_table([]) == ""


# ---- after a single run ----------------------------------------------------------------------------------------------


def test_run_table_has_the_controls_and_fits_100_columns():
    records = study(seeds=range(3), methods=("doktra",))
    records[-1]["rows_more"] = [{"name": "calibrated teacher", "score": {"dev": 0.75, "test": 0.751}}]
    text = run_table(records)
    names = [line.split("  ")[0] for line in text.splitlines()]
    assert {"naive", "teacher", "student, no teacher", "logit distillation", "doktra"} <= set(names)
    assert "calibrated teacher" in text and "look-alike" in text and "seeds 0, 1, 2" in text
    assert max(map(len, text.splitlines())) <= 100


def test_run_table_fits_whatever_the_names():
    long = "a-very-long-model-name-that-somebody-gave-to-the-student-of-this-study"
    records = study(seeds=range(5), methods=("doktra",), student=long) + study(seeds=range(5), methods=("dsg_kd",))
    records += [record("ner_kd", status="failed", error={"message": "word " * 60})]
    assert max(map(len, run_table(records).splitlines())) <= 100


def test_run_table_of_a_failed_run_says_why():
    text = run_table([record(status="failed", error={"type": "RuntimeError", "message": "no\nmemory"}, score=None)])
    assert "doktra on small-student, seed 0, failed: no memory" in text


def test_naive_score_stands_beside():
    (group,) = grouped(study(seeds=[0]))
    assert naive_score(group, "test") == 0.12
    assert "naive predictor: dev 10.0, test 12.0" in render(build(study(seeds=[0])))


# ---- speed and imports -----------------------------------------------------------------------------------------------


SUITE = """
data = "lookalike"
[defaults]
teacher = "bert-teacher"
student = "small-student"
[[cells]]
method = ["doktra", "logit_kd"]
task = "chemprot"
epochs = 3
options.doktra.transfer = ["abd", "kld"]
"""


def test_a_suite_picks_its_cells_and_their_controls(tmp_path):
    """Also of other seeds than it names; not what has another value of anything that it says."""
    (tmp_path / "mine.toml").write_text(SUITE)
    mine = suite.load(str(tmp_path / "mine.toml"), thorough=False)
    own = [*study(methods=(), seeds=(0, 7)), record("doktra", options={"transfer": "abd", "margin": 1.0}),
           record("doktra", options={"transfer": "kld"}, seed=3)]
    other = [record("doktra", options={"transfer": "mse"}), record("dsg_kd"), record("doktra", task="gad", options={"transfer": "abd"}),
             record("doktra", options={"transfer": "abd"}, settings={"epochs": 9}),
             record("doktra", options={"transfer": "abd"}, variant="published"),
             record("doktra", options={"transfer": "abd"}, student="another"), record("logit_kd", teacher="another"),
             record("finetune", student="another"), {**own[0], "data": {"kind": "real"}}]
    assert selection.records_of(mine, [*own, *other]) == own


def test_a_share_of_a_score_that_is_not_above_zero_is_not_shown():
    """A correlation may be negative: -565 % of the teacher's score would say nothing."""
    made = [record("finetune", role="teacher"), record("doktra")]
    for score in (-0.01, 0.0):
        made[0]["score"]["test"] = score
        assert all("retained" not in line.values for line in build(made).sections[0].lines)


def test_10000_records_are_1000_rows():
    few = study(tasks=[f"task{i}" for i in range(8)], seeds=range(10))
    records = [{**r, "id": f"{r['id']}{i}", "cell": {**r["cell"], "student": f"{r['role']}-{i}"}}
               for i in range(25) for r in few]
    assert len(records) == 10_000
    table = build(records)
    assert sum(len(section.lines) for section in table.sections) == 1000


def test_tables_import_nothing_heavy():
    heavy = "('torch', 'transformers', 'pandas', 'scipy', 'sklearn', 'matplotlib', 'jinja2')"
    code = f"import sys, kdbench.report.tables; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
