"""evaluate.flip: figures are those of an image's and its mirror image's logits, in grids too; without it its own."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recipe.config import Config, DataConfig, EvaluateConfig, ResolutionConfig
from recipe.data import dataset as datasets
from recipe.data.transforms import apply_eval
from recipe.errors import ConfigError
from recipe.machine.distributed import Ranks
from recipe.plan.compose import plan_of
from recipe.training.evaluate import Evaluation, evaluate, evaluate_grid
from recipe.training.loop import as_input, channel_statistics

ALONE = Ranks(0, 1, 0, 1, torch.device("cpu"))
CONFIG = Config(
    data=DataConfig(name="synthetic", size=64, num_classes=4, workers=0),
    resolution=ResolutionConfig(val_resize=20, val_crop=16),
    evaluate=EvaluateConfig(batch_size=5),
)
NETWORK = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4))  # knows left from right


def logits_of_all(flipped: bool) -> tuple[Tensor, Tensor]:
    images = datasets.load(CONFIG.data)[1]
    pixels = [apply_eval(images.open(number).whole(), 20, 16, "bilinear") for number in range(len(images))]
    batch = as_input(torch.stack(pixels), *channel_statistics(CONFIG, ALONE.device), CONFIG)
    with torch.no_grad():
        return NETWORK(torch.fliplr(batch.transpose(1, 3)).transpose(1, 3) if flipped else batch), torch.from_numpy(
            images.labels
        )


def found(flip: bool) -> Evaluation:
    config = replace(CONFIG, evaluate=replace(CONFIG.evaluate, flip=flip))
    return evaluate({"raw": NETWORK}, datasets.load(config.data)[1], config, ALONE, 20, 16)["raw"]


def test_logits_are_the_mean_of_both() -> None:
    (logits, labels), (mirrored, _) = logits_of_all(False), logits_of_all(True)
    assert (logits - mirrored).abs().max() > 0.1
    without, with_it = found(False), found(True)
    assert without.loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert with_it.loss == pytest.approx(F.cross_entropy((logits + mirrored) / 2, labels).item(), rel=1e-5)
    hits = (logits + mirrored).argmax(1) == labels  # ffcv's sum
    assert with_it.correct.tolist() == hits.tolist()
    assert torch.allclose(with_it.logits.float(), (logits + mirrored) / 2, atol=1e-2)


def test_entries_of_a_grid_have_their_own() -> None:
    entries: list[object] = [{"flip": True}, {"flip": False}, {"val_resize": 20}]
    config = replace(CONFIG, evaluate=replace(CONFIG.evaluate, grid=entries))
    images = datasets.load(CONFIG.data)[1]
    results = evaluate_grid({"raw": NETWORK}, images, config, ALONE)
    losses = [result["loss"] for result in results]
    assert losses == [found(True).loss, found(False).loss, found(False).loss]
    assert losses[0] != losses[1]
    assert [result.get("flip") for result in results] == [True, False, None]


def test_another_result_of_the_same_training() -> None:
    plain, flipped = plan_of(["+recipe=v1"]), plan_of(["+recipe=v1", "evaluate.flip=true"])
    assert plain.training_hash == flipped.training_hash
    assert plain.result_hash != flipped.result_hash
    with pytest.raises(ConfigError, match=r"flip: 3 is not valid; entries are .*flip: true or false"):
        plan_of(["+recipe=v1", "evaluate.grid=[{flip: 3}]"])
