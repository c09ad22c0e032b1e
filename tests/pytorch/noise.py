"""elbo's noise, a second time: each normal number is a function of (seed, stream, step, row, sample, column).

The generator is ChaCha with 8 rounds (Bernstein, 2008), whose key is the tuple and whose stream is the sample; its
64-bit words become normal numbers by Doornik's ziggurat (2005, "ZIGNOR") with 256 layers.
"""
import math

import numpy as np

TRAIN, EVALUATE = 5, 6

# The rightmost abscissa of 256 layers of equal area, and that area, as the tables of rand_distr round it.
R, AREA = 3.654152885361008796, 0.00492867323399
density = lambda x: math.exp(-x * x / 2)
X = [AREA / density(R), R]
while len(X) < 256:
    X.append(math.sqrt(-2 * math.log(AREA / X[-1] + density(X[-1]))))
X.append(0.0)
F = [density(x) for x in X]


def chacha8(keys, samples, blocks):
    """The first 8·blocks words of 64 bits of each generator: keys (n, 4) and samples (n), all u64, to (n, 8·blocks)."""
    n = len(keys)
    constants = np.frombuffer(b"expand 32-byte k", "<u4")
    words = lambda a: np.ascontiguousarray(a, "<u8").view("<u4")
    start = np.zeros((n, blocks, 16), np.uint32)
    start[:, :, 0:4] = constants
    start[:, :, 4:12] = words(keys).reshape(n, 1, 8)
    start[:, :, 12:14] = words(np.arange(blocks, dtype=np.uint64)).reshape(1, blocks, 2)
    start[:, :, 14:16] = words(samples).reshape(n, 1, 2)
    s = [start[:, :, i].copy() for i in range(16)]
    rotate = lambda x, by: (x << np.uint32(by)) | (x >> np.uint32(32 - by))

    def quarter(a, b, c, d):
        s[a] += s[b]; s[d] = rotate(s[d] ^ s[a], 16)
        s[c] += s[d]; s[b] = rotate(s[b] ^ s[c], 12)
        s[a] += s[b]; s[d] = rotate(s[d] ^ s[a], 8)
        s[c] += s[d]; s[b] = rotate(s[b] ^ s[c], 7)

    for _ in range(4):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return np.ascontiguousarray((np.stack(s, 2) + start).reshape(n, blocks * 16)).view("<u8")


def ziggurat(words):
    """One normal number from an iterator of words."""
    while True:
        bits = next(words)
        layer, u = bits & 0xFF, (bits >> 12) * 2.0**-51 - 1.0
        x = u * X[layer]
        if abs(x) < X[layer + 1]:
            return x
        if layer == 0:  # the tail, by Marsaglia (1964)
            open01 = lambda: (next(words) >> 12) * 2.0**-52 + 2.0**-53
            while True:
                a, b = math.log(open01()) / R, math.log(open01())
                if -2 * b >= a * a:
                    return a - R if u < 0 else R - a
        if F[layer + 1] + (F[layer] - F[layer + 1]) * ((next(words) >> 11) * 2.0**-53) < density(x):
            return x


def normal(seed, stream, step, rows, columns, first=0):
    """Standard normal noise of a batch's rows `first` to `first + rows`, one sample each: (rows, columns)."""
    row = np.arange(first, first + rows, dtype=np.uint64)
    keys = np.stack([np.full(rows, w, np.uint64) for w in (seed, stream, step)] + [row], 1)
    # A number takes 1.02 words on average; 24 to spare is more than any row will ever need.
    words = chacha8(keys, np.zeros(rows, np.uint64), (columns + 31) // 8)
    out = np.empty((rows, columns))
    for r in range(rows):
        row_words = iter(words[r].tolist())
        out[r] = [ziggurat(row_words) for _ in range(columns)]
    return out
