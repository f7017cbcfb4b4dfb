"""philox.safetensors: Philox 4x32-10 words (Salmon et al. 2011) and the normals made of them by Box-Muller in f64.

One call gives four words for elements 4k .. 4k+3 of a frame, counted in [height, width, channels]:
counter = (k, absolute frame, purpose, 0), key = (seed's low 32 bits, high 32 bits).
u = ((word >> 8) + 0.5) * 2^-24, strictly between 0 and 1; (u1, u2) -> r cos t, r sin t with
r = sqrt(-2 ln u1), t = 2 pi u2; words 0 and 1 give elements 4k and 4k+1, words 2 and 3 the next two.
"""
import numpy as np

import golden

M0, M1, W0, W1 = 0xD2511F53, 0xCD9E8D57, 0x9E3779B9, 0xBB67AE85
LOW = np.uint64(0xFFFFFFFF)


def philox(counter, key):
    """[n, 4] and [n, 2] u32 -> [n, 4] u32."""
    c, k = counter.astype(np.uint64).T.copy(), key.astype(np.uint64).T.copy()
    for _ in range(10):
        a, b = c[0] * np.uint64(M0), c[2] * np.uint64(M1)
        c = np.stack([(b >> np.uint64(32)) ^ c[1] ^ k[0], b & LOW, (a >> np.uint64(32)) ^ c[3] ^ k[1], a & LOW])
        k = np.stack([(k[0] + np.uint64(W0)) & LOW, (k[1] + np.uint64(W1)) & LOW])
    return c.T.astype(np.uint32)


def normals(words):
    u = ((words >> np.uint32(8)).astype(np.float64) + 0.5) * 2.0**-24
    r, t = np.sqrt(-2 * np.log(u[:, 0::2])), 2 * np.pi * u[:, 1::2]
    return np.stack([r * np.cos(t), r * np.sin(t)], 2).reshape(len(words), 4)


def grid(seed, purpose, first_frame, frames, height, width, channels):
    elements = height * width * channels
    blocks = -(-elements // 4)
    counter = np.zeros((frames, blocks, 4), np.uint32)
    counter[..., 0] = np.arange(blocks)
    counter[..., 1] = first_frame + np.arange(frames)[:, None]
    counter[..., 2] = purpose
    key = np.tile(np.array([seed & 0xFFFFFFFF, seed >> 32], np.uint32), (frames * blocks, 1))
    words = philox(counter.reshape(-1, 4), key)
    values = normals(words).reshape(frames, -1)[:, :elements].reshape(frames, height, width, channels)
    return words.reshape(frames, blocks, 4), values


# The three vectors that come with Random123 (kat_vectors): counter, key, words.
KNOWN = np.array([
    [0] * 6 + [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8],
    [0xFFFFFFFF] * 6 + [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
    [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0, 0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
], np.uint32)
GRIDS = {
    "latent": dict(seed=23, purpose=1, first_frame=0, frames=3, height=4, width=5, channels=4),
    "late": dict(seed=0xFEDCBA9876543210, purpose=7, first_frame=1_000_003, frames=2, height=5, width=3, channels=3),
}

assert (philox(KNOWN[:, :4], KNOWN[:, 4:6]) == KNOWN[:, 6:]).all()
_, many = grid(5, 2, 0, 4, 64, 64, 4)
assert abs(many.mean()) < 0.01 and abs(many.std() - 1) < 0.01 and abs((many**4).mean() - 3) < 0.1
tensors = {"input.known.counter": KNOWN[:, :4], "input.known.key": KNOWN[:, 4:6], "output.known.words": KNOWN[:, 6:]}
# Every extreme a word can bring to the normals: u1 nearest 0 and 1, t at the axes.
edges = np.array([[0, 0, 0xFFFFFFFF, 0xFFFFFFFF], [0xFFFFFFFF, 0x3FFFFFFF, 0x80000000, 0x7FFFFFFF], [0x1FF, 0x40000000, 0xFFFFFE00, 0xC0000000]], np.uint32)
tensors |= {"input.edges.words": edges, "output.edges.normals": normals(edges)}
config = {}
for name, arguments in GRIDS.items():
    words, values = grid(**arguments)
    tensors |= {f"output.{name}.words": words, f"output.{name}.normals": values}
    config[name] = arguments | {"seed_low": arguments["seed"] & 0xFFFFFFFF, "seed_high": arguments["seed"] >> 32}
    del config[name]["seed"]
golden.write("philox.safetensors", "philox", "Philox 4x32-10 words and Box-Muller normals in f64", {"grids": config}, tensors)
