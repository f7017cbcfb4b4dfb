"""BEATs in plain torch under its published names, the Kaldi filter bank before it, and the pairs that KeyFace makes of it.

Sources: BEATs (Chen et al. 2022) sec. 3, its release's configuration keys (`cfg`); DeepNet (Wang et al. 2022) for the residual
scale; Kaldi's feature documentation (compute-fbank-feats, defaults but for 128 bins and no dither) for the filter bank.
"""
import math

import torch
import torch.nn.functional as F

from audio import FRAME, RATE

WINDOW, HOP, FFT, BINS, PATCH = 400, 160, 512, 128, 16
MEAN, DEVIATION = 15.41663, 6.55582


def mel(hz):
    return 1127 * torch.log1p(torch.as_tensor(hz, dtype=torch.float64) / 700)


def mel_bank():
    """[BINS, FFT/2]: triangles of equal width on the mel scale between 20 Hz and half the rate; the bin at half the rate has no part."""
    edges = torch.linspace(float(mel(20)), float(mel(RATE / 2)), BINS + 2, dtype=torch.float64)[:, None]
    at = mel(torch.arange(FFT // 2, dtype=torch.float64) * RATE / FFT)
    rise, fall = (at - edges[:-2]) / (edges[1:-1] - edges[:-2]), (edges[2:] - at) / (edges[2:] - edges[1:-1])
    return torch.minimum(rise, fall).clamp(min=0)


def fbank(waveform):
    """`waveform` [samples] in [-1, 1] -> [frames, BINS], only frames that lie inside it (snip_edges)."""
    x = (waveform * 2**15).unfold(0, WINDOW, HOP)
    x = x - x.mean(1, keepdim=True)
    x = x - 0.97 * torch.cat([x[:, :1], x[:, :-1]], 1)
    hann = 0.5 - 0.5 * torch.cos(2 * math.pi * torch.arange(WINDOW, dtype=torch.float64) / (WINDOW - 1))
    power = torch.fft.rfft(x * (hann**0.85).to(x.dtype), FFT).abs()[:, : FFT // 2] ** 2
    energy = power @ mel_bank().T.to(x.dtype)
    return (energy.clamp(min=2.0**-23).log() - MEAN) / (2 * DEVIATION)


def shapes(config, classes=None):
    """Published name -> shape."""
    patch, embed, width, inner = (config[k] for k in ("input_patch_size", "embed_dim", "encoder_embed_dim", "encoder_ffn_embed_dim"))
    heads, groups = config["encoder_attention_heads"], config["conv_pos_groups"]
    s = {"patch_embedding.weight": (embed, 1, patch, patch)}

    def norm(name, n):
        s.update({f"{name}.weight": (n,), f"{name}.bias": (n,)})

    def linear(name, n, m):
        s.update({f"{name}.weight": (n, m), f"{name}.bias": (n,)})

    if config["conv_bias"]:
        s["patch_embedding.bias"] = (embed,)
    norm("layer_norm", embed)
    if embed != width:
        linear("post_extract_proj", width, embed)
    s |= {"encoder.pos_conv.0.bias": (width,), "encoder.pos_conv.0.weight_g": (1, 1, config["conv_pos"]),
          "encoder.pos_conv.0.weight_v": (width, width // groups, config["conv_pos"])}
    norm("encoder.layer_norm", width)
    for i in range(config["encoder_layers"]):
        layer = f"encoder.layers.{i}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            linear(f"{layer}.self_attn.{name}", width, width)
        if config["relative_position_embedding"]:
            s[f"{layer}.self_attn.relative_attention_bias.weight"] = (config["num_buckets"], heads)
        if config["gru_rel_pos"]:
            linear(f"{layer}.self_attn.grep_linear", 8, width // heads)
            s[f"{layer}.self_attn.grep_a"] = (1, heads, 1, 1)
        norm(f"{layer}.self_attn_layer_norm", width)
        linear(f"{layer}.fc1", inner, width)
        linear(f"{layer}.fc2", width, inner)
        norm(f"{layer}.final_layer_norm", width)
    if classes:
        linear("predictor", classes, width)
    return s


def tied(config):
    """One table of position biases serves all layers, and is stored with each."""
    name = "encoder.layers.{}.self_attn.relative_attention_bias.weight"
    return {name.format(i): name.format(0) for i in range(1, config["encoder_layers"])} if config["relative_position_embedding"] else {}


def buckets(tokens, count, farthest):
    """[tokens, tokens]: half the buckets for keys behind the query; exact up to a quarter of all, then by the logarithm."""
    distance = torch.arange(tokens)[None] - torch.arange(tokens)[:, None]
    half = count // 2
    exact = half // 2
    far = exact + (torch.log(distance.abs().clamp(min=1) / exact) / math.log(farthest / exact) * (half - exact)).long()
    return (distance > 0) * half + torch.where(distance.abs() < exact, distance.abs(), far.clamp(max=half - 1))


def features(w, config, waveform):
    """`waveform` [samples] -> ([tokens, width], inner values); token 8 t + f is patch t in time, f in frequency."""
    seen = {"fbank": fbank(waveform)}
    linear = lambda name, x: F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])
    norm = lambda name, x: F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])

    x = F.conv2d(seen["fbank"][None, None], w["patch_embedding.weight"], w.get("patch_embedding.bias"), stride=PATCH)
    x = norm("layer_norm", x[0].flatten(1).T)
    if "post_extract_proj.weight" in w:
        x = linear("post_extract_proj", x)
    v, kernel = w["encoder.pos_conv.0.weight_v"], config["conv_pos"]
    v = w["encoder.pos_conv.0.weight_g"] * v / v.norm(dim=(0, 1), keepdim=True)
    position = F.conv1d(x.T[None], v, w["encoder.pos_conv.0.bias"], padding=kernel // 2, groups=config["conv_pos_groups"])
    x = norm("encoder.layer_norm", x + F.gelu(position[0].T[: len(x)]))

    heads, tokens = config["encoder_attention_heads"], len(x)
    per_head = lambda x: x.unflatten(1, (heads, -1)).transpose(0, 1)
    scale = (2 * config["encoder_layers"]) ** 0.25 if config["deep_norm"] else 1
    bias = 0
    if config["relative_position_embedding"]:
        table = w["encoder.layers.0.self_attn.relative_attention_bias.weight"]
        bias = table[buckets(tokens, config["num_buckets"], config["max_distance"])].permute(2, 0, 1)
    for i in range(config["encoder_layers"]):
        layer = f"encoder.layers.{i}"
        q, k, v = (per_head(linear(f"{layer}.self_attn.{name}_proj", x)) for name in "qkv")
        gate = 1
        if config["relative_position_embedding"] and config["gru_rel_pos"]:
            a, b = linear(f"{layer}.self_attn.grep_linear", q).unflatten(-1, (2, 4)).sum(-1).sigmoid().unbind(-1)
            gate = (a * (b * w[f"{layer}.self_attn.grep_a"].view(heads, 1) - 1) + 2)[..., None]
        scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]) + gate * bias
        attended = (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)
        x = norm(f"{layer}.self_attn_layer_norm", scale * x + linear(f"{layer}.self_attn.out_proj", attended))
        x = norm(f"{layer}.final_layer_norm", scale * x + linear(f"{layer}.fc2", F.gelu(linear(f"{layer}.fc1", x))))
    return x, seen


def class_probabilities(w, x):
    return F.linear(x, w["predictor.weight"], w["predictor.bias"]).mean(0).sigmoid()


def embeddings(w, config, waveform):
    """`waveform` [frames*640] -> [even frames, 2, width]: padded to an even count, tokens taken by nearest, eight to a time step."""
    frames = waveform.reshape(-1, FRAME)
    if len(frames) % 2:
        frames = torch.cat([frames, torch.zeros_like(frames[:1])])
    x, _ = features(w, config, frames.flatten())
    wanted = 2 * len(frames)
    return x[torch.arange(wanted) * len(x) // wanted].unflatten(0, (-1, 2))
