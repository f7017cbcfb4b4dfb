"""hubert.safetensors and wavlm.safetensors from transformers in f64, names and outputs as in the published vectors."""
import torch

import audio
import golden

LONG = (507, 1600)
HUBERT = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 80, "conv_dim": [24, 24, 16, 16, 16, 16, 20],
          "conv_kernel": [10, 3, 3, 3, 3, 2, 2], "conv_stride": [5, 2, 2, 2, 2, 2, 2], "feat_extract_norm": "group", "do_stable_layer_norm": False,
          "conv_bias": False, "layer_norm_eps": 1e-05, "hidden_act": "gelu", "feat_extract_activation": "gelu", "num_conv_pos_embeddings": 128,
          "num_conv_pos_embedding_groups": 16}
# Buckets and distance differ from the published 320 and 800, so that 61 vectors reach the logarithmic range.
WAVLM = {"extractor_mode": "default", "encoder_layers": 2, "encoder_embed_dim": 48, "encoder_ffn_embed_dim": 96, "encoder_attention_heads": 3,
         "activation_fn": "gelu", "layer_norm_first": False, "conv_feature_layers": "[(20,10,5)] + [(20,3,2)] * 4 + [(20,2,2)] * 2",
         "conv_bias": False, "feature_grad_mult": 1.0, "normalize": False, "conv_pos": 128, "conv_pos_groups": 16,
         "relative_position_embedding": True, "num_buckets": 96, "max_distance": 240, "gru_rel_pos": True, "mask_prob": 0.65}


def build(model, name_of, seed):
    weights = golden.formula_weights({name_of(k): v.shape for k, v in model.state_dict().items()}, seed)
    audio.load(model, name_of, golden.generate(weights))
    return weights


def speechlike(frames, seed):
    return golden.draw(seed, frames * audio.FRAME, std=0.1)


def long_cases(embeddings, model):
    out = {}
    for frames in LONG:
        e = embeddings(model, audio.synthetic(frames))
        out |= {f"output.chunked_{frames}f.every16": e[::16], f"output.chunked_{frames}f.last3": e[-3:]}
        yield frames, e, out


def hubert():
    frames, seed = 27, 1709
    model = audio.hubert(HUBERT)
    weights = build(model, audio.hubert_name, seed)
    waveform = speechlike(frames, seed)
    normalized = audio.standardise(waveform.double())[None]
    y32 = model(normalized.float()).last_hidden_state
    model.double()
    seen = audio.inner(model)
    y = model(normalized, output_hidden_states=True)
    tensors = {f"intermediate.{k}": v for k, v in seen.items()} | {f"intermediate.hidden_states.{i}": h for i, h in enumerate(y.hidden_states)}
    tensors |= {"input.waveform": waveform, "input.normalized": normalized, "output.last_hidden_state": y.last_hidden_state,
                "output.pipeline_embeddings": audio.hubert_embeddings(model, waveform.double())}
    chunked = {}
    for n, e, out in long_cases(audio.hubert_embeddings, model):
        samples = n * audio.FRAME
        chunked[f"{n}f"] = {"samples": samples, "split_sizes": audio.splits(samples, 20 * audio.RATE), "output_shape": list(e.shape)}
        tensors |= out
    golden.write("hubert.safetensors", "hubert", "transformers HubertModel in f64, weights by formula", {
        "config": HUBERT, "chunked": chunked, "seed": seed, "f32_vs_f64_rel_l2": golden.rel_l2(y32, y.last_hidden_state), "weights": weights}, tensors)


def wavlm():
    frames, seed = 31, 1810
    model = audio.wavlm(WAVLM)
    weights = build(model, audio.wavlm_name, seed)
    waveform = speechlike(frames, seed)
    y32 = model(waveform[None]).last_hidden_state
    model.double()
    seen = audio.inner(model)
    y = model(waveform.double()[None], output_hidden_states=True)
    tokens = y.last_hidden_state.shape[1]
    tensors = {f"intermediate.layer_results.{i}_TBC": h.transpose(0, 1) for i, h in enumerate(y.hidden_states)}
    tensors |= {"intermediate.conv_features": seen["conv_features"],
                "intermediate.position_bias_layer0": model.encoder.layers[0].attention.compute_bias(tokens, tokens),
                "input.waveform": waveform, "output.features": y.last_hidden_state,
                "output.pipeline_embeddings": audio.wavlm_embeddings(model, waveform.double())}
    chunked = {}
    for n, e, out in long_cases(audio.wavlm_embeddings, model):
        padded = n + n % 2
        chunked[f"{n}f"] = {"frames_in": n, "frames_padded": padded, "split_sizes_frames": audio.splits(padded, 20 * audio.RATE // audio.FRAME),
                            "output_shape": list(e.shape)}
        tensors |= out
    golden.write("wavlm.safetensors", "wavlm", "transformers WavLMModel in f64 under the published file's names, weights by formula", {
        "config": WAVLM, "chunked": chunked, "seed": seed, "f32_vs_f64_rel_l2": golden.rel_l2(y32, y.last_hidden_state), "weights": weights}, tensors)


with torch.no_grad():
    hubert()
    wavlm()
