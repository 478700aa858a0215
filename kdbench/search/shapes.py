"""What could fit: shapes of students, exported and timed before anything is trained.

Latency and size depend on the shape of a model and not on its weights. So each shape is built as it
begins, exported in each form it could be served in, and timed on texts of the task.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.base.activity import doing
from kdbench.base.errors import BadInput, Broken, Skip, one_line
from kdbench.models.load import Model
from kdbench.serve import measure
from kdbench.serve.export import FORMATS, write_format
from kdbench.serve.texts import Text

if TYPE_CHECKING:
    from kdbench.serve.labels import Limit

TORCH = "safetensors"
# what is timed, by the device that serves: on a CPU the first is mostly the fastest
FORMS = {"cpu": ("onnx_int8", "onnx", TORCH),
         "cuda": ("safetensors_fp16", "safetensors_bf16", TORCH)}
# layers and widths of encoders with random weights; units and widths of BiLSTMs
LAYERS, WIDTHS = (2, 4, 6), (32, 64, 128, 256, 384)
DEPTHS, UNITS, EMBEDDINGS = (1, 2), (32, 64, 128, 256), (32, 64, 128, 300)
MOST_CUTS, MOST_WIDTHS, MOST_UNITS = 6, 3, 2


@dataclass(frozen=True)
class Shape:
    """One shape of a student.

    students  the models of that shape, as --student takes them: they differ in their first weights
    options   what methods that have these options must be given, so that they keep the shape
    method    that builds it, and that alone can train it; empty: any
    """

    students: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    method: str = ""

    @property
    def name(self) -> str:
        """The first of its students."""
        return self.students[0]


@dataclass(frozen=True)
class Form:
    """A form that a shape is served in, with what it costs.

    kind     one of the formats of `export`
    p50_ms   median of one text, as `kdbench.serve.measure.latency` takes it
    """

    kind: str
    p50_ms: float
    megabytes: float


@dataclass(frozen=True)
class Budget:
    """What a student may take; None: any.

    max_ms  median milliseconds of one text
    max_mb  megabytes of its weights
    """

    max_ms: float | None = None
    max_mb: float | None = None

    def over(self, form: Form) -> str:
        """What of the budget a form does not keep, in words; empty where it keeps it."""
        figures = (("ms", form.p50_ms, self.max_ms), ("MB", form.megabytes, self.max_mb))
        return ", ".join(f"{figure:.2f} {unit}" for unit, figure, most in figures
                         if most is not None and figure > most)


@dataclass(frozen=True)
class Fit:
    """A shape with the forms that it was timed in.

    why  what kept it from being timed; empty where it was
    """

    shape: Shape
    forms: tuple[Form, ...] = ()
    why: str = ""

    def best(self, budget: Budget) -> Form | None:
        """The fastest form that keeps the budget."""
        kept = [form for form in self.forms if not budget.over(form)]
        return min(kept, key=lambda form: form.p50_ms, default=None)

    @property
    def fastest(self) -> Form | None:
        """The fastest form, whatever it takes."""
        return min(self.forms, key=lambda form: form.p50_ms, default=None)


def shapes_for(layers: int, width: int, students: Sequence[str]) -> list[Shape]:
    """The shapes that are looked at for a teacher of so many layers and that width, the most able
    first.

    students  further ones, as --student takes them
    """
    found = [Shape((name,)) for name in students]
    cuts = [count for count in range(min(MOST_CUTS, layers - 1), 0, -1)]
    found += [Shape((f"cut:{count}", f"cut:{count}-first")) for count in cuts]
    for depth in sorted(LAYERS, reverse=True):
        found += [Shape((f"bert:{depth}x{wide}",)) for wide in widest(WIDTHS, width, MOST_WIDTHS)
                  if depth <= layers and (depth, wide) != (layers, width)]
    for depth in sorted(DEPTHS, reverse=True):
        for units in widest(UNITS, width, MOST_UNITS):
            found += [Shape((f"bilstm:{depth}x{units}x{wide}",), {"embedding_size": wide})
                      for wide in widest(EMBEDDINGS, width, MOST_UNITS)]
    return found


def widest(sizes: Sequence[int], width: int, most: int) -> list[int]:
    """The largest of the sizes that are no larger than the teacher's width."""
    return sorted((size for size in sizes if size <= width), reverse=True)[:most]


# ---- timed ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Timing:
    """How shapes are timed.

    texts    of the task
    forms    each is timed
    device   that serves them;  threads  of its runtime
    """

    texts: Sequence[Text]
    forms: Sequence[str]
    threads: int | None
    device: str = "cpu"


def timed(model: Model, reading: Limit, how: Timing) -> Iterator[Form]:
    """The forms of a model with their figures.

    reading  as of `measure.write_model`
    """
    with tempfile.TemporaryDirectory(prefix="kdbench-") as place:
        folder = measure.write_model(model, reading, Path(place) / "model")
        for kind in how.forms:
            with doing(f"{model.name} as {kind}"):
                out = Path(place) / kind
                write_format(kind, folder, out)
            figures = measure.latency(out, how.texts, "quick", threads=how.threads,
                                      device=how.device)
            yield Form(kind, figures["p50_ms"], measure.disk_megabytes(out))


def check_forms(forms: Sequence[str]) -> None:
    """`BadInput` for a form that nothing is exported as."""
    for kind in forms:
        if kind not in FORMATS:
            raise BadInput(f"--forms {kind}: is none of {', '.join(FORMATS)}")


def fit_of(shape: Shape, model: Any, reading: Any, how: Timing) -> Fit:
    """A shape with its figures; of one that cannot be built or exported, why.

    model, reading  without arguments, give those of `timed`: building may fail too
    """
    try:
        return Fit(shape, tuple(timed(model(), reading, how)))
    except (BadInput, Broken, Skip) as error:
        return Fit(shape, why=one_line(error))
