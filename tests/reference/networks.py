"""The video UNet with its two wrappers and the training-code VAE, in plain torch functions that run in f32 or f64.

Rows are clips*frames with the frame fastest. What a network is made of (attention here, a down step there) is read off
the names of its weights. `*_shapes` lists published names and shapes for a configuration.
Sources: Align your Latents (Blattmann et al. 2023), Stable Video Diffusion (Blattmann et al. 2023).
"""
import math

import torch
import torch.nn.functional as F


class Weights:
    """Tensors by published name, walked like a path."""

    def __init__(self, tensors, prefix=""):
        self.tensors, self.prefix = tensors, prefix

    def at(self, name):
        return Weights(self.tensors, f"{self.prefix}{name}.")

    def has(self, name):
        return self.prefix + name in self.tensors

    def get(self, name):
        return self.tensors.get(self.prefix + name)

    def __getitem__(self, name):
        return self.tensors[self.prefix + name]


def linear(w, x):
    return F.linear(x, w["weight"], w.get("bias"))


def conv(w, x, stride=1, padding=1):
    return F.conv2d(x, w["weight"], w["bias"], stride, padding)


def temporal_conv(w, x):
    return F.conv3d(x, w["weight"], w["bias"], padding=(1, 0, 0))


def group_norm(w, x, eps):
    return F.group_norm(x, 32, w["weight"], w["bias"], eps)


def layer_norm(w, x):
    return F.layer_norm(x, x.shape[-1:], w["weight"], w["bias"], 1e-5)


def clips(x, frames):
    """[clips*frames, c, h, w] -> [clips, c, frames, h, w]."""
    return x.unflatten(0, (-1, frames)).transpose(1, 2)


def rows(x):
    return x.transpose(1, 2).flatten(0, 1)


def timestep_embedding(t, channels):
    half = channels // 2
    f = torch.exp(-math.log(10000) * torch.arange(half, dtype=t.dtype) / half)
    return torch.cat([torch.cos(t[:, None] * f), torch.sin(t[:, None] * f)], 1)


def mlp(w, x):
    return linear(w.at("2"), F.silu(linear(w.at("0"), x)))


def attention(w, x, context, head_dim):
    q, k, v = (linear(w.at(n), s).unflatten(-1, (-1, head_dim)).transpose(1, 2)
               for n, s in (("to_q", x), ("to_k", context), ("to_v", context)))
    p = torch.softmax(q @ k.transpose(-1, -2) * head_dim**-0.5, -1)
    return linear(w.at("to_out.0"), (p @ v).transpose(1, 2).flatten(2))


def feed_forward(w, x):
    value, gate = linear(w.at("net.0.proj"), x).chunk(2, -1)
    return linear(w.at("net.2"), value * F.gelu(gate))


def spatial_share(w, image_only):
    """Weight of the spatial branch per row: 1 where the clip's frame is an image, else sigmoid of the learned factor."""
    share = torch.sigmoid(w["time_mixer.mix_factor"])
    return torch.where(image_only.flatten() != 0, torch.ones_like(share), share)


def video_res_block(w, x, emb, image_only):
    frames = image_only.shape[1]

    h = conv(w.at("in_layers.2"), F.silu(group_norm(w.at("in_layers.0"), x, 1e-5)))
    h = h + linear(w.at("emb_layers.1"), F.silu(emb))[:, :, None, None]
    h = conv(w.at("out_layers.3"), F.silu(group_norm(w.at("out_layers.0"), h, 1e-5)))
    skip = conv(w.at("skip_connection"), x, padding=0) if w.has("skip_connection.weight") else x
    spatial = skip + h

    t, x = w.at("time_stack"), clips(spatial, frames)
    h = temporal_conv(t.at("in_layers.2"), F.silu(group_norm(t.at("in_layers.0"), x, 1e-5)))
    h = h + clips(linear(t.at("emb_layers.1"), F.silu(emb))[:, :, None, None], frames)
    h = temporal_conv(t.at("out_layers.3"), F.silu(group_norm(t.at("out_layers.0"), h, 1e-5)))
    temporal = rows(x + h)

    a = spatial_share(w, image_only)[:, None, None, None]
    return a * spatial + (1 - a) * temporal


