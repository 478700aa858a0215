"""The pages of the site that are made while it is built (a hook of MkDocs, see mkdocs.yml).

Methods, tasks, models, suites and the command line are read from the code, so that these pages
cannot say anything else than the program. Files that lie outside of `docs/`, such as the committed
results, become pages under their own path.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import re
import sys
import textwrap
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # `mkdocs` does not put the clone there, `python -m mkdocs` does
    sys.path.insert(0, str(ROOT))

OUTSIDE = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "results/README.md",
           "results/*/README.md", "results/*/*.svg",
           "results/*/*/*.svg")
FIRST_VERB = re.compile(r"^    ([a-z][a-z-]*)(?: |$)", re.MULTILINE)  # of the program's own help
WIDTH = 100  # columns of the help texts


# --- what MkDocs calls ----------------------------------------------------------------------------


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and the files of the project that lie outside of `docs/`."""
    from mkdocs.structure.files import File

    for name, text in pages().items():
        files.append(File.generated(config, name, content=text))
    for path in outside():
        name = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links into and out of `docs/`, which are right in the repository, as the site has them."""
    if page.file.src_uri.startswith("results/"):
        return markdown
    if "/" not in page.file.src_uri:
        markdown = markdown.replace("](docs/", "](")
    return re.sub(r"\]\(((?:\.\./)*)\.\./(results/|[A-Z]+\.md)", r"](\1\2", markdown)


# --- pages ----------------------------------------------------------------------------------------


def pages() -> dict[str, str]:
    """Every generated page as Markdown, by its place in the site."""
    from kdbench.base.registry import METHODS

    made = {
        "reference/methods.md": methods_page(),
        "reference/tasks.md": tasks_page(),
        "reference/models.md": models_page(),
        "reference/suites.md": suites_page(),
        "reference/command-line.md": command_line_page(),
    }
    for name in METHODS.names():
        made[f"reference/methods/{name}.md"] = method_page(name)
    return made


def outside() -> Iterator[Path]:
    """The files of the project that the site has and `docs/` has not."""
    for pattern in OUTSIDE:
        yield from sorted(ROOT.glob(pattern))


def methods_page() -> str:
    """The methods, each with a link to its page."""
    from kdbench.base.registry import METHODS

    rows = []
    for entry in METHODS.entries():
        names = ", ".join(f"`{name}`" for name in (entry.name, *entry.aliases))
        link, types = f"[{names}](methods/{entry.name}.md)", ", ".join(entry.task_types)
        rows.append((link, entry.about, types))
    return "\n".join([
        "# Methods",
        "",
        "`python bench.py show METHOD` prints the same facts.",
        "",
        *table(("method", "what it does", "types of task"), rows),
    ])


def method_page(name: str) -> str:
    """One method: its source, equations and options."""
    from kdbench.base import options
    from kdbench.base.registry import METHODS

    method = METHODS.get(name)
    equations = textwrap.dedent(method.equations).strip("\n")
    about = inspect.getdoc(method) or ""
    lines = [f"# {name}", "", f"**{method.title}.** {method.citation}", "", about, ""]
    lines += ["## Equations", "", "```text", equations, "```", ""]
    types = ", ".join(METHODS.entry(name).task_types)
    lines += ["## What it takes", "", f"- Types of task: {types}", f"- Teacher: {method.needs}", ""]
    lines += ["## Options", ""]
    rows = [option_row(option) for option in options.describe(method.Options)]
    if rows:
        lines += ["Set one with `--set NAME=VALUE`. The default is the corrected variant.", ""]
        lines += table(("option", "default", "published", "meaning", "source"), rows)
    else:
        lines += ["None.", ""]
    lines += [f"[What is published and what is corrected](../../variants.md) lists the differences "
              f"of all methods, and what of the published code is not reproduced. `python bench.py "
              f"show {name} --task TASK` prints the published settings for a task.", ""]
    return "\n".join(lines)


def option_row(option: dict[str, Any]) -> tuple[str, ...]:
    """An option as a line of a table; what is published stands there where it is different."""
    from kdbench.runs.listing import value

    published = ""
    if option["published"] != option["default"]:
        published = value(option["published"])
    meaning = option["help"]
    if option["choices"]:
        meaning += " (" + ", ".join(f"`{choice}`" for choice in option["choices"]) + ")"
    return f"`{option['name']}`", value(option["default"]), published, meaning, option["source"]


def tasks_page() -> str:
    """The tasks with their facts."""
    from kdbench.base.registry import TASKS

    lines = [
        "# Tasks",
        "",
        "`python bench.py show TASK` prints the same facts. `python bench.py check TASK --data-dir "
        "DIR` looks at a corpus: rows, labels, lengths, overlap of train and test. Every task but "
        "`files` has an embedded look-alike, which is used where no data folder is given.",
        "",
    ]
    for entry in TASKS.entries():
        lines += task_section(TASKS.get(entry.name))
    return "\n".join(lines)


def task_section(task: Any) -> list[str]:
    """One task: a table of its facts, and one of its options."""
    from kdbench.base import options
    from kdbench.runs.listing import value

    rows = [(fact, text) for fact, text in facts_of(task).items() if text]
    lines = [f"## {task.name}", "", f"{task.about}", "", *table(("fact", ""), rows)]
    if task.options:
        chosen = [(f"`{option['name']}`", value(option["default"]), option["help"])
                  for option in options.describe(task.options)]
        lines += table(("option (`--task-set`)", "default", "meaning"), chosen)
    return lines


def facts_of(task: Any) -> dict[str, str]:
    """What a task says of itself, in words; empty where it says nothing."""
    from kdbench.models.encoders import KINDS

    others = [name for name in task.metrics if name != task.metric]
    published = [f"{system} {score:g}" for system, score in task.published]
    rows = [f"{split} {count:,}" for split, count in task.rows.items()]
    return {
        "type": task.task_type,
        "metric": f"`{task.metric}`",
        "also measured": ", ".join(f"`{name}`" for name in others),
        "labels": ", ".join(task.labels),
        "left out by micro-F1": ", ".join(task.negative),
        "texts": KINDS.get(task.texts, ""),
        "statistics resample": task.unit,
        "rows": ", ".join(rows),
        "published": "; ".join(published),
        "published settings of": ", ".join(task.recipes),
        "length limit": f"{task.max_length} tokens",
        "citation": task.citation,
        "licence": task.licence,
        "source": task.source,
        "how to get it": task.how_to_get,
    }


def models_page() -> str:
    """The named models."""
    from kdbench.models.encoders import encoder_of, in_words
    from kdbench.models.zoo import MODELS

    rows = []
    for entry in MODELS.entries():
        recipe, encoder = MODELS.get(entry.name), encoder_of(entry.name)
        names = ", ".join(f"`{name}`" for name in (entry.name, *entry.aliases))
        weights = recipe.hub or ("a local folder" if recipe.origin else "random")
        known = ("", "", "", "")
        if encoder is not None:
            known = (in_words(encoder), encoder.read, encoder.abstracts, encoder.notes)
        rows.append((names, entry.about, weights, f"{recipe.lr:g}", *known))
    return "\n".join([
        "# Models",
        "",
        "`--teacher` and `--student` take these names, a folder (`NAME=FOLDER` names it in the "
        "tables), a hub id, `cut:N` (N layers of the teacher) or `cut:N:MODEL`. See [adding a "
        "model](../how-to/adding-a-model.md), [models that are no download](../models.md), and "
        "[which architecture works with which method](architectures.md).",
        "",
        "The last columns say what each encoder was trained on, as its card or its paper states "
        "it. A test text that a teacher has read in training is no new text to it.",
        "",
        *table(("model", "what it is", "weights", "learning rate", "size and licence", "has read",
                "biomedical abstracts", "clinical notes"), rows),
    ])


def suites_page() -> str:
    """The suites of `benchmarks/`."""
    from kdbench.runs.listing import SUITES

    rows = []
    for path in sorted(SUITES.rglob("*.toml")):
        suite = tomllib.loads(path.read_text(encoding="utf-8"))
        name = path.relative_to(SUITES).with_suffix("").as_posix()
        about, data = suite.get("about", ""), suite.get("data", "any")
        rows.append((f"`{name}`", about, data, hours_of(suite)))
    return "\n".join([
        "# Suites",
        "",
        "`python bench.py run SUITE --dry-run` lists the cells of a suite and what is missing. "
        "[Writing a suite](../how-to/writing-a-suite.md) explains the file.",
        "",
        *table(("suite", "what it asks", "data", "expected"), rows),
    ])


def hours_of(suite: dict[str, Any]) -> str:
    """How long the suite's file expects it to take."""
    hours = []
    if "cpu_hours" in suite:
        hours.append(f"{suite['cpu_hours']:g} CPU-hours")
    if "gpu_hours" in suite:
        hours.append(f"{suite['gpu_hours']:g} GPU-hours")
    return ", ".join(hours)


