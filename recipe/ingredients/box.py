"""A box of pixels in an image. Crops and erased boxes are drawn in augment.py; cutmix has corners, drawn in mix.py."""

from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor


class Box(NamedTuple):
    """A box of pixels; an empty one where nothing was drawn."""

    top: int = 0
    left: int = 0
    height: int = 0
    width: int = 0

    def within(self, outer: "Box") -> "Box":
        """The same pixels' box, counted from the corner of a box that holds it."""
        return self._replace(top=self.top - outer.top, left=self.left - outer.left)

    def of(self, image: Tensor) -> Tensor:
        """Its pixels of a (…, H, W) image: (…, height, width), not copied."""
        if image.shape[-2:] == (self.height, self.width):
            return image
        return image[..., self.top : self.top + self.height, self.left : self.left + self.width]


def around(boxes: Iterable[Box]) -> Box:
    """The smallest box that holds them all."""
    boxes = list(boxes)
    if len(boxes) == 1:
        return boxes[0]
    top, left = (min(box[side] for box in boxes) for side in (0, 1))
    bottom, right = (max(box[side] + box[side + 2] for box in boxes) for side in (0, 1))
    return Box(top, left, bottom - top, right - left)
