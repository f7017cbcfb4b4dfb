"""sampling_*.safetensors and keyface_sampling_*.safetensors: whole loops on the UNets of unet_*.safetensors.

Two keyframe clips in one batch with ratios other than the published ones (KeyFace: two batches, one after the other); three
segments, so that a chunk size of two clips does not divide the batch. KeyFace's interpolation runs on KeySync's network and, as
the weaker one, on the same with other weights.
"""
import torch

import golden
import loops
import networks

LINEAR = {"sampling_keyframes": "conditioner.embedders.2.linear.", "sampling_interpolation": "conditioner.embedders.2.linear.",
          "keyface_sampling_keyframes": "conditioner.embedders.3.linear.", "keyface_sampling_interpolation": "conditioner.embedders.1.linear."}


def run(case, config, tensors, inputs, unet, bad, double):
    if double:
        tensors, inputs, unet, bad = (golden.double(t) for t in (tensors, inputs, unet, bad))
    linear = {k: tensors[LINEAR[case] + k] for k in ("weight", "bias")}
    heads = config["num_head_channels"]
    if case.endswith("keyframes"):
        ratios = config["audio_ratio"], config["ref_ratio"]
        if case.startswith("keyface"):
            return loops.sample_keyface_keyframes(unet, heads, linear, inputs, ratios, config["emotion_dim_each"])
        return loops.sample_keyframes(unet, heads, linear, inputs, ratios)
    decoder = networks.Weights(tensors, "first_stage_model.decoder.")
    if case.startswith("keyface"):
        x, video, seen = loops.sample_keyface_interpolation(unet, bad, heads, linear, decoder, inputs, config["guidance_scale"])
    else:
        x, video, seen = loops.sample_interpolation(unet, heads, linear, decoder, inputs)
    return x, seen | {"video": video}


def make(case, config, shapes, inputs, stored):
    _, unet_config, _, unet = golden.read(golden.FIXTURES / config["weights_file"])
    config |= {k: unet_config[k] for k in ("context_dim", "num_head_channels", "channel_mult", "num_res_blocks")}
    config |= {"num_steps": 10, "euler_steps_done": 11, "sigmas": loops.ays_sigmas().tolist()}
    config["weights"] = golden.formula_weights(shapes | {LINEAR[case] + "weight": (config["context_dim"], config["audio_dim_raw"]),
                                                         LINEAR[case] + "bias": (config["context_dim"],)}, config["seed"])
    bad = {}
    if case == "keyface_sampling_interpolation":
        names = {k.removeprefix("model."): v for k, v in unet_config["weights"]["tensors"].items()}
        config["weights_bad"] = golden.formula_weights(names, config["seed"] + 1)
        bad = {f"model.{k}": v for k, v in golden.generate(config["weights_bad"]).items()}
    weights = golden.generate(config["weights"])
    x, seen = run(case, config, weights, inputs, unet, bad, True)
    x32, seen32 = run(case, config, weights, inputs, unet, bad, False)
    config["f32_vs_f64_rel_l2"] = golden.rel_l2(x32, x)
    steps = [k for k in seen if k.endswith(".x")]
    config["per_step_f32_vs_f64"] = [golden.rel_l2(seen32[k], seen[k]) for k in steps]
    tensors = {f"input.{k}": v for k, v in inputs.items()} | {"output.latents": x}
    tensors |= {f"intermediate.{k}": seen[k] for k in seen if k.startswith(stored)}
    if "video" in seen:
        config["video_u8_frames_total"] = len(seen["video"])
        config["video_u8_subset_frames"] = list(range(len(seen["video"])))
        config["video_u8_f32_vs_f64_differing"] = float((seen["video"] != seen32["video"]).float().mean())
        tensors["output.video_u8_subset"] = seen["video"]
    if "merge.segments" in inputs:
        segments = inputs["merge.segments"].double()
        tensors |= {f"output.merge.overlap{n}": loops.merge(segments, n) for n in (1, 3)}
    golden.write(f"{case}.safetensors", case, "plain-torch f64 loop, weights by formula", config, tensors)


