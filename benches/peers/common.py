"""What the Python programs share: the flags, the data, the initial parameters, the clock and the report.

A program trains the network that the flags describe and prints one JSON object. `run` reads it.
"""

import argparse
import gzip
import json
import math
import os
import statistics
import time
from pathlib import Path

import numpy as np


def flags(about, modes):
    """The flags of a training program; `modes` are the ways in which it can run, best first."""
    p = argparse.ArgumentParser(description=about)
    p.add_argument("--mode", choices=modes, default=modes[0])
    p.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    p.add_argument("--data", required=True, help="a folder with MNIST's four files, or an .npy of f32")
    p.add_argument("--hidden", type=lambda s: [int(w) for w in s.split(",")], default=[400])
    p.add_argument("--latent", type=int, default=20)
    p.add_argument("--layer", choices=["relu", "tanh", "gated"], default="relu")
    p.add_argument("--likelihood", choices=["bernoulli", "gaussian"], default="bernoulli")
    p.add_argument("--init", choices=["torch", "glorot", "he"], default="torch")
    p.add_argument("--learning-rate", type=float, default=1e-3)
    p.add_argument("--epsilon", type=float, default=1e-8)
    p.add_argument("--batch-size", type=int, default=128)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--samples", type=int, default=1, help="of z a row; more than one make it the IWAE bound")
    p.add_argument("--pseudo-inputs", type=int, default=0, help="of a VampPrior; without any the prior is a standard normal")
    p.add_argument("--epochs", type=int, default=3, help="at least so many, the first of which warms up")
    p.add_argument("--seconds", type=float, default=3.0, help="and until so much time has been measured")
    return p.parse_args()


def idx(folder, stem):
    """The values of an IDX file, plain or gzip, as (n, columns) bytes."""
    path = next(p for p in (Path(folder) / stem, Path(folder) / f"{stem}.gz") if p.is_file())
    with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
        raw = file.read()
    dims = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * len(dims)).reshape(dims[0], -1)


def load(path):
    """The training rows, (n, D) in f32, pixels scaled to 0 … 1."""
    if Path(path).is_dir():
        return np.multiply(idx(path, "train-images-idx3-ubyte"), np.float32(1 / 255), dtype=np.float32)
    return np.ascontiguousarray(np.load(path), dtype=np.float32)


def initial(flags, inputs):
    """Initial (weight (in, out), bias (out)) of each layer: encoder, head, decoder.

    The head is the mean's and the log-variance's layer in one, for a single product is never slower than two; each half is
    drawn as a layer of its own.
    """
    rng = np.random.default_rng(0)

    def draw(fan_in, fan_out, outputs):
        shape, bias = (fan_in, outputs), np.zeros(outputs)
        if flags.init == "torch":
            bound = fan_in**-0.5
            weight, bias = rng.uniform(-bound, bound, shape), rng.uniform(-bound, bound, outputs)
        elif flags.init == "glorot":
            bound = (6 / (fan_in + fan_out)) ** 0.5
            weight = rng.uniform(-bound, bound, shape)
        else:
            weight = rng.normal(0, (2 / fan_in) ** 0.5, shape)
        return weight.astype(np.float32), bias.astype(np.float32)

    def hidden(widths):
        halves = 2 if flags.layer == "gated" else 1
        return [draw(i, o, halves * o) for i, o in zip(widths, widths[1:])]

    down, up = [inputs, *flags.hidden], [flags.latent, *reversed(flags.hidden)]
    return hidden(down), draw(down[-1], flags.latent, 2 * flags.latent), [*hidden(up), draw(up[-1], inputs, inputs)]


def constant(flags, inputs):
    """What −log p(x|z) of a row has besides the sum of squares or cross-entropies, in nats."""
    return 0.5 * inputs * math.log(2 * math.pi) if flags.likelihood == "gaussian" else 0.0


class Run:
    """Takes the time of each epoch, from before its shuffle to after its loss has been read."""

    def __init__(self, program, version, flags, rows):
        self.program, self.version, self.flags = program, version, flags
        self.steps = rows // flags.batch_size
        self.rows = self.steps * flags.batch_size
        self.seconds, self.losses, self.first = [], [], None

    def epochs(self):
        """Yields the epoch's number until there are enough of them. The body must end with `loss`."""
        while len(self.seconds) < self.flags.epochs or sum(self.seconds[1:]) < self.flags.seconds:
            start = time.perf_counter()
            yield len(self.seconds)
            self.seconds.append(time.perf_counter() - start)

    def first_step(self, ago=0.0):
        """Notes that the first step ended, `ago` seconds before now."""
        if self.first is None and "BENCH_STARTED" in os.environ:
            self.first = time.time() - ago - float(os.environ["BENCH_STARTED"])

    def loss(self, total):
        """The epoch's −ELBO, summed over its rows."""
        if not math.isfinite(total):
            raise SystemExit(f"the loss is {total} in epoch {len(self.losses) + 1}")
        self.losses.append(total / self.rows)

    def report(self):
        measured = sorted(self.seconds[1:])
        print(json.dumps({
            "program": self.program,
            "version": self.version,
            "mode": self.flags.mode,
            "precision": self.flags.precision,
            "samples_per_second": self.rows / statistics.median(measured),
            "slowest_epoch": self.rows / measured[-1],
            "fastest_epoch": self.rows / measured[0],
            "epochs": len(measured),
            "rows": self.rows,
            "neg_elbo": self.losses[:2],
            "first_step_seconds": self.first,
        }))
