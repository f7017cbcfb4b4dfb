"""masks.safetensors (a crop of 128 pixels) and resize_u8.safetensors (odd sizes, up and down)."""
import numpy as np
import torch

import golden
import masks

SIDE, LATENT, NOSE, SEED = 128, 16, 30, 2007


def face_points(random):
    """68 landmarks of a stylised face, turned, scaled, moved and shaken: jaw 0-16, brows, nose 27-35, eyes, mouth 48-67."""
    def arc(count, start, end, cx, cy, rx, ry):
        t = np.radians(np.linspace(start, end, count))
        return np.stack([cx + rx * np.cos(t), cy + ry * np.sin(t)], 1)

    p = np.concatenate([arc(17, 180, 0, 0, 0, 1, 1.2), arc(5, 200, 340, -0.5, -0.2, 0.3, 0.15), arc(5, 200, 340, 0.5, -0.2, 0.3, 0.15),
                        np.stack([np.zeros(4), np.linspace(-0.1, 0.4, 4)], 1), arc(5, 160, 20, 0, 0.45, 0.2, 0.08),
                        arc(6, 180, 480, -0.45, 0, 0.17, 0.07), arc(6, 180, 480, 0.45, 0, 0.17, 0.07),
                        arc(12, 180, 510, 0, 0.75, 0.35, 0.15), arc(8, 180, 495, 0, 0.75, 0.25, 0.07)])
    a = random.uniform(-0.35, 0.35)
    p = p @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) * random.uniform(0.2, 0.33, 2) * SIDE
    return p + random.uniform(0.4, 0.6, 2) * SIDE + random.normal(0, 0.004 * SIDE, p.shape)


def landmark_masks():
    random = np.random.default_rng(SEED)
    points = np.stack([face_points(random) for _ in range(7)])
    points[4] += [-0.45 * SIDE, 0.3 * SIDE]
    points[5] += [0.4 * SIDE, -0.55 * SIDE]
    points[6] += [0, 0.62 * SIDE]
    points = points.astype(np.float32)
    arms = (random.random((len(points), LATENT, LATENT)) < 0.3).astype(np.uint8)
    w, h = 190, 300
    source = (random.random((3, 68, 2)) * [w, h]).astype(np.float32)
    tensors = {"input.landmarks": points, "input.mask_arms": arms, f"input.scale.landmarks_{w}x{h}": source,
               f"output.scale.landmarks_{SIDE}": (source * np.array([SIDE / w, SIDE / h])).astype(np.int64)}
    for name in masks.SHAPES:
        m = masks.masks(name, points, SIDE, NOSE)
        assert m.any()
        tensors[f"output.{name}.mask{SIDE}_packbits"] = np.packbits(m.reshape(len(m), -1), axis=1)
        tensors[f"output.{name}.mask{LATENT}"] = masks.downsample(m, LATENT)
    tensors[f"output.box_minus_arms.mask{LATENT}"] = tensors[f"output.box.mask{LATENT}"] & (1 - arms)
    golden.write("masks.safetensors", "masks", "landmark masks in numpy and PIL, nearest-downsampled", {
        "side_px": SIDE, "latent_px": LATENT, "nose_index": NOSE, "bit_order": "big-endian within a byte, row-major",
        "mouth_box_expand": 0.01, "face_mask_expand": 0.05, "scale_source_wh": [w, h], "seed": SEED}, tensors)


def resize():
    random = np.random.default_rng(SEED + 1)
    tensors, config = {}, {}
    for h, w, height, width in ((37, 53, 64, 80), (61, 67, 48, 40), (1, 7, 5, 3), (75, 99, 32, 32)):
        name = f"{h}x{w}_to_{height}x{width}"
        x = random.integers(0, 256, (2, h, w, 3), dtype=np.uint8)
        y = masks.resize(x, height, width).transpose(0, 3, 1, 2)
        torch_y = torch.nn.functional.interpolate(torch.from_numpy(x).permute(0, 3, 1, 2), size=(height, width), mode="bilinear", align_corners=False)
        assert np.array_equal(torch_y.numpy(), y), name
        float_y = torch.nn.functional.interpolate(torch.from_numpy(x).permute(0, 3, 1, 2).double(), size=(height, width), mode="bilinear")
        config[name] = {"fraction_that_differs_from_one_float_pass": float((np.floor(float_y.numpy() + 0.5) != y).mean())}
        tensors |= {f"input.{name}.thwc_u8": x, f"output.{name}.tchw_u8": y}
    tensors["output.process_image.last_case_cthw_f32"] = y.transpose(1, 0, 2, 3).astype(np.float32) / 127.5 - 1
    golden.write("resize_u8.safetensors", "resize_u8", "bilinear u8 resize of torch on the CPU, repeated exactly in numpy", config, tensors)


landmark_masks()
resize()
