"""The speech encoders at any width, with the names of their releases: HuBERT and wav2vec 2.0 (the hub's), WavLM (unilm's) and
BEATs (its authors').

Samples at 16 kHz `[batch, samples]` to vectors `[batch, tokens, channels]` at 50 Hz; BEATs' tokens are patches of 160 ms by 16
mel bands, eight a step, in time first.
Sources: Baevski et al. 2020; Hsu et al. 2021; Chen et al. 2022 (WavLM, BEATs); Kaldi's filter bank.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

KERNELS = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))
BUCKETS, MAX_DISTANCE = 320, 800


class PositionalConv(nn.Module):
    """A grouped convolution over 128 tokens, weight-normed per place in its kernel; one more token than came in is dropped."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = weight_norm(nn.Conv1d(channels, channels, 128, padding=64, groups=16), dim=2)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.conv(x.transpose(1, 2))[..., :-1]).transpose(1, 2)

    def published(self) -> dict[str, Tensor]:
        parts = self.conv.parametrizations.weight
        return {"weight_g": parts.original0, "weight_v": parts.original1, "bias": self.conv.bias}


def buckets(tokens: int) -> Tensor:
    """Row of the table of biases for a query and a key, `[tokens, tokens]`: half of them for keys that come later, exact up to a
    quarter, then logarithmic."""
    distance = torch.arange(tokens)[None, :] - torch.arange(tokens)[:, None]
    half = BUCKETS // 2
    exact = half // 2
    size = distance.abs()
    far = exact + (size.clamp(min=1) / exact).log() / math.log(MAX_DISTANCE / exact) * (half - exact)
    return (distance > 0) * half + torch.where(size < exact, size, far.long().clamp(max=half - 1))


