#!/usr/bin/env bash
# What needs PyTorch.
#   run.sh write                          trains every case of cases.toml and writes fixtures.safetensors
#   run.sh check ELBO_PROGRAM SCRATCH     trains them again and compares; then hands models from elbo to PyTorch and back
# With the Python that $ELBO_TORCH_PYTHON names, else with one of its own that has requirements.txt.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=${ELBO_TORCH_PYTHON:-}
if [ -z "$python" ]; then
  venv=${ELBO_TORCH_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/elbo-torch-venv}
  [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
  "$venv/bin/python" -m pip install -q --disable-pip-version-check -r "$here/requirements.txt"
  python=$venv/bin/python
fi
export PYTHONDONTWRITEBYTECODE=1
case "${1:-}" in
  write) "$python" "$here/parity.py" ;;
  check)
    "$python" "$here/parity.py" --check
    "$python" "$here/exchange.py" "$2" "$3"
    ;;
  *) sed -n '2,5p' "$0" >&2; exit 2 ;;
esac
