"""The page: one well-formed file that asks no network for anything and says what the records say."""

import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from factory import counts_of, record, study

from kdbench.base import render
from kdbench.report import plots, reported, svg
from kdbench.report.advice import advice
from kdbench.report.html import report
from kdbench.report.plots import Gain, Point, frontier
from kdbench.report.svg import series_of
from kdbench.report.tables import build

ROOT = Path(__file__).resolve().parent.parent


def mixed():
    records = study(tasks=("chemprot", "gad"), methods=("doktra", "dsg_kd"))
    for made in records:
        if made["role"] == "control":
            made["curves"] = []
        if made["cell"]["method"] == "doktra":
            made["latency"] = {**made["latency"], "p50_ms": 1.0}
            made["artefacts"] = [{"name": "onnx_int8", "score": {"dev": 0.7, "test": 0.7}, "size": {"megabytes": 3.0}}]
            made["curves"] = [
                {"stage": stage, "role": "student", "epoch": epoch, "terms": {"activation_boundary": 9.0 / (epoch + 1)}}
                for stage in ("fine-tuning", "transfer") for epoch in range(2)]
    return [*records, record("ner_kd", "gad", status="skipped", reason="a tagger <b>&</b> more"),
            record("doktra", "hoc", status="failed", error={"message": "out of memory"})]


@pytest.fixture(scope="module")
def page():
    figures = reported.load(ROOT / "results" / "reported.csv")
    return report(mixed(), counts_of, title="A study & more", comparisons=reported.against(mixed(), figures))


def parsed(page):
    return ElementTree.fromstring(page.replace("<!DOCTYPE html>", "", 1))


def words(page):
    return " ".join("".join(parsed(page).itertext()).split())


def test_the_page_is_well_formed_with_unique_ids(page):
    ids = [node.get("id") for node in parsed(page).iter() if node.get("id")]
    assert len(ids) == len(set(ids))
    for node in parsed(page).iter():
        for value in node.attrib.values():
            for target in re.findall(r"url\(#([^)]+)\)|^#(.+)", value):
                assert "".join(target) in ids, f"{target} leads nowhere"


def test_the_page_asks_no_network_and_runs_no_script(page):
    tags = {node.tag for node in parsed(page).iter()}
    assert not tags & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for node in parsed(page).iter():
        assert all(node.get(name, "#").startswith("#") for name in ("src", "href", "srcset", "data"))
    assert not re.search(r"@import|https?://|url\((?!#)", page)


def test_the_page_has_all_its_parts(page):
    text = words(page)
    for part in ("Which to use", "Score against latency", "Score against size", "Score against training cost",
                 "Spread over seeds", "Learning curves", "Across tasks", "Published figures", "Reading the tables",
                 "Environment and data", "Failures and skips"):
        assert part in text, part
    assert "activation_boundary" in text and "transfer" in text
    assert "a tagger <b>&</b> more" in text, "escaped, not interpreted"
    assert "failed: out of memory" in text and "torch 2.13.0" in text


def test_figures_on_the_page_are_those_of_the_table(page):
    for section in build(mixed(), counts_of).sections:
        for line in section.lines:
            for column in ("test", "gain"):
                if column in line.values:
                    shown = render.points(line.values["test"]) if column == "test" else render.gain(line.values["gain"])
                    assert shown in words(page)


def advised(records):
    return " ".join(advice(build(records, counts_of).sections[0]))


def test_diagnostics_of_students_are_on_the_page():
    records = study(seeds=[0], methods=("doktra",))
    assert "Diagnostics" not in words(report(records, counts_of))
    records[-1]["diagnostics"] = {"boundary_disagreement": {"dev": 0.21, "test": 0.25}}
    text = words(report(records, counts_of))
    assert (
        "doktra: dev boundary_disagreement 21.0%" in text
        and "doktra: test boundary_disagreement 25.0%" in text
    )


def test_advice_says_what_the_statistics_say():
    text = advised(mixed())
    assert "dsg_kd scores best of the students" in text or "doktra scores best of the students" in text
    assert "Significantly better than the same student without a teacher:" in text
    assert "What a budget of latency buys: 1.00 ms a text for" in text
    few = advised(study(seeds=range(2)))
    assert "preliminary: no ranking can be concluded" in few and "ignificant" not in few


def test_advice_claims_nothing_of_students_that_learned_nothing():
    """A table of zeros has no best student, and no budget buys anything."""
    none = [record(role="teacher", method="finetune", student="bert-teacher", teacher=None, test=0.0), record("doktra", test=0.0)]
    assert "No student scores more than the naive predictor" in advised(none)
    assert "best" not in advised(none) and "budget" not in advised(none)


def test_students_of_one_score_share_the_first_place():
    same = [record(method) for method in ("doktra", "dsg_kd")]
    for made in same:
        made["score"]["test"] = 0.7
    assert "doktra and dsg_kd score alike: 70.0" in advised(same)


def test_what_a_method_made_on_its_way_is_no_choice():
    """A method's own teacher stands in the table; it is neither recommended nor drawn."""
    made = [record("finetune", test=0.5), record("doktra", test=0.6)]
    made[1]["rows_more"] = [{"name": "calibrated teacher", "score": {"dev": 0.9, "test": 0.9}, "size": {"megabytes": 1.0},
                             "latency": {"p50_ms": 0.1}}]
    (section,) = build(made).sections
    assert any("calibrated teacher" in line.name for line in section.lines)
    assert "calibrated teacher" not in advised(made)
    drawn = report(made).split("<h3>Table</h3>")[0]
    assert "doktra: calibrated teacher" not in drawn


def test_pictures_tell_students_of_two_teachers_apart():
    made = [record("doktra", teacher=teacher, test=score) for teacher, score in (("small", 0.6), ("large", 0.7))]
    assert "doktra, from large scores best" in advised(made)


