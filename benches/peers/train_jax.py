"""JAX, with Adam written out so that XLA fuses it. Modes:

scan  the whole epoch, shuffle included, as one compiled lax.scan
step  one compiled call a step, its state donated, its batch gathered from rows on the device

bf16 casts the operands of products to bfloat16 and sums in f32.
"""

import math
import os

import common

flags = common.flags(__doc__, ["scan", "step"])
# XLA takes as many threads as the process may use cores, and has no other switch.
cores = sorted(os.sched_getaffinity(0))
os.sched_setaffinity(0, cores[-flags.threads :])
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np

rows = common.load(flags.data)
inputs, batch = rows.shape[1], flags.batch_size
run = common.Run("jax", jax.__version__, flags, len(rows))
constant = common.constant(flags, inputs)
nonlinear = {"relu": jax.nn.relu, "tanh": jnp.tanh, "gated": jax.nn.glu}[flags.layer]


def affine(x, layer):
    weight, bias = layer
    if flags.precision == "bf16":
        x, weight = x.astype(jnp.bfloat16), weight.astype(jnp.bfloat16)
    return jnp.dot(x, weight, preferred_element_type=jnp.float32) + bias


def encode(parameters, h):
    encoder, head = parameters[:2]
    for layer in encoder:
        h = nonlinear(affine(h, layer))
    return jnp.split(affine(h, head), 2, axis=-1)


def decode(parameters, h):
    *hidden, last = parameters[2]
    for layer in hidden:
        h = nonlinear(affine(h, layer))
    return affine(h, last)


def cross_entropies(x, out):
    return jax.nn.relu(out) - x * out + jnp.log1p(jnp.exp(-jnp.abs(out)))


def log_prior(parameters, z):
    """log p(z) of (B, K, L), but for the constant that log q(z|x) has too."""
    if not flags.pseudo_inputs:
        return -0.5 * jnp.sum(z**2, -1)
    mean, log_variance = encode(parameters, parameters[3])
    precision = jnp.exp(-log_variance)
    norm = -0.5 * jnp.sum(log_variance + mean**2 * precision, -1)
    log = norm - 0.5 * z**2 @ precision.T + z @ (mean * precision).T
    return jax.nn.logsumexp(log, -1) - math.log(flags.pseudo_inputs)


def sampled(parameters, x, key):
    """The mean −IWAE bound of a batch; of one sample −ELBO, its KL estimated by the same sample."""
    mean, log_variance = (h[:, None] for h in encode(parameters, x))
    noise = jax.random.normal(key, (len(x), flags.samples, flags.latent))
    z = mean + noise * jnp.exp(0.5 * log_variance)
    log_px = -jnp.sum(cross_entropies(x[:, None], decode(parameters, z)), -1)
    log_qz = -0.5 * jnp.sum(noise**2 + log_variance, -1)
    bound = jax.nn.logsumexp(log_px + log_prior(parameters, z) - log_qz, -1) - math.log(flags.samples)
    return -jnp.mean(bound)


def loss(parameters, x, key):
    """The mean −ELBO of a batch, or another objective's value."""
    if flags.samples > 1 or flags.pseudo_inputs:
        return sampled(parameters, x, key)
    mean, log_variance = encode(parameters, x)
    out = decode(parameters, mean + jax.random.normal(key, mean.shape) * jnp.exp(0.5 * log_variance))
    if flags.likelihood == "gaussian":
        reconstruction = 0.5 * jnp.sum((out - x) ** 2)
    else:
        reconstruction = jnp.sum(cross_entropies(x, out))
    kl = -0.5 * jnp.sum(1 + log_variance - mean**2 - jnp.exp(log_variance))
    return (reconstruction + kl) / len(x) + constant


def step(state, x, key):
    parameters, first, second, t = state
    value, gradient = jax.value_and_grad(loss)(parameters, x, key)
    t = t + 1
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradient)
    size, scale = flags.learning_rate / (1 - 0.9**t), 1 / (1 - 0.999**t)
    update = lambda p, m, v: p - size * m / (jnp.sqrt(v * scale) + flags.epsilon)
    return (jax.tree.map(update, parameters, first, second), first, second, t), value


def shuffled(key):
    return jax.random.permutation(key, len(rows))[: run.rows].reshape(run.steps, batch)


def scan_epoch(state, rows, key):
    shuffle, noise = jax.random.split(key)
    body = lambda state, each: step(state, rows[each[0]], each[1])
    state, values = jax.lax.scan(body, state, (shuffled(shuffle), jax.random.split(noise, run.steps)))
    return state, jnp.sum(values)


def one_step(state, total, rows, index, key, i):
    state, value = step(state, rows[index], jax.random.fold_in(key, i))
    return state, total + value


def step_epoch(state, rows, key):
    shuffle, noise = jax.random.split(key)
    order, total = np.asarray(shuffle_rows(shuffle)), jnp.float32(0)
    for i in range(run.steps):
        state, total = compiled_step(state, total, rows, order[i], noise, i)
        if run.first is None:
            total.block_until_ready()
            run.first_step()
    return state, total


shuffle_rows = jax.jit(shuffled)
compiled_step = jax.jit(one_step, donate_argnums=(0, 1))
parameters = [*common.initial(flags, inputs), *([rows[: flags.pseudo_inputs]] if flags.pseudo_inputs else [])]
parameters = jax.tree.map(jnp.asarray, parameters)
zeros = lambda: jax.tree.map(jnp.zeros_like, parameters)
state, key = (parameters, zeros(), zeros(), jnp.float32(0)), jax.random.key(0)
on_device = jnp.asarray(rows)
epoch_of = step_epoch
if flags.mode == "scan":
    epoch_of = jax.jit(scan_epoch, donate_argnums=0).lower(state, on_device, key).compile()
for epoch in run.epochs():
    state, total = epoch_of(state, on_device, jax.random.fold_in(key, epoch))
    run.loss(float(total) * batch)
    # The steps of a scan have no end of their own: its result is there when the epoch is.
    run.first_step()
run.report()
