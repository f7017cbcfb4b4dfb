"""samplers.safetensors: schedules, samplers and guidance on a linear denoiser D(x, sigma) = a / (1 + sigma) * x + b, all in f64.

A run starts at x = noise * sqrt(1 + sigma0^2). `a` holds one number per guidance branch, `b` one tensor per branch.
Sources: EDM (Karras et al. 2022, eq. 5 and algorithm 2), DPM-Solver++ (Lu et al. 2022, 2M), Align Your Steps (Sabour et al.
2024), adaptive projected guidance (Sadat et al. 2024), sgm's samplers and guiders for what the papers leave open.
"""
import math

import torch

import golden
import loops

SHAPE = (3, 4, 2, 5)


def edm_sigmas(steps, low, high, rho):
    ends = high ** (1 / rho), low ** (1 / rho)
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    return (ends[0] + ramp * (ends[1] - ends[0])).pow(rho).tolist() + [0.0]


class Plain:
    """One branch, no guidance."""

    def __init__(self, **_):
        pass

    def __call__(self, d):
        return d


class VanillaCfg:
    """Branches uncond, cond."""

    def __init__(self, scale):
        self.scale = scale

    def __call__(self, uncond, cond):
        return uncond + self.scale * (cond - uncond)


class AudioRef:
    """Branches uncond, ref, cond."""

    def __init__(self, audio_ratio, ref_ratio):
        self.audio, self.ref = audio_ratio, ref_ratio

    def __call__(self, uncond, ref, cond):
        return self.audio * (cond - ref) + self.ref * (ref - uncond) + uncond


def frame_norm(x):
    return (x * x).sum((1, 2, 3), keepdim=True).sqrt()


class AudioRefNormalized:
    """Both differences are taken from uncond; each is smoothed over the evaluations, capped and projected, per frame."""

    def __init__(self, audio_ratio, ref_ratio, momentum, norm_threshold, eta):
        self.audio, self.ref, self.momentum, self.threshold, self.eta = audio_ratio, ref_ratio, momentum, norm_threshold, eta
        self.running = {"audio": 0, "ref": 0}

    def update(self, which, target, uncond):
        diff = self.running[which] = target - uncond + self.momentum * self.running[which]
        if self.threshold > 0:
            diff = diff * (self.threshold / frame_norm(diff)).clamp(max=1)
        along = target / frame_norm(target)
        parallel = (diff * along).sum((1, 2, 3), keepdim=True) * along
        return diff - parallel + self.eta * parallel

    def __call__(self, uncond, ref, cond):
        return uncond + (self.audio - 1) * self.update("audio", cond, uncond) + (self.ref - 1) * self.update("ref", ref, uncond)


GUIDERS = {"none": Plain, "vanilla_cfg": VanillaCfg, "audio_ref": AudioRef, "audio_ref_normalized": AudioRefNormalized}


def edm(denoise, x, sigmas, churn_noise, heun, s_churn=0.0, s_tmin=0.0, s_tmax=math.inf, s_noise=1.0):
    """Euler, or Heun's correction in every step but the one to zero. Churn lifts sigma before the step."""
    steps = len(sigmas) - 1
    for i in range(steps):
        gamma = min(s_churn / steps, math.sqrt(2) - 1) if s_tmin <= sigmas[i] <= s_tmax else 0
        lifted = sigmas[i] * (1 + gamma)
        if gamma > 0:
            x = x + churn_noise[i] * s_noise * math.sqrt(lifted**2 - sigmas[i] ** 2)
        guided = denoise(x, lifted)
        d, dt = (x - guided) / lifted, sigmas[i + 1] - lifted
        ahead = x + dt * d
        if heun and sigmas[i + 1] > 0:
            ahead = x + dt * (d + (ahead - denoise(ahead, sigmas[i + 1])) / sigmas[i + 1]) / 2
        x = ahead
        yield x, guided


def dpmpp_2m(denoise, x, sigmas, churn_noise):
    """Second order from the previous denoised value; the first and the last step are first order."""
    before = None
    for i, (now, after) in enumerate(zip(sigmas[:-1], sigmas[1:])):
        guided = denoise(x, now)
        if after == 0:
            x = guided
        else:
            h, d = math.log(now / after), guided
            if before is not None:
                r = math.log(sigmas[i - 1] / now) / h
                d = (1 + 1 / (2 * r)) * guided - before / (2 * r)
            x = after / now * x - math.expm1(-h) * d
        before = guided
        yield x, guided


