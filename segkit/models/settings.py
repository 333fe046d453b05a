"""What every architecture has in common."""

from __future__ import annotations

from pydantic import Field, model_validator

from segkit.models.blocks import NORMS, Norm
from segkit.models.bottlenecks import BOTTLENECKS
from segkit.models.encoders.settings import EncoderSettings, require_name
from segkit.models.upsampling import UPSAMPLINGS


class NetworkSettings(EncoderSettings):
    """An encoder, a bottleneck and a way up, each chosen by itself, and whether coarser maps are scored too; any combination builds.

    bottleneck : what stands on the deepest map: "none", "sapf", "transformer" or "slice_gru" (along the slices of a volume).
    upsampling : "bilinear" (interpolation and a 1×1 convolution) or "deconv" (a transposed convolution).
    decoder_widths : channels on the way up, coarsest first; null for the encoder's own (plain) or 256, 128, 64, 32, 16.
    decoder_batchnorm : `norm` in the decoder too; null for none with the plain encoder, as in its table of counts, and for one with any other.
    deep_supervision : while training, other maps of the decoder are scored too.
    """

    bottleneck: str = "none"
    upsampling: str = "bilinear"
    decoder_widths: tuple[int, ...] | None = Field(default=None, min_length=4, max_length=5)
    decoder_batchnorm: bool | None = None
    deep_supervision: bool = False
    num_classes: int = Field(default=2, ge=2, le=254)

    @model_validator(mode="after")
    def _known_parts(self) -> NetworkSettings:
        require_name("bottleneck", self.bottleneck, BOTTLENECKS)
        require_name("upsampling", self.upsampling, UPSAMPLINGS)
        if self.decoder_widths is not None and min(self.decoder_widths) < 1:
            raise ValueError("decoder_widths are numbers of channels, at least 1")
        return self

    @property
    def along_slices(self) -> bool:
        """Whether the network looks along the slices of a volume, and so wants runs of neighbouring ones."""
        return getattr(BOTTLENECKS[self.bottleneck], "along_slices", False)

    @property
    def decoder_norm(self) -> Norm | None:
        """The norm behind each convolution of the decoder; None for none."""
        normalises = self.encoder != "plain" if self.decoder_batchnorm is None else self.decoder_batchnorm
        return NORMS[self.norm] if normalises else None

    def widths_up(self, widths: tuple[int, ...]) -> tuple[int, ...] | None:
        """Channels on the way up behind an encoder of these widths; None for the usual ones."""
        return self.decoder_widths or (widths[-2::-1] if self.encoder == "plain" else None)
