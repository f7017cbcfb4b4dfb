"""EDM's scalings, KeySync's and KeyFace's denoisers, guidance and sampler. Sources: Karras et al. 2022; KeySync, sec. 3; the
published inference code's schedule ("align your steps" for Stable Video Diffusion)."""

from collections.abc import Callable

import torch
from torch import Tensor

SIGMAS = (700, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002, 0)


def scalings(sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """c_skip, c_out, c_in, c_noise."""
    total = sigma**2 + 1
    return 1 / total, -sigma / total.sqrt(), 1 / total.sqrt(), 0.25 * sigma.log()


def sample(denoise: Callable[[Tensor, float], Tensor], noise: Tensor) -> Tensor:
    """Euler's steps from `noise` of deviation 1 under the published schedule; `denoise(x, sigma)` is guided."""
    x = noise * (1 + SIGMAS[0] ** 2) ** 0.5
    for sigma, following in zip(SIGMAS, SIGMAS[1:]):
        x = x + (following - sigma) * (x - denoise(x, sigma)) / sigma
    return x
