"""timm's weights on the Hugging Face hub: the folder that their files are kept in, and reading them offline."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SAFE, PICKLED = "model.safetensors", "pytorch_model.bin"  # what timm looks for, in this order
WEIGHTS = (".safetensors", ".bin", ".pth", ".pt", ".npz")


def id_of(about: Any) -> str:
    """The repository on the hub; "" where timm's entry (a PretrainedCfg) or torchvision's names none."""
    return str(getattr(about, "hf_hub_id", None) or "").partition("@")[0]


def folder_of(about: Any, cache: str | None) -> Path:
    """Where a repository's files are kept: `cache` is model.weights_cache, None the hub's own place."""
    from huggingface_hub.constants import HF_HUB_CACHE

    hub = Path(cache) / "huggingface" / "hub" if cache else Path(HF_HUB_CACHE)
    return hub / f"models--{id_of(about).replace('/', '--')}"


def url_of(about: Any) -> str:
    """The file that is asked for first."""
    from huggingface_hub import hf_hub_url

    return str(hf_hub_url(id_of(about), about.hf_hub_filename or SAFE))


def cache_of(about: Any, cache: str | None) -> dict[str, Any]:
    """The argument of timm.create_model that says where the files are kept; none for the libraries' own places."""
    if cache is None:
        return {}
    place = folder_of(about, cache).parent if id_of(about) else Path(cache) / "torch" / "hub" / "checkpoints"
    return {"cache_dir": place}


def is_whole(folder: Path, about: Any) -> bool:
    """Whether the file that timm looks for is in a repository's folder. (There it has its name once it is whole.)"""
    _, _, revision = str(about.hf_hub_id).partition("@")
    head = folder / "refs" / (revision or "main")
    commit = head.read_text().strip() if head.is_file() else revision or "-"
    files = [path for path in (folder / "snapshots" / commit).glob("*") if path.exists()]  # no links to what is gone
    if about.hf_hub_filename:
        return any(path.suffix in WEIGHTS for path in files)
    return any(path.name in (SAFE, PICKLED) for path in files)


def is_offline() -> bool:
    """Whether the environment forbids to ask the hub (HF_HUB_OFFLINE=1)."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


@contextmanager
def offline() -> Iterator[None]:
    """As long as it is open, files of the hub are read from its folder, and no server is asked whether it has newer."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
