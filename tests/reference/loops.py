"""The sampling loops: conditioning, guidance of three branches or two networks, the denoiser with and without a mask, Euler
steps, and the pixels at the end.

Tensors as in the golden files' `input.*`. Sources: EDM (Karras et al. 2022), Align Your Steps (Sabour et al. 2024),
autoguidance (Karras et al. 2024), KeySync, KeyFace.
"""
import numpy as np
import torch

import networks

SCALE = 0.18215
AYS = (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002)


def ays_sigmas(evaluations=len(AYS)):
    """One value per network evaluation, linear in ln(sigma) between the table's, and a zero behind. The published
    "num_steps" n means n evaluations, except that 10 means the table itself (11) and fewer are refused."""
    if evaluations == len(AYS):
        return np.array([*AYS, 0.0])
    positions = np.linspace(0, len(AYS) - 1, evaluations)
    return np.append(np.exp(np.interp(positions, range(len(AYS)), np.log(AYS))), 0.0)


def euler(noise, denoise):
    """`denoise(x, sigma)` -> (guided latents, inner values by name)."""
    dtype, sigmas = noise.dtype, ays_sigmas()
    x = noise * (1 + sigmas[0] ** 2) ** 0.5
    seen, c_noises = {"scaled_initial_x": x}, []
    for step, (now, after) in enumerate(zip(sigmas[:-1], sigmas[1:])):
        # The published code multiplies an f64 sigma with f32 ones, so the loop sees sigmas rounded to f32.
        now, after = (torch.tensor(float(np.float32(s)), dtype=dtype) for s in (now, after))
        c_noises.append(0.25 * torch.log(now))
        guided, inner = denoise(x, now)
        x = x + (after - now) * ((x - guided) / now)
        seen |= {f"step{step:02}.{k}": v for k, v in inner.items()}
        seen[f"step{step:02}.guided_denoised"], seen[f"step{step:02}.x"] = guided, x
    seen["c_noise"] = torch.stack(c_noises)
    seen["sigmas_f64_as_f32"] = torch.from_numpy(sigmas)
    return x, seen


def denoised(tensors, head_dim, x, sigma, concat, crossattn, vector=None):
    """One evaluation: `x` once for each part of `concat`, before guidance."""
    count, frames = crossattn.shape[:2]
    copies = count * frames // len(x)
    image_only = torch.zeros(count, frames, dtype=x.dtype)
    f, _ = networks.wrapped_unet(tensors, (x / (sigma**2 + 1) ** 0.5).repeat(copies, 1, 1, 1), (0.25 * torch.log(sigma)).expand(count * frames),
                                 concat, crossattn, image_only, head_dim, vector)
    return f * (-sigma / (sigma**2 + 1) ** 0.5) + (x / (sigma**2 + 1)).repeat(copies, 1, 1, 1)


def three_branches(parts, ratios):
    """`ratios` audio, reference."""
    uncond, ref, cond = parts
    return ratios[0] * (cond - ref) + ratios[1] * (ref - uncond) + uncond


def conditions(linear, audio_emb, concat):
    crossattn = torch.nn.functional.linear(audio_emb.mean(2), linear["weight"], linear["bias"])
    return {"cond.concat": concat, "cond.crossattn": crossattn,
            "uncond.concat": torch.zeros_like(concat), "uncond.crossattn": torch.zeros_like(crossattn),
            "batched.concat": torch.cat([torch.zeros_like(concat), concat, concat]),
            "batched.crossattn": torch.cat([torch.zeros_like(crossattn)] * 2 + [crossattn])}


def sample(tensors, head_dim, linear, audio_emb, concat, gt, masks, noise, ratios=(5.0, 2.0)):
    """KeySync's loop. `concat` [clips, 4 or 8, h, w], already divided by the latent scale; `ratios` audio, reference."""
    told = conditions(linear, audio_emb, concat)
    kept = {f"{part}.{k}": v.transpose(1, 2) for part in ("cond", "uncond") for k, v in (("gt", gt), ("masks", masks))}
    keep, m = gt.flatten(0, 1), masks.flatten(0, 1)

    def denoise(x, sigma):
        d = denoised(tensors, head_dim, x * m + keep * (1 - m), sigma, told["batched.concat"], told["batched.crossattn"])
        return three_branches([part * m + keep * (1 - m) for part in d.chunk(3)], ratios), {}

    x, seen = euler(noise, denoise)
    return x, told | kept | seen


