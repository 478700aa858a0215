"""Where things stand in the pictures of a page: words inside, in one size, and axes around the data."""

import re
import unicodedata
import xml.etree.ElementTree as ElementTree

import pytest
from factory import counts_of, record

from kdbench.base.render import points
from kdbench.report import plots, svg
from kdbench.report.advice import advice
from kdbench.report.html import report
from kdbench.report.lettering import letters, wrapped
from kdbench.report.pictures import label, trade_offs
from kdbench.report.plots import Gain, Point, score_limits
from kdbench.report.svg import series_of
from kdbench.report.tables import build, render, run_table

LONG = "ner_kd [augment=label_wise,mention,shuffle, copies=3, objective=squared_logits] (version 1): onnx_int8"
KOREAN = "한국어-의무기록-학생모델-여섯층-사전학습-응급실-판독문-버전이-" * 2
ACCENTS = unicodedata.normalize("NFD", "élève-médical-" * 5)
NAMES = [LONG, LONG.replace("=3", "=1"), KOREAN, ACCENTS, "x" * 130, "teacher"]


def mixed():
    """Two teachers, students of long names, scores of 0 and 100, stages, and timings beside other work."""
    made = [record("finetune", role="teacher", teacher=name, test=test) for name, test in (("bert-base", 0.9), ("대형-교사-모델", 0.95))]
    for number, student in enumerate((KOREAN, "x" * 130, "small")):
        for teacher in ("bert-base", "대형-교사-모델"):
            made.append(record("doktra", student=student, teacher=teacher, test=0.3 + 0.2 * number))
    made[-1]["score"]["test"], made[-2]["score"]["test"] = 1.0, 0.0
    for number, one in enumerate(made):
        one["latency"]["p50_ms"] = 3.0 + number
        one["curves"] = [
            {"stage": stage, "role": "student", "epoch": epoch, "dev": dev,
             "terms": {"activation_boundary_of_the_last_hidden_layer_of_both": 9.0 / (epoch + 1), "오차-항목-로짓-증류": 0.001}}
            for stage in ("first", "표현-정렬-단계-두번째", "a stage of a long name", "z")
            for epoch, dev in enumerate((0.0, 1.0))]
    made[0]["latency"]["protocol"] = "quick, beside training"
    return made


def pictures(text):
    """The pictures of a page as elements."""
    found = re.findall(r'<svg class="plot".*?</svg>', text, re.S)
    assert found
    return [ElementTree.fromstring(one) for one in found]


def words(picture):
    """Each text of a picture with its box, letters as wide as they may be."""
    for node in picture.iter("text"):
        wide = 4.9 * letters(node.text)
        anchor = (re.search(r"text-anchor: (\w+)", node.get("style")) or [0, "start"])[1]
        moved = re.search(r"translate\(([\d.]+) ([\d.]+)\)", node.get("transform"))
        x, y = map(float, moved.groups() if moved else (node.get("x"), node.get("y")))
        left = x - {"start": 0, "middle": wide / 2, "end": wide}[anchor]
        yield node, (left, y - 7, left + wide, y + 2)


def check(picture):
    """All words inside of the picture, in one size, and none on another."""
    _, _, width, height = map(float, picture.get("viewBox").split())
    assert width == pytest.approx(72 * 3.6), "all pictures are shown in one width, so letters have one size"
    boxes = []
    for node, (left, top, right, bottom) in words(picture):
        assert "font-size: 8px" in node.get("style"), node.text
        assert left >= 0 and right <= width and top >= 0 and bottom <= height, (node.text, left, right, top, bottom)
        for other, text in boxes:
            apart = right <= other[0] + 1 or other[2] <= left + 1 or bottom <= other[1] + 1 or other[3] <= top + 1
            assert apart, (node.text, text)
        boxes.append(((left, top, right, bottom), node.text))


S = series_of(NAMES)
DRAWN = {
    "trade-off": lambda: plots.pareto([Point(S[name], 1 + i, 40 + 9 * i, 3.0) for i, name in enumerate(NAMES)], "ms"),
    "costs far apart": lambda: plots.pareto([Point(S[name], 10.0 ** i, 40 + 9 * i) for i, name in enumerate(NAMES)], "ms"),
    "seeds": lambda: plots.spread([(one, [0.0, 100.0]) for one in S.values()]),
    "gains": lambda: plots.gains([Gain(one, 1.0, -0.5, 2.5, False) for one in S.values()]),
    "shares": lambda: plots.retention(NAMES, [(one, [98.0] * len(NAMES)) for one in S.values()]),
    "terms": lambda: plots.curves({name: [(1, 0.0001), (2, 1000.0)] for name in NAMES}, {"one": 1}, "loss terms"),
    "stages": lambda: plots.curves({"dev score": [(i, 50.0) for i in range(1, 9)]}, {name: i for i, name in enumerate(NAMES, 1)}, "dev score"),
}