def video_transformer(w, x, context, image_only, head_dim):
    """`context` [clips*frames, tokens, channels]; the time block sees that of each clip's first frame."""
    frames, (height, width), channels = image_only.shape[1], x.shape[2:], x.shape[1]
    residual = x
    x = linear(w.at("proj_in"), group_norm(w.at("norm"), x, 1e-6).flatten(2).transpose(1, 2))

    s = w.at("transformer_blocks.0")
    n = layer_norm(s.at("norm1"), x)
    x = x + attention(s.at("attn1"), n, n, head_dim)
    x = x + attention(s.at("attn2"), layer_norm(s.at("norm2"), x), context, head_dim)
    x = x + feed_forward(s.at("ff"), layer_norm(s.at("norm3"), x))

    index = torch.arange(frames, dtype=x.dtype)
    position = mlp(w.at("time_pos_embed"), timestep_embedding(index, channels))
    m = (x.unflatten(0, (-1, frames)) + position[:, None]).transpose(1, 2).flatten(0, 1)
    first = context[::frames].repeat_interleave(height * width, 0)
    t = w.at("time_stack.0")
    m = m + feed_forward(t.at("ff_in"), layer_norm(t.at("norm_in"), m))
    n = layer_norm(t.at("norm1"), m)
    m = m + attention(t.at("attn1"), n, n, head_dim)
    m = m + attention(t.at("attn2"), layer_norm(t.at("norm2"), m), first, head_dim)
    m = m + feed_forward(t.at("ff"), layer_norm(t.at("norm3"), m))
    m = m.unflatten(0, (-1, height * width)).transpose(1, 2).flatten(0, 1)

    a = spatial_share(w, image_only)[:, None, None]
    x = linear(w.at("proj_out"), a * x + (1 - a) * m)
    return x.transpose(1, 2).unflatten(2, (height, width)) + residual


def unet_stage(w, x, emb, context, image_only, head_dim):
    """One numbered entry of input_blocks, middle_block or output_blocks: its parts in order."""
    part = 0
    while any(w.has(f"{part}.{name}") for name in ("weight", "op.weight", "conv.weight", "in_layers.0.weight", "norm.weight")):
        p = w.at(str(part))
        if p.has("in_layers.0.weight"):
            x = video_res_block(p, x, emb, image_only)
        elif p.has("norm.weight"):
            x = video_transformer(p, x, context, image_only, head_dim)
        elif p.has("op.weight"):
            x = conv(p.at("op"), x, stride=2)
        elif p.has("conv.weight"):
            x = conv(p.at("conv"), F.interpolate(x, scale_factor=2, mode="nearest"))
        else:
            x = conv(p, x)
        part += 1
    return x


def count(w, name):
    n = 0
    while any(k.startswith(f"{w.prefix}{name}.{n}.") for k in w.tensors):
        n += 1
    return n


def unet(w, x, c_noise, audio, image_only, head_dim, vector=None):
    """`x` [clips*frames, in, h, w], `audio` [clips, frames, context], `vector` [clips*frames, emotion] or None
    -> ([clips*frames, 4, h, w], inner values by name)."""
    frames = audio.shape[1]
    channels = w["input_blocks.0.0.weight"].shape[0]
    label = audio.flatten(0, 1) if vector is None else torch.cat([vector, audio.flatten(0, 1)], 1)
    seen = {"time_embed": mlp(w.at("time_embed"), timestep_embedding(c_noise, channels)), "label_emb_input": label,
            "label_emb": mlp(w.at("label_emb.0"), label), "unet_input": x}
    emb = seen["time_embed"] + seen["label_emb"]
    context = audio.repeat_interleave(frames, 0)

    skips = []
    for i in range(count(w, "input_blocks")):
        x = unet_stage(w.at(f"input_blocks.{i}"), x, emb, context, image_only, head_dim)
        skips.append(x)
        seen[f"input_blocks.{i}"] = x
    x = seen["middle_block"] = unet_stage(w.at("middle_block"), x, emb, context, image_only, head_dim)
    for i in range(count(w, "output_blocks")):
        x = unet_stage(w.at(f"output_blocks.{i}"), torch.cat([x, skips.pop()], 1), emb, context, image_only, head_dim)
        seen[f"output_blocks.{i}"] = x
    return conv(w.at("out.2"), F.silu(group_norm(w.at("out.0"), x, 1e-5))), seen


