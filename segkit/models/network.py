"""What every architecture does: an encoder, a bottleneck, a way up of its own, and heads."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from segkit.errors import ShapeError
from segkit.models.blocks import NORMS, initialise, pad_to_multiple
from segkit.models.bottlenecks import BOTTLENECKS
from segkit.models.encoders import ENCODERS
from segkit.models.settings import NetworkSettings


class Network(nn.Module):
    """(B, C, H, W) picture -> (B, K, H, W) logits, for any H and W.

    (B, S, C, H, W), B runs of S neighbouring slices, become (B · S, K, H, W); only a bottleneck along the slices tells them from single pictures.
    Any other number of axes is a ShapeError.
    While training with deep supervision: a list of logits, those of the picture's size first, coarser ones of every cell that has a pixel of the picture in it.
    """

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.encoder = ENCODERS[settings.encoder](settings, None)
        self.bottleneck = BOTTLENECKS[settings.bottleneck](self.encoder.widths[-1], NORMS[settings.norm])
        self.multiple = max(self.encoder.strides)

    def add_heads(self, widths: Sequence[int], settings: NetworkSettings) -> None:
        """A 1×1 convolution on each map of `decode` that has a width here, the further ones only for deep supervision; starts all weights but the encoder's."""
        heads = [nn.Conv2d(width, settings.num_classes, 1) for width in widths]
        self.head, self.side_heads = heads[0], nn.ModuleList(heads[1:] if settings.deep_supervision else [])
        for name, part in self.named_children():
            if name != "encoder":
                initialise(part)

    @abstractmethod
    def decode(self, maps: Sequence[Tensor], deepest: Tensor) -> list[Tensor]:
        """The encoder's five maps, finest first, and what the bottleneck made of the last -> the maps that are scored, that of the picture's size first."""

    def forward(self, picture: Tensor, deepest: Tensor | None = None) -> Tensor | list[Tensor]:
        _require_pictures(picture)
        slices = picture.shape[1] if picture.ndim == 5 else 1
        picture = picture.flatten(0, -4)
        height, width = picture.shape[-2:]
        maps = self.encoder(pad_to_multiple(picture, self.multiple))       # finest first: (B, widths[i], H / strides[i], W / strides[i])
        finest, *others = self.decode(maps, self.bottleneck(maps[-1], slices) if deepest is None else deepest)
        logits = self.head(finest)[..., :height, :width]                   # (B, K, H, W)
        if not self.training or not self.side_heads:
            return logits
        grown = finest.shape[-2:]
        sides = (head(x) for head, x in zip(self.side_heads, others, strict=False))
        return [logits, *(one[..., : _cells(height, one.shape[-2], grown[0]), : _cells(width, one.shape[-1], grown[1])] for one in sides)]

    def deepest(self, picture: Tensor) -> Tensor:
        """(B, C, H, W) -> the encoder's last map, before the bottleneck. A long volume's are gathered first, passed through the
        bottleneck together, and given back to `forward` a few slices at a time."""
        return self.encoder(pad_to_multiple(picture, self.multiple))[-1]


def _require_pictures(picture: Tensor) -> None:
    """ShapeError where it has not 4 or 5 axes; another number of channels is said by the first convolution."""
    if picture.ndim not in (4, 5):
        shape = tuple(picture.shape)
        raise ShapeError(f"a network takes (B, C, H, W) pictures or (B, S, C, H, W) runs of slices, it was given {shape}; picture[None] is a batch of one")


def _cells(length: int, cells: int, grown: int) -> int:
    """How many of the cells that an axis of `grown` pixels is cut into have one of its first `length` pixels in them."""
    return -(-length * cells // grown)
