"""resampling.safetensors: sound of usual rates brought to 16 kHz by torchaudio.functional.resample with its defaults (windowed
sinc of 6 zeros on either side, rolloff 0.99, Hann), in f32 as the published programs call it."""
import torchaudio

import golden

RATES = (8000, 11025, 22050, 24000, 32000, 44100, 48000, 96000)

samples = golden.draw(31, 3001, std=0.3)
outputs = {f"output.{rate}": torchaudio.functional.resample(samples, rate, 16000) for rate in RATES}
golden.write(
    "resampling.safetensors",
    "resampling",
    "torchaudio.functional.resample to 16 kHz",
    {"rates": RATES},
    {"input.samples": samples, **outputs},
)
