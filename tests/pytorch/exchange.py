"""Hands models from elbo to PyTorch and back: exchange.py ELBO_PROGRAM SCRATCH_FOLDER.

The network is pytorch/examples' `vae/main.py`. For the 1,000 test digits both programs must find the same loss: with z
at the posterior's mean, row by row (`elbo score`), and with the noise that `elbo evaluate` draws.
"""
import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

import noise

# Relative, but to no less than a nat: sums of 784 terms in f32, in another order, √784 · 2⁻²⁴ ≈ 2·10⁻⁶ each; the KL of
# an untrained network is a few hundredths of a nat left over from terms of size 1.
BOUND = 1e-5
HIDDEN, LATENT = 64, 8
elbo, scratch = sys.argv[1], Path(sys.argv[2])
digits = Path(__file__).parents[2] / "datasets/mnist-10k/mnist-10k-images-idx3-ubyte.gz"


class VAE(nn.Module):
    """The example, with its widths as arguments and logits for probabilities."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(784, HIDDEN)
        self.fc21 = nn.Linear(HIDDEN, LATENT)
        self.fc22 = nn.Linear(HIDDEN, LATENT)
        self.fc3 = nn.Linear(LATENT, HIDDEN)
        self.fc4 = nn.Linear(HIDDEN, 784)

    def encode(self, x):
        h1 = F.relu(self.fc1(x))
        return self.fc21(h1), self.fc22(h1)

    def reparameterize(self, mu, logvar, eps):
        return mu + eps * torch.exp(0.5 * logvar)

    def decode(self, z):
        return self.fc4(F.relu(self.fc3(z)))

    def loss(self, x, eps):
        """Reconstruction and KL of each row, as the example's loss_function sums them."""
        mu, logvar = self.encode(x)
        logits = self.decode(self.reparameterize(mu, logvar, eps))
        bce = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
        return bce, -0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).sum(1)


def run(*args):
    return subprocess.run([elbo, *map(str, args)], check=True, capture_output=True, text=True, cwd=scratch).stdout


def compare(what, model, vae):
    with gzip.open(digits) as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784)[-1000:]
    x = torch.from_numpy(pixels.astype(np.float32) * np.float32(1 / 255))
    with torch.no_grad():
        bce, kld = vae.loss(x, torch.zeros(1000, LATENT))
        seed = json.loads(run("info", model, "--json"))["training"].get("seed", 0)
        eps = torch.from_numpy(noise.normal(seed, noise.EVALUATE, 0, 1000, LATENT).astype(np.float32))
        drawn = [term.double().mean().item() for term in vae.loss(x, eps)]
    rows = np.loadtxt(run("score", model, "mnist", "--quiet").splitlines(), delimiter=",", skiprows=1)
    by_row = np.stack([(bce + kld).numpy(), bce.numpy(), kld.numpy()], 1)
    worst = (np.abs(rows[:, 1:] - by_row) / np.maximum(np.abs(by_row), 1)).max()
    found = json.loads(run("evaluate", model, "mnist", "--json"))
    for term, value in zip(("reconstruction", "kl"), drawn):
        worst = max(worst, abs(found[term] - value) / max(value, 1))
    print(f"{what}: -ELBO {found['neg_elbo']:.6f}, largest relative difference of a term {worst:.1e}")
    assert worst <= BOUND, f"{what}: {worst:.2e} > {BOUND}"


torch.manual_seed(1)
shape = ["--hidden", HIDDEN, "--latent", LATENT]

# From elbo to PyTorch.
run("train", "mnist", *shape, "--epochs", 1, "--seed", 3, "--quiet", "--out", "ours")
run("export", "ours", "--to", "ours-torch.safetensors", "--quiet")
vae = VAE()
vae.load_state_dict(load_file(scratch / "ours-torch.safetensors"))
compare("elbo to PyTorch", "ours", vae)

# From PyTorch to elbo, in four types; and back, to the bit.
for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
    vae, name = VAE().to(dtype), str(dtype).split(".")[1]
    save_file(vae.state_dict(), scratch / f"{name}.safetensors")
    run("import", f"{name}.safetensors", "--preset", "mlp-400", *shape, "--data", "mnist", "--out", name, "--quiet")
    compare(f"PyTorch to elbo, {name}", name, vae.float())
    run("export", name, "--to", f"{name}-back.safetensors", "--quiet")
    back = load_file(scratch / f"{name}-back.safetensors")
    assert all(torch.equal(back[key], value) for key, value in vae.state_dict().items()) and len(back) == 10
