"""hubert, wavlm, wav2vec2 from transformers and beats, beats_plain from beats.py, in f64, names and outputs as in the published
vectors; and keyface_audio, what KeyFace makes of the last four."""
import torch

import audio
import beats
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

WAV2VEC2 = HUBERT | {"hidden_size": 32, "intermediate_size": 72, "conv_dim": [16, 20, 16, 16, 16, 16, 12], "num_conv_pos_embeddings": 64,
                     "num_conv_pos_embedding_groups": 8}
# As for WavLM, 112 tokens reach the logarithmic range.
BEATS = {"input_patch_size": 16, "embed_dim": 24, "conv_bias": True, "encoder_layers": 2, "encoder_embed_dim": 48, "encoder_ffn_embed_dim": 80,
         "encoder_attention_heads": 3, "activation_fn": "gelu", "layer_norm_first": False, "deep_norm": True, "conv_pos": 32, "conv_pos_groups": 8,
         "relative_position_embedding": True, "num_buckets": 64, "max_distance": 100, "gru_rel_pos": True, "finetuned_model": True,
         "predictor_class": 7}
# Both switches off, no projection, an odd positional convolution.
PLAIN = BEATS | {"embed_dim": 40, "conv_bias": False, "encoder_embed_dim": 40, "encoder_attention_heads": 5, "deep_norm": False, "conv_pos": 19,
                 "conv_pos_groups": 4, "num_buckets": 32, "gru_rel_pos": False, "finetuned_model": False}


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
    return model


def wav2vec2():
    samples, seed, unit = 13_777, 2611, 4000
    model = audio.wav2vec2(WAV2VEC2)
    weights = build(model, audio.wav2vec2_name, seed)
    waveform = golden.draw(seed, samples, std=0.1) + 0.05
    normalized = audio.to_whole_frames(audio.standardise(waveform.double()))[None]
    y32 = model(normalized.float()).last_hidden_state
    model.double()
    seen = audio.inner(model)
    y = model(normalized, output_hidden_states=True)
    tensors = {f"intermediate.{k}": v for k, v in seen.items()} | {f"intermediate.hidden_states.{i}": h for i, h in enumerate(y.hidden_states)}
    chunked = audio.wav2vec2_embeddings(model, waveform.double(), unit)
    tensors |= {"input.waveform": waveform, "intermediate.normalized_padded": normalized, "output.last_hidden_state": y.last_hidden_state,
                "output.pipeline_embeddings": audio.wav2vec2_embeddings(model, waveform.double()), f"output.chunked_{unit}": chunked}
    synthetic = {}
    for n in (640, 33_333, 650_000):
        e = audio.wav2vec2_embeddings(model, audio.synthetic_samples(n))
        synthetic[n] = {"output_shape": list(e.shape)}
        tensors |= {f"output.synth_{n}.pipeline_embeddings_every16": e[::16], f"output.synth_{n}.last2": e[-2:]}
    golden.write("wav2vec2.safetensors", "wav2vec2", "transformers Wav2Vec2Model in f64, weights by formula", {
        "config": WAV2VEC2, "samples": samples, "synthetic": synthetic, "seed": seed,
        f"chunked_{unit}": {"split_sizes": audio.splits(normalized.shape[1], unit), "output_shape": list(chunked.shape)},
        "f32_vs_f64_rel_l2": golden.rel_l2(y32, y.last_hidden_state), "weights": weights}, tensors)
    return model


def sounds(samples, seed):
    """Noise that comes and goes, a rising tone and silence, on an offset. Some noise is everywhere but in silence: without it the
    logarithm of a tone's empty bands is rounding error, in f32 of the reference as well."""
    t = torch.arange(samples, dtype=torch.float64) / audio.RATE
    noise = golden.draw(seed, samples, std=0.1).double() * (torch.sin(9 * t).clamp(min=0) + 0.03)
    tone = 0.02 * torch.sin(2 * torch.pi * (300 * t + 1500 * t**2)) * (torch.sin(5 * t) > 0)
    return ((noise + tone + 0.01) * (torch.sin(6 * t + 1.2) > -0.9)).float()


def beats_weights(config, seed):
    shapes = beats.shapes(config, config["predictor_class"] if config["finetuned_model"] else None)
    weights = golden.formula_weights(shapes, seed) | {"tied": beats.tied(config)}
    values = golden.generate(weights)
    return weights, values | {name: values[other] for name, other in weights["tied"].items()}


def run_beats(file, config, frames, seed):
    weights, w = beats_weights(config, seed)
    waveform = sounds(frames * audio.FRAME, seed)
    y32, _ = beats.features(w, config, waveform)
    w = golden.double(w)
    y, seen = beats.features(w, config, waveform.double())
    tensors = {"input.waveform": waveform, "intermediate.fbank": seen["fbank"][None], "output.features": y[None],
               "output.wrapper_embeddings": beats.embeddings(w, config, waveform.double())[None]}
    if config["finetuned_model"]:
        tensors["output.class_probs"] = beats.class_probabilities(w, y)[None]
    golden.write(file, "beats", "beats.py in f64, weights by formula", {
        "config": config, "seed": seed, "f32_vs_f64_rel_l2": golden.rel_l2(y32, y), "weights": weights}, tensors)
    return w


def keyface_audio(wavlm, wav2vec2, beats_w):
    seed, clips, tensors = 2711, {}, {}
    for samples in (7039, 8960):
        name, waveform = f"n{samples}", sounds(samples, seed)
        padded = audio.to_whole_frames(waveform.double())
        frames = len(padded) // audio.FRAME
        parts = {"wavlm": audio.wavlm_embeddings(wavlm, padded), "beats": beats.embeddings(beats_w, BEATS, padded),
                 "wav2vec2": audio.wav2vec2_embeddings(wav2vec2, waveform.double())}
        slots = 2 * len(parts["beats"])
        tokens = {"wavlm": (slots * audio.FRAME // 2 - 400) // 320 + 1, "beats": 8 * ((slots * audio.FRAME // 2 - 400) // 160 + 1 >> 4)}
        clips[name] = {"samples": samples, "frames": frames, "frames_even": slots // 2} | {f"{k}_tokens": n for k, n in tokens.items()} | {
            f"{k}_source_token_of_slot": [slot * n // slots for slot in range(slots)] for k, n in tokens.items()}
        tensors |= {f"input.{name}.waveform": waveform} | {f"intermediate.{name}.{k}": v for k, v in parts.items()}
        for output, speech in (("keyframes", "wavlm"), ("interpolation", "wav2vec2")):
            tensors[f"output.{name}.audio_{output}"] = torch.cat([parts[speech][:frames], parts["beats"][:frames]], -1)
    golden.write("keyface_audio.safetensors", "keyface_audio", "the pairs of three encoders side by side, weights in their own files", {
        "weights_files": {k: f"{k}.safetensors" for k in ("wavlm", "beats", "wav2vec2")}, "clips": clips, "seed": seed}, tensors)


with torch.no_grad():
    hubert()
    wavlm_model = wavlm()
    wav2vec2_model = wav2vec2()
    weights = run_beats("beats.safetensors", BEATS, 37, 1113)
    run_beats("beats_plain.safetensors", PLAIN, 17, 1114)
    keyface_audio(wavlm_model, wav2vec2_model, weights)
