"""docs/CLUSTERS.md: its commands are composed and parsed, its manifests are what Kubernetes and Kubeflow take."""

import argparse
import re
import shlex
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from recipe.__main__ import COMMANDS
from recipe.machine.signals import STOPPED
from recipe.plan.checks import check
from recipe.plan.compose import PROJECT, Plan
from recipe.plan.launcher_config import LAUNCHERS

DOCS = PROJECT / "docs"
PAGE = (DOCS / "CLUSTERS.md").read_text(encoding="utf-8")
MANIFESTS = sorted((DOCS / "kubernetes").glob("*.yaml"))
KUBERNETES = "1.37"


def commands(first: str) -> list[list[str]]:
    """The page's indented commands that begin with a word, or have it behind torchrun's own."""
    text = PAGE.replace(" \\\n", " ")
    lines = [shlex.split(line, comments=True) for line in re.findall(r"^    (\S.*)$", text, re.M)]
    return [line[line.index(first) + 1 :] for line in lines if first in line]


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DOCS / "kubernetes" / name).read_text(encoding="utf-8")))


def test_every_training_command_composes(
    plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGENET_DIR", str(tmp_path))
    found = commands("train.py")
    assert len(found) >= 3
    for words in found:
        launcher = LAUNCHERS["slurm" if "hydra/launcher=slurm" in words else "torchrun"]
        keys = [word.partition("=")[0] for word in words if word.startswith("hydra.launcher.")]
        assert {key.rpartition(".")[2] for key in keys} <= {item.name for item in fields(launcher)}, words
        own = [word for word in words if not word.startswith(("hydra", "-"))]
        own = [f"data.root={tmp_path}" if word.startswith("data.root=") else word for word in own]
        for glob in ("t*", "r*"):
            options = sorted((PROJECT / "conf" / "recipe").glob(f"{glob}.yaml"))
            own = [word.replace(f"glob({glob})", options[-1].stem) for word in own]
        assert plan(*[word.split(",")[0] for word in own]).config.epochs


def test_every_other_command_is_one() -> None:
    parser = argparse.ArgumentParser(prog="recipe")
    parsers = parser.add_subparsers(required=True)
    for command in COMMANDS:
        command.add_to(parsers)
    found = commands("recipe")
    assert len(found) >= 3
    for words in found:
        assert callable(parser.parse_args(words).run)
    applied = [words[-1] for words in commands("apply")]
    assert sorted(PROJECT / file for file in applied) == MANIFESTS


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)]*)\)", PAGE)
    assert len(links) > 6
    for link in links:
        file, _, anchor = link.partition("#")
        text = (DOCS / file).read_text(encoding="utf-8") if file else PAGE
        headings = [re.sub(r"[^\w -]", "", line).strip().lower() for line in re.findall(r"^#+ (.*)$", text, re.M)]
        assert not anchor or anchor in {heading.replace(" ", "-") for heading in headings}, link


def test_exit_code_of_a_stopped_run_is_the_one_written() -> None:
    assert f"| {STOPPED} | stopped and saved |" in PAGE
    (job,) = documents("indexed-job.yaml")
    rules = job["spec"]["podFailurePolicy"]["rules"]
    assert [STOPPED] in [rule["onExitCodes"]["values"] for rule in rules if rule["action"] == "Ignore" and
                         "onExitCodes" in rule]  # fmt: skip


def test_pods_of_the_indexed_job_are_seeds(
    plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = documents("indexed-job.yaml")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["python", "train.py"]
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "3")
    words = [word.replace("/shared/photos", str(tmp_path)) for word in container["args"]]
    assert plan(*words).config.seed == 3


def test_the_train_job_composes_for_its_processes(plan: Callable[..., Plan], tmp_path: Path) -> None:
    _, job = documents("train-job.yaml")
    trainer = job["spec"]["trainer"]
    assert trainer["command"][0] == "torchrun"
    words = [word.replace("/shared/photos", str(tmp_path)) for word in trainer["args"]]
    check(plan(*words).config, trainer["numNodes"] * trainer["numProcPerNode"])


def test_the_indexed_job_fits_kubernetes_schema() -> None:
    kubernetes = pytest.importorskip("kubernetes_validate", reason="needs the extra dev")
    (job,) = documents("indexed-job.yaml")
    kubernetes.validate(job, KUBERNETES, strict=True)
    job["spec"]["template"]["spec"]["containers"][0]["volumemounts"] = []
    with pytest.raises(kubernetes.ValidationError):
        kubernetes.validate(job, KUBERNETES, strict=True)


def test_the_train_job_fits_kubeflow_s_schema() -> None:
    """What its models do not know, they leave out."""
    models = pytest.importorskip("kubeflow_trainer_api.models", reason="needs the extra dev")
    runtime, job = documents("train-job.yaml")
    assert models.TrainerV1alpha1TrainJob.from_dict(job).to_dict() == job
    assert models.TrainerV1alpha1TrainingRuntime.from_dict(runtime).to_dict() == runtime
    assert job["spec"]["runtimeRef"]["name"] == runtime["metadata"]["name"]


def test_the_pods_of_the_train_job_fit_kubernetes_schema() -> None:
    kubernetes = pytest.importorskip("kubernetes_validate", reason="needs the extra dev")
    runtime, _ = documents("train-job.yaml")
    (node,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    about = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "node"}}
    kubernetes.validate({**about, "spec": node["template"]["spec"]}, KUBERNETES, strict=True)
