"""Trains elbo's networks in PyTorch and writes what elbo must reproduce: parity.py, or parity.py --check.

Each case of `cases.toml` starts from the same parameters, sees the same batches and draws the same noise as elbo does
in `tests/parity.rs`, all in f64. Nothing is differentiated by hand. `fixtures.safetensors` gets for each case

- `CASE.loss`, (3, 4): reconstruction, KL, objective and the gradient's norm before clipping, at steps 1, 10 and 100;
- `CASE.gradient`: the first step's gradient, before clipping, of all parameters in the order of the state dict;
- `CASE.1`, `CASE.10`, `CASE.100`: the parameters after so many steps;
- `CASE.statistics`: of a case with batch normalization, its running averages after 100 steps.

Of a `full` case each tensor is a row of its norm and eight projections. `--check` computes all of it again and compares.
"""
import json
import math
import sys
import tomllib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.distributions import Normal, kl_divergence

import noise

HERE = Path(__file__).parent
FIXTURES = HERE / "fixtures.safetensors"
STEPS, KEPT = 100, (1, 10, 100)
# Two machines' libraries differ by a few roundings a step; the test that reads the fixtures allows 1e-10.
CHECK_BOUND = 1e-11

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)  # the nets are small, and the order of sums is then fixed

# hidden, latent, activation, heads, likelihood, learning rate, Adam's epsilon: as the papers and the examples have them.
PRESETS = {
    "mlp-400": ([400], 20, "relu", "separate", "bernoulli", 1e-3, 1e-8),
    "mlp-512-256": ([512, 256], 20, "relu", "joint", "bernoulli", 1e-3, 1e-8),
    "mlp-512-256-separate": ([512, 256], 20, "relu", "separate", "bernoulli", 1e-3, 1e-8),
    "mlp-one": ([500], 20, "relu", "joint", "bernoulli", 1e-3, 1e-8),
    "mlp-one-squared": ([500], 20, "relu", "joint", "gaussian", 1e-3, 1e-8),
    "tabular": ([64, 32], 2, "relu", "separate", "gaussian", 1e-3, 1e-8),
    "iwae-200": ([200, 200], 50, "tanh", "separate", "bernoulli", 1e-3, 1e-4),
    "gated-300": ([300, 300], 40, "gated", "separate", "bernoulli", 5e-4, 1e-8),
}


# Numbers that both sides know: of 24 bits, so that f32 has them too.

def mix(tag, count):
    """`count` words of 64 bits of a tag: SplitMix64's finalizer of tag·2⁴⁰ + i."""
    with np.errstate(over="ignore"):
        z = np.arange(count, dtype=np.uint64) + np.uint64(tag << 40) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def unit(tag, count):
    """Numbers in [0, 1)."""
    return (mix(tag, count) >> np.uint64(40)).astype(np.float64) * 2.0**-24


def batch(case, step):
    """The rows of a step, (rows, inputs)."""
    kind, count = case["likelihood"], case["rows"] * case["inputs"]
    words = unit(1000 + step, count)
    if kind.startswith("categorical"):
        x = np.floor(words * int(kind.split(":")[1]))
    elif kind == "bernoulli":
        x = np.clip(2 * words - 0.5, 0, 1)
    else:
        x = 4 * words - 2
    return torch.from_numpy(x.reshape(case["rows"], case["inputs"]))


def initial(tag, shape):
    """A parameter: uniform in ±2⁻ᵉ, about 1/√fan_in for a weight and 1/8 for a vector."""
    e = shape[1].bit_length() // 2 if len(shape) == 2 else 3
    return torch.from_numpy(((2 * unit(tag, math.prod(shape)) - 1) * 2.0**-e).reshape(tuple(shape)))


def summary(tag, tensor):
    """A norm, and projections on eight directions of ±1: bits of the words of a tag."""
    values, bits = tensor.reshape(-1).numpy(), mix(100 + tag, tensor.numel())
    signs = [1.0 - 2.0 * ((bits >> np.uint64(k)) & np.uint64(1)).astype(np.float64) for k in range(8)]
    return [math.sqrt(math.fsum(values * values))] + [math.fsum(values * s) for s in signs]


# The network.

def activation(name):
    name, _, number = name.partition(":")
    return {
        "identity": lambda a: a,
        "relu": F.relu,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "softplus": F.softplus,
        "gelu": F.gelu,
        "leaky-relu": lambda a: F.leaky_relu(a, float(number or 0.01)),
        "elu": lambda a: F.elu(a, float(number or 1.0)),
        "gated": F.glu,
    }[name]


