"""U-Net: an encoder that halves the picture at each stage, a decoder that doubles it back.

Ronneberger, Fischer and Brox, MICCAI 2015, https://arxiv.org/abs/1505.04597
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from segkit.models.blocks import initialise, pad_to_multiple
from segkit.models.bottlenecks import BOTTLENECKS
from segkit.models.decoder import GatedDecoder, Step, plan_steps
from segkit.models.encoders import ENCODERS, EncoderSettings
from segkit.models.encoders.settings import require_name
from segkit.models.gates import GATES
from segkit.models.guided import GuidedDecoder
from segkit.models.upsampling import UPSAMPLINGS

GUIDED = "gpg"


class UNetSettings(EncoderSettings):
    """encoder × skip × bottleneck × upsampling × heads: each is chosen by itself, and any combination builds.

    skip : what stands on the skips: "none", "se", "cbam", "scse", "scse_max", "attention", or "gpg" (CPFNet's guidance by all deeper stages).
    bottleneck : what stands on the deepest map: "none", "sapf" or "transformer".
    upsampling : "bilinear" (interpolation and a 1×1 convolution) or "deconv" (a transposed convolution).
    decoder_widths : channels on the way up, coarsest first; null for the encoder's own (plain) or 256, 128, 64, 32, 16.
    decoder_batchnorm : batch norm in the decoder; null for none with the plain encoder, as in its table of counts, and for one with any other.
    deep_supervision : while training, the coarser decoder maps are scored too.
    """

    name: Literal["unet"] = "unet"
    skip: str = "none"
    bottleneck: str = "none"
    upsampling: str = "bilinear"
    decoder_widths: tuple[int, ...] | None = None
    decoder_batchnorm: bool | None = None
    deep_supervision: bool = False
    num_classes: int = Field(default=2, ge=2, le=254)

    @model_validator(mode="after")
    def _known_parts(self) -> UNetSettings:
        require_name("skip", self.skip, [*GATES, GUIDED])
        require_name("bottleneck", self.bottleneck, BOTTLENECKS)
        require_name("upsampling", self.upsampling, UPSAMPLINGS)
        return self


class UNet(nn.Module):
    """(B, C, H, W) picture -> (B, K, H, W) logits, for any H and W.

    While training with deep supervision: a list of logits, those of the picture's size first, then coarser ones.
    """

    def __init__(self, settings: UNetSettings) -> None:
        super().__init__()
        self.encoder = ENCODERS[settings.encoder](settings, None)
        widths, self.strides = self.encoder.widths, self.encoder.strides
        plain = settings.encoder == "plain"
        steps = plan_steps(widths, self.strides, settings.decoder_widths or (widths[-2::-1] if plain else None))
        self.bottleneck = BOTTLENECKS[settings.bottleneck](widths[-1])
        self.decoder = build_decoder(steps, settings, batchnorm=not plain if settings.decoder_batchnorm is None else settings.decoder_batchnorm)
        heads = [nn.Conv2d(width, settings.num_classes, 1) for width in self.decoder.widths]
        self.head = heads[0]
        self.side_heads = nn.ModuleList(heads[1:-1] if settings.deep_supervision else [])   # the coarsest would weigh nothing
        for part in (self.bottleneck, self.decoder, self.head, self.side_heads):
            initialise(part)

    def forward(self, picture: Tensor) -> Tensor | list[Tensor]:
        height, width = picture.shape[-2:]
        maps = self.encoder(pad_to_multiple(picture, max(self.strides)))   # finest first: (B, widths[i], H / strides[i], W / strides[i])
        maps[-1] = self.bottleneck(maps[-1])
        outputs = self.decoder(maps)                                       # finest first, the first of the picture's size
        logits = self.head(outputs[0])[..., :height, :width]               # (B, K, H, W)
        if not self.training or not self.side_heads:
            return logits
        return [logits, *(head(x) for head, x in zip(self.side_heads, outputs[1:], strict=False))]


def build_decoder(steps: list[Step], settings: UNetSettings, *, batchnorm: bool) -> GatedDecoder | GuidedDecoder:
    if settings.skip == GUIDED:
        return GuidedDecoder(steps, settings.upsampling)
    return GatedDecoder(steps, settings.skip, settings.upsampling, batchnorm=batchnorm)
