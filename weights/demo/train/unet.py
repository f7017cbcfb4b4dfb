"""The video UNet of KeySync and KeyFace at any width, with the training code's names. Source: Stable Video Diffusion; Align your
Latents, sec. 3.1; KeySync (arXiv 2505.00497) and KeyFace (arXiv 2503.01715), sec. 3.

Images are `[frames, channels, height, width]` in memory order frames, height, width, channels: what attention takes as tokens
and what runs along the time are views of them.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LATENT_CHANNELS = 4


def sinusoid(values: Tensor, channels: int, period: float = 10000.0) -> Tensor:
    """cos, then sin, of `values` `[n]`: `[n, channels]`."""
    half = channels // 2
    rates = torch.exp(-math.log(period) * torch.arange(half, dtype=torch.float32, device=values.device) / half)
    angles = values.float()[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], 1)


class Mlp(nn.Sequential):
    """Linear, SiLU, Linear under the names 0 and 2."""

    def __init__(self, inputs: int, inner: int, outputs: int):
        super().__init__(nn.Linear(inputs, inner), nn.SiLU(), nn.Linear(inner, outputs))


class ResBlock(nn.Module):
    """conv(SiLU(norm(conv(SiLU(norm(x))) + emb))) + skip(x), 3x3 over pixels."""

    def __init__(self, inputs: int, outputs: int, emb: int):
        super().__init__()
        self.in_layers = nn.Sequential(nn.GroupNorm(32, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb, outputs))
        last = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.out_layers = nn.Sequential(nn.GroupNorm(32, outputs), nn.SiLU(), nn.Identity(), last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        if inputs != outputs:
            self.skip_connection = nn.Conv2d(inputs, outputs, 1)

    def spatial(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.in_layers(x) + self.emb_layers(emb)[:, :, None, None]
        skip = self.skip_connection(x) if hasattr(self, "skip_connection") else x
        return self.out_layers(h) + skip


class TemporalConv(nn.Module):
    """A (3,1,1) convolution, stored as published, run on `[clips, channels, frames, places]`."""

    def __init__(self, channels: int, zero: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, channels, 3, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))
        nn.init.zeros_(self.weight) if zero else nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight[..., 0], self.bias, padding=(1, 0))


class TimeStack(nn.Module):
    """The same block along the frames of a clip; its norm takes statistics over the whole clip."""

    def __init__(self, channels: int, emb: int):
        super().__init__()
        self.in_layers = nn.Sequential(nn.GroupNorm(32, channels), nn.SiLU(), TemporalConv(channels))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb, channels))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(32, channels), nn.SiLU(), nn.Identity(), TemporalConv(channels, zero=True)
        )

    def forward(self, x: Tensor, emb: Tensor, frames: int) -> Tensor:
        clip = as_clip(x, frames)
        rows = self.emb_layers(emb)
        h = self.in_layers(clip) + rows.view(-1, frames, rows.shape[1]).transpose(1, 2)[..., None]
        return as_images(self.out_layers(h) + clip, x)


def as_clip(x: Tensor, frames: int) -> Tensor:
    """`[clips * frames, channels, height, width]` as `[clips, channels, frames, height * width]`, in the same memory."""
    n, c, h, w = x.shape
    return x.permute(0, 2, 3, 1).reshape(n // frames, frames, h * w, c).permute(0, 3, 1, 2)


def as_images(clip: Tensor, like: Tensor) -> Tensor:
    n, c, h, w = like.shape
    return clip.permute(0, 2, 3, 1).reshape(n, h, w, c).permute(0, 3, 1, 2)


class TimeMixer(nn.Module):
    """a * space + (1 - a) * time, a = sigmoid(mix_factor)."""

    def __init__(self):
        super().__init__()
        self.mix_factor = nn.Parameter(torch.zeros(1))

    def forward(self, space: Tensor, time: Tensor) -> Tensor:
        return torch.lerp(time, space, torch.sigmoid(self.mix_factor).to(space.dtype))


class VideoResBlock(ResBlock):
    def __init__(self, inputs: int, outputs: int, emb: int):
        super().__init__(inputs, outputs, emb)
        self.time_stack = TimeStack(outputs, emb)
        self.time_mixer = TimeMixer()

    def forward(self, x: Tensor, emb: Tensor, frames: int) -> Tensor:
        space = self.spatial(x, emb)
        return self.time_mixer(space, self.time_stack(space, emb, frames))


class Attention(nn.Module):
    def __init__(self, channels: int, context: int, head_dim: int):
        super().__init__()
        self.head_dim = head_dim
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(context, channels, bias=False)
        self.to_v = nn.Linear(context, channels, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """`x` `[batch, tokens, channels]` to its own tokens, or to `context` `[batch, tokens, context channels]`."""
        context = x if context is None else context
        heads = lambda t: t.view(t.shape[0], t.shape[1], -1, self.head_dim).transpose(1, 2)
        y = F.scaled_dot_product_attention(heads(self.to_q(x)), heads(self.to_k(context)), heads(self.to_v(context)))
        return self.to_out[0](y.transpose(1, 2).reshape(x.shape))


class Geglu(nn.Module):
    def __init__(self, inputs: int, inner: int):
        super().__init__()
        self.proj = nn.Linear(inputs, 2 * inner)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, -1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.net = nn.Sequential(Geglu(channels, 4 * channels), nn.Identity(), nn.Linear(4 * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Block(nn.Module):
    """Self-attention, attention to the audio, feed-forward; along the time with one more feed-forward in front."""

    def __init__(self, channels: int, context: int, head_dim: int, temporal: bool):
        super().__init__()
        if temporal:
            self.norm_in = nn.LayerNorm(channels)
            self.ff_in = FeedForward(channels)
        self.norm1 = nn.LayerNorm(channels)
        self.attn1 = Attention(channels, channels, head_dim)
        self.norm2 = nn.LayerNorm(channels)
        self.attn2 = Attention(channels, context, head_dim)
        self.norm3 = nn.LayerNorm(channels)
        self.ff = FeedForward(channels)


class SpatialVideoTransformer(nn.Module):
    def __init__(self, channels: int, context: int, head_dim: int):
        super().__init__()
        self.norm = nn.GroupNorm(32, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList([Block(channels, context, head_dim, temporal=False)])
        self.time_stack = nn.ModuleList([Block(channels, context, head_dim, temporal=True)])
        self.time_pos_embed = Mlp(channels, 4 * channels, channels)
        self.time_mixer = TimeMixer()
        self.proj_out = nn.Linear(channels, channels)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """`context` `[clips, tokens, channels]`: every place of every frame of a clip attends to all of it."""
        n, c, height, width = x.shape
        clips, places = context.shape[0], height * width
        frames = n // clips
        h = self.proj_in(self.norm(x).permute(0, 2, 3, 1).reshape(n, places, c))

        space = self.transformer_blocks[0]
        h = h + space.attn1(space.norm1(h))
        # All frames of a clip hear the same tokens: one attention a clip.
        h = h.view(clips, frames * places, c)
        h = h + space.attn2(space.norm2(h), context)
        h = (h + space.ff(space.norm3(h))).view(n, places, c)

        numbers = sinusoid(torch.arange(frames, device=x.device), c).to(h.dtype)
        m = h.view(clips, frames, places, c) + self.time_pos_embed(numbers)[:, None]
        time = self.time_stack[0]
        m = m.transpose(1, 2).reshape(clips * places, frames, c)
        m = m + time.ff_in(time.norm_in(m))
        m = m + time.attn1(time.norm1(m))
        m = m.view(clips, places * frames, c)
        m = m + time.attn2(time.norm2(m), context)
        m = m + time.ff(time.norm3(m))
        m = m.view(clips, places, frames, c).transpose(1, 2).reshape(n, places, c)

        h = self.proj_out(self.time_mixer(h, m))
        return x + h.view(n, height, width, c).permute(0, 3, 1, 2)


class Resample(nn.Module):
    """A 3x3 convolution, of stride 2 as `op`, or after doubling the pixels as `conv`."""

    def __init__(self, channels: int, down: bool):
        super().__init__()
        if down:
            self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        else:
            self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x) if hasattr(self, "op") else self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class VideoUnet(nn.Module):
    """`x` `[clips * frames, inputs, height, width]` to the noise's direction, 4 channels; one residual block a level."""

    def __init__(self, inputs: int, label: int, context: int, widths: tuple[int, ...], head_dim: int):
        super().__init__()
        self.model_channels = widths[0]
        emb = 4 * widths[0]
        self.time_embed = Mlp(widths[0], emb, emb)
        self.label_emb = nn.ModuleList([Mlp(label, emb, emb)])
        block = lambda a, b: nn.ModuleList([VideoResBlock(a, b, emb), SpatialVideoTransformer(b, context, head_dim)])

        self.input_blocks = nn.ModuleList([nn.ModuleList([nn.Conv2d(inputs, widths[0], 3, padding=1)])])
        channels, skips = widths[0], [widths[0]]
        for level, width in enumerate(widths):
            if level > 0:
                self.input_blocks.append(nn.ModuleList([Resample(channels, down=True)]))
                skips.append(channels)
            self.input_blocks.append(block(channels, width))
            channels = width
            skips.append(channels)

        self.middle_block = nn.ModuleList([*block(channels, channels), VideoResBlock(channels, channels, emb)])

        self.output_blocks = nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            for last in (False, True):
                stage = block(channels + skips.pop(), width)
                channels = width
                if last and level > 0:
                    stage.append(Resample(channels, down=False))
                self.output_blocks.append(stage)

        last = nn.Conv2d(channels, LATENT_CHANNELS, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.out = nn.Sequential(nn.GroupNorm(32, channels), nn.SiLU(), last)

    def forward(self, x: Tensor, c_noise: Tensor, context: Tensor, label: Tensor) -> Tensor:
        """`c_noise` `[clips * frames]`, `context` `[clips, frames, channels]`, `label` `[clips * frames, channels]`."""
        frames = context.shape[1]
        emb = self.time_embed(sinusoid(c_noise, self.model_channels)) + self.label_emb[0](label)

        def run(stage: nn.ModuleList, h: Tensor) -> Tensor:
            for part in stage:
                if isinstance(part, VideoResBlock):
                    h = part(h, emb, frames)
                elif isinstance(part, SpatialVideoTransformer):
                    h = part(h, context)
                else:
                    h = part(h)
            return h

        h, skips = x.contiguous(memory_format=torch.channels_last), []
        for stage in self.input_blocks:
            h = run(stage, h)
            skips.append(h)
        h = run(self.middle_block, h)
        for stage in self.output_blocks:
            h = run(stage, torch.cat([h, skips.pop()], 1))
        return self.out(h)
