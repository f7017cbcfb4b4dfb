"""Holds the plain-torch networks and loops to vectors of the published code: `VISEME_GOLDEN=folder python check_golden.py`."""
import json
import sys

import numpy as np
import torch

import audio
import beats
import golden
import loops
import masks
import networks

BAR = 5e-6


def report(file, what, error):
    worst.append(error)
    print(f"{file} {what}: {error:.1e}{'' if error <= BAR else '  PAST THE BAR'}")


def unet(file):
    case, config, t, w = golden.read(folder / file)
    ours = networks.unet_shapes(**config)
    assert ours == {k: tuple(v.shape) for k, v in w.items()}, "published names and shapes"
    for name in config["sets"]:
        i = {k.removeprefix(f"input.{name}."): v for k, v in t.items() if k.startswith(f"input.{name}.")}
        vector = networks.emotion_vector(i["valence"], i["arousal"], config["emotion_dim_each"]) if "valence" in i else None
        if vector is not None:
            report(file, f"{name}.vector", golden.rel_l2(vector, i["vector"]))
        y, seen = networks.wrapped_unet(w, i["x"], i["c_noise"], i["concat"], i["crossattn"], i["image_only_indicator"],
                                        config["num_head_channels"], vector)
        report(file, f"{name}.y", golden.rel_l2(y, t[f"output.{name}.y"]))
        inner = [golden.rel_l2(seen[k.removeprefix(f"intermediate.{name}.")], v) for k, v in t.items() if k.startswith(f"intermediate.{name}.")]
        if inner:
            report(file, f"{name} worst of {len(inner)} inner values", max(inner))


def loop(file):
    case, config, t, w = golden.read(folder / file)
    _, unet_config, _, unet_weights = golden.read(folder / config["weights_file"])
    linear = {k.rpartition(".")[2]: v for k, v in w.items() if k.startswith("conditioner.")}
    bad = {k.replace("weights_bad.", "model."): v for k, v in t.items() if k.startswith("weights_bad.")}
    inputs = {k.removeprefix("input."): v for k, v in t.items() if k.startswith("input.")}
    heads = config["num_head_channels"]
    ratios = config.get("audio_ratio"), config.get("ref_ratio")
    if case == "sampling_keyframes":
        x, seen = loops.sample_keyframes(unet_weights, heads, linear, inputs, ratios)
    elif case == "keyface_sampling_keyframes":
        x, seen = loops.sample_keyface_keyframes(unet_weights, heads, linear, inputs, ratios, config["emotion_dim_each"])
    else:
        decoder = networks.Weights(w, "first_stage_model.decoder.")
        if bad:
            x, video, seen = loops.sample_keyface_interpolation(unet_weights, bad, heads, linear, decoder, inputs, config["guidance_scale"])
        else:
            x, video, seen = loops.sample_interpolation(unet_weights, heads, linear, decoder, inputs)
        wrong = (video[config["video_u8_subset_frames"]].int() - t["output.video_u8_subset"].int()).abs()
        assert wrong.max() <= 1 and (wrong > 0).float().mean() < 0.01 and len(video) == config["video_u8_frames_total"]
        for overlap in (1, 3) if "merge.segments" in inputs else ():
            merged = loops.merge(t["input.merge.segments"], overlap)
            report(file, f"merge {overlap}", golden.rel_l2(merged, t[f"output.merge.overlap{overlap}"]))
    report(file, "latents", golden.rel_l2(x, t["output.latents"]))
    for k, v in t.items():
        if k.startswith("intermediate.") and v.norm() > 0:
            mine = seen[k.removeprefix("intermediate.")]
            assert mine.shape == v.shape, k
            report(file, k, golden.rel_l2(mine, v))


def vae(file):
    case, config, t, w = golden.read(folder / file)
    assert networks.vae_shapes(**config) == {k: tuple(v.shape) for k, v in w.items()}, "published names and shapes"
    w = networks.Weights(w, "first_stage_model.")
    moments, _ = networks.vae_encode(w.at("encoder"), t["input.x"])
    report(file, "moments", golden.rel_l2(moments, t["output.moments"]))
    together, _ = networks.vae_decode(w.at("decoder"), t["input.decode_z"], config["num_frames"])
    report(file, "timesteps_T", golden.rel_l2(together, t["output.decoded_timesteps_T"]))
    single, _ = networks.vae_decode(w.at("decoder"), t["input.decode_z"], 1)
    report(file, "timesteps_1", golden.rel_l2(single, t["output.decoded_timesteps_1"]))