def emotion_vector(valence, arousal, each):
    """[clips, frames] each -> [clips*frames, 2*each]: the raw values through the timestep's sinusoids, valence first."""
    return torch.cat([timestep_embedding(v.flatten(), each) for v in (valence, arousal)], 1)


def wrapped_unet(tensors, x, c_noise, concat, audio, image_only, head_dim, vector=None):
    """`tensors` with the prefix `model.`. `concat` [clips, 4, h, w] for keyframes; [clips, 8, h, w] = (first | last) with
    a learned mask between them and a ninth channel that marks the two."""
    w = Weights(tensors, "model.")
    frames = audio.shape[1]
    if w.has("learned_mask"):
        first, last = concat[:, :4], concat[:, 4:]
        between = w["learned_mask"].expand(len(concat), frames, *first.shape[1:]).clone()
        between[:, 0], between[:, -1] = first, last
        marks = torch.zeros_like(between[:, :, :1])
        marks[:, 0], marks[:, -1] = 1, 1
        extra = torch.cat([between, marks], 2).flatten(0, 1)
    else:
        extra = concat.repeat_interleave(frames, 0)
    return unet(w.at("diffusion_model"), torch.cat([x, extra], 1), c_noise, audio, image_only, head_dim, vector)


def unet_shapes(model_channels, channel_mult, num_res_blocks, attention_resolutions, in_channels, context_dim, learned_mask=None,
                emotion_dim_each=0, **_):
    shapes = {}
    emb = 4 * model_channels

    def add(name, *shape, bias=True):
        shapes[f"model.diffusion_model.{name}.weight"] = shape
        if bias:
            shapes[f"model.diffusion_model.{name}.bias"] = shape[:1]

    def res(name, inputs, outputs):
        for prefix, first, kernel in ((name, inputs, (3, 3)), (name + ".time_stack", outputs, (3, 1, 1))):
            add(f"{prefix}.in_layers.0", first)
            add(f"{prefix}.in_layers.2", outputs, first, *kernel)
            add(f"{prefix}.emb_layers.1", outputs, emb)
            add(f"{prefix}.out_layers.0", outputs)
            add(f"{prefix}.out_layers.3", outputs, outputs, *kernel)
        if inputs != outputs:
            add(f"{name}.skip_connection", outputs, inputs, 1, 1)
        shapes[f"model.diffusion_model.{name}.time_mixer.mix_factor"] = (1,)

    def ff(name, c):
        add(f"{name}.net.0.proj", 8 * c, c)
        add(f"{name}.net.2", c, 4 * c)

    def transformer(name, c):
        add(f"{name}.norm", c)
        add(f"{name}.proj_in", c, c)
        add(f"{name}.proj_out", c, c)
        for block in (f"{name}.transformer_blocks.0", f"{name}.time_stack.0"):
            for norm in ("norm1", "norm2", "norm3"):
                add(f"{block}.{norm}", c)
            for attn, source in (("attn1", c), ("attn2", context_dim)):
                add(f"{block}.{attn}.to_q", c, c, bias=False)
                add(f"{block}.{attn}.to_k", c, source, bias=False)
                add(f"{block}.{attn}.to_v", c, source, bias=False)
                add(f"{block}.{attn}.to_out.0", c, c)
            ff(f"{block}.ff", c)
        add(f"{name}.time_stack.0.norm_in", c)
        ff(f"{name}.time_stack.0.ff_in", c)
        add(f"{name}.time_pos_embed.0", 4 * c, c)
        add(f"{name}.time_pos_embed.2", c, 4 * c)
        shapes[f"model.diffusion_model.{name}.time_mixer.mix_factor"] = (1,)

    for name, inputs in (("time_embed", model_channels), ("label_emb.0", 2 * emotion_dim_each + context_dim)):
        add(f"{name}.0", emb, inputs)
        add(f"{name}.2", emb, emb)
    add("input_blocks.0.0", model_channels, in_channels, 3, 3)
    c, factor, i, skips = model_channels, 1, 1, [model_channels]
    for level, mult in enumerate(channel_mult):
        for _ in range(num_res_blocks):
            res(f"input_blocks.{i}.0", c, mult * model_channels)
            c = mult * model_channels
            if factor in attention_resolutions:
                transformer(f"input_blocks.{i}.1", c)
            skips.append(c)
            i += 1
        if level + 1 < len(channel_mult):
            add(f"input_blocks.{i}.0.op", c, c, 3, 3)
            skips.append(c)
            i, factor = i + 1, factor * 2
    res("middle_block.0", c, c)
    transformer("middle_block.1", c)
    res("middle_block.2", c, c)
    i = 0
    for level, mult in reversed(list(enumerate(channel_mult))):
        for block in range(num_res_blocks + 1):
            res(f"output_blocks.{i}.0", c + skips.pop(), mult * model_channels)
            c, part = mult * model_channels, 1
            if factor in attention_resolutions:
                transformer(f"output_blocks.{i}.1", c)
                part = 2
            if level and block == num_res_blocks:
                add(f"output_blocks.{i}.{part}.conv", c, c, 3, 3)
                factor //= 2
            i += 1
    add("out.0", c)
    add("out.2", 4, c, 3, 3)
    if learned_mask:
        shapes["model.learned_mask"] = tuple(learned_mask)
    return shapes


