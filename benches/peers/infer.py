"""The encoder's mean of `mlp-400`, for one row and for 1,000: numpy, onnxruntime, PyTorch, JAX.

Reads the model that `run` had elbo train, and prints one JSON object: the median time of a call, and the root mean square of
the 1,000 means, by which `run` sees that everybody computed the same.
"""

import argparse
import json
import os
import time
from pathlib import Path

p = argparse.ArgumentParser(description=__doc__)
p.add_argument("program", choices=["numpy", "onnxruntime", "pytorch", "jax"])
p.add_argument("--model", required=True, help="model.safetensors")
p.add_argument("--data", required=True)
p.add_argument("--threads", type=int, default=1)
p.add_argument("--seconds", type=float, default=1.0, help="to measure, for each number of rows")
flags = p.parse_args()
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = str(flags.threads)

import numpy as np

import common


def tensors(path):
    """The tensors of a safetensors file: a length, a JSON header, the values."""
    raw = Path(path).read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    header.pop("__metadata__", None)
    def values(entry):
        begin, end = entry["data_offsets"]
        return np.frombuffer(raw[start + begin : start + end], np.float32).reshape(entry["shape"])
    return {name: values(entry) for name, entry in header.items()}


# Weights of the hidden layer and of the mean's head, (out, in).
model = tensors(flags.model)
w1, b1, w2, b2 = (np.array(model[f"encoder.{n}"]) for n in ("0.weight", "0.bias", "mean.weight", "mean.bias"))
x = np.ascontiguousarray(common.load(flags.data)[:1000])


def with_numpy():
    t1, t2 = np.ascontiguousarray(w1.T), np.ascontiguousarray(w2.T)

    def encode(x):
        h = x @ t1
        h += b1
        np.maximum(h, 0, out=h)
        return h @ t2 + b2

    return np.__version__, {"in place": encode}, lambda x: x, np.asarray


def with_onnxruntime():
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["a"], transB=1),
        helper.make_node("Relu", ["a"], ["h"]),
        helper.make_node("Gemm", ["h", "w2", "b2"], ["mean"], transB=1),
    ]
    value = lambda name, cols: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", cols])
    weights = [numpy_helper.from_array(a, n) for n, a in (("w1", w1), ("b1", b1), ("w2", w2), ("b2", b2))]
    graph = helper.make_graph(nodes, "encoder", [value("x", w1.shape[1])], [value("mean", w2.shape[0])], weights)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = flags.threads, 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = ["mean"]
    run = lambda x: session.run(names, {"x": x})[0]

    def bound(x):
        binding, out = session.io_binding(), np.empty((len(x), len(b2)), np.float32)
        binding.bind_cpu_input("x", x)
        binding.bind_output("mean", "cpu", 0, np.float32, out.shape, out.ctypes.data)
        return binding, out

    def run_bound(bound):
        session.run_with_iobinding(bound[0])
        return bound[1]

    run_bound.prepare = bound
    return onnxruntime.__version__, {"run": run, "bound": run_bound}, lambda x: x, np.asarray


def with_pytorch():
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(flags.threads)

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name, a in (("w1", w1), ("b1", b1), ("w2", w2), ("b2", b2)):
                self.register_parameter(name, torch.nn.Parameter(torch.from_numpy(a), requires_grad=False))

        def forward(self, x):
            return F.linear(F.relu(F.linear(x, self.w1, self.b1)), self.w2, self.b2)

    encoder = Encoder().eval()
    # Weights become constants of the compiled graph and are packed once.
    torch._inductor.config.freezing = True
    calls = {"compiled, frozen": torch.compile(encoder, dynamic=False)}
    traced = torch.jit.trace(encoder, torch.from_numpy(x))
    calls["traced, frozen"] = torch.jit.optimize_for_inference(torch.jit.freeze(traced))
    torch.inference_mode().__enter__()
    return torch.__version__, calls, torch.from_numpy, lambda y: y.numpy()


def with_jax():
    # XLA takes as many threads as the process may use cores, and has no other switch.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-flags.threads :])
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    import jax.numpy as jnp

    t1, t2 = jnp.asarray(w1.T), jnp.asarray(w2.T)
    encode = lambda x: jax.nn.relu(x @ t1 + b1) @ t2 + b2
    fixed = jax.jit(encode)
    given = jax.jit(lambda x, t1, b1, t2, b2: jax.nn.relu(x @ t1 + b1) @ t2 + b2)
    arrays = [jnp.asarray(a) for a in (t1, b1, t2, b2)]
    calls = {"constants": lambda x: fixed(x).block_until_ready(), "arguments": lambda x: given(x, *arrays).block_until_ready()}
    return jax.__version__, calls, jnp.asarray, np.asarray


def median_microseconds(call, inputs):
    """The median time of a call, over inputs in turn."""
    times, deadline = [], None
    while deadline is None or time.perf_counter() < deadline:
        for i in inputs:
            start = time.perf_counter_ns()
            call(i)
            times.append(time.perf_counter_ns() - start)
        if deadline is None:
            # The first round warms up.
            times, deadline = [], time.perf_counter() + flags.seconds
    return float(np.median(times)) / 1000


version, calls, to, back = {
    "numpy": with_numpy, "onnxruntime": with_onnxruntime, "pytorch": with_pytorch, "jax": with_jax,
}[flags.program]()
best = {}
for mode, call in calls.items():
    prepare = getattr(call, "prepare", lambda a: to(a))
    thousand, ones = prepare(x), [prepare(np.ascontiguousarray(x[i : i + 1])) for i in range(64)]
    means = np.array(back(call(thousand)), np.float64)
    found = {"one_row_us": median_microseconds(call, ones), "thousand_rows_us": median_microseconds(call, [thousand])}
    for name, us in found.items():
        if name not in best or us < best[name]:
            best |= {name: us, name.replace("us", "mode"): mode}
print(json.dumps({
    "program": flags.program,
    "version": version,
    "precision": "f32",
    "threads": flags.threads,
    **best,
    "root_mean_square": float(np.sqrt((means**2).mean())),
}))