@pytest.mark.parametrize("picture", DRAWN)
def test_every_word_stands_inside_of_its_picture_and_on_no_other(picture):
    check(ElementTree.fromstring(DRAWN[picture]()))


@pytest.mark.parametrize("picture", ["trade-off", "seeds", "gains", "shares", "terms", "stages"])
def test_long_names_are_whole(picture):
    said = "".join("".join(ElementTree.fromstring(DRAWN[picture]()).itertext()).split())
    for name in NAMES:
        assert "".join(name.split()) in said, name
    assert "…" not in said


def test_a_page_of_long_names_many_stages_and_extreme_scores():
    text = report(mixed(), counts_of)
    for picture in pictures(text):
        check(picture)
        said = [node.text for node, _ in words(picture)]
        scores = [node.text for node in picture.iter("text") if "text-anchor: end" in node.get("style")]
        if "test score, one mark a seed" in said:
            scores = [one for one in said if re.fullmatch(r"[−\d.]+", one)]
        if {"test score", "dev score", "test score, one mark a seed"} & set(said):
            assert scores and all(0 <= float(one.replace("−", "-")) <= 100 for one in scores), said


@pytest.mark.parametrize(("scores", "ends"), [
    ([0.0, 100.0], (0, 100)), ([97.0, 103.0], (96.1, 100)), ([0.0], (0, 1)), ([100.0], (99, 100)), ([71.0, 72.0], (70.5, 72.5)),
    ([-40.0, 10.0], (-47.5, 17.5)), ([50.0, 60.0], (48.5, 61.5)),
])
def test_an_axis_of_scores_ends_just_around_them(scores, ends):
    assert score_limits(scores) == pytest.approx(ends)


def test_whiskers_end_where_scores_end():
    text = plots.pareto([Point(S["teacher"], 1, 99.0, 5.0), Point(S[LONG], 2, 1.0, 5.0)], "ms")
    heights = [float(one) for one in re.findall(r'<path d="M [\d.]+ ([\d.]+)\s*L', text)]
    frame = ElementTree.fromstring(text).get("viewBox").split()
    assert heights and all(0 <= one <= float(frame[3]) for one in heights)


# ---- names ---------------------------------------------------------------------------------------------------------


def test_lines_are_as_wide_as_their_letters():
    for name in NAMES:
        lines = wrapped(name, 40)
        assert "".join("".join(lines).split()) == "".join(name.split())
        assert all(letters(line) <= 40 for line in lines)
    assert letters("한국") == 4 and letters(unicodedata.normalize("NFD", "é")) == 1


def test_teachers_of_two_names_are_told_apart():
    made = mixed()
    (section,) = build(made).sections
    names = [label(line, section) for line in section.lines]
    assert len(set(names)) == len(names)
    assert "teacher, bert-base" in names and "teacher, 대형-교사-모델" in names
    text = report(made, counts_of)
    for teacher in ("bert-base", "대형-교사-모델"):
        assert f"teacher, {teacher}</li>" in text and f"small, from {teacher}</li>" in text
    printed = run_table(made)
    assert "teacher, bert-base" in printed and "teacher, 대형-교사-모델" in printed


def test_teachers_of_two_names_are_told_apart_across_tasks():
    made = []
    for task in ("chemprot", "gad"):
        for teacher in ("bert-base", "bert-large"):
            made += [record("finetune", task, role="teacher", teacher=teacher, test=0.9), record("doktra", task, teacher=teacher)]
    across = report(made, counts_of).split('id="across"')[1].split("<table>")[0]
    assert "doktra, from bert-base" in across and "doktra, from bert-large" in across


def test_no_line_of_advice_says_the_same_twice():
    made = mixed()
    for one in made[2:6]:
        one["latency"]["p50_ms"], one["size"]["megabytes"] = 2.001 + one["score"]["test"] / 1000, 50.0
    (section,) = build(made, counts_of).sections
    sentences = advice(section)
    assert len(set(sentences)) == len(sentences)
    for sentence in sentences:
        if "buys: " in sentence:
            steps = re.findall(r"(?:buys: |; )([\d.]+) .*? for ([\d.]+) points \(", sentence)
            assert len({amount for amount, _ in steps}) == len({score for _, score in steps}) == len(steps) > 1, sentence


