"""tokenizer.json from elsewhere: its size, depth and steps are checked before texts go through it.

A tokenizer is a small program. Forty normalizers that each double the text end no text, nor does a
regular expression that tries every way to divide one. So steps are counted, and a tokenizer with
regular expressions, or with steps that lengthen the text, reads samples in a process of its own
first, with limits of time and memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.base import reading
from kdbench.base.errors import BadInput
from kdbench.base.identity import file_digest

if TYPE_CHECKING:
    from tokenizers import Tokenizer

STEPS_LIMIT = 64  # normalizers, pre-tokenizers, post-processors and decoders; BERT has four
GROWTH_LIMIT = 64
LENGTH_LIMIT = 1_000_000  # tokens that a text may be padded to, or cut at
REMEDY = "put the model's own tokenizer.json into the folder"
PARTS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
# steps that cannot do more than linear work, and lengthen no text by more than a constant factor
PLAIN = frozenset((
    "BertNormalizer", "BertPreTokenizer", "BertProcessing", "ByteLevel", "CTC", "BPEDecoder",
    "ByteFallback", "Digits", "Fuse", "Lowercase", "Metaspace", "NFC", "NFD", "Nmt",
    "Punctuation", "RobertaProcessing", "Sequence", "Strip", "StripAccents", "TemplateProcessing",
    "UnicodeScripts", "Whitespace", "WhitespaceSplit", "WordPiece"))

# What the process reads: long runs of one character, which is what backtracking and doubling need.
PROBE_SECONDS, PROBE_MEGABYTES = 5, 500
PROBE = """
import json, sys
job = json.load(sys.stdin)
sys.path[:] = job["path"]  # libraries may lie where only this command was told to look
from tokenizers import Tokenizer
if sys.platform == "linux":
    import resource
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (MEGABYTES << 20),) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
tokenizer = Tokenizer.from_file(job["file"])
tokenizer.no_padding()
tokenizer.no_truncation()
for text in job["texts"]:
    found = tokenizer.encode(text)
    assert len(found.ids) <= 20 * len(text) + 100, "it lengthens texts too much"
"""


def tokenizer_of(file: Path) -> Tokenizer:
    """The tokenizer in a tokenizer.json; `BadInput` where it is damaged, or beyond the limits."""
    from tokenizers import Tokenizer

    check_tokenizer(file)
    with reading.foreign(str(file), REMEDY):
        return Tokenizer.from_file(str(file))


def check_tokenizer(file: Path) -> None:
    """`BadInput` where a tokenizer.json is no tokenizer, too large, or does not end."""
    reading.regular(file)
    checked(file, file_digest(file))


@lru_cache(maxsize=64)  # every cell loads its models anew
def checked(file: Path, digest: str) -> None:
    """As `check_tokenizer`, once for each content."""
    content = reading.json_object(file)
    found = list(steps([content.get(part) for part in PARTS]))
    if len(found) > STEPS_LIMIT:
        raise BadInput(f"{file}: {len(found):,} steps (normalizers and others), and at most "
                       f"{STEPS_LIMIT} are taken; {REMEDY}")
    if growth(found) > GROWTH_LIMIT:
        raise BadInput(f"{file}: its steps make a text more than {GROWTH_LIMIT} times as long; "
                       f"{REMEDY}")
    check_lengths(file, content)
    if any(step.get("type") not in PLAIN for step in found):
        probe(file, samples(found))


def steps(value: Any) -> Iterator[dict[str, Any]]:
    """All objects with a type below a value of JSON."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if isinstance(item.get("type"), str):
                yield item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def growth(found: list[dict[str, Any]]) -> float:
    """How many times as long the replacements may make a text, one after another."""
    times = 1.0
    for step in found:
        pattern, text = step.get("pattern"), step.get("content")
        if step["type"] == "Replace" and isinstance(pattern, dict) and isinstance(text, str):
            times *= max(1.0, len(text) / max(1, len(str(pattern.get("String") or " "))))
    return times


def check_lengths(file: Path, content: dict[str, Any]) -> None:
    """`BadInput` where texts are padded to, or cut at, lengths that no model reads."""
    padding, truncation = content.get("padding"), content.get("truncation")
    for part in (padding, truncation):
        if not isinstance(part, dict | None):
            raise BadInput(f"{file}: padding and truncation are objects or null; {REMEDY}")
    strategy = (padding or {}).get("strategy")
    lengths = [(padding or {}).get("pad_to_multiple_of"), (truncation or {}).get("max_length"),
               strategy.get("Fixed") if isinstance(strategy, dict) else None]
    for length in lengths:
        if length is not None and not (type(length) is int and 0 <= length <= LENGTH_LIMIT):
            raise BadInput(f"{file}: a length of {str(length)[:40]}, and at most "
                           f"{LENGTH_LIMIT:,} is taken; {REMEDY}")


def samples(found: list[dict[str, Any]]) -> list[str]:
    """Texts that show what the steps do: runs of the characters that their patterns name."""
    named = set("a0 -.")
    for step in found:
        named.update(char for char in json.dumps(step.get("pattern", ""))[:200] if char.isalnum())
    texts = ["A note: fever for 3 days, 38.5 C; \u03b2-blocker, caf\u00e9."]
    for char in sorted(named)[:40]:
        texts += [char * 2_000, char * 200 + "!"]
    return texts


def probe(file: Path, texts: list[str]) -> None:
    """Let a process of its own read texts; `BadInput` where it does not end well.

    Its limit is processor time, so that a busy machine refuses nothing; the clock's is for a wait.
    """
    job = json.dumps({"file": str(file.absolute()), "texts": texts, "path": sys.path})
    program = PROBE.replace("MEGABYTES", str(PROBE_MEGABYTES))
    program = program.replace("SECONDS", str(PROBE_SECONDS))
    try:
        done = subprocess.run([sys.executable, "-I", "-c", program], input=job, text=True,
                              capture_output=True, timeout=6 * PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        raise BadInput(f"{file}: a short text takes more than {6 * PROBE_SECONDS} seconds; {REMEDY}"
                       ) from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        raise BadInput(f"{file}: cannot read a short text ({lines[-1][:200]}); {REMEDY}")
