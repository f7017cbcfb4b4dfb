"""Holds the UNet's two blocks to those of diffusers' SVD UNet, which has the same ones under other names, in f64."""
import sys

import torch
from diffusers.models.resnet import SpatioTemporalResBlock
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel

import golden
import networks

RES = (("in_layers.0.", "norm1."), ("in_layers.2.", "conv1."), ("emb_layers.1.", "time_emb_proj."), ("out_layers.0.", "norm2."),
       ("out_layers.3.", "conv2."), ("skip_connection.", "conv_shortcut."))
TRANSFORMER = (("time_stack.", "temporal_transformer_blocks."), ("time_pos_embed.0.", "time_pos_embed.linear_1."), ("time_pos_embed.2.", "time_pos_embed.linear_2."))


def res_name(name):
    for published, theirs in RES:
        if name.startswith("time_stack." + published):
            return "temporal_res_block." + name.removeprefix("time_stack.").replace(published, theirs)
        if name.startswith(published):
            return "spatial_res_block." + name.replace(published, theirs)
    return name


def transformer_name(name):
    for published, theirs in TRANSFORMER:
        name = name.replace(published, theirs) if name.startswith(published) else name
    return name


def block(shapes, prefix, name_of, module):
    full = "model.diffusion_model." + prefix
    tensors = golden.double(golden.generate(golden.formula_weights({k: v for k, v in shapes.items() if k.startswith(full)}, 5)))
    module.double().eval().load_state_dict({name_of(k.removeprefix(full)): v for k, v in tensors.items()})
    return networks.Weights(tensors, full), module


clips, frames, h, w, inputs, outputs, context_dim, heads = 2, 5, 4, 3, 32, 64, 24, 4
shapes = networks.unet_shapes(model_channels=32, channel_mult=[2], num_res_blocks=1, attention_resolutions=[1], in_channels=8, context_dim=context_dim)
image_only = torch.zeros(clips, frames, dtype=torch.float64)
image_only[:, 2] = 1
with torch.no_grad():
    ours, theirs = block(shapes, "input_blocks.1.0.", res_name, SpatioTemporalResBlock(inputs, outputs, temb_channels=128, eps=1e-5))
    x, emb = golden.draw(1, clips * frames, inputs, h, w).double(), golden.draw(2, clips * frames, 128).double()
    errors = [golden.rel_l2(networks.video_res_block(ours, x, emb, image_only), theirs(x, emb, image_only))]

    ours, theirs = block(shapes, "input_blocks.1.1.", transformer_name,
                         TransformerSpatioTemporalModel(heads, outputs // heads, outputs, cross_attention_dim=context_dim))
    x, context = golden.draw(3, clips * frames, outputs, h, w).double(), golden.draw(4, clips, frames, context_dim).double().repeat_interleave(frames, 0)
    errors.append(golden.rel_l2(networks.video_transformer(ours, x, context, image_only, outputs // heads), theirs(x, context, image_only, return_dict=False)[0]))
print("res block, transformer block against diffusers:", errors)
sys.exit(max(errors) > 1e-6)
