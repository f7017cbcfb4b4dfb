"""metrics.safetensors: pictures with scikit-image's PSNR and SSIM, OpenCV's variance of the Laplacian and LPIPS by PyTorch;
landmarks and sound with numpy's mouth aspect ratios, loudness and correlations."""
import cv2
import numpy as np
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import golden
import metrics

SEED = 2505
# Height and width; the names of the pairs in `input.*` and `output.*`.
SIZES = {"wide": (45, 71), "tall": (66, 37), "least": (11, 11)}
KINDS = ("noisy", "blurred", "shifted")


def picture(random, height, width):
    """Smooth shapes with edges and some grain, u8."""
    y, x = np.mgrid[0:height, 0:width] / 20.0
    waves = [np.sin(x * random.uniform(0.5, 3) + y * random.uniform(-3, 3) + random.uniform(0, 6)) for _ in range(3)]
    edges = 60 * ((x + y) % 2 < 1)
    p = np.stack(waves, 2) * 70 + 110 + edges[..., None] + random.normal(0, 4, (height, width, 3))
    return np.clip(p, 0, 255).astype(np.uint8)


def changed(random, p, kind):
    if kind == "noisy":
        return np.clip(p + random.normal(0, 12, p.shape), 0, 255).astype(np.uint8)
    if kind == "blurred":
        return cv2.GaussianBlur(p, (5, 5), 1.2)
    return np.roll(p, 2, axis=1)


def pictures(random, tensors):
    for name, (height, width) in SIZES.items():
        a = picture(random, height, width)
        tensors[f"input.{name}.a"] = a
        gray = cv2.cvtColor(a, cv2.COLOR_RGB2GRAY)
        tensors[f"output.{name}.laplacian_variance"] = np.array([cv2.Laplacian(gray, cv2.CV_64F).var()])
        for kind in KINDS:
            b = changed(random, a, kind)
            ssim = structural_similarity(a, b, data_range=255, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
            tensors[f"input.{name}.{kind}"] = b
            tensors[f"output.{name}.{kind}"] = np.array([peak_signal_noise_ratio(a, b, data_range=255), ssim])


def lpips(tensors):
    """AlexNet at its published widths, named as torchvision does; VGG16 an eighth as wide, named as the lpips package does."""
    nets = {"alexnet": (metrics.ALEXNET, metrics.features_name, 3), "vgg16": (metrics.narrowed(metrics.VGG16, 8), metrics.slices_name, 2)}
    described = {}
    for seed, (net, (stages, name, pool)) in enumerate(nets.items(), SEED):
        # With a gain of 1 biases would outweigh what differs between pictures, and f32 lose half its digits.
        described[net] = golden.formula_weights(metrics.shapes(stages, name), seed) | {"gain": 3.0}
        weights = golden.generate(described[net])
        for size in ("wide", "tall"):
            a = torch.from_numpy(tensors[f"input.{size}.a"])
            rows = [metrics.lpips_by_stage(a, torch.from_numpy(tensors[f"input.{size}.{kind}"]), stages, name, weights, pool) for kind in KINDS]
            tensors[f"output.{size}.{net}"] = torch.stack(rows)
    return described


def mouths(random, frames):
    """A mouth that opens with `opening`, in a face turned and scaled from frame to frame."""
    opening = np.clip(np.convolve(random.normal(0.25, 0.5, frames), np.ones(4) / 4, "same"), 0.02, None)
    points = random.normal(0, 30, (frames, 68, 2)) + 150
    t = np.linspace(0, 1, 5)
    for frame, o in enumerate(opening):
        upper = np.stack([t * 40, -o * 20 * np.sin(np.pi * t)], 1)
        lower = np.stack([t[3:0:-1] * 40, o * 20 * np.sin(np.pi * t[3:0:-1])], 1)
        a = random.uniform(-0.4, 0.4)
        turn = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
        points[frame, 60:68] = np.concatenate([upper, lower]) @ turn * random.uniform(0.6, 1.5) + random.uniform(100, 200, 2)
    return opening, points.astype(np.float32)


def face(tensors, random, frames=60, rate=16000, fps=(30000, 1001), delay=3):
    opening, points = mouths(random, frames)
    missing = [7, 8, 40]
    points[missing] = np.nan
    p = points.astype(np.float64)
    d = lambda a, b: np.linalg.norm(p[:, a] - p[:, b], axis=1)
    ratio = (d(61, 67) + d(62, 66) + d(63, 65)) / (2 * d(60, 64))

    # The sound of frame t is as loud as the mouth is open `delay` frames later.
    edges = [i * rate * fps[1] // fps[0] for i in range(frames + 1)]
    loud = np.concatenate([opening[delay:], np.full(delay, 0.02)])
    samples = np.concatenate([random.normal(0, 0.3 * l * l, b - a) for l, a, b in zip(loud, edges, edges[1:])])
    samples = np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)
    samples[edges[20]:edges[24]] = 0
    power = np.array([np.mean((samples[a:b] / 32768.0) ** 2) for a, b in zip(edges, edges[1:])])
    with np.errstate(divide="ignore"):
        level = np.maximum(10 * np.log10(power), -60)

    lags = range(-6, 7)
    curve = []
    for lag in lags:
        t = np.arange(max(0, -lag), frames - max(0, lag))
        m, l = ratio[t + lag], level[t]
        keep = ~np.isnan(m)
        curve.append(np.corrcoef(m[keep], l[keep])[0, 1])
    assert lags[int(np.argmax(curve))] == delay
    found = ratio[~np.isnan(ratio)]
    tensors |= {"input.landmarks": points, "input.samples": samples.view(np.uint8), "output.mouth_aspect_ratio": ratio,
                "output.loudness_db": level, "output.correlation": np.array(curve)}
    return {"fps": list(fps), "lags": [lags[0], lags[-1]], "best_lag": delay, "open_frames": int((found > 0.25).sum()), "missing_frames": len(missing)}


def main():
    random = np.random.default_rng(SEED)
    tensors = {}
    pictures(random, tensors)
    config = {"sizes": SIZES, "kinds": KINDS, "lpips": lpips(tensors)}
    config["face"] = face(tensors, random)
    golden.write("metrics.safetensors", "metrics", "measures of pictures, mouths and sound", config, tensors)


main()
