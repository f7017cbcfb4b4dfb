"""HuBERT, wav2vec2 and WavLM of transformers under published names, and the pipeline around them: 25 fps pairs of 50 Hz vectors.

Sources: HuBERT (Hsu et al. 2021), wav2vec 2.0 (Baevski et al. 2020), WavLM (Chen et al. 2022), the inference scripts.
"""
import re

import numpy as np
import torch
from transformers import HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2Model, WavLMConfig, WavLMModel

RATE, FRAME = 16000, 640
POS_CONV = "encoder.pos_conv_embed.conv."
HUBERT_NAMES = ((POS_CONV + "parametrizations.weight.original0", POS_CONV + "weight_g"), (POS_CONV + "parametrizations.weight.original1", POS_CONV + "weight_v"))
WAVLM_NAMES = (
    ("masked_spec_embed", "mask_emb"),
    (r"(conv_layers\.\d+)\.conv\.", r"\1.0."),
    (r"conv_layers\.0\.layer_norm\.", "conv_layers.0.2."),
    (r"feature_projection\.layer_norm\.", "layer_norm."),
    (r"feature_projection\.projection\.", "post_extract_proj."),
    (r"pos_conv_embed\.conv\.parametrizations\.weight\.original0", "pos_conv.0.weight_g"),
    (r"pos_conv_embed\.conv\.parametrizations\.weight\.original1", "pos_conv.0.weight_v"),
    (r"pos_conv_embed\.conv\.", "pos_conv.0."),
    (r"(layers\.\d+)\.layer_norm\.", r"\1.self_attn_layer_norm."),
    (r"(layers\.\d+)\.attention\.gru_rel_pos_const", r"\1.self_attn.grep_a"),
    (r"(layers\.\d+)\.attention\.gru_rel_pos_linear\.", r"\1.self_attn.grep_linear."),
    (r"(layers\.\d+)\.attention\.rel_attn_embed\.", r"\1.self_attn.relative_attention_bias."),
    (r"(layers\.\d+)\.attention\.", r"\1.self_attn."),
    (r"feed_forward\.intermediate_dense\.", "fc1."),
    (r"feed_forward\.output_dense\.", "fc2."),
)


def hubert_name(name):
    return dict(HUBERT_NAMES).get(name, name)


def wav2vec2_name(name):
    return "wav2vec2." + hubert_name(name)


def wavlm_name(name):
    for pattern, published in WAVLM_NAMES:
        name = re.sub(pattern, published, name)
    return name


def hubert(config):
    return HubertModel(HubertConfig(**config, attn_implementation="eager")).eval()


def wav2vec2(config):
    return Wav2Vec2Model(Wav2Vec2Config(**config, attn_implementation="eager")).eval()


def wavlm(config):
    """`config` in the published file's own terms (`cfg`)."""
    layers = []
    for *layer, times in re.findall(r"\((\d+), ?(\d+), ?(\d+)\)\](?: \* (\d+))?", config["conv_feature_layers"]):
        layers += [[int(n) for n in layer]] * int(times or 1)
    return WavLMModel(WavLMConfig(
        hidden_size=config["encoder_embed_dim"], num_hidden_layers=config["encoder_layers"], num_attention_heads=config["encoder_attention_heads"],
        intermediate_size=config["encoder_ffn_embed_dim"], conv_dim=[c for c, _, _ in layers], conv_kernel=[k for _, k, _ in layers],
        conv_stride=[s for _, _, s in layers], num_feat_extract_layers=len(layers), num_conv_pos_embeddings=config["conv_pos"],
        num_conv_pos_embedding_groups=config["conv_pos_groups"], num_buckets=config["num_buckets"], max_bucket_distance=config["max_distance"],
        feat_extract_norm="group", do_stable_layer_norm=False)).eval()


def load(model, name_of, weights):
    model.load_state_dict({k: weights[name_of(k)] for k in model.state_dict() if name_of(k) in weights}, strict=False)


def synthetic(frames):
    """The waveform of the long cases, never stored."""
    return synthetic_samples(frames * FRAME)


def synthetic_samples(count):
    i = np.arange(count, dtype=np.int64)
    return torch.from_numpy(0.25 * (((i * i * 7919 + i * 104729 + 12345) % 65536) / 32768 - 1))


def splits(total, unit):
    """One piece up to `unit`; else pieces of equal length and a longer last one, which swallows the remainder."""
    if total <= unit:
        return [total]
    pieces = total // unit
    base = (total - unit) // pieces
    return [base] * (pieces - 1) + [total - base * (pieces - 1)]


def standardise(x):
    return (x - x.mean()) / (x.var(unbiased=True) + 1e-7).sqrt()


def hubert_embeddings(model, waveform):
    """`waveform` [samples] -> [frames, 2, channels]: an odd count of vectors gets one zero vector behind."""
    return pairs(model, standardise(waveform), 20 * RATE)


def pairs(model, x, unit):
    """HuBERT's or wav2vec2's vectors two by two, heard in pieces by the rule of `splits`."""
    v = torch.cat([model(p[None]).last_hidden_state[0] for p in x.split(splits(len(x), unit))])
    if len(v) % 2:
        v = torch.cat([v, torch.zeros_like(v[:1])])
    return v.unflatten(0, (-1, 2))


def to_whole_frames(x):
    return torch.cat([x, x.new_zeros(-len(x) % FRAME)])


def wav2vec2_embeddings(model, waveform, unit=1000 * RATE):
    """`waveform` [samples], of any length -> [frames, 2, channels]: standardised first, then filled up to whole frames."""
    return pairs(model, to_whole_frames(standardise(waveform)), unit)


def wavlm_embeddings(model, waveform):
    """`waveform` [frames*640], not standardised; padded to an even count of frames; nearest to two vectors a frame, per piece."""
    frames = waveform.reshape(-1, FRAME)
    if len(frames) % 2:
        frames = torch.cat([frames, torch.zeros_like(frames[:1])])
    out = []
    for piece in frames.split(splits(len(frames), 20 * RATE // FRAME)):
        v = model(piece.reshape(1, -1)).last_hidden_state[0]
        wanted = 2 * len(piece)
        out.append(v[torch.arange(wanted) * len(v) // wanted])
    return torch.cat(out).unflatten(0, (-1, 2))


def inner(model):
    """Hooks that keep what the modules give: a dict that fills as the model runs."""
    seen = {}
    for name, module in (("conv_features", model.feature_extractor), ("feature_projection", model.feature_projection),
                         ("pos_conv_embed", model.encoder.pos_conv_embed)):
        module.register_forward_hook(lambda _, __, y, name=name: seen.__setitem__(name, (y[0] if isinstance(y, tuple) else y).detach()))
    return seen
