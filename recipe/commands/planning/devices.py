"""One training on 1 to 512 devices, by a simple model: computing, loading, and adding up gradients around a ring.

A device computes batch / (devices · rate) seconds a step, or waits for its cores to load that much, whichever is more.
Then every gradient goes once around the ring in two passes: 2 (n - 1) / n · bytes / bandwidth + 2 (n - 1) · latency, n
devices, 4 bytes a parameter, the bandwidth of the slowest link. Nothing of it is hidden behind the backward pass, which
PyTorch does in part; nothing is lost to waiting for the slowest device, or to micro-batches too small to keep a device
busy, which real trainings do. Bandwidths and latency are assumptions, not measurements.
"""

from typing import NamedTuple

from recipe.config import Config

COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
PER_NODE = 8  # devices
IN_NODE, BETWEEN_NODES = 100.0, 12.5  # GB/s of one device: assumed; 12.5 is a port of 100 Gbit/s for each
LATENCY = 10e-6  # seconds a hop: assumed
BYTES = 4  # of a gradient: weights are kept in fp32

# As torchvision's weights say (`num_params`); of other models, nothing is said.
PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnext50_32x4d": 25_028_904,
}


class OnDevices(NamedTuple):
    """A training on so many devices."""

    devices: int
    step_seconds: float
    epoch_seconds: float
    hours: float  # of the whole training, by the clock
    efficiency: float  # of the images a second that as many single devices would train
    limit: str  # what takes the most beside computing: loading, gradients, or nothing
    micro_batches: int | None  # of a device and step; None: the batch cannot be shared so
    micro_batch: int | None  # images in each; another number than the recipe's is another experiment


def spread(
    config: Config,
    images: int,
    rate: float,
    loader_ms: float,
    cores: float | None,
    links: tuple[float, float] = (IN_NODE, BETWEEN_NODES),
) -> list[OnDevices]:
    """The training on each of COUNTS devices; its model must be one of PARAMETERS.

    Args:
        rate: images a second of one device.
        loader_ms: of a core for an image.
        cores: for each device; None: enough.
        links: GB/s of one device within a node of PER_NODE, and between nodes.
    """
    found = []
    steps = max(1, images // config.batch_size)
    for devices in COUNTS:
        share = config.batch_size / devices
        computing = share / rate
        loading = share * loader_ms / 1000 / cores if cores else 0.0
        gradients = ring_seconds(devices, PARAMETERS[config.model.name] * BYTES, links)
        step = max(computing, loading) + gradients
        lost = {"loading": loading - computing, "gradients": gradients}
        largest = max(lost, key=lambda name: lost[name])
        count, size = _micro_batches(config, devices)
        found.append(
            OnDevices(
                devices=devices,
                step_seconds=step,
                epoch_seconds=steps * step,
                hours=config.epochs * steps * step / 3600,
                efficiency=computing / step,
                limit=largest if lost[largest] > 0.01 * step else "",
                micro_batches=count,
                micro_batch=size,
            )
        )
    return found


def ring_seconds(devices: int, size: float, links: tuple[float, float]) -> float:
    """Seconds in which a ring of devices adds up so many bytes."""
    bandwidth = 1e9 * (links[0] if devices <= PER_NODE else min(links))
    return 2 * (devices - 1) / devices * size / bandwidth + 2 * (devices - 1) * LATENCY


def _micro_batches(config: Config, devices: int) -> tuple[int | None, int | None]:
    """Micro-batches of a device and step, and images in each: the recipe's, else the largest that can be shared."""
    batch, own = config.batch_size, config.micro_batch_size
    sizes = [own, *(size for size in range(own - 1, 1, -1) if batch % size == 0)]
    for size in sizes:
        count = batch // size
        if count % devices == 0:
            return count // devices, size
    return None, None