def test_equal_students_are_called_equal():
    same = study(methods=())
    for method in ("doktra", "dsg_kd"):
        same += [record(method, seed=seed, test=0.7) for seed in range(5)]
    assert "It does not differ significantly from" in advised(same)


def test_light_dark_phone_and_print_are_provided(page):
    for rule in ("prefers-color-scheme: dark", "@media print", "width=device-width", "overflow-x: auto"):
        assert rule in page
    assert not re.search(r"(fill|stroke): ?#(?!00)", re.sub(r"<style>.*?</style>", "", page, flags=re.S)), \
        "pictures take their colours from the page"


def test_the_same_records_give_the_same_page(page):
    figures = reported.load(ROOT / "results" / "reported.csv")
    records = mixed()[::-1]
    again = report(records, counts_of, title="A study & more", comparisons=reported.against(records, figures))
    assert again == page


def test_a_page_without_any_finished_run():
    text = words(report([record(status="failed", error={"message": "no luck"})]))
    assert "no finished run" in text and "failed: no luck" in text
    assert "None." in words(report([]))


# ---- pictures --------------------------------------------------------------------------------------------------------


def test_series_differ_without_colour():
    names = [f"row {i}" for i in range(12)]
    assert len({series.marker for series in series_of(names).values()}) == 12
    many = series_of([f"row {i}" for i in range(24)]).values()
    assert len({(series.marker, series.colour) for series in many}) == 24
    assert len({svg.key(series) for series in many}) == 24


def test_frontier_holds_the_points_that_nothing_beats():
    one = series_of(["x"])["x"]
    points = [Point(one, cost, score) for cost, score in ((1, 50), (2, 40), (2, 60), (3, 60), (4, 70), (5, 65))]
    assert [(p.cost, p.score) for p in frontier(points)] == [(1, 50), (2, 60), (4, 70)]


@pytest.mark.parametrize("picture", [
    lambda s: plots.pareto([Point(s["a"], 1, 50, 1.0), Point(s["b"], 100, 60)], "ms"),
    lambda s: plots.pareto([Point(s["a"], 5, 50), Point(s["b"], 5, 50)], "ms"),
    lambda s: plots.spread([(s["a"], [50.0, 51.0]), (s["b"], [50.0])]),
    lambda s: plots.spread([(series_of(["m [" + 30 * "option=1, " + "last=2]"]).popitem()[1], [50.0, 51.0])]),
    lambda s: plots.gains([Gain(s["a"], 1.0, -0.5, 2.5, False), Gain(s["b"], 3.0, None, None, False)]),
    lambda s: plots.gains([Gain(s["a"], 1.0, 0.5, 1.5, True)], named=False),
    lambda s: plots.retention(["gad"], [(s["a"], [98.0]), (s["b"], [None])]),
    lambda s: plots.curves({"ce": [(1, 0.0), (2, -1.0)]}, {"student": 1}, "loss terms"),
    lambda s: plots.curves({"ce": [(1, 1.0), (2, math.nan), (3, 100.0)]}, {"one": 1, "two": 3}, "loss terms"),
    lambda s: plots.curves({"dev score": [(1, 50.0)]}, {"student": 1}, "dev score"),
], ids=["pareto", "one place", "spread", "a long name", "gains", "gains without names", "retention", "negative terms", "a gap", "no terms"])
def test_pictures_are_scalable_and_named(picture):
    text = picture(series_of(["a", "b"]))
    root = ElementTree.fromstring(text)
    assert root.get("viewBox") and root.get("width") is None and root.get("role") == "img"
    assert "<text" in text and "var(--ink)" in text


def test_names_in_a_picture_cover_no_other_name():
    """Five points of the frontier side by side, with long names: boxes as wide as the letters may be."""
    names = ["teacher", "logit_kd, minilm", "doktra: onnx_int8, cut:3", "finetune, tiny-student", "ner_kd, bilstm"]
    series = series_of(names)
    points = [Point(series[name], 40 + 3 * i, 35 + 0.4 * i) for i, name in enumerate(names)]
    root = ElementTree.fromstring(plots.pareto(points, "ms"))
    boxes = []
    for node in root.iter("text"):
        if node.text in names:
            middle, base, half = float(node.get("x")), float(node.get("y")), 2.3 * len(node.text)
            boxes.append((middle - half, base - 6, middle + half, base))
    assert len(boxes) == len(names)
    width = float(root.get("viewBox").split()[2])
    for i, (left, top, right, bottom) in enumerate(boxes):
        assert left >= 0 and right <= width
        for other in boxes[:i]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_a_gain_is_filled_where_it_is_significant():
    one = series_of(["x"])["x"]
    filled, hollow = (plots.gains([Gain(one, 1.0, 0.5, 1.5, significant)]) for significant in (True, False))
    assert f"fill: var(--{one.css})" in filled and f"fill: var(--{one.css})" not in hollow
    assert len(set(svg.STAND_INS.values())) == len(svg.STAND_INS)


def test_a_sheet_is_a_file_of_its_own():
    series = series_of(["a & b", "c"])
    picture = plots.pareto([Point(series["a & b"], 1, 50), Point(series["c"], 2, 60)], "ms")
    text = svg.sheet("A <task>", [("one", picture), ("two", picture)], list(series.values()))
    root = ElementTree.fromstring(text)
    assert root.tag.endswith("svg") and "a & b" in "".join(root.itertext())
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids)) and set(re.findall(r'(?:url\(#|href="#)([^")]+)', text)) <= set(ids)
    assert not re.search(r'(?:href|src)="(?!#)', text)


def test_importing_the_report_needs_no_torch():
    code = "import sys, kdbench.report.html; print([m for m in ('torch', 'transformers', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