def vae_res_block(w, x, frames):
    """With a time stack (decoder) its share is sigmoid(mix_factor): the reverse of the UNet's blocks."""
    h = conv(w.at("conv1"), F.silu(group_norm(w.at("norm1"), x, 1e-6)))
    h = conv(w.at("conv2"), F.silu(group_norm(w.at("norm2"), h, 1e-6)))
    x = h + (conv(w.at("nin_shortcut"), x, padding=0) if w.has("nin_shortcut.weight") else x)
    if not w.has("mix_factor"):
        return x
    t, spatial = w.at("time_stack"), clips(x, frames)
    h = temporal_conv(t.at("in_layers.2"), F.silu(group_norm(t.at("in_layers.0"), spatial, 1e-5)))
    h = temporal_conv(t.at("out_layers.3"), F.silu(group_norm(t.at("out_layers.0"), h, 1e-5)))
    return rows(spatial + torch.sigmoid(w["mix_factor"]) * h)


def vae_attention(w, x):
    n = group_norm(w.at("norm"), x, 1e-6)
    q, k, v = (conv(w.at(name), n, padding=0).flatten(2) for name in "qkv")
    p = torch.softmax(q.transpose(1, 2) @ k * q.shape[1]**-0.5, -1)
    return x + conv(w.at("proj_out"), (v @ p.transpose(1, 2)).unflatten(2, x.shape[2:]), padding=0)


def vae_middle(w, x, frames, seen):
    for name in ("block_1", "attn_1", "block_2"):
        x = vae_attention(w.at(name), x) if name == "attn_1" else vae_res_block(w.at(name), x, frames)
        seen[f"mid.{name}"] = x
    return x


