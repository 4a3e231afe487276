"""How convolutions and linear layers start: as other constructors than the network's own start them.

Names are of the constructors that do so where libraries and families differ. (Between torchvision's and timm's ResNets
nothing differs but the last norms: `model.zero_init_residual`.) Norms, embeddings and whatever else a network has start
as its source has them; heads of several layers (recipe/network/heads.py) have a start of their own.
"""

import math
from collections.abc import Callable

from torch import nn

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d
Layer = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear


def initialise(model: nn.Module, name: str) -> None:
    """Draw the weights of all convolutions and linear layers anew, in place, from the global generator.

    Args:
        name: of INITIALISATIONS, or "source", which leaves the network as it is and draws nothing.
    """
    if name == "source":
        return
    for layer in model.modules():
        if isinstance(layer, Layer):
            INITIALISATIONS[name](layer)
        elif isinstance(layer, BatchNorm) and name in OWN_NORMS:
            OWN_NORMS[name](layer)


def torchvision_resnet(layer: Layer) -> None:
    """Convolutions N(0, 2/fan_out) (He et al., 2015), fan_out = kernel·outputs.

    Linear layers are PyTorch's own. timm's ResNets are the same.
    """
    if isinstance(layer, nn.Linear):
        layer.reset_parameters()
        return
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    _no_bias(layer)  # ResNets have none


def torchvision_mobilenet(layer: Layer) -> None:
    """Convolutions as ResNet's; linear layers N(0, 0.01²); no bias but 0."""
    if isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, 0, 0.01)
    else:
        nn.init.kaiming_normal_(layer.weight, mode="fan_out")
    _no_bias(layer)


def timm_efficientnet(layer: Layer) -> None:
    """TensorFlow's: convolutions N(0, 2/fan_out), fan_out of one group; linear layers uniform in ±1/√outputs."""
    if isinstance(layer, nn.Linear):
        bound = 1 / math.sqrt(layer.out_features)
        nn.init.uniform_(layer.weight, -bound, bound)
    else:
        fan_out = math.prod(layer.kernel_size) * layer.out_channels // layer.groups
        nn.init.normal_(layer.weight, 0, math.sqrt(2 / fan_out))
    _no_bias(layer)


def kaiming_normal(layer: Layer) -> None:
    """N(0, 2/fan_in) (He et al., 2015, for ReLU); no bias but 0."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    _no_bias(layer)


def kaiming_uniform(layer: Layer) -> None:
    """Uniform in ±√(6/fan_in), of the same variance; no bias but 0."""
    nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
    _no_bias(layer)


def pytorch(layer: Layer) -> None:
    """As the layer is by itself: weights and biases uniform in ±1/√fan_in."""
    layer.reset_parameters()


def mosaic(layer: Layer) -> None:
    """As kaiming_normal; linear layers' biases −ln(outputs), so that each class begins with its share (MosaicML)."""
    kaiming_normal(layer)
    if isinstance(layer, nn.Linear) and layer.bias is not None:
        nn.init.constant_(layer.bias, -math.log(layer.out_features))


def mosaic_norm(layer: BatchNorm) -> None:
    """Factors uniform in [0, 1], offsets 0."""
    if layer.affine:
        nn.init.uniform_(layer.weight)
        nn.init.zeros_(layer.bias)


INITIALISATIONS: dict[str, Callable[[Layer], None]] = {
    "torchvision_resnet": torchvision_resnet,
    "torchvision_mobilenet": torchvision_mobilenet,
    "timm_efficientnet": timm_efficientnet,
    "kaiming_normal": kaiming_normal,
    "kaiming_uniform": kaiming_uniform,
    "pytorch": pytorch,
    "mosaic": mosaic,
}
OWN_NORMS: dict[str, Callable[[BatchNorm], None]] = {"mosaic": mosaic_norm}


def _no_bias(layer: Layer) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