SAMPLERS = {"euler_edm": lambda *a, **o: edm(*a, heun=False, **o), "heun_edm": lambda *a, **o: edm(*a, heun=True, **o), "dpmpp_2m": dpmpp_2m}
KARRAS = edm_sigmas(7, 0.002, 80.0, 7.0)
CHURN = {"s_churn": 3.0, "s_tmin": 0.05, "s_tmax": 50.0, "s_noise": 1.003}
SPREAD = [0.5, 0.7, 1.0]
RUNS = {
    "euler": ("euler_edm", KARRAS, {}, "none", {}, [0.8]),
    "euler_churn": ("euler_edm", KARRAS, CHURN, "none", {}, [0.8]),
    "euler_churn_capped": ("euler_edm", KARRAS, {"s_churn": 40.0}, "none", {}, [0.8]),
    "heun": ("heun_edm", KARRAS, {}, "none", {}, [-0.6]),
    "heun_churn": ("heun_edm", KARRAS, CHURN, "none", {}, [-0.6]),
    "dpmpp_2m": ("dpmpp_2m", KARRAS, {}, "none", {}, [0.9]),
    "dpmpp_2m_ays": ("dpmpp_2m", loops.ays_sigmas(9).tolist(), {}, "none", {}, [0.9]),
    "vanilla_cfg": ("euler_edm", KARRAS, {}, "vanilla_cfg", {"scale": 2.5}, [0.6, 0.9]),
    "audio_ref": ("euler_edm", loops.ays_sigmas().tolist(), {}, "audio_ref", {"audio_ratio": 5.0, "ref_ratio": 2.0}, SPREAD),
    "audio_ref_normalized": ("euler_edm", loops.ays_sigmas().tolist(), {}, "audio_ref_normalized",
                             {"audio_ratio": 5.0, "ref_ratio": 3.0, "momentum": -0.75, "norm_threshold": 2.5, "eta": 0.0}, SPREAD),
    "audio_ref_normalized_eta": ("heun_edm", KARRAS, {}, "audio_ref_normalized",
                                 {"audio_ratio": 4.0, "ref_ratio": 2.0, "momentum": -0.5, "norm_threshold": 15.0, "eta": 0.3}, SPREAD),
}

tensors, runs = {}, {}
for number, (name, (sampler, sigmas, options, guidance, parameters, a)) in enumerate(RUNS.items()):
    seed, steps = 1900 + 10 * number, len(sigmas) - 1
    noise, b = golden.draw(seed, *SHAPE), golden.draw(seed + 1, len(a), *SHAPE)
    churn_noise = golden.draw(seed + 2, steps, *SHAPE)
    guide = GUIDERS[guidance](**parameters)

    def denoise(x, sigma, a=a, b=b.double(), guide=guide):
        return guide(*(a[i] / (1 + sigma) * x + b[i] for i in range(len(a))))

    start = noise.double() * math.sqrt(1 + sigmas[0] ** 2)
    trace = list(SAMPLERS[sampler](denoise, start, sigmas, churn_noise.double(), **options))
    tensors |= {f"input.{name}.noise": noise, f"input.{name}.b": b,
                f"output.{name}.x": torch.stack([x for x, _ in trace]), f"output.{name}.guided_denoised": torch.stack([g for _, g in trace])}
    if options:
        tensors[f"input.{name}.churn_noise"] = churn_noise
    runs[name] = {"sampler": sampler, "sigmas": sigmas, "options": options, "guidance": guidance, "parameters": parameters, "a": a}

schedules = {f"ays_{n}": {"kind": "ays", "evaluations": n, "sigmas": loops.ays_sigmas(n).tolist()} for n in (2, 4, 7, 10, 11, 12, 18, 25, 40)}
for steps, low, high, rho in ((5, 0.002, 80.0, 7.0), (18, 0.002, 80.0, 7.0), (25, 0.002, 700.0, 7.0), (10, 0.03, 14.6, 5.0)):
    schedules[f"edm_{steps}_{high:g}"] = {"kind": "edm", "evaluations": steps, "sigma_min": low, "sigma_max": high, "rho": rho,
                                          "sigmas": edm_sigmas(steps, low, high, rho)}
tensors |= {f"output.schedule.{name}": torch.tensor(s["sigmas"], dtype=torch.float64) for name, s in schedules.items()}
golden.write("samplers.safetensors", "samplers", "schedules, samplers and guidance in f64 on a linear denoiser", {"runs": runs, "schedules": schedules}, tensors)
