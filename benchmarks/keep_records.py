"""Keep what finished runs measured: `python benchmarks/keep_records.py RUNS FOLDER`.

Each run's record becomes FOLDER/RUNG~seed=N.tar.xz: config.yaml, environment.json, result.json and metrics.jsonl,
without the paths of the machine, and of predictions.npz which images the run was right about; no images, no weights.
What is there already is left alone.
"""

import io
import json
import re
import sys
import tarfile
from pathlib import Path

import numpy as np

NAMES = ("config.yaml", "environment.json", "result.json", "metrics.jsonl")
PATH = re.compile(r"(?<![\w.:/])/(?:[\w.=~+-]+/)+(?=[\w.=~+-])")  # folders of an absolute path, without its last part


def main(runs: Path, folder: Path) -> None:
    """Pack all finished runs below `runs`."""
    folder.mkdir(parents=True, exist_ok=True)
    for result in sorted(runs.glob("*/seed=*/result.json")):
        run = result.parent
        rung = json.loads((run / "environment.json").read_text())["rung"]["name"]
        packed = folder / f"{rung}~{run.name}.tar.xz"
        if packed.exists():
            continue
        with tarfile.open(packed, "w:xz") as archive:
            contents = {name: PATH.sub("", (run / name).read_text()).encode() for name in NAMES}
            for name, content in {**contents, "predictions.npz": right(run / "predictions.npz")}.items():
                about = tarfile.TarInfo(f"{run.parent.name}/{run.name}/{name}")
                about.size = len(content)
                archive.addfile(about, io.BytesIO(content))
        print(packed)


def right(predictions: Path) -> bytes:
    """An npz file of what a report reads of a run's predictions: no logits."""
    with np.load(predictions) as file, io.BytesIO() as kept:
        np.savez(kept, **{name: file[name] for name in ("index", "label", "correct")})
        return kept.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
