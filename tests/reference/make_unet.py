"""unet_keyframe, unet_interpolation and keyface_unet_keyframe.safetensors: one UNet call each in two sets, computed in f64."""
import torch

import golden
import networks

COMMON = {"out_channels": 4, "transformer_depth": 1, "video_kernel_size": [3, 1, 1], "use_linear_in_transformer": True,
          "extra_ff_mix_layer": True, "use_spatial_context": True, "merge_strategy": "learned_with_images"}
# The deepest and the top level attend, the middle one does not; the latent reaches 1x3 and 1x2 at the bottom.
KEYFRAME = {"model_channels": 32, "channel_mult": [1, 2, 3], "num_res_blocks": 2, "num_head_channels": 32, "context_dim": 40,
            "audio_dim": 40, "in_channels": 8, "attention_resolutions": [4, 1], "wrapper": "DubbingWrapper", "seed": 1101}
INTERPOLATION = {"model_channels": 32, "channel_mult": [1, 2], "num_res_blocks": 2, "num_head_channels": 16, "context_dim": 56,
                 "audio_dim": 56, "in_channels": 9, "attention_resolutions": [2], "wrapper": "InterpolationWrapper", "seed": 1202,
                 "learned_mask": [4, 6, 10]}
# KeyFace's label embedding takes an emotion in front of the audio; its interpolation network is KeySync's.
KEYFACE = {"model_channels": 32, "channel_mult": [1, 2], "num_res_blocks": 1, "num_head_channels": 16, "context_dim": 24,
           "audio_dim": 24, "in_channels": 8, "attention_resolutions": [2, 1], "wrapper": "OpenAIWrapper", "seed": 1505,
           "emotion_dim_each": 12, "adm_in_channels": 24, "label_emb_in": 48}


def inputs(config, batch, frames, h, w, mode, seed):
    """`cfg`: rows uncond, reference only, both, as the guided loop calls it. `free`: everything differs, indicator 0 and 1."""
    first_last = 2 if "learned_mask" in config else 1
    i = {"x": golden.draw(seed, batch * frames, 4, h, w), "concat": golden.draw(seed + 1, batch, 4 * first_last, h, w),
         "crossattn": golden.draw(seed + 2, batch, frames, config["context_dim"]),
         "c_noise": golden.draw(seed + 3, batch * frames), "image_only_indicator": torch.zeros(batch, frames)}
    if "emotion_dim_each" in config:
        i["valence"], i["arousal"] = (golden.draw(seed + 4 + n, batch, frames, std=0.5).clamp(-1, 1) for n in range(2))
    if mode == "cfg":
        i["concat"][0], i["crossattn"][:2], i["c_noise"][:] = 0, 0, i["c_noise"][0]
        i["concat"][2] = i["concat"][1]
        for k in {"valence", "arousal"} & i.keys():
            i[k][:] = i[k][0]
    else:
        i["image_only_indicator"][:, 1::3] = 1
    return i


def make(file, case, config, sets, stored):
    config = config | COMMON | {"sets": {}}
    config["weights"] = golden.formula_weights(networks.unet_shapes(**config), config["seed"])
    weights, tensors = golden.generate(config["weights"]), {}
    for number, (name, (batch, frames, h, w, mode)) in enumerate(sets.items()):
        i = inputs(config, batch, frames, h, w, mode, config["seed"] + 10 * number)
        y, seen = networks.wrapped_unet(golden.double(weights), **named(config, golden.double(i)))
        y32, _ = networks.wrapped_unet(weights, **named(config, i))
        config["sets"][name] = {"batch": batch, "frames": frames, "h": h, "w": w, "mode": mode, "f32_vs_f64_rel_l2": golden.rel_l2(y32, y),
                                "output_std": float(y.std())}
        if "valence" in i:
            swapped = golden.double(i) | {"valence": i["arousal"].double(), "arousal": i["valence"].double()}
            wrong, _ = networks.wrapped_unet(golden.double(weights), **named(config, swapped))
            config["sets"][name]["rel_l2_if_valence_arousal_swapped"] = golden.rel_l2(wrong, y)
            i["vector"] = named(config, golden.double(i))["vector"]
        tensors |= {f"input.{name}.{k}": v for k, v in i.items()} | {f"output.{name}.y": y}
        if mode == "free":
            tensors |= {f"intermediate.{name}.{k}": v for k, v in seen.items() if k in stored}
    golden.write(file, case, "video UNet, plain-torch f64 run, weights by formula", config, tensors)


def named(config, i):
    """`i` as `networks.wrapped_unet` calls it."""
    names = {"crossattn": "audio", "image_only_indicator": "image_only"}
    given = {names.get(k, k): v for k, v in i.items() if k not in ("valence", "arousal", "vector")}
    if "valence" in i:
        given["vector"] = networks.emotion_vector(i["valence"], i["arousal"], config["emotion_dim_each"])
    return given | {"head_dim": config["num_head_channels"]}


INNER = {"time_embed", "label_emb", "unet_input", "middle_block"}
with torch.no_grad():
    make("unet_keyframe.safetensors", "unet_keyframe", KEYFRAME, {"t6": (2, 6, 4, 12, "free"), "t3": (3, 3, 4, 8, "cfg")},
         INNER | {f"input_blocks.{i}" for i in (0, 1, 3, 4, 6, 7, 8)} | {f"output_blocks.{i}" for i in (0, 2, 3, 5, 6, 8)})
    make("unet_interpolation.safetensors", "unet_interpolation", INTERPOLATION, {"t5": (2, 5, 6, 10, "free"), "t4": (3, 4, 6, 10, "cfg")},
         INNER | {f"input_blocks.{i}" for i in (1, 3, 4)} | {f"output_blocks.{i}" for i in (0, 2, 5)})
    make("keyface_unet_keyframe.safetensors", "keyface_unet_keyframe", KEYFACE, {"t4": (2, 4, 4, 6, "free"), "t3": (3, 3, 4, 6, "cfg")},
         INNER | {"label_emb_input", "input_blocks.1", "output_blocks.0", "output_blocks.3"})
