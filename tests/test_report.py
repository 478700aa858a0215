"""The page: one well-formed file that asks no network for anything and says what the records say."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from factory import counts_of, record, study

from kdbench import plots, render, reported
from kdbench.plots import Point, frontier, series_of
from kdbench.report import advice, report
from kdbench.tables import build

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


def test_advice_says_what_the_statistics_say():
    text = advised(mixed())
    assert "dsg_kd scores best of the students" in text or "doktra scores best of the students" in text
    assert "Better than the same student without a teacher, beyond chance:" in text
    assert "Where latency is bound: doktra from 1.00 ms a text on" in text
    few = advised(study(seeds=range(2)))
    assert "preliminary: no ranking can be concluded" in few and "beyond chance" not in few


def test_equal_students_are_called_equal():
    same = study(methods=())
    for method in ("doktra", "dsg_kd"):
        same += [record(method, seed=seed, test=0.7) for seed in range(5)]
    assert "It cannot be told apart from" in advised(same)


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
    assert len({plots.key(series) for series in many}) == 24


def test_frontier_holds_the_points_that_nothing_beats():
    one = series_of(["x"])["x"]
    points = [Point(one, cost, score) for cost, score in ((1, 50), (2, 40), (2, 60), (3, 60), (4, 70), (5, 65))]
    assert [(p.cost, p.score) for p in frontier(points)] == [(1, 50), (2, 60), (4, 70)]


@pytest.mark.parametrize("picture", [
    lambda s: plots.pareto([Point(s["a"], 1, 50, 1.0), Point(s["b"], 100, 60)], "ms"),
    lambda s: plots.pareto([Point(s["a"], 5, 50), Point(s["b"], 5, 50)], "ms"),
    lambda s: plots.spread([(s["a"], [50.0, 51.0]), (s["b"], [50.0])]),
    lambda s: plots.retention(["gad"], [(s["a"], [98.0]), (s["b"], [None])]),
    lambda s: plots.curves({"ce": [(1, 0.0), (2, -1.0)]}, [], {"student": 1}),
    lambda s: plots.curves({}, [(1, 50.0)], {"student": 1}),
], ids=["pareto", "one place", "spread", "retention", "negative terms", "no terms"])
def test_pictures_are_scalable_and_named(picture):
    text = picture(series_of(["a", "b"]))
    root = ElementTree.fromstring(text)
    assert root.get("viewBox") and root.get("width") is None and root.get("role") == "img"
    assert "<text" in text and "var(--ink)" in text


def test_importing_the_report_needs_no_torch():
    code = "import sys, kdbench.report; print([m for m in ('torch', 'transformers', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