def vae_encode(w, x):
    """`x` [frames, 3, H, W] -> (moments [frames, 8, h, w], inner values)."""
    seen = {}
    x = conv(w.at("conv_in"), x)
    for level in range(count(w, "down")):
        d = w.at(f"down.{level}")
        for i in range(count(d, "block")):
            x = vae_res_block(d.at(f"block.{i}"), x, 1)
        if d.has("downsample.conv.weight"):
            x = conv(d.at("downsample.conv"), F.pad(x, (0, 1, 0, 1)), stride=2, padding=0)
    x = vae_middle(w.at("mid"), x, 1, seen)
    return conv(w.at("conv_out"), F.silu(group_norm(w.at("norm_out"), x, 1e-6))), seen


def vae_decode(w, z, frames):
    """`z` [clips*frames, 4, h, w], not scaled -> ([clips*frames, 3, H, W], inner values)."""
    seen = {}
    x = seen["conv_in"] = conv(w.at("conv_in"), z)
    x = vae_middle(w.at("mid"), x, frames, seen)
    for level in reversed(range(count(w, "up"))):
        u = w.at(f"up.{level}")
        for i in range(count(u, "block")):
            x = vae_res_block(u.at(f"block.{i}"), x, frames)
            seen[f"up.{level}.block.{i}"] = x
        if u.has("upsample.conv.weight"):
            x = conv(u.at("upsample.conv"), F.interpolate(x, scale_factor=2, mode="nearest"))
    x = conv(w.at("conv_out"), F.silu(group_norm(w.at("norm_out"), x, 1e-6)))
    return rows(temporal_conv(w.at("conv_out.time_mix_conv"), clips(x, frames))), seen


def vae_shapes(ch, ch_mult, num_res_blocks, parts=("encoder", "decoder"), **_):
    shapes = {}

    def add(name, *shape):
        shapes[f"first_stage_model.{name}.weight"] = shape
        shapes[f"first_stage_model.{name}.bias"] = shape[:1]

    def res(name, inputs, outputs, temporal):
        add(f"{name}.norm1", inputs)
        add(f"{name}.conv1", outputs, inputs, 3, 3)
        add(f"{name}.norm2", outputs)
        add(f"{name}.conv2", outputs, outputs, 3, 3)
        if inputs != outputs:
            add(f"{name}.nin_shortcut", outputs, inputs, 1, 1)
        if temporal:
            shapes[f"first_stage_model.{name}.mix_factor"] = (1,)
            for part, kind in (("in_layers", 2), ("out_layers", 3)):
                add(f"{name}.time_stack.{part}.0", outputs)
                add(f"{name}.time_stack.{part}.{kind}", outputs, outputs, 3, 1, 1)

    def middle(name, c, temporal):
        res(f"{name}.mid.block_1", c, c, temporal)
        add(f"{name}.mid.attn_1.norm", c)
        for part in ("q", "k", "v", "proj_out"):
            add(f"{name}.mid.attn_1.{part}", c, c, 1, 1)
        res(f"{name}.mid.block_2", c, c, temporal)

    if "encoder" in parts:
        add("encoder.conv_in", ch, 3, 3, 3)
        c = ch
        for level, mult in enumerate(ch_mult):
            for i in range(num_res_blocks):
                res(f"encoder.down.{level}.block.{i}", c, ch * mult, False)
                c = ch * mult
            if level + 1 < len(ch_mult):
                add(f"encoder.down.{level}.downsample.conv", c, c, 3, 3)
        middle("encoder", c, False)
        add("encoder.norm_out", c)
        add("encoder.conv_out", 8, c, 3, 3)
    if "decoder" in parts:
        c = ch * ch_mult[-1]
        add("decoder.conv_in", c, 4, 3, 3)
        middle("decoder", c, True)
        for level, mult in reversed(list(enumerate(ch_mult))):
            for i in range(num_res_blocks + 1):
                res(f"decoder.up.{level}.block.{i}", c, ch * mult, True)
                c = ch * mult
            if level:
                add(f"decoder.up.{level}.upsample.conv", c, c, 3, 3)
        add("decoder.norm_out", c)
        add("decoder.conv_out", 3, c, 3, 3)
        add("decoder.conv_out.time_mix_conv", 3, 3, 3, 1, 1)
    return shapes
