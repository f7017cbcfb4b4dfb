"""vae_hub.safetensors from diffusers' AutoencoderKLTemporalDecoder, vae_sgm.safetensors from the plain-torch VAE; both in f64."""
import torch
from diffusers import AutoencoderKLTemporalDecoder

import golden
import networks


def hub():
    """Latents of 5x7, so that no size is a power of two; three frames."""
    frames, seed = 3, 1505
    arguments = {"in_channels": 3, "out_channels": 3, "down_block_types": ["DownEncoderBlock2D"] * 2, "block_out_channels": [32, 64],
                 "layers_per_block": 2, "latent_channels": 4, "sample_size": 16, "scaling_factor": 0.18215}
    vae = AutoencoderKLTemporalDecoder(**arguments).eval()
    weights = golden.formula_weights({k: v.shape for k, v in vae.state_dict().items()}, seed)
    x, z = golden.draw(seed, frames, 3, 10, 14, std=0.5).clamp(-1, 1), golden.draw(seed + 1, frames, 4, 5, 7)
    vae.load_state_dict(golden.generate(weights))

    inner = {}
    for name, module in (("encoder.mid_block", vae.encoder.mid_block), ("decoder.conv_in", vae.decoder.conv_in), ("decoder.mid_block", vae.decoder.mid_block)):
        module.register_forward_hook(lambda _, __, y, name=name: inner.__setitem__(f"intermediate.{name}", y))

    def run(x, z):
        single = torch.cat([vae.decode(f[None], num_frames=1).sample for f in z])
        posterior = vae.encode(x).latent_dist
        return {"output.latent_mean": posterior.mean, "output.latent_logvar": posterior.logvar, "output.latent_mode": posterior.mode(),
                "output.decoded_one_at_a_time": single, "output.decoded_num_frames_T": vae.decode(z, num_frames=frames).sample}

    out32 = run(x, z)
    vae.double()
    out = run(x.double(), z.double())
    error = {k: golden.rel_l2(out32[f"output.{v}"], out[f"output.{v}"]) for k, v in (("encode", "latent_mean"), ("decode", "decoded_num_frames_T"))}
    config = arguments | {"num_frames": frames, "seed": seed, "f32_vs_f64_rel_l2": error, "weights": weights}
    golden.write("vae_hub.safetensors", "vae_hub", "diffusers AutoencoderKLTemporalDecoder in f64, weights by formula", config,
                 {"input.x": x, "input.decode_z": z} | inner | out)


def sgm():
    frames, seed = 4, 1606
    arguments = {"ch": 32, "ch_mult": [1, 2, 2], "num_res_blocks": 2, "z_channels": 4, "double_z": True, "attn_resolutions": [], "video_kernel_size": [3, 1, 1]}
    weights = golden.formula_weights(networks.vae_shapes(**arguments), seed)
    x, z = golden.draw(seed, frames, 3, 12, 20, std=0.5).clamp(-1, 1), golden.draw(seed + 1, frames, 4, 3, 5)

    def run(tensors, x, z):
        w = networks.Weights(tensors, "first_stage_model.")
        moments, encoder = networks.vae_encode(w.at("encoder"), x)
        together, decoder = networks.vae_decode(w.at("decoder"), z, frames)
        return {"output.moments": moments, "output.latent_mode": moments[:, :4], "output.decoded_timesteps_T": together,
                "output.decoded_timesteps_1": networks.vae_decode(w.at("decoder"), z, 1)[0],
                "intermediate.encoder.mid.block_2": encoder["mid.block_2"]} | {f"intermediate.decoder.{k}": decoder[k]
                                                                              for k in ("conv_in", "mid.block_1", "mid.attn_1", "up.2.block.0")}

    tensors = golden.generate(weights)
    out32, out = run(tensors, x, z), run(golden.double(tensors), x.double(), z.double())
    error = {"decode": golden.rel_l2(out32["output.decoded_timesteps_T"], out["output.decoded_timesteps_T"])}
    config = arguments | {"num_frames": frames, "seed": seed, "f32_vs_f64_rel_l2": error, "weights": weights}
    golden.write("vae_sgm.safetensors", "vae_sgm", "training-code VAE, plain-torch f64 run, weights by formula", config,
                 {"input.x": x, "input.decode_z": z} | out)


with torch.no_grad():
    hub()
    sgm()
