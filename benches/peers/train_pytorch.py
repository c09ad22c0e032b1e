"""PyTorch. Modes:

graph     the whole step (gather, noise, loss, gradient, Adam) as one compiled graph of functions (torch.func)
compiled  the compiled module, its backward, and torch.optim's fused Adam
eager     the module as people write it, with fused Adam

bf16 is autocast: products in bfloat16, parameters and moments in f32.
"""

import math

import common

flags = common.flags(__doc__, ["graph", "compiled", "eager"])

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad_and_value

torch.set_num_threads(flags.threads)
torch.manual_seed(0)
rows = common.load(flags.data)
inputs, batch = rows.shape[1], flags.batch_size
run = common.Run("pytorch", torch.__version__, flags, len(rows))
rows = torch.from_numpy(rows)
encoder, head, decoder = common.initial(flags, inputs)
nonlinear = {"relu": F.relu, "tanh": torch.tanh, "gated": lambda h: F.glu(h, -1)}[flags.layer]


def linear(weight, bias):
    layer = nn.Linear(*weight.shape)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight.T))
        layer.bias.copy_(torch.from_numpy(bias))
    return layer


class Vae(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.ModuleList(linear(*l) for l in encoder)
        self.head = linear(*head)
        self.decoder = nn.ModuleList(linear(*l) for l in decoder)
        if flags.pseudo_inputs:
            self.pseudo_inputs = nn.Parameter(rows[: flags.pseudo_inputs].clone())

    def encode(self, h):
        for layer in self.encoder:
            h = nonlinear(layer(h))
        return self.head(h).float().chunk(2, -1)

    def decode(self, h):
        for layer in self.decoder[:-1]:
            h = nonlinear(layer(h))
        return self.decoder[-1](h).float()

    def log_prior(self, z):
        """log p(z) of (B, K, L), but for the constant that log q(z|x) has too."""
        if not flags.pseudo_inputs:
            return -0.5 * z.square().sum(-1)
        mean, log_variance = self.encode(self.pseudo_inputs)
        precision = torch.exp(-log_variance)
        norm = -0.5 * (log_variance + mean.square() * precision).sum(-1)
        # The squared distances as products, which cancel too much for bf16.
        with torch.autocast("cpu", enabled=False):
            log = norm - 0.5 * z.square() @ precision.T + z @ (mean * precision).T
        return log.logsumexp(-1) - math.log(flags.pseudo_inputs)

    def sampled(self, x):
        """The mean −IWAE bound of a batch; of one sample −ELBO, its KL estimated by the same sample."""
        mean, log_variance = (h[:, None] for h in self.encode(x))
        noise = torch.randn(len(x), flags.samples, flags.latent)
        z = mean + noise * torch.exp(0.5 * log_variance)
        out = self.decode(z)
        log_px = -F.binary_cross_entropy_with_logits(out, x[:, None].expand_as(out), reduction="none").sum(-1)
        log_qz = -0.5 * (noise.square() + log_variance).sum(-1)
        bound = (log_px + self.log_prior(z) - log_qz).logsumexp(-1) - math.log(flags.samples)
        return -bound.mean()

    def forward(self, x):
        """The mean −ELBO of a batch, but for the likelihood's constant; or another objective's value."""
        if flags.samples > 1 or flags.pseudo_inputs:
            return self.sampled(x)
        mean, log_variance = self.encode(x)
        out = self.decode(mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance))
        if flags.likelihood == "gaussian":
            reconstruction = 0.5 * (out - x).square().sum()
        else:
            reconstruction = F.binary_cross_entropy_with_logits(out, x, reduction="sum")
        kl = -0.5 * torch.sum(1 + log_variance - mean.square() - log_variance.exp())
        return (reconstruction + kl) / len(x)


vae = Vae()
autocast = lambda: torch.autocast("cpu", dtype=torch.bfloat16, enabled=flags.precision == "bf16")


def functional_step():
    """A step as one function that updates its state in place, compiled whole."""
    parameters = {name: p.detach().clone() for name, p in vae.named_parameters()}
    first = {name: torch.zeros_like(p) for name, p in parameters.items()}
    second = {name: torch.zeros_like(p) for name, p in parameters.items()}
    t, total = torch.zeros(()), torch.zeros(())

    def loss(parameters, x):
        with autocast():
            return functional_call(vae, parameters, (x,))

    differentiate = grad_and_value(loss)

    @torch.compile
    def step(parameters, first, second, t, total, rows, index):
        gradient, value = differentiate(parameters, rows[index])
        t += 1
        total += value
        size, root = flags.learning_rate / (1 - 0.9**t), (1 - 0.999**t).sqrt()
        for name, g in gradient.items():
            m, v = first[name], second[name]
            m.mul_(0.9).add_(g, alpha=0.1)
            v.mul_(0.999).addcmul_(g, g, value=0.001)
            parameters[name].sub_(size * m / (v.sqrt() / root + flags.epsilon))

    def call(index):
        with torch.no_grad():
            step(parameters, first, second, t, total, rows, index)

    return call, total


def module_step():
    """A step of a module and an optimizer."""
    optimizer = torch.optim.Adam(vae.parameters(), lr=flags.learning_rate, eps=flags.epsilon, fused=True)
    module = torch.compile(vae) if flags.mode == "compiled" else vae
    total = torch.zeros(())

    def call(index):
        optimizer.zero_grad(set_to_none=True)
        with autocast():
            loss = module(rows[index])
        loss.backward()
        optimizer.step()
        total.add_(loss.detach())

    return call, total


step, total = functional_step() if flags.mode == "graph" else module_step()
for epoch in run.epochs():
    total.zero_()
    order = torch.randperm(len(rows))[: run.rows]
    for index in order.split(batch):
        step(index)
        run.first_step()
    run.loss((float(total) + run.steps * common.constant(flags, inputs)) * batch)
run.report()
