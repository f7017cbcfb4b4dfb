"""Where the networks lie: by their published names, as `viseme` looks for them."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

KEYFRAME = "keyframe_dub.safetensors"
INTERPOLATION = "interpolation_dub.safetensors"
KEYFACE_KEYFRAME = "keyframe.safetensors"
KEYFACE_INTERPOLATION = "interpolation.safetensors"
VAE = "svd_vae.safetensors"
HUBERT = "hubert-base-ls960.safetensors"
WAVLM = "WavLM-Base+.safetensors"
BEATS = "BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.safetensors"
WAV2VEC2 = "wav2vec2-base-960h.safetensors"


def read(path: Path) -> dict[str, Tensor]:
    """Tensors of a file in f32."""
    return {name: value.to(torch.float32) for name, value in load_file(path).items()}


def load(published: dict[str, Tensor], path: Path) -> None:
    """Copies a file's tensors into those of a network, which are named as in it."""
    stored = read(path)
    with torch.no_grad():
        for name, value in published.items():
            value.copy_(stored[name])