def rectangle(clips, frames, h, w):
    """1 (generate) in a rectangle that moves down by a row every second frame."""
    m = torch.zeros(clips, frames, 1, h, w)
    for clip in range(clips):
        for t in range(frames):
            m[clip, t, 0, 1 + (clip + t // 2) % (h - 2):, 1:w - 2] = 1
    return m


def keyframes():
    clips, frames, h, w, audio, seed = 2, 6, 4, 8, 24, 1303
    config = {"weights_file": "unet_keyframe.safetensors", "clips": clips, "num_frames": frames, "h": h, "w": w, "audio_dim_raw": audio,
              "audio_ratio": 4.0, "ref_ratio": 1.5, "seed": seed}
    inputs = {"audio_emb": golden.draw(seed, clips, frames, 2, audio), "gt": golden.draw(seed + 1, clips, frames, 4, h, w, std=0.8),
              "masks": rectangle(clips, frames, h, w), "cond_frame_latent": golden.draw(seed + 2, clips, 4, h, w, std=0.8),
              "noise": golden.draw(seed + 3, clips * frames, 4, h, w)}
    make("sampling_keyframes", config, {}, inputs,
         ("step", "cond.", "batched.", "scaled", "c_noise", "sigmas"))


def interpolation():
    segments, frames, h, w, audio, seed = 3, 5, 6, 10, 20, 1404
    first_stage = {"ch": 32, "ch_mult": [1, 1, 2], "num_res_blocks": 1, "decode_frames_at_a_time": 1}
    config = {"weights_file": "unet_interpolation.safetensors", "segments": segments, "num_frames": frames, "chunk_size_frames": 2 * frames,
              "h": h, "w": w, "audio_dim_raw": audio, "audio_ratio": 5.0, "ref_ratio": 2.0, "first_stage": first_stage,
              "scale_factor": loops.SCALE, "seed": seed}
    inputs = {"audio_emb": golden.draw(seed, segments, frames, 2, audio), "gt": golden.draw(seed + 1, segments, frames, 4, h, w, std=0.8),
              "masks": rectangle(segments, frames, h, w), "keyframe_latents": golden.draw(seed + 2, segments + 2, 4, h, w, std=0.8),
              "to_remove": torch.tensor([0, 1, 0, 0, 0], dtype=torch.uint8),
              "noise": golden.draw(seed + 3, segments * frames, 4, h, w), "merge.segments": golden.draw(seed + 4, 3, 7, 2, 3, 5)}
    make("sampling_interpolation", config, networks.vae_shapes(**first_stage, parts=("decoder",)), inputs,
         ("step00.", "step01.x", "step05.x", "step10.", "cond.concat", "cond.crossattn", "sampler_out", "decoded"))


def keyface_keyframes():
    batches, frames, h, w, audio, seed = 2, 4, 4, 6, 18, 1606
    config = {"weights_file": "keyface_unet_keyframe.safetensors", "keyframe_batches": batches, "num_frames": frames, "h": h, "w": w,
              "audio_dim_raw": audio, "emotion_dim_each": 12, "audio_ratio": 3.5, "ref_ratio": 1.25, "scale_factor": loops.SCALE,
              "cond_recorded_for_batch": batches - 1, "batched_recorded_for_batch": 0, "seed": seed}
    inputs = {"audio_emb": golden.draw(seed, batches, frames, 2, audio), "cond_frame_latent": golden.draw(seed + 1, 1, 4, h, w, std=0.8),
              "noise": golden.draw(seed + 2, batches, frames, 4, h, w), "valence": golden.draw(seed + 3, batches, frames, std=0.5).clamp(-1, 1),
              "arousal": golden.draw(seed + 4, batches, frames, std=0.5).clamp(-1, 1)}
    make("keyface_sampling_keyframes", config, {}, inputs,
         ("batch0.step00.", "batch0.step05.", "batch1.step05.x", "batch0.step10.x", "batch1.step10.x", "batched.", "cond.", "uncond.vector", "scaled"))


def keyface_interpolation():
    segments, frames, h, w, audio, seed = 3, 5, 6, 10, 22, 1707
    first_stage = {"ch": 32, "ch_mult": [1, 1], "num_res_blocks": 1, "decode_frames_at_a_time": 1}
    config = {"weights_file": "unet_interpolation.safetensors", "segments": segments, "num_frames": frames, "overlap": 1,
              "chunk_size_frames": 2 * frames, "guidance_scale": 1.75, "h": h, "w": w, "audio_dim_raw": audio, "first_stage": first_stage,
              "scale_factor": loops.SCALE, "seed": seed}
    inputs = {"audio_emb": golden.draw(seed, segments, frames, 2, audio), "keyframe_latents": golden.draw(seed + 1, segments + 2, 4, h, w, std=0.8),
              "to_remove": torch.tensor([0, 0, 1, 0, 0], dtype=torch.uint8), "noise": golden.draw(seed + 2, segments * frames, 4, h, w)}
    make("keyface_sampling_interpolation", config, networks.vae_shapes(**first_stage, parts=("decoder",)), inputs,
         ("step00.", "step05.x", "step10.x", "cond.crossattn", "decoded"))


with torch.no_grad():
    keyframes()
    interpolation()
    keyface_keyframes()
    keyface_interpolation()
