"""The network, from torchvision or timm, initialised from the seed."""

import inspect
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from recipe.config import Config, ModelConfig, RuntimeConfig
from recipe.errors import ConfigError
from recipe.network import zoo
from recipe.network.available import unknown_name
from recipe.network.blur_pool import set_blur_pool
from recipe.network.constructor import bare
from recipe.network.heads import set_head
from recipe.network.initial import OWN_NORMS, initialise
from recipe.network.preprocessing import own_preprocessing
from recipe.randomness import seed_at

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp64": torch.float64}


def check_name(config: ModelConfig) -> None:
    """Refuse a name that the source has no model of. Raises ConfigError."""
    known = _names(config.source)
    if config.name not in known:
        raise ConfigError(unknown_name(config.name, config.source, known))


def make_model(config: Config, num_classes: int, arguments: Mapping[str, Any] | None = None) -> nn.Module:
    """The network with fresh weights, on the CPU: the same for the same seed, on every rank.

    Args:
        arguments: of its constructor, as a run has kept them; None: those of `model.weights`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_at(config.seed, "init"))
        if arguments is None:
            arguments = zoo.arguments(config.model)
        model = bare(config.model, num_classes, arguments)
        if config.model.stem != "imagenet":
            _set_small_stem(model, config.model)
        initialise(model, config.model.init)
        set_blur_pool(model, config.model)
        set_head(model, config, num_classes)
    _set_last_norms(model, config.model)
    set_format(model, config.runtime)
    return model


def set_format(model: nn.Module, runtime: RuntimeConfig) -> None:
    """Give the weights their precision and their layout in memory, in place."""
    if runtime.precision == "fp64":
        model.double()
    if runtime.channels_last:
        planes = [layer for layer in model.modules() if _only_in_planes(layer)]
        for layer in planes:
            layer.register_forward_pre_hook(_in_planes)
        kept = {id(layer.weight) for layer in planes}
        # Of two-dimensional convolutions: `Module.to` refuses networks that have three-dimensional ones.
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.dim() == 4 and id(tensor) not in kept:
                tensor.data = tensor.data.to(memory_format=torch.channels_last)


def check_resolution(
    model: nn.Module, config: Config, num_classes: int, others: Sequence[tuple[str, int]] = ()
) -> None:
    """Refuse a model that does not take images of the configured sizes, or returns more than logits.

    Args:
        others: keys, and further sizes in pixels that they make it train on.

    Runs on tensors without data ("meta"): no pixel is computed. Raises ConfigError.
    """
    sizes = config.resolution
    grid = [("evaluate.grid", entry["val_crop"]) for entry in config.evaluate.grid if "val_crop" in entry]
    trained = [("resolution.train_crop", sizes.train_crop)]
    _check_sizes(model, config, num_classes, [*trained, *others], training=True)
    check_crops(model, config, num_classes, [("resolution.val_crop", sizes.val_crop), *grid])


def check_crops(model: nn.Module, config: Config, num_classes: int, crops: Sequence[tuple[str, int]]) -> None:
    """Refuse a model that does not take images of these sizes when it is evaluated. Raises ConfigError.

    Args:
        crops: the keys that name the sizes, and the sizes, in pixels.
    """
    _check_sizes(model, config, num_classes, crops, training=False)


def _check_sizes(
    model: nn.Module, config: Config, num_classes: int, crops: Sequence[tuple[str, int]], training: bool
) -> None:
    shadow = deepcopy(model).to("meta")
    for key, size in crops:
        images = torch.empty(2, 3, size, size, device="meta", dtype=next(shadow.parameters()).dtype)
        try:
            output = shadow.train(training)(images)
        except NotImplementedError:
            return  # an operation that has no shape without data
        except Exception as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ConfigError(
                f"model.name={config.model.name} does not take images of {size} px ({key}): "
                f"{reason.rstrip('.!')}{_made_for(model, config.model, size)}"
            ) from error
        if not isinstance(output, Tensor) or output.shape != (2, num_classes):
            raise ConfigError(
                f"model.name={config.model.name} returns more than one logit for each class in "
                f"{'training' if training else 'evaluation'} (auxiliary heads?): such models are not supported"
            )


def _made_for(model: nn.Module, config: ModelConfig, size: int) -> str:
    """The images that a network is made for, and how to make it for images of `size` pixels where that can be done."""
    takes = inspect.signature(type(model)).parameters
    argument = next((name for name in ("img_size", "image_size") if name in takes), None)
    if argument in config.args:
        return f"; it is made for {config.args[argument]} px (model.args)"
    own = own_preprocessing(config)
    by_hand = f" (model.args={{{argument}: {size}}} makes it for {size})" if argument else ""
    return f"; it is made for {own.crop} px{by_hand}" if own else ""


def layer_table(config: Config, pixels: int) -> list[str]:
    """The model's layers for images of `pixels` x `pixels`: a line each with output size and parameters.

    Convolutions and poolings have kernel, stride, padding and groups; those of a block stand below its line, indented,
    and their parameters are among the block's.
    """
    model = make_model(config, config.data.num_classes or 1000).to("meta")
    title = (
        f"{'layer':30}{'kind':20}{'kernel':>8}{'stride':>8}{'padding':>8}{'groups':>7}{'output':>18}{'parameters':>13}"
    )
    lines: dict[str, str] = {}

    def add(name: str, layer: nn.Module) -> None:
        lines[name] = ""  # in the order of the model: a block's own line, known after its layers', comes before them

        def hook(_layer: nn.Module, _inputs: object, output: object) -> None:
            shape = " x ".join(map(str, output.shape[1:])) if isinstance(output, Tensor) else ""
            parameters = sum(parameter.numel() for parameter in layer.parameters())
            window = "".join(f"{text:>{width}}" for text, width in zip(_window(layer), (8, 8, 8, 7), strict=True))
            lines[name] = f"{name:30}{type(layer).__name__:20}{window}{shape:>18}{parameters:13,}"

        layer.register_forward_hook(hook)

    def add_with_windows(name: str, layer: nn.Module) -> None:
        add(name, layer)
        for inner, part in layer.named_modules():
            if inner and any(_window(part)):
                add(f"  {name}.{inner}", part)

    for name, layer in model.named_children():
        blocks = list(layer.named_children()) if isinstance(layer, nn.Sequential) else []
        for number, block in blocks:
            add_with_windows(f"{name}.{number}", block)
        if not blocks:
            add_with_windows(name, layer)
    model.eval()(torch.empty(1, 3, pixels, pixels, device="meta", dtype=next(model.parameters()).dtype))
    total = sum(parameter.numel() for parameter in model.parameters())
    return [title, *filter(None, lines.values()), f"{'all':99}{total:13,}"]


def _window(layer: nn.Module) -> tuple[str, str, str, str]:
    """Kernel, stride, padding and groups of a convolution or pooling; nothing of other layers."""
    if not hasattr(layer, "kernel_size"):
        return "", "", "", ""

    def told(value: Any) -> str:
        values = value if isinstance(value, tuple) else (value,)
        return str(values[0]) if len(set(values)) == 1 else "x".join(map(str, values))

    kernel = layer.kernel_size
    sides = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    groups = str(layer.groups) if hasattr(layer, "groups") else ""
    return "x".join(map(str, sides)), told(layer.stride), told(layer.padding), groups


def _only_in_planes(layer: nn.Module) -> bool:
    """Strided 1x1 convolutions of few channels (the first layers of FastViT, RepVGG): in channels_last, oneDNN's
    gradient of their weights writes past its memory on a CPU, to wrong figures or a crash (uxlfoundation/oneDNN#6035).
    """
    small = isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and layer.in_channels // layer.groups < 16
    return small and layer.stride != (1, 1)


def _in_planes(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(part.contiguous() if part.device.type == "cpu" else part for part in inputs)


def _set_small_stem(model: nn.Module, config: ModelConfig) -> None:
    """A first convolution of 3x3 with stride 1 and no max-pooling: small images keep their resolution.

    Started as ResNets' convolutions are; with a bias, as PyTorch starts it.
    """
    first, pool = getattr(model, "conv1", None), getattr(model, "maxpool", None)
    if not isinstance(first, nn.Conv2d) or first.kernel_size != (7, 7) or not isinstance(pool, nn.MaxPool2d):
        raise ConfigError(
            f"model.stem={config.stem}: {config.name} has no stem of a 7x7 convolution and max-pooling; it is for "
            "ResNets"
        )
    with_bias = config.stem == "small_with_bias"
    first = nn.Conv2d(3, first.out_channels, kernel_size=3, stride=1, padding=1, bias=with_bias)
    if not with_bias:
        nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
    model.conv1, model.maxpool = first, nn.Identity()


def _set_last_norms(model: nn.Module, config: ModelConfig) -> None:
    """Start the last batch norm of each residual block at 0 or 1, whatever the source does by itself.

    (timm's ResNets start it at 0, torchvision's at 1: a difference of 5 points after short trainings.)
    """
    last = [norm for module in model.modules() if (norm := _last_norm(module)) is not None]
    if config.zero_init_residual and not last:
        raise ConfigError(f"model.zero_init_residual=true: {config.name} has no residual blocks with a last batch norm")
    if config.init in OWN_NORMS and not config.zero_init_residual:
        return
    for norm in last:
        nn.init.constant_(norm.weight, 0.0 if config.zero_init_residual else 1.0)


def _last_norm(module: nn.Module) -> nn.BatchNorm2d | None:
    """The last norm of a ResNet's block, or the module itself where its source has started it at 0."""
    if type(module).__name__ in ("BasicBlock", "Bottleneck"):
        norm = getattr(module, "bn3", getattr(module, "bn2", None))
        return norm if isinstance(norm, nn.BatchNorm2d) else None
    if isinstance(module, nn.BatchNorm2d) and not module.weight.any():
        return module
    return None


def _names(source: str) -> list[str]:
    if source == "timm":
        import timm

        return timm.list_models()
    return torchvision.models.list_models(module=torchvision.models)
