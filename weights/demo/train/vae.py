"""Stable Video Diffusion's KL autoencoder with a temporal decoder at any width, with the hub's names. Frames are decoded one at
a time, as both systems do.

Pixels `[frames, 3, height, width]` in [-1, 1], latents `[frames, 4, height / 8, width / 8]` before the factor 0.18215.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LATENT_SCALE = 0.18215


class Norm(nn.GroupNorm):
    def __init__(self, channels: int, eps: float = 1e-6):
        super().__init__(32, channels, eps)


class ResBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.norm1, self.conv1 = Norm(inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2, self.conv2 = Norm(outputs), nn.Conv2d(outputs, outputs, 3, padding=1)
        if inputs != outputs:
            self.conv_shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return h + (self.conv_shortcut(x) if hasattr(self, "conv_shortcut") else x)


class TemporalBlock(nn.Module):
    """The decoder's block along the frames. Both systems decode one frame at a time, where it sees nothing that the block before
    it does not: it stays what it starts as, x + 0."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm1, self.conv1 = Norm(channels, 1e-5), nn.Conv3d(channels, channels, (3, 1, 1))
        self.norm2, self.conv2 = Norm(channels, 1e-5), nn.Conv3d(channels, channels, (3, 1, 1))
        for parameter in (*self.conv1.parameters(), *self.conv2.parameters()):
            nn.init.zeros_(parameter)
        self.requires_grad_(False)


class TimeMixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix_factor = nn.Parameter(torch.zeros(1), requires_grad=False)


class VideoResBlock(nn.Module):
    """A block per frame, then one along the frames that is the identity: see [`TemporalBlock`]."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.spatial_res_block = ResBlock(inputs, outputs)
        self.temporal_res_block = TemporalBlock(outputs)
        self.time_mixer = TimeMixer()

    def forward(self, x: Tensor) -> Tensor:
        return self.spatial_res_block(x)


class Attention(nn.Module):
    """One head over the pixels of a frame."""

    def __init__(self, channels: int):
        super().__init__()
        self.group_norm = Norm(channels)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        t = self.group_norm(x).permute(0, 2, 3, 1).reshape(n, 1, h * w, c)
        y = self.to_out[0](F.scaled_dot_product_attention(self.to_q(t), self.to_k(t), self.to_v(t)))
        return x + y.view(n, h, w, c).permute(0, 3, 1, 2)


class Middle(nn.Module):
    def __init__(self, channels: int, block: type[nn.Module]):
        super().__init__()
        self.resnets = nn.ModuleList([block(channels, channels), block(channels, channels)])
        self.attentions = nn.ModuleList([Attention(channels)])

    def forward(self, x: Tensor) -> Tensor:
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class Resample(nn.Module):
    def __init__(self, channels: int, down: bool):
        super().__init__()
        self.down = down
        self.conv = nn.Conv2d(channels, channels, 3, stride=2 if down else 1, padding=0 if down else 1)

    def forward(self, x: Tensor) -> Tensor:
        # Downsampling pads below and right alone.
        return self.conv(F.pad(x, (0, 1, 0, 1)) if self.down else F.interpolate(x, scale_factor=2, mode="nearest"))


class Level(nn.Module):
    def __init__(self, inputs: int, outputs: int, blocks: int, block: type[nn.Module], resample: str | None):
        super().__init__()
        self.resnets = nn.ModuleList([block(inputs if i == 0 else outputs, outputs) for i in range(blocks)])
        self.resample = resample
        if resample:
            setattr(self, resample, nn.ModuleList([Resample(outputs, down=resample == "downsamplers")]))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.resnets:
            x = block(x)
        return getattr(self, self.resample)[0](x) if self.resample else x


class Encoder(nn.Module):
    def __init__(self, widths: tuple[int, ...]):
        super().__init__()
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        pairs = list(zip((widths[0], *widths), widths))
        last = len(pairs) - 1
        self.down_blocks = nn.ModuleList(
            [Level(a, b, 1, ResBlock, None if i == last else "downsamplers") for i, (a, b) in enumerate(pairs)]
        )
        self.mid_block = Middle(widths[-1], ResBlock)
        self.conv_norm_out = Norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x)
        for level in self.down_blocks:
            h = level(h)
        return self.conv_out(F.silu(self.conv_norm_out(self.mid_block(h))))


class Decoder(nn.Module):
    def __init__(self, widths: tuple[int, ...]):
        super().__init__()
        up = widths[::-1]
        self.conv_in = nn.Conv2d(4, up[0], 3, padding=1)
        self.mid_block = Middle(up[0], VideoResBlock)
        last = len(up) - 1
        self.up_blocks = nn.ModuleList(
            [Level(a, b, 2, VideoResBlock, None if i == last else "upsamplers") for i, (a, b) in enumerate(zip((up[0], *up), up))]
        )
        self.conv_norm_out = Norm(up[-1])
        self.conv_out = nn.Conv2d(up[-1], 3, 3, padding=1)
        self.time_conv_out = nn.Conv3d(3, 3, (3, 1, 1))
        self.time_conv_out.requires_grad_(False)
        nn.init.zeros_(self.time_conv_out.weight)
        nn.init.zeros_(self.time_conv_out.bias)
        self.time_conv_out.weight[:, :, 1, 0, 0] = torch.eye(3)

    def forward(self, z: Tensor) -> Tensor:
        h = self.mid_block(self.conv_in(z))
        for level in self.up_blocks:
            h = level(h)
        return self.conv_out(F.silu(self.conv_norm_out(h)))


class Vae(nn.Module):
    def __init__(self, widths: tuple[int, ...] = (32, 32, 64, 64)):
        super().__init__()
        self.encoder, self.decoder = Encoder(widths), Decoder(widths)
        self.quant_conv = nn.Conv2d(8, 8, 1)

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latents of `x`."""
        mean, log_variance = self.quant_conv(self.encoder(x)).chunk(2, 1)
        return mean, log_variance.clamp(-30.0, 20.0)

    @torch.no_grad()
    def rescale(self, scale: Tensor) -> None:
        """Multiplies the latents by `scale` [4] without a change of what is decoded."""
        quant, conv = self.quant_conv, self.decoder.conv_in
        quant.weight[:4] *= scale[:, None, None, None]
        quant.bias[:4] *= scale
        quant.bias[4:] += 2 * scale.log()
        conv.weight /= scale[None, :, None, None]
