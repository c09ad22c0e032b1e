#!/usr/bin/env bash
# Trains a small model, and lets Python read it: run.sh ELBO_PROGRAM SCRATCH_FOLDER
# numpy and safetensors always; PyTorch too where $ELBO_TORCH_PYTHON names a Python that has it.
set -euo pipefail
elbo=$1 scratch=$2
here=$(cd "$(dirname "$0")" && pwd)
venv=${ELBO_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/elbo-venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install -q --disable-pip-version-check -r "$here/requirements.txt"
for preset in mlp-400 mlp-512-256 gated-300 iwae-200; do
  run=$scratch/py-$preset
  "$elbo" train mnist --preset "$preset" --epochs 1 --quiet --out "$run"
  "$elbo" encode "$run" mnist --split test --out "$scratch/posterior.npy" --with-variance --quiet
  "$elbo" encode "$run" mnist --split test --out "$scratch/z.npy" --quiet
  "$elbo" decode "$run" "$scratch/z.npy" --out "$scratch/logits.npy" --parameters --quiet
  "$venv/bin/python" "$here/read_model.py" numpy "$run/model.safetensors" "$here/../../datasets/mnist-10k" "$scratch"
  if [ -n "${ELBO_TORCH_PYTHON:-}" ]; then
    "$ELBO_TORCH_PYTHON" "$here/read_model.py" torch "$run/model.safetensors" "$here/../../datasets/mnist-10k" "$scratch"
  fi
done