def encoder(file, build, name_of, embeddings, last):
    """Inner values, pairs, and the long waveforms with their splits."""
    case, config, t, w = golden.read(folder / file)
    model = build(config["config"])
    published = {name_of(k): tuple(v.shape) for k, v in model.state_dict().items()}
    assert {k: tuple(v.shape) for k, v in w.items()}.items() <= published.items(), "published names and shapes"
    audio.load(model, name_of, w)
    seen = audio.inner(model)
    y = model(t["input.normalized"] if case == "hubert" else t["input.waveform"][None], output_hidden_states=True)
    report(file, last, golden.rel_l2(y.last_hidden_state, t[f"output.{last}"]))
    report(file, "conv_features", golden.rel_l2(seen["conv_features"], t["intermediate.conv_features"]))
    for i, h in enumerate(y.hidden_states):
        name, h = (f"intermediate.hidden_states.{i}", h) if case == "hubert" else (f"intermediate.layer_results.{i}_TBC", h.transpose(0, 1))
        report(file, name, golden.rel_l2(h, t[name]))
    report(file, "pipeline_embeddings", golden.rel_l2(embeddings(model, t["input.waveform"]), t["output.pipeline_embeddings"]))
    for name, long in config["chunked"].items():
        e = embeddings(model, audio.synthetic(int(name[:-1])).float())
        assert list(e.shape) == long["output_shape"]
        report(file, name, max(golden.rel_l2(e[::16], t[f"output.chunked_{name}.every16"]), golden.rel_l2(e[-3:], t[f"output.chunked_{name}.last3"])))


def wav2vec2(file):
    _, config, t, w = golden.read(folder / file)
    model = audio.wav2vec2(config["config"])
    audio.load(model, audio.wav2vec2_name, w)
    embeddings = lambda waveform, **unit: audio.wav2vec2_embeddings(model, waveform, **unit)
    x = audio.to_whole_frames(audio.standardise(t["input.waveform"]))[None]
    report(file, "normalized_padded", golden.rel_l2(x, t["intermediate.normalized_padded"]))
    report(file, "last_hidden_state", golden.rel_l2(model(x).last_hidden_state, t["output.last_hidden_state"]))
    report(file, "pipeline_embeddings", golden.rel_l2(embeddings(t["input.waveform"]), t["output.pipeline_embeddings"]))
    report(file, "chunked_6400", golden.rel_l2(embeddings(t["input.waveform"], unit=6400), t["output.chunked_6400"]))
    for n in config["synthetic"]:
        e = embeddings(audio.synthetic_samples(int(n)).float())
        report(file, f"synth_{n}", golden.rel_l2(e[::4], t[f"output.synth_{n}.pipeline_embeddings_every4"]))
    return lambda waveform: embeddings(waveform)


def sounds(file):
    _, config, t, w = golden.read(folder / file)
    config = config["config"]
    assert beats.shapes(config, config["predictor_class"]) == {k: tuple(v.shape) for k, v in w.items()}, "published names and shapes"
    x, seen = beats.features(w, config, t["input.waveform"])
    report(file, "fbank", golden.rel_l2(seen["fbank"], t["intermediate.fbank"][0]))
    report(file, "features", golden.rel_l2(x, t["output.features"][0]))
    report(file, "class_probs", golden.rel_l2(beats.class_probabilities(w, x), t["output.class_probs"][0]))
    embeddings = lambda waveform: beats.embeddings(w, config, audio.to_whole_frames(waveform))
    report(file, "wrapper_embeddings", golden.rel_l2(embeddings(t["input.waveform"]), t["output.wrapper_embeddings"][0]))
    return embeddings


