"""Writes weights/demo/shapes.json: the published names with every width about a tenth of the published one; or, to the
file FULL, with the published widths, for `viseme bench --networks --shapes FULL`.

usage: demo-shapes.py GOLDEN_FOLDER [FULL]   (keysync_full_names.json, 43a, 44 and 45 lie there)
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
config = {"keyframe": {"num_head_channels": 16}, "interpolation": {"num_head_channels": 16}, "hubert": {"num_attention_heads": 12}}
target = full or pathlib.Path(__file__).parent.parent / "weights" / "demo" / "shapes.json"
roles = [f'"{role}":{{\n' + ",\n".join(f'"{n}":{json.dumps(s, separators=(",", ":"))}' for n, s in t.items()) + "\n}" for role, t in out.items()]
head = "{" if full else '{"config":' + json.dumps(config, separators=(",", ":")) + ",\n"
target.write_text(head + ",\n".join(roles) + "}\n")
