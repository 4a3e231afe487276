"""The averaged weights are those of torch's averaged model at the published rate, and the trained ones stay alone."""

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from recipe.config import Config, EmaConfig, ScheduleConfig
from recipe.ingredients.ema import REFERENCE_IMAGES, Ema, averaging_rate


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))


def ema_config(decay: float | None = 0.999, steps: int = 2, warmup_epochs: float = 0) -> Config:
    return Config(
        epochs=10,
        batch_size=8,
        ema=EmaConfig(decay=decay, steps=steps),
        schedule=ScheduleConfig(name="cosine", warmup_epochs=warmup_epochs),
    )


def train_a_little(model: nn.Module) -> None:
    model(torch.randn(8, 4))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)


def state(model: nn.Module | None) -> dict[str, Tensor]:
    assert model is not None
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_rate_of_v2_is_the_published_one() -> None:
    assert averaging_rate(0.99998, 1024, 32, 600, REFERENCE_IMAGES) == pytest.approx(0.00109227, abs=5e-9)


def test_rate_keeps_the_horizon_a_fraction_of_training_on_other_data() -> None:
    on_imagenet = averaging_rate(0.99998, 1024, 32, 600, 1_281_167)
    assert averaging_rate(0.99998, 1024, 32, 600, 128_117) == pytest.approx(10 * on_imagenet, rel=1e-4)


def test_rate_is_at_most_one() -> None:
    assert averaging_rate(0.9, 1024, 32, 1, REFERENCE_IMAGES) == 1.0
    assert averaging_rate(0.99998, 1024, 32, 600, 100) == 1.0


def test_off_does_nothing() -> None:
    model = network()
    before = state(model)
    ema = Ema(model, ema_config(decay=None), REFERENCE_IMAGES)
    ema.update(0, 0)
    assert ema.model is None
    assert same(state(model), before)


def test_average_starts_as_a_copy_that_is_not_trained() -> None:
    model = network()
    ema = Ema(model, ema_config(), REFERENCE_IMAGES)
    assert ema.model is not None
    assert same(state(ema.model), state(model))
    assert not ema.model.training
    assert not any(parameter.requires_grad for parameter in ema.model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_updates_only_at_steps_that_its_interval_divides() -> None:
    model = network()
    ema = Ema(model, ema_config(steps=3), REFERENCE_IMAGES)
    updated = []
    for step in range(10):
        train_a_little(model)
        before = state(ema.model)
        ema.update(5, step)
        if not same(state(ema.model), before):
            updated.append(step)
    assert updated == [0, 3, 6, 9]


@pytest.mark.parametrize(("warmup_epochs", "first_averaged"), [(0, (0, 2)), (2, (2, 2)), (1.5, (2, 2)), (0.2, (1, 2))])
def test_updates_copy_during_warmup_and_once_after_it(warmup_epochs: float, first_averaged: tuple[int, int]) -> None:
    model = network()
    ema = Ema(model, ema_config(warmup_epochs=warmup_epochs), REFERENCE_IMAGES)
    for epoch in range(4):
        for step in (0, 2, 4):
            train_a_little(model)
            ema.update(epoch, step)
            assert same(state(ema.model), state(model)) == ((epoch, step) < first_averaged)


def test_average_equals_torch_s_averaged_model() -> None:
    model = network()
    ema = Ema(model, ema_config(decay=0.9995, steps=1), 100_000)
    alpha = (1 - 0.9995) * 8 * 1 / 10 * (1_281_167 / 100_000)
    oracle = AveragedModel(model, avg_fn=lambda own, new, _: (1 - alpha) * own + alpha * new, use_buffers=True)
    for epoch in range(3):
        for step in range(5):
            train_a_little(model)
            ema.update(epoch, step)
            oracle.update_parameters(model)
    assert not same(state(ema.model), state(model))
    for name, expected in state(oracle.module).items():
        if expected.is_floating_point():
            torch.testing.assert_close(state(ema.model)[name], expected, rtol=1e-6, atol=1e-7)


def test_float_buffers_are_averaged() -> None:
    model = nn.BatchNorm1d(1)
    ema = Ema(model, ema_config(decay=0.75, steps=1), REFERENCE_IMAGES)
    for step, mean in enumerate([1.0, 2.0]):
        nn.init.constant_(model.get_buffer("running_mean"), mean)
        ema.update(0, step)
    alpha = 0.25 * 8 / 10
    assert state(ema.model)["running_mean"].item() == pytest.approx((1 - alpha) * 1 + alpha * 2)


class MakesItsOwn(nn.Module):
    """Keeps what its forward pass works with, in the shape of its input, as timm's ConViT does."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.register_buffer("positions", torch.zeros(1), persistent=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.positions = torch.arange(inputs.shape[1], dtype=torch.float32)
        return inputs * self.scale + self.positions


def test_what_a_forward_pass_makes_for_itself_is_not_averaged() -> None:
    model = MakesItsOwn()
    ema = Ema(model, ema_config(steps=1), REFERENCE_IMAGES)
    model(torch.rand(2, 5))
    ema.update(0, 0)
    assert ema.model is not None
    assert ema.model(torch.rand(2, 7)).shape == (2, 7)


def test_integer_buffers_are_copied() -> None:
    model = network()
    ema = Ema(model, ema_config(steps=1), REFERENCE_IMAGES)
    for step in range(7):
        train_a_little(model)
        ema.update(5, step)
    assert state(ema.model)["1.num_batches_tracked"].item() == 7


def test_update_leaves_the_trained_model_alone() -> None:
    model = network()
    ema = Ema(model, ema_config(steps=1), REFERENCE_IMAGES)
    train_a_little(model)
    before = state(model)
    ema.update(5, 1)
    assert same(state(model), before)
    assert all(
        own.data_ptr() != other.data_ptr()
        for own, other in zip(model.state_dict().values(), ema.model.state_dict().values(), strict=True)  # type: ignore[union-attr]
    )
