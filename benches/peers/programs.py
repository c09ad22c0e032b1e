"""Who is measured, on which networks, and what has to be installed or built for it."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

# What the programs need to know of elbo's presets (src/model/config.rs). `batch` is that of the comparison; a peer may be
# faster with one thread on a network as small as `alone` says, so there it runs with one as well.
PRESETS = {
    "mlp-400": dict(hidden="400", latent=20, batch=128),
    "mlp-512-256": dict(hidden="512,256", latent=20, batch=128),
    "tabular": dict(hidden="64,32", latent=2, likelihood="gaussian", batch=32, alone=True),
    "gated-300": dict(hidden="300,300", latent=40, layer="gated", init="he", learning_rate=5e-4, batch=100),
    "iwae-200": dict(hidden="200,200", latent=50, layer="tanh", init="glorot", epsilon=1e-4, batch=100),
}
# Other objectives and priors on two of them, with what elbo is told besides the preset.
PRESETS["iwae-200-k50"] = PRESETS["iwae-200"] | dict(
    samples=50, batch=20, elbo=["--preset", "iwae-200", "--objective", "iwae", "--samples", "50"])
PRESETS["gated-300-vamp-500"] = PRESETS["gated-300"] | dict(
    pseudo_inputs=500, elbo=["--preset", "gated-300", "--prior", "vamp:500"])


@dataclass(frozen=True)
class Peer:
    """A framework: how to start it, and its modes by precision, the best first."""

    kind: str
    start: str
    modes: dict = field(default_factory=dict)
    presets: tuple = tuple(PRESETS)


DENSE = tuple(name for name, preset in PRESETS.items() if "elbo" not in preset)
RUST = dict(kind="rust", modes={"f32": ["eager"]}, presets=("mlp-400", "mlp-512-256", "tabular"))
TRAINERS = {
    "pytorch": Peer("python", "train_pytorch.py", {"f32": ["graph", "compiled", "eager"], "bf16": ["graph", "eager"]}),
    "jax": Peer("python", "train_jax.py", {"f32": ["scan", "step"], "bf16": ["scan"]}),
    "tensorflow": Peer("tensorflow", "train_tensorflow.py", {"f32": ["loop"], "bf16": ["loop"]}, DENSE),
    "candle": Peer(start="candle-peer", **RUST),
    "burn": Peer(start="burn-peer", **RUST),
}
ENCODERS = {name: Peer("python", "infer.py") for name in ("numpy", "onnxruntime", "pytorch", "jax")}


class Failed(Exception):
    """Why there is no figure, in a line."""


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def last_words(text):
    """The line of an error's text that says most: the last that names an error, or the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if "error" in line.lower() or "Error" in line]
    return (named or lines or ["no message"])[-1][:200]


def execute(argv, timeout, scratch, env=None):
    """Runs a program to its end. Returns its standard output and its peak resident memory in MB.

    The peak is read from the kernel's record of the process itself while it runs, so that nothing of ours is counted.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    out, err = scratch / "stdout", scratch / "stderr"
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "BENCH_STARTED": repr(time.time()), **(env or {})}
    with out.open("wb") as to, err.open("wb") as errors:
        try:
            process = subprocess.Popen([str(a) for a in argv], stdout=to, stderr=errors, env=environ, start_new_session=True)
        except OSError as e:
            raise Failed(str(e)) from e
        deadline, peak = time.monotonic() + timeout, 0.0
        try:
            while process.poll() is None:
                peak = max(peak, high_water(process.pid))
                if time.monotonic() > deadline:
                    raise Failed(f"not done after {timeout:.0f} s")
                time.sleep(0.05)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, 9)
                process.wait()
    if process.returncode:
        raise Failed(f"exit status {process.returncode}: {last_words(err.read_text(errors='replace'))}")
    return out.read_text(), peak


def high_water(pid):
    """A process's VmHWM in MB; 0 when it has gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM")), None)
    return int(line.split()[1]) / 1024 if line else 0.0


def report(argv, timeout, scratch, env=None):
    """Runs a program that prints one JSON object, and adds its peak memory."""
    text, peak = execute(argv, timeout, scratch, env)
    try:
        return {**json.loads(text.strip().splitlines()[-1]), "peak_mb": peak}
    except (IndexError, ValueError) as e:
        raise Failed(f"no report: {last_words(text)}") from e


class Installation:
    """Where the programs are, made on first use and kept: `CACHE`, `CACHE-tensorflow`, `CACHE-rust`, `CACHE-scratch`."""

    def __init__(self, cache, timeout):
        self.cache, self.timeout, self.ready = Path(cache), timeout, {}
        self.scratch = self.beside("scratch")

    def beside(self, name):
        return self.cache.with_name(f"{self.cache.name}-{name}")

    def command(self, peer):
        """The words that start a peer.

        Raises Failed, and does so again when asked again.
        """
        key = peer.start if peer.kind == "rust" else peer.kind
        if key not in self.ready:
            try:
                self.ready[key] = self.rust(peer.start) if peer.kind == "rust" else self.python(peer.kind)
            except Failed as e:
                self.ready[key] = e
        if isinstance(self.ready[key], Failed):
            raise self.ready[key]
        return [self.ready[key]] if peer.kind == "rust" else [self.ready[key], HERE / peer.start]

    def python(self, kind):
        """The Python of a virtual environment that has what its requirements say."""
        venv = self.cache if kind == "python" else self.beside(kind)
        requirements = HERE / ("requirements.txt" if kind == "python" else f"requirements-{kind}.txt")
        python, done = venv / "bin" / "python", venv / "requirements.done"
        if not done.is_file() or done.read_text() != requirements.read_text():
            say(f"installing {requirements.name} into {venv}")
            if not python.exists():
                execute([sys.executable, "-m", "venv", venv], self.timeout, self.scratch)
            pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements]
            execute(pip, self.timeout, self.scratch)
            done.write_text(requirements.read_text())
        return python

    def rust(self, package):
        """The program of a package of the Rust workspace, built for this machine's processor."""
        say(f"building {package}")
        # candle chooses its vector instructions when it is compiled.
        flags = {"RUSTFLAGS": f"{os.environ.get('RUSTFLAGS', '')} -C target-cpu=native".strip()}
        return self.cargo(HERE / "rust", ["--package", package, "--target-dir", self.beside("rust")], flags)

    def elbo(self, target):
        """elbo's program, or an example of its library."""
        say("building elbo")
        return self.cargo(ROOT, ["--package", "elbo", *target])

    def cargo(self, folder, args, env=None):
        argv = ["cargo", "build", "--release", "--locked", "--quiet", "--message-format", "json-render-diagnostics"]
        manifest = ["--manifest-path", folder / "Cargo.toml"]
        text, _ = execute([*argv, *manifest, *args], self.timeout, self.scratch, env)
        built = [json.loads(line).get("executable") for line in text.splitlines() if line.startswith("{")]
        return Path([path for path in built if path][-1])
