"""LPIPS in plain PyTorch: AlexNet and VGG16 by their published names, from the paper's eq. 1. Written from the definition."""
import torch
import torch.nn.functional as F

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
# Per stage: whether a max pooling stands in front, then its convolutions as (number, columns, kernel, stride, padding).
ALEXNET = [(False, [(0, 64, 11, 4, 2)]), (True, [(3, 192, 5, 1, 2)]), (True, [(6, 384, 3, 1, 1)]), (False, [(8, 256, 3, 1, 1)]),
           (False, [(10, 256, 3, 1, 1)])]
VGG16 = [(i > 0, [(n, c, 3, 1, 1) for n in numbers]) for i, (c, numbers) in enumerate(
    [(64, (0, 2)), (128, (5, 7)), (256, (10, 12, 14)), (512, (17, 19, 21)), (512, (24, 26, 28))])]


def narrowed(stages, factor):
    """The same network with every width divided by `factor`."""
    return [(pooled, [(n, c // factor, k, s, p) for n, c, k, s, p in convs]) for pooled, convs in stages]


def features_name(_, number):
    return f"features.{number}"


def slices_name(stage, number):
    return f"net.slice{stage + 1}.{number}"


def shapes(stages, name):
    """Published names and shapes of classifier and linear layers."""
    found, channels = {}, 3
    for stage, (_, convs) in enumerate(stages):
        for number, columns, kernel, _, _ in convs:
            found[f"{name(stage, number)}.weight"] = (columns, channels, kernel, kernel)
            found[f"{name(stage, number)}.bias"] = (columns,)
            channels = columns
        found[f"lin{stage}.model.1.weight"] = (1, channels, 1, 1)
    return found


def lpips_by_stage(a, b, stages, name, weights, pool):
    """a, b: u8 [height, width, 3] → what each stage adds to the distance, f64."""
    x = torch.stack([a, b]).permute(0, 3, 1, 2).double() / 127.5 - 1
    x = (x - torch.tensor(SHIFT).double().view(1, 3, 1, 1)) / torch.tensor(SCALE).double().view(1, 3, 1, 1)
    distances = []
    for stage, (pooled, convs) in enumerate(stages):
        if pooled:
            x = F.max_pool2d(x, pool, 2)
        for number, _, _, stride, padding in convs:
            at = name(stage, number)
            x = F.relu(F.conv2d(x, weights[f"{at}.weight"].double(), weights[f"{at}.bias"].double(), stride, padding))
        unit = x / (x.pow(2).sum(1, keepdim=True).sqrt() + 1e-10)
        squares = (unit[:1] - unit[1:]) ** 2
        distances.append(F.conv2d(squares, weights[f"lin{stage}.model.1.weight"].double()).mean())
    return torch.stack(distances)