class Layer(nn.Module):
    """A layer with its norms after the residuals. `gate`: what weighs the bias of positions, the layer's input or its queries."""

    def __init__(self, channels: int, heads: int, gate: str | None = None, residual: float = 1.0):
        super().__init__()
        self.heads, self.gate, self.residual = heads, gate, residual
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(channels, channels) for _ in range(4))
        self.attention_norm, self.final_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.inner, self.outer = nn.Linear(channels, 2 * channels), nn.Linear(2 * channels, channels)
        if gate:
            self.grep_linear = nn.Linear(channels // heads, 8)
            self.grep_a = nn.Parameter(torch.ones(1, heads, 1, 1))

    def split(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """`bias` `[1, heads, tokens, tokens]`."""
        q = self.split(self.q_proj(x))
        if bias is not None:
            a, b = self.grep_linear(q if self.gate == "queries" else self.split(x)).unflatten(-1, (2, 4)).sum(-1).sigmoid().split(1, -1)
            bias = (a * (b * self.grep_a - 1) + 2) * bias
        y = F.scaled_dot_product_attention(q, self.split(self.k_proj(x)), self.split(self.v_proj(x)), attn_mask=bias)
        x = self.attention_norm(self.residual * x + self.out_proj(y.transpose(1, 2).reshape(x.shape)))
        return self.final_norm(self.residual * x + self.outer(F.gelu(self.inner(x))))


class Encoder(nn.Module):
    """What the four have in common: vectors of the front end, a convolution for the position, layers."""

    def __init__(self, features: int, channels: int, heads: int, layers: int, gate: str | None = None, residual: float = 1.0):
        super().__init__()
        self.feature_norm = nn.LayerNorm(features)
        self.projection = nn.Linear(features, channels)
        self.position = PositionalConv(channels)
        self.encoder_norm = nn.LayerNorm(channels)
        self.layers = nn.ModuleList([Layer(channels, heads, gate, residual) for _ in range(layers)])
        self.bias = nn.Embedding(BUCKETS, heads) if gate else None

    def run(self, features: Tensor) -> Tensor:
        h = self.projection(self.feature_norm(features))
        h = self.encoder_norm(h + self.position(h))
        bias = self.bias(buckets(h.shape[1])).permute(2, 0, 1)[None] if self.bias else None
        for layer in self.layers:
            h = layer(h, bias)
        return h


class Waveform(Encoder):
    """Seven convolutions over the samples; the first one's channels are normed over the whole clip."""

    def __init__(self, features: int = 64, channels: int = 96, heads: int = 4, layers: int = 3, gate: str | None = None):
        super().__init__(features, channels, heads, layers, gate)
        self.convs = nn.ModuleList(
            [nn.Conv1d(1 if i == 0 else features, features, k, s, bias=False) for i, (k, s) in enumerate(KERNELS)]
        )
        self.first_norm = nn.GroupNorm(features, features)

    def forward(self, samples: Tensor) -> Tensor:
        h = F.gelu(self.first_norm(self.convs[0](samples[:, None])))
        for conv in self.convs[1:]:
            h = F.gelu(conv(h))
        return self.run(h.transpose(1, 2))


class Hubert(Waveform):
    """HuBERT, and wav2vec 2.0 with other values: both hear samples of mean 0 and (unbiased) variance 1."""

    def forward(self, samples: Tensor) -> Tensor:
        centred = samples - samples.mean(1, keepdim=True)
        return super().forward(centred / (samples.var(1, keepdim=True) + 1e-7).sqrt())

    def published(self) -> tuple[dict[str, Tensor], dict]:
        out = {f"feature_extractor.conv_layers.{i}.conv.weight": conv.weight for i, conv in enumerate(self.convs)}
        out |= named(self.first_norm, "feature_extractor.conv_layers.0.layer_norm")
        out |= named(self.feature_norm, "feature_projection.layer_norm") | named(self.projection, "feature_projection.projection")
        out |= {f"encoder.pos_conv_embed.conv.{name}": value for name, value in self.position.published().items()}
        out |= named(self.encoder_norm, "encoder.layer_norm")
        names = {"attention_norm": "layer_norm", "final_norm": "final_layer_norm", "inner": "feed_forward.intermediate_dense",
                 "outer": "feed_forward.output_dense"}  # fmt: skip
        for i, layer in enumerate(self.layers):
            out |= layer_published(layer, f"encoder.layers.{i}", "attention", names)
        return out, {"num_attention_heads": self.layers[0].heads}


class WavLm(Waveform):
    """WavLM: samples as they are; the bias of positions is weighed by each layer's input."""

    def __init__(self, **sizes: int):
        super().__init__(gate="input", **sizes)

    def published(self) -> tuple[dict[str, Tensor], dict]:
        out = {f"feature_extractor.conv_layers.{i}.0.weight": conv.weight for i, conv in enumerate(self.convs)}
        out |= named(self.first_norm, "feature_extractor.conv_layers.0.2")
        return out | unilm_published(self), {}


class Beats(Encoder):
    """BEATs: patches of Kaldi's mel filter bank; the bias of positions is weighed by each layer's queries."""

    MELS, PATCH = 128, 16
    MEAN, DEVIATION = 15.41663, 6.55582

    def __init__(self, features: int = 64, channels: int = 96, heads: int = 4, layers: int = 3):
        super().__init__(features, channels, heads, layers, "queries", (2 * layers) ** 0.25)
        self.patch_embedding = nn.Conv2d(1, features, self.PATCH, self.PATCH, bias=False)

    def forward(self, samples: Tensor) -> Tensor:
        bank = (filter_bank(samples) - self.MEAN) / (2 * self.DEVIATION)
        return self.run(self.patch_embedding(bank[:, None]).flatten(2).transpose(1, 2))

    def published(self) -> tuple[dict[str, Tensor], dict]:
        out = {"patch_embedding.weight": self.patch_embedding.weight}
        config = {
            "input_patch_size": self.PATCH, "embed_dim": self.feature_norm.normalized_shape[0], "conv_bias": False,
            "encoder_layers": len(self.layers), "encoder_embed_dim": self.projection.out_features,
            "encoder_ffn_embed_dim": self.layers[0].inner.out_features, "encoder_attention_heads": self.layers[0].heads,
            "activation_fn": "gelu", "layer_norm_first": False, "deep_norm": True, "conv_pos": 128, "conv_pos_groups": 16,
            "relative_position_embedding": True, "num_buckets": BUCKETS, "max_distance": MAX_DISTANCE, "gru_rel_pos": True,
        }  # fmt: skip
        return out | unilm_published(self), config


def named(module: nn.Module, prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": value for name, value in module.state_dict().items()}


def layer_published(layer: Layer, prefix: str, attention: str, names: dict[str, str]) -> dict[str, Tensor]:
    out = {}
    for name, value in layer.state_dict().items():
        head, _, leaf = name.partition(".")
        place = f"{names[head]}.{leaf}" if head in names else f"{attention}.{name}"
        out[f"{prefix}.{place}"] = value
    return out


def unilm_published(net: Encoder) -> dict[str, Tensor]:
    """Names that WavLM's and BEATs' releases share."""
    out = named(net.feature_norm, "layer_norm") | named(net.projection, "post_extract_proj")
    parts = net.position.published()
    out |= {f"encoder.pos_conv.0.{name}": value for name, value in parts.items()}
    out |= named(net.encoder_norm, "encoder.layer_norm")
    out["encoder.layers.0.self_attn.relative_attention_bias.weight"] = net.bias.weight
    names = {"attention_norm": "self_attn_layer_norm", "final_norm": "final_layer_norm", "inner": "fc1", "outer": "fc2"}
    for i, layer in enumerate(net.layers):
        out |= layer_published(layer, f"encoder.layers.{i}", "self_attn", names)
    return out


def filter_bank(samples: Tensor) -> Tensor:
    """Logarithms of 128 mel energies of each 10 ms, `[batch, frames, 128]`. Source: Kaldi compute-fbank-feats, Povey window."""
    frames = (samples * 32768).unfold(1, 400, 160)
    frames = frames - frames.mean(2, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], 2)
    window = torch.hann_window(400, periodic=False, dtype=torch.float64) ** 0.85
    power = torch.fft.rfft((frames - 0.97 * before) * window.float(), 512).abs().square()[..., :256]
    mel = lambda hz: 1127 * (1 + hz / 700).log()
    low, high = mel(torch.tensor(20.0, dtype=torch.float64)), mel(torch.tensor(8000.0, dtype=torch.float64))
    place = (mel(torch.arange(256, dtype=torch.float64) * 31.25) - low) / ((high - low) / 129)
    place = place[None, :] - torch.arange(128, dtype=torch.float64)[:, None]
    weights = torch.minimum(place, 2 - place).clamp(min=0).float()
    return (power @ weights.T).clamp(min=torch.finfo(torch.float32).eps).log()