class Hidden(nn.Linear):
    """A hidden layer up to its activation, and its normalization, if it has one: before a batch's there is no bias."""

    def __init__(self, inputs, outputs, norm):
        super().__init__(inputs, outputs, bias=norm != "batch")
        self.norm = {"none": nn.Identity, "layer": nn.LayerNorm, "batch": nn.BatchNorm1d}[norm](outputs)

    def forward(self, x):
        return self.norm(super().forward(x))


class Vae(nn.Module):
    """The network of a case. Its state dict has elbo's names, in elbo's order."""

    def __init__(self, case):
        super().__init__()
        inputs, hidden, latent = case["inputs"], case["hidden"], case["latent"]
        self.latent, self.kind, self.inputs = latent, case["likelihood"], inputs
        self.activation = activation(case["activation"])
        joint = 2 if case["activation"] == "gated" else 1
        norm = case.get("norm", "none")
        chain = lambda widths: {str(i): Hidden(a, joint * b, norm) for i, (a, b) in enumerate(zip(widths, widths[1:]))}
        last = hidden[-1]
        heads = {"posterior": 2 * latent} if case["heads"] == "joint" else {"mean": latent, "log_variance": latent}
        heads = {name: nn.Linear(last, width) for name, width in heads.items()}
        self.encoder = nn.ModuleDict(chain([inputs, *hidden]) | heads)
        outputs = {"gaussian-predicted": 2 * inputs}.get(self.kind, inputs)
        if self.kind.startswith("categorical"):
            outputs = inputs * int(self.kind.split(":")[1])
        up = [latent, *reversed(hidden)]
        self.decoder = nn.ModuleDict(chain(up) | {str(len(hidden)): nn.Linear(up[-1], outputs)})
        learned = {"gaussian-learned": 1, "gaussian-per-dimension": inputs}.get(self.kind)
        if learned:
            self.likelihood = nn.ParameterDict({"log_variance": nn.Parameter(torch.zeros(learned))})

    def log_px(self, x, out):
        """log p(x|z) of each row, in nats."""
        if self.kind == "bernoulli":
            return -F.binary_cross_entropy_with_logits(out, x, reduction="none").sum(1)
        if self.kind.startswith("categorical"):
            logits = out.reshape(x.numel(), -1)
            return -F.cross_entropy(logits, x.reshape(-1).long(), reduction="none").reshape(x.shape).sum(1)
        if self.kind == "gaussian-predicted":
            out, log_variance = out.chunk(2, 1)
        elif self.kind in ("gaussian-learned", "gaussian-per-dimension"):
            log_variance = self.likelihood["log_variance"]
        else:
            log_variance = torch.tensor(float(self.kind.partition(":")[2] or 1)).log()
        return Normal(out, (log_variance / 2).exp()).log_prob(x).sum(1)

    def forward(self, x, eps):
        """Mean −log p(x|z) and the mean KL of each latent, in nats."""
        layers = [layer for name, layer in self.encoder.items() if name.isdigit()]
        h = x
        for layer in layers:
            h = self.activation(layer(h))
        if "posterior" in self.encoder:
            mean, log_variance = self.encoder["posterior"](h).chunk(2, 1)
        else:
            mean, log_variance = self.encoder["mean"](h), self.encoder["log_variance"](h)
        posterior = Normal(mean, (log_variance / 2).exp())
        h = posterior.mean + posterior.stddev * eps
        *layers, last = self.decoder.values()
        for layer in layers:
            h = self.activation(layer(h))
        prior = Normal(torch.zeros(self.latent), torch.ones(self.latent))
        return -self.log_px(x, last(h)).mean(), kl_divergence(posterior, prior).mean(0)


# The training.

def optimizer(case, parameters):
    kind, lr = case.get("optimizer", "adam"), case["learning-rate"]
    decay = {"weight_decay": case["weight-decay"]} if "weight-decay" in case else {}
    if kind == "sgd":
        return torch.optim.SGD(parameters, lr, case.get("momentum", 0), nesterov=case.get("nesterov", False), **decay)
    which = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[kind]
    return which(parameters, lr, tuple(case.get("betas", (0.9, 0.999))), case["epsilon"], **decay)


def schedule(case, optimizer):
    """PyTorch's own scheduler of a case."""
    name, _, number = case.get("schedule", "constant").partition(":")
    schedulers = torch.optim.lr_scheduler
    if name == "constant":
        return schedulers.ConstantLR(optimizer, 1.0)
    if name == "cosine":
        return schedulers.CosineAnnealingLR(optimizer, STEPS)
    assert name == "warmup-cosine"
    n = int(number)
    rise = schedulers.LinearLR(optimizer, 1 / n, 1.0, n - 1)
    fall = schedulers.CosineAnnealingLR(optimizer, STEPS - n)
    return schedulers.SequentialLR(optimizer, [rise, fall], [n])