def keyface_audio(file, of_wav2vec2, of_beats):
    """The two encoders that KeySync does not have, and both of them behind each other."""
    _, config, t, _ = golden.read(folder / file)
    for name in config["clips"]:
        a, b = of_wav2vec2(t[f"input.{name}.waveform"]), of_beats(t[f"input.{name}.waveform"])
        report(file, f"{name}.wav2vec2", golden.rel_l2(a, t[f"intermediate.{name}.wav2vec2"]))
        report(file, f"{name}.beats", golden.rel_l2(b, t[f"intermediate.{name}.beats"]))
        report(file, f"{name}.audio_interpolation", golden.rel_l2(torch.cat([a, b[: len(a)]], -1), t[f"output.{name}.audio_interpolation"]))


def exact(file):
    """Masks and resized frames, every value."""
    _, config, t, _ = golden.read(folder / file)
    t = {k: v.numpy() for k, v in t.items()}
    checked = 0
    for key, y in t.items():
        side, _, rest = key.partition(".")
        name, _, kind = rest.partition(".")
        if side != "output":
            continue
        if kind in ("mask512_packbits", "mask64") and name in masks.SHAPES:
            m = masks.masks(name, t["input.landmarks"][:len(y)], 512, config["nose_index"])
            mine = masks.downsample(m, 64) if kind == "mask64" else np.packbits(m.reshape(len(m), -1), axis=1)
        elif kind == "tchw_u8":
            mine = masks.resize(t[f"input.{name}.thwc_u8"], *y.shape[2:]).transpose(0, 3, 1, 2)
        else:
            continue
        assert np.array_equal(mine, y), key
        checked += 1
    print(f"{file}: {checked} outputs exact")


def full_names():
    names = json.loads((folder / "keysync_full_names.json").read_text())
    keyface = json.loads((folder / "keyface_full_names.json").read_text())
    full = dict(model_channels=320, channel_mult=[1, 2, 4, 4], num_res_blocks=2, attention_resolutions=[4, 2, 1], context_dim=1024)
    for key, extra in (("keyframe", dict(in_channels=8)), ("interpolation", dict(in_channels=9, learned_mask=[4, 64, 64]))):
        published = {k: tuple(v) for k, v in names[key].items() if k.startswith("model.")}
        assert networks.unet_shapes(**full, **extra) == published, key
    for key, extra in (("keyframe", dict(in_channels=8, emotion_dim_each=256)), ("interpolation", dict(in_channels=9, learned_mask=[4, 64, 64]))):
        published = {k: tuple(v) for k, v in keyface[key].items() if k.startswith("model.")}
        assert networks.unet_shapes(**full, **extra) == published, key
    assert {f"model.{k}": v for k, v in keyface["interpolation_bad"].items()} == {k: list(v) for k, v in published.items()}
    published = {k: tuple(v) for k, v in names["first_stage_full_with_encoder"].items()}
    assert networks.vae_shapes(ch=128, ch_mult=[1, 2, 4, 4], num_res_blocks=2) == published
    print("full-size names and shapes agree")


folder = golden.published_folder()
if folder is None:
    sys.exit("set VISEME_GOLDEN to the folder of published vectors")
worst = []
with torch.no_grad():
    full_names()
    for file in ("01_unet_keyframe.safetensors", "02_unet_interpolation.safetensors", "21_keyface_unet_keyframe.safetensors",
                 "23_keyface_unet_interpolation.safetensors"):
        unet(file)
    for file in ("04_sampling_keyframes.safetensors", "05_sampling_interpolation.safetensors",
                 "22_keyface_sampling_keyframes.safetensors", "24_keyface_sampling_interpolation.safetensors"):
        loop(file)
    vae("08c_vae_sgm.safetensors")
    encoder("09_hubert.safetensors", audio.hubert, audio.hubert_name, audio.hubert_embeddings, "last_hidden_state")
    encoder("10_wavlm.safetensors", audio.wavlm, audio.wavlm_name, audio.wavlm_embeddings, "features")
    keyface_audio("27_keyface_audio.safetensors", wav2vec2("26_wav2vec2.safetensors"), sounds("11_beats.safetensors"))
    exact("07_masks.safetensors")
    exact("12_resize_u8.safetensors")
sys.exit(max(worst) > BAR)
