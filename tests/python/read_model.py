"""Reads an elbo model and recomputes the posterior and the logits of 1,000 digits.

    read_model.py numpy|torch MODEL DIGITS_FOLDER SCRATCH

SCRATCH has posterior.npy (mean | log-variance) and logits.npy as elbo wrote them for the last 1,000 digits. The
relative difference, ‖ours − elbo's‖∞ / ‖elbo's‖∞, must be at most 1e-5.
"""
import gzip, json, sys
import numpy as np

BOUND = 1e-5
framework, model, digits, scratch = sys.argv[1:]

with gzip.open(f"{digits}/mnist-10k-images-idx3-ubyte.gz") as f:
    pixels = np.frombuffer(f.read(), np.uint8, offset=16).reshape(-1, 784)[-1000:]
x = pixels.astype(np.float32) * np.float32(1 / 255)

with open(model, "rb") as f:
    header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
about = json.loads(header["__metadata__"]["elbo"])
gated = "gated" in json.dumps(about)

if framework == "torch":
    import torch
    from safetensors.torch import load_file
    state = load_file(model)
    x = torch.from_numpy(x)
    linear = lambda h, name: torch.nn.functional.linear(h, state[name + ".weight"], state[name + ".bias"])
    relu, tanh, sigmoid = torch.relu, torch.tanh, torch.sigmoid
    cat = lambda a: torch.cat(a, 1)
else:
    from safetensors.numpy import load_file
    state = load_file(model)
    linear = lambda h, name: h @ state[name + ".weight"].T + state[name + ".bias"]
    relu, tanh = lambda a: np.maximum(a, 0), np.tanh
    sigmoid = lambda a: 1 / (1 + np.exp(-a))
    cat = lambda a: np.concatenate(a, 1)

act = tanh if '"tanh"' in json.dumps(about) else relu

def hidden(h, name):
    a = linear(h, name)
    if not gated:
        return act(a)
    half = a.shape[1] // 2
    return a[:, :half] * sigmoid(a[:, half:])

def numbered(part):
    return sorted({int(k.split(".")[1]) for k in state if k.startswith(part) and k.split(".")[1].isdigit()})

h = x
for i in numbered("encoder."):
    h = hidden(h, f"encoder.{i}")
if "encoder.posterior.weight" in state:
    eta = linear(h, "encoder.posterior")
else:
    eta = cat([linear(h, "encoder.mean"), linear(h, "encoder.log_variance")])
h = eta[:, : eta.shape[1] // 2]
layers = numbered("decoder.")
for i in layers[:-1]:
    h = hidden(h, f"decoder.{i}")
logits = linear(h, f"decoder.{layers[-1]}")

ours = {"posterior": eta, "logits": logits}
for name, value in ours.items():
    theirs = np.load(f"{scratch}/{name}.npy")
    value = np.asarray(value)
    assert value.shape == theirs.shape, (name, value.shape, theirs.shape)
    worst = np.abs(value - theirs).max() / np.abs(theirs).max()
    print(f"{framework} {model.split('/')[-2]}: {name} {theirs.shape}, relative difference {worst:.1e}")
    assert worst <= BOUND, f"{name}: {worst:.2e} > {BOUND}"