def beta(case, step):
    """The KL's weight at a step, counted from 0."""
    full = case.get("beta", 1.0)
    if "warmup-epochs" in case:
        return full * min(1.0, (step + 1) / (case["warmup-epochs"] * STEPS))
    if "cycle-epochs" in case:
        period = case["cycle-epochs"] * STEPS
        return full * min(1.0, (step % period + 1) / (case["cycle-ratio"] * period))
    return full


def objective(case, step, reconstruction, kl):
    """−ELBO with the KL's weight and free bits (Kingma et al., 2016, eq. 15)."""
    free, _, group = str(case.get("free-bits", "")).partition(",")
    if free:
        kl = torch.stack([g.sum() for g in kl.split(int(group or 1))]).clamp(min=float(free))
    return reconstruction + beta(case, step) * kl.sum()


def train(case):
    """A case's fixtures, and its tensors' names and shapes."""
    vae = Vae(case)
    named = dict(vae.named_parameters())
    vae.load_state_dict({name: initial(tag, p.shape) for tag, (name, p) in enumerate(named.items())}, strict=False)
    parameters = list(named.values())
    opt = optimizer(case, parameters)
    scheduler = schedule(case, opt)
    keep = lambda tensors: torch.tensor([summary(i, t) for i, t in enumerate(tensors)]) if case.get("full") else \
        torch.cat([t.reshape(-1) for t in tensors])
    out, losses = {}, []
    for step in range(STEPS):
        eps = torch.from_numpy(noise.normal(0, noise.TRAIN, step, case["rows"], case["latent"]))
        reconstruction, kl = vae(batch(case, step), eps)
        loss = objective(case, step, reconstruction, kl)
        opt.zero_grad()
        loss.backward()
        gradients = [p.grad.clone() for p in parameters]
        norm = nn.utils.clip_grad_norm_(parameters, case.get("clip", math.inf))
        if step == 0:
            out["gradient"] = keep(gradients)
        opt.step()
        scheduler.step()
        if step + 1 in KEPT:
            losses.append([t.item() for t in (reconstruction, kl.sum(), loss, norm)])
            out[str(step + 1)] = keep([p.detach() for p in parameters])
    out["loss"] = torch.tensor(losses)
    running = [b for name, b in vae.named_buffers() if "running" in name]
    if running:
        out["statistics"] = torch.cat(running)
    return out, " ".join(f"{name}:{'x'.join(map(str, p.shape))}" for name, p in named.items())


def cases():
    """Every case with all that it leaves to the defaults and to its preset."""
    table = tomllib.loads((HERE / "cases.toml").read_text())
    small, full = table.pop("defaults"), table.pop("full-defaults")
    for name, case in table.items():
        case = (full if case.get("full") else small) | case
        preset = dict(zip(("hidden", "latent", "activation", "heads", "likelihood", "learning-rate", "epsilon"),
                          PRESETS[case["preset"]]))
        yield name, preset | case


def distance(found, expected):
    """‖found − expected‖ / ‖expected‖."""
    difference = (found - expected).norm()
    return 0.0 if difference == 0 else (difference / expected.norm()).item()


def main():
    check = sys.argv[1:] == ["--check"]
    assert check or not sys.argv[1:], __doc__
    tensors, about = {}, {"torch": torch.__version__.split("+")[0]}
    for name, case in cases():
        out, about[name] = train(case)
        tensors |= {f"{name}.{part}": tensor.contiguous() for part, tensor in out.items()}
    if not check:
        save_file(tensors, FIXTURES, {"cases": json.dumps(about, sort_keys=True)})
        print(f"{len(about) - 1} cases, {FIXTURES.stat().st_size} bytes")
        return
    with safe_open(FIXTURES, "pt") as file:
        kept = json.loads(file.metadata()["cases"])
        assert kept | {"torch": ""} == about | {"torch": ""}, "the cases or their tensors have changed"
        assert set(file.keys()) == set(tensors), "the fixtures are of other cases"
        worst = max((distance(tensors[key], file.get_tensor(key)), key) for key in file.keys())
    print(f"{len(about) - 1} cases, largest relative difference {worst[0]:.1e} ({worst[1]})")
    assert worst[0] <= CHECK_BOUND, "the fixtures are not what PyTorch computes here"


main()
