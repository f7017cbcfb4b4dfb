"""The two sampling loops: conditioning, three-way guidance, the masked denoiser, Euler steps, and the pixels at the end.

Tensors as in the golden files' `input.*`. Sources: EDM (Karras et al. 2022), Align Your Steps (Sabour et al. 2024), KeySync.
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


def sample(tensors, head_dim, linear, audio_emb, concat, gt, masks, noise, ratios=(5.0, 2.0)):
    """`concat` [clips, 4 or 8, h, w], already divided by the latent scale; `ratios` audio, reference."""
    dtype, (n, frames) = noise.dtype, audio_emb.shape[:2]
    crossattn = torch.nn.functional.linear(audio_emb.mean(2), linear["weight"], linear["bias"])
    seen = {"cond.concat": concat, "cond.crossattn": crossattn, "cond.gt": gt.transpose(1, 2), "cond.masks": masks.transpose(1, 2),
            "uncond.concat": torch.zeros_like(concat), "uncond.crossattn": torch.zeros_like(crossattn),
            "uncond.gt": gt.transpose(1, 2), "uncond.masks": masks.transpose(1, 2),
            "batched.concat": torch.cat([torch.zeros_like(concat), concat, concat]),
            "batched.crossattn": torch.cat([torch.zeros_like(crossattn)] * 2 + [crossattn])}
    image_only = torch.zeros(3 * n, frames, dtype=dtype)
    keep, m = gt.flatten(0, 1), masks.flatten(0, 1)

    sigmas = ays_sigmas()
    x = seen["scaled_initial_x"] = noise * (1 + sigmas[0] ** 2) ** 0.5
    c_noises = []
    for step, (now, after) in enumerate(zip(sigmas[:-1], sigmas[1:])):
        # The published code multiplies an f64 sigma with f32 ones, so the loop sees sigmas rounded to f32.
        now, after = (torch.tensor(float(np.float32(s)), dtype=dtype) for s in (now, after))
        c_noises.append(0.25 * torch.log(now))
        inside = x * m + keep * (1 - m)
        f, _ = networks.wrapped_unet(tensors, (inside / (now**2 + 1) ** 0.5).repeat(3, 1, 1, 1), c_noises[-1].expand(3 * n * frames),
                                     seen["batched.concat"], seen["batched.crossattn"], image_only, head_dim)
        d = f * (-now / (now**2 + 1) ** 0.5) + (inside / (now**2 + 1)).repeat(3, 1, 1, 1)
        uncond, ref, cond = (part * m + keep * (1 - m) for part in d.chunk(3))
        guided = ratios[0] * (cond - ref) + ratios[1] * (ref - uncond) + uncond
        x = x + (after - now) * ((x - guided) / now)
        seen[f"step{step:02}.guided_denoised"], seen[f"step{step:02}.x"] = guided, x
    seen["c_noise"] = torch.stack(c_noises)
    seen["sigmas_f64_as_f32"] = torch.from_numpy(sigmas)
    return x, seen


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
