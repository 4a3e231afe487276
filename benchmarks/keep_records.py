"""Keep what finished runs measured: `python benchmarks/keep_records.py RUNS FOLDER`.

Each run's record becomes FOLDER/RUNG~seed=N.tar.xz: config.yaml, environment.json, result.json and metrics.jsonl,
without the paths of the machine; no images, no weights. What is there already is left alone.
"""

import io
import json
import re
import sys
import tarfile
from pathlib import Path

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
            for name in NAMES:
                content = PATH.sub("", (run / name).read_text()).encode()
                about = tarfile.TarInfo(f"{run.parent.name}/{run.name}/{name}")
                about.size = len(content)
                archive.addfile(about, io.BytesIO(content))
        print(packed)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
