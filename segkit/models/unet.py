"""U-Net: an encoder that halves the picture at each stage, a decoder that doubles it back.

Ronneberger, Fischer and Brox, MICCAI 2015, https://arxiv.org/abs/1505.04597
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import model_validator
from torch import Tensor

from segkit.models.blocks import NORMS
from segkit.models.decoder import GatedDecoder, plan_steps
from segkit.models.encoders.settings import require_name
from segkit.models.gates import GATES
from segkit.models.guided import GuidedDecoder
from segkit.models.network import Network
from segkit.models.settings import NetworkSettings

GUIDED = "gpg"


class UNetSettings(NetworkSettings):
    """U-Net and all that goes by its plan.

    skip : what stands on the skips: "none", "se", "cbam", "scse", "scse_max", "attention", or "gpg" (CPFNet's guidance by all deeper stages).
    """

    name: Literal["unet"] = "unet"
    skip: str = "none"

    @model_validator(mode="after")
    def _known_skip(self) -> UNetSettings:
        require_name("skip", self.skip, [*GATES, GUIDED])
        if self.skip == GUIDED and (self.decoder_widths is not None or self.decoder_batchnorm is not None):
            raise ValueError("skip gpg adds the skips to the decoder's maps, which so have the skips' widths, and a norm; leave decoder_* out")
        return self


class UNet(Network):
    """A way up that meets one skip at each step; see `Network` for what goes in and out."""

    source = "Ronneberger 2015, https://arxiv.org/abs/1505.04597"

    def __init__(self, settings: UNetSettings) -> None:
        super().__init__(settings)
        self.decoder = build_decoder(settings, self.encoder.widths, self.encoder.strides)
        self.add_heads(self.decoder.widths[:-1], settings)                 # the coarsest would weigh nothing in deep supervision

    def decode(self, maps: Sequence[Tensor], deepest: Tensor) -> list[Tensor]:
        return self.decoder(maps, deepest)


def build_decoder(settings: UNetSettings, widths: tuple[int, ...], strides: tuple[int, ...]) -> GatedDecoder | GuidedDecoder:
    steps = plan_steps(widths, strides, settings.widths_up(widths))
    if settings.skip == GUIDED:
        return GuidedDecoder(steps, settings.upsampling, NORMS[settings.norm])
    return GatedDecoder(steps, settings.skip, settings.upsampling, settings.decoder_norm)
