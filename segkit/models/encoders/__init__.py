"""Encoders: a picture in, five maps out, finest first. A new one is a file and a line in `ENCODERS`.

An encoder says the channels of its maps in `widths` and how many times smaller than the picture they are in `strides`.
"""

from __future__ import annotations

from collections.abc import Callable

from segkit.models.attention import ATTENTIONS
from segkit.models.encoders.encoder import Encoder
from segkit.models.encoders.ghostnet import GhostNet
from segkit.models.encoders.mobilenet import MobileNetV2
from segkit.models.encoders.plain import PlainEncoder, build_plain
from segkit.models.encoders.resnet import RESNETS, ResNet, build_resnet
from segkit.models.encoders.settings import EncoderSettings
from segkit.models.encoders.shufflenet import ShuffleNetV2

Builder = Callable[[EncoderSettings, int | None], Encoder]
"""(settings, num_classes or None) -> the encoder, or with num_classes its classification network."""

ENCODERS: dict[str, Builder] = {
    "plain": build_plain,
    **dict.fromkeys(RESNETS, build_resnet),
    **{f"{attention}_{name}": build_resnet for attention in ATTENTIONS for name in RESNETS},
    "mobilenet_v2": MobileNetV2,
    "shufflenet_v2_x1_0": ShuffleNetV2,
    "ghostnet": GhostNet,
}


def family(encoder: str) -> str:
    """Which settings an encoder has, in the words of `ONLY_FOR`."""
    families: dict[Builder, str] = {build_plain: "the plain encoder", build_resnet: "ResNets"}
    return families.get(ENCODERS[encoder], "light encoders")


__all__ = ["ENCODERS", "Encoder", "EncoderSettings", "GhostNet", "MobileNetV2", "PlainEncoder", "ResNet", "ShuffleNetV2", "family"]