def command_line_page() -> str:
    """The help text of the program and of each of its verbs."""
    top = help_of()
    lines = [
        "# Command line",
        "",
        "The program is `bench.py` in a clone and `kdbench` where the package is installed. Exit "
        "codes: 0, done; 1, a cell failed or a check does not hold; 2, something that was given is "
        "wrong, in one line; 130, interrupted.",
        "",
        *code(top),
    ]
    for verb in FIRST_VERB.findall(top):
        lines += [f"## {verb}", "", *code(help_of(verb))]
    return "\n".join(lines)


def help_of(*words: str) -> str:
    """What `bench.py WORDS --help` prints."""
    from kdbench.cli.verbs import main

    text, columns = io.StringIO(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(WIDTH)
    try:
        with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
            main([*words, "--help"])
    finally:
        del os.environ["COLUMNS"]
        if columns is not None:
            os.environ["COLUMNS"] = columns
    return text.getvalue()


# --- Markdown -------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table, and an empty one behind it."""
    lines = [row_of(head), row_of(["---"] * len(head))]
    lines += [row_of(row) for row in rows]
    return [*lines, ""]


def row_of(cells: Sequence[str]) -> str:
    """A line of a table; a bar or a line break in a cell would end it."""
    safe = [" ".join(cell.split()).replace("|", "\\|").replace("<", "&lt;") for cell in cells]
    return f"| {' | '.join(safe)} |"


def code(text: str) -> list[str]:
    """The lines of a block of plain text, and an empty one behind it."""
    return ["```text", *text.rstrip("\n").splitlines(), "```", ""]