def test_sections_of_one_title_are_told_apart_on_the_page():
    few = record(test=0.5)
    few["data"] = {**few["data"], "rows": {"train": 100, "dev": 400, "test": 400}}
    titles = re.findall(r"<h3>(chemprot[^<]*)</h3>", report([record(), few], counts_of))
    assert len(titles) == len(set(titles)) == 2


# ---- latencies measured beside other work --------------------------------------------------------------------------


def test_a_teacher_timed_beside_other_work_stands_in_the_column_of_its_student():
    made = [record("finetune", role="teacher", test=0.9), record(test=0.7), record("dsg_kd", test=0.6)]
    made[0]["latency"] |= {"p50_ms": 20.0, "protocol": "quick, beside training"}
    table = build(made)
    assert [column.title for column in table.columns if "p50" in column.title] == ["p50 ms"]
    text = render(table, "markdown")
    assert "20.0†" in text and sum("†: this latency" in note for note in table.notes) == 1
    (section,) = table.sections
    (shown,) = [one for one in trade_offs(section, table, series_of([label(line, section) for line in section.lines])) if "latency" in one[0]]
    assert "hollow" in shown[0]
    drawn = [label(line, section) for line in section.lines]
    marks = ElementTree.fromstring(shown[1])
    assert {"teacher", "doktra"} <= {node.text for node in marks.iter("text")}, drawn
    assert any("ms a text" in sentence and "teacher" in sentence for sentence in advice(section))
    assert '"p50_ms_beside": true' in render(table, "json")


def test_a_seed_timed_alone_goes_before_those_timed_beside_other_work():
    made = [record(seed=seed) for seed in (0, 1)]
    made[0]["latency"] |= {"p50_ms": 20.0, "protocol": "quick, beside other work"}
    (section,) = build(made).sections
    assert section.lines[0].values["p50_ms"].mean == made[1]["latency"]["p50_ms"] and not section.lines[0].values["p50_ms"].mark
    assert "†" not in render(build(made), "markdown")


# ---- the page and the sheet ----------------------------------------------------------------------------------------


def render_points(line):
    return points(line.values["test"])


def test_on_a_phone_the_test_score_stands_beside_the_method():
    text = report(mixed(), counts_of)
    table = re.search(r"<h3>Table</h3>.*?</table>", text, re.S)[0]
    marked = re.findall(r'<t[hd] class="[^"]*\bscore\b[^"]*">(?:<b>)?([^<]*)', table)
    tests = [render_points(line) for line in build(mixed(), counts_of).sections[0].lines]
    assert marked == ["test", *tests]
    phone = text.split("@media (max-width: 40rem)")[1].split("@page")[0]
    assert re.search(r"td\.score, th\.score \{ position: sticky; left: 8rem; right: 0;", phone)
    assert "max-width: 8rem" in phone, "128 of 390 pixels for the method leave room for the score"


def test_a_sheet_shows_all_pictures_in_one_scale_and_every_name_whole():
    picture = plots.pareto([Point(S[LONG], 1, 50), Point(S[KOREAN], 2, 60)], "ms")
    small = plots.pareto([Point(S["teacher"], 1, 50)], "ms")
    text = svg.sheet("A title " * 20, [("a caption " * 12, picture), ("two", small), ("three", small)], list(S.values()))
    root = ElementTree.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    _, _, width, height = map(float, root.get("viewBox").split())
    bottoms = []
    for place in root.findall(f"{space}svg"):
        inner = place.find(f"{space}svg")
        if inner.get("class") == "plot":
            box = list(map(float, inner.get("viewBox").split()))
            assert float(place.get("width")) / box[2] == pytest.approx(430 / (72 * 3.6))
            assert float(place.get("height")) / box[3] >= 430 / (72 * 3.6)
        bottoms.append(float(place.get("y")) + float(place.get("height")))
    assert max(bottoms) <= height
    for node in root.findall(f"{space}text"):
        size = 9.5 if node.get("class") else 8.2
        assert float(node.get("x")) + size * letters(node.text) <= width + 1 and float(node.get("y")) <= height, node.text
    said = "".join("".join(root.itertext()).split())
    assert all("".join(name.split()) in said for name in NAMES)