def sample_keyframes(tensors, head_dim, linear, inputs, ratios):
    return sample(tensors, head_dim, linear, inputs["audio_emb"], inputs["cond_frame_latent"] / SCALE, inputs["gt"], inputs["masks"],
                  inputs["noise"], ratios)


def sample_interpolation(tensors, head_dim, linear, decoder, inputs):
    """Between consecutive kept keyframes; their latents replace the first and last frame of each segment before decoding."""
    kept = inputs["keyframe_latents"][inputs["to_remove"] == 0]
    first, last = kept[:-1], kept[1:]
    x, seen = sample(tensors, head_dim, linear, inputs["audio_emb"], torch.cat([first, last], 1) / SCALE, inputs["gt"], inputs["masks"],
                     inputs["noise"])
    seen["sampler_out"] = x
    latents = x.unflatten(0, (len(first), -1)).clone()
    latents[:, 0], latents[:, -1] = first, last
    decoded = torch.cat([networks.vae_decode(decoder, z[None] / SCALE, 1)[0] for z in latents.flatten(0, 1)])
    frames = latents.shape[1]
    seen["decoded_frame0"], seen[f"decoded_frame{frames - 1}"] = decoded[:1], decoded[frames - 1:frames]
    pixels = ((decoded + 1) / 2).clamp(0, 1).unflatten(0, (len(first), -1))
    return latents.flatten(0, 1), (merge(pixels, 1) * 255).to(torch.uint8), seen


def sample_keyface_keyframes(tensors, head_dim, linear, inputs, ratios, emotion_dim_each):
    """Batches one after another with one identity; the emotion is in every branch. What is seen of the conditions is of the
    first batch where it is batched, else of the last."""
    concat, latents, all_seen = inputs["cond_frame_latent"] / SCALE, [], {}
    for batch in range(len(inputs["noise"])):
        vector = networks.emotion_vector(inputs["valence"][batch], inputs["arousal"][batch], emotion_dim_each)
        told = conditions(linear, inputs["audio_emb"][batch:batch + 1], concat) | {"cond.vector": vector, "uncond.vector": vector,
                                                                                    "batched.vector": vector.repeat(3, 1)}

        def denoise(x, sigma):
            d = denoised(tensors, head_dim, x, sigma, told["batched.concat"], told["batched.crossattn"], told["batched.vector"])
            return three_branches(d.chunk(3), ratios), {"denoised_3branches": d}

        x, seen = euler(inputs["noise"][batch], denoise)
        latents.append(x)
        all_seen |= {f"batch{batch}.{k}": v for k, v in seen.items() if k.startswith("step")}
        all_seen |= {k: v for k, v in told.items() if batch == 0 or not k.startswith("batched.")}
        all_seen |= {k: v for k, v in seen.items() if batch == 0 and not k.startswith("step")}
    return torch.cat(latents), all_seen


def sample_keyface_interpolation(tensors, bad, head_dim, linear, decoder, inputs, scale):
    """Between consecutive kept keyframes, away from what a second network says. Nothing is put back; neighbours meet in pixels."""
    kept = inputs["keyframe_latents"][inputs["to_remove"] == 0]
    concat = torch.cat([kept[:-1], kept[1:]], 1) / SCALE
    told = conditions(linear, inputs["audio_emb"], concat)

    def denoise(x, sigma):
        worse, better = (denoised(w, head_dim, x, sigma, concat, told["cond.crossattn"]) for w in (bad, tensors))
        return worse + scale * (better - worse), {"denoised_bad": worse, "denoised_good": better}

    x, seen = euler(inputs["noise"], denoise)
    frames = len(x) // len(concat)
    decoded = torch.cat([networks.vae_decode(decoder, z[None] / SCALE, 1)[0] for z in x])
    seen |= {f"decoded_frame{i}": decoded[i:i + 1] for i in (frames - 1, frames)}
    pixels = ((decoded + 1) / 2).clamp(0, 1).unflatten(0, (len(concat), -1))
    return x, (merge(pixels, 1) * 255).to(torch.uint8), seen | {k: told[k] for k in ("cond.concat", "cond.crossattn")}


def merge(segments, overlap):
    """[segments, frames, ...] -> one run of frames; where segments overlap, their mean."""
    count, frames = segments.shape[:2]
    total = torch.zeros((count - 1) * (frames - overlap) + frames, *segments.shape[2:], dtype=segments.dtype)
    weight = torch.zeros(len(total), dtype=segments.dtype)
    for i, segment in enumerate(segments):
        start = i * (frames - overlap)
        total[start:start + frames] += segment
        weight[start:start + frames] += 1
    return total / weight.reshape(-1, *[1] * (total.dim() - 1))
