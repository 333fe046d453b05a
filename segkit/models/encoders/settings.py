"""What may be chosen about an encoder; every architecture's settings begin with these."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from segkit.errors import nearest
from segkit.models.blocks import NORMS

ONLY_FOR = {
    "feature_scale": "the plain encoder",
    "batchnorm": "the plain encoder",
    "stem": "ResNets",
    "output_stride": "ResNets",
    "zero_init": "ResNets",
    "norm": "ResNets",
}
"""Settings that one family of encoders has; any other refuses them."""


class EncoderSettings(BaseModel):
    """An encoder by name, and its options.

    encoder : a name of `segkit models`: plain, resnet34, se_resnet50, cbam_resnet18, mobilenet_v2, ...
    feature_scale : plain: divides the stage widths 64, 128, 256, 512, 1024: 1 is the paper's, 2 (the default) a quarter of the work, 4 a sixteenth.
    batchnorm : plain: batch norm in the encoder.
    stem : ResNets: "default" (7×7, stride 2, max-pool), "deep" (three 3×3 in place of the 7×7), "full" (3×3 at full resolution, no max-pool).
    output_stride : ResNets: of the deepest map with the default stem; 16 and 8 put dilation in place of stride in the last one or two stages.
    zero_init : ResNets: the last norm of each residual branch starts at 0.
    norm : ResNets: "batch", "group" or "instance", in all parts of a network that is built on one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: str = "plain"
    feature_scale: float | None = Field(default=None, ge=0.25, le=64)
    batchnorm: bool = True
    stem: Literal["default", "deep", "full"] = "default"
    output_stride: Literal[8, 16, 32] = 32
    zero_init: bool = False
    norm: str = "batch"
    in_channels: int = Field(default=3, ge=1, le=4096)

    @model_validator(mode="after")
    def _options_of_the_family(self) -> EncoderSettings:
        from segkit.models.encoders import ENCODERS, family  # they are built from these settings

        require_name("encoder", self.encoder, ENCODERS)
        require_name("norm", self.norm, NORMS)
        own = family(self.encoder)
        for name, owner in ONLY_FOR.items():
            if owner != own and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is a setting of {owner}, the encoder is {self.encoder}; leave it out")
        return self


def require_name(what: str, name: str, choices: Iterable[str]) -> None:
    """ValueError with the nearest name where there is no such choice."""
    choices = list(choices)
    if name not in choices:
        listed = ", ".join(choices) if len(choices) <= 8 else f"{', '.join(choices[:6])}, … (segkit models lists them)"
        raise ValueError(f"no {what} is called {name!r}; {nearest(name, choices) or f'there are: {listed}'}")
