"""Writes weights/demo/shapes.json: the published names with every width about a tenth of the published one; or, to the
file FULL, with the published widths, for `viseme bench --networks --shapes FULL`.

usage: demo-shapes.py GOLDEN_FOLDER [FULL]   (keysync_full_names.json, 11, 43a, 44 and 45 lie there)
"""
import json
import pathlib
import struct
import sys

golden = pathlib.Path(sys.argv[1])
full = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None


def config(file):
    with open(golden / file, "rb") as f:
        size = struct.unpack("<Q", f.read(8))[0]
        return json.loads(json.loads(f.read(size))["__metadata__"]["config"])


UNET = {320: 32, 640: 64, 960: 96, 1280: 128, 1920: 192, 2560: 256, 5120: 512, 10240: 1024, 1024: 64, 768: 48}
VAE = {128: 32, 256: 64, 512: 96}
SPEECH = {768: 48, 3072: 96, 512: 16, 48: 3, 64: 4}


def shrink(shape, widths):
    return shape if full else [widths.get(n, n) for n in shape]


names = json.loads((golden / "keysync_full_names.json").read_text())
out = {}
for role in ("keyframe", "interpolation"):
    out[role] = {}
    for name, shape in names[role].items():
        if name.startswith("conditioner.embedders.0."):
            continue
        widths = VAE if name.startswith("first_stage_model.") else UNET
        out[role][name] = [4, 16, 16] if name == "model.learned_mask" and not full else shrink(shape, widths)
out["vae"] = {n: shrink(s, VAE) for n, s in config("43a_full_vae_hub.safetensors")["weights"]["tensors"].items()}
for role, file in (("hubert", "44_full_hubert.safetensors"), ("wavlm", "45_full_wavlm.safetensors")):
    out[role] = {n: shrink(s, SPEECH) for n, s in config(file)["weights"]["tensors"].items()}
out["wav2vec2"] = dict(out["hubert"])
with open(golden / "11_beats.safetensors", "rb") as f:
    header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
beats_config = config("11_beats.safetensors")["config"]
out["beats"] = {n.removeprefix("weights."): v["shape"] for n, v in header.items() if n.startswith("weights.")}
# BEATs' published widths are nowhere in the golden folder: it is small here and there, and what hears it is as wide.
beats = beats_config["encoder_embed_dim"]

heard = ([*out["wavlm"]["post_extract_proj.weight"]][0]) + beats
context = out["keyframe"]["conditioner.embedders.2.linear.weight"][0]
emotion = 512 if full else 32
label = "model.diffusion_model.label_emb.0.0.weight"


def keyface(number):
    """KeyFace's checkpoint: the same names but for the audio projection's, which is wider."""
    return {f"conditioner.embedders.2.linear.{part}": None for part in ("weight", "bias")} | {
        f"conditioner.embedders.{number}.linear.weight": [context, heard],
        f"conditioner.embedders.{number}.linear.bias": [context],
    }


like = {
    "keyface-keyframe": ("keyframe", keyface(3) | {label: [out["keyframe"][label][0], emotion + context]}),
    "keyface-interpolation": ("interpolation", keyface(1)),
    "keyface-weaker": ("interpolation", keyface(1)),
}
heads = {} if full else {role: {"num_head_channels": 16} for role in ("keyframe", "interpolation", *like)}
if not full:
    heads |= {role: {"num_attention_heads": 12} for role in ("hubert", "wav2vec2")}
target = full or pathlib.Path(__file__).parent.parent / "weights" / "demo" / "shapes.json"
dump = lambda value: json.dumps(value, separators=(",", ":"))
roles = [f'"{role}":{{\n' + ",\n".join(f'"{n}":{dump(s)}' for n, s in t.items()) + "\n}" for role, t in out.items()]
roles += [f'"{role}":' + dump({"like": model, "but": but}) for role, (model, but) in like.items()]
target.write_text('{"config":' + dump(heads | {"beats": beats_config}) + ",\n" + ",\n".join(roles) + "}\n")
