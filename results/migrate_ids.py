"""Once: give the committed records the ids of `kdbench.identity.record_id`, each only after its old id is proven.

The old id is made again from the data and models that are here; a record whose old id does not come out is left alone
and named. The same content, a new id, and with it the digests that the id is made of.

    python results/migrate_ids.py results/gad results/bc2gm ... --data-dir data sentences.txt
"""

import json
import sys
from pathlib import Path

from kdbench.identity import digest, record_id
from kdbench.registry import METHODS
from kdbench.runner import content_of, left_out, load_data, read_unlabelled
from kdbench.store import path_of


def migrate(folder: Path, data_dir: Path, sentences: str = "") -> tuple[int, list[str]]:
    done, wrong = 0, []
    for path in sorted(folder.glob("records/*/*.json")):
        record = json.loads(path.read_text())
        if "content" in record:
            continue
        cell = record["cell"]
        settings = dict(cell["settings"])
        count = settings.pop("unlabelled", 0)
        task, whole, _ = load_data(cell["task"], data_dir, (), tuple(sorted(cell["task_options"].items())))
        data = whole.limited(settings["max_train_examples"], settings["max_dev_examples"])
        rest = left_out(whole, data) if settings["max_train_examples"] else []
        texts = read_unlabelled(Path(sentences), task) if sentences else []
        for has in ([], rest, texts):
            old = digest({"data": record["data"]["sha256"], "labels": data.labels, "student": record["models"]["student"],
                          "teacher": record["models"]["teacher"], "unlabelled": [e.key for e in has]})
            if len(has) == count and digest({**cell, "settings": settings, "content": old}) == record["id"]:
                break
        else:
            wrong.append(f"{path}: its old id does not come out")
            continue
        if dict(whole.sha256) != record["data"]["sha256"] or data.rows != record["data"]["rows"]:
            wrong.append(f"{path}: other data")
            continue
        cls = METHODS.get(cell["method"])
        role = "teacher" if record["role"] == "teacher" else ""
        content = content_of(role, cls(None), task, data, None, None, has, record["provenance"]["device"])
        content.update(student=record["models"]["student"], teacher=record["models"]["teacher"])
        content = json.loads(json.dumps(content))
        for more in record["rows_more"]:
            more["role"] = "control" if more["name"].endswith("no teacher") else "teacher"
        record["id"] = record_id(cell, content)
        items = []
        for key, value in record.items():
            items.append((key, value))
            if key == "cell":
                items.append(("content", content))
        new = path_of(folder, record["id"], cell["task"])
        new.write_text(json.dumps(dict(items), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        path.with_suffix(".npz").rename(new.with_suffix(".npz"))
        path.unlink()
        done += 1
    return done, wrong


if __name__ == "__main__":
    *folders, _, data, texts = sys.argv[1:]
    for name in folders:
        done, wrong = migrate(Path(name), Path(data), texts)
        print(f"{name}: {done} renamed", *wrong, sep="\n  ")
