#!/usr/bin/env bash
# Makes the environment and installs a requirements file and this project into it.
# Usage: environment.sh PYTHON VENV_FOLDER REQUIREMENTS_FILE
set -euo pipefail

python=$1 folder=$2 requirements=$3
here=$(cd "$(dirname "$0")" && pwd)

if [[ ! -x $folder/bin/python ]]; then
  "$python" - <<'CHECK'
import sys
if not (3, 10) <= sys.version_info[:2] <= (3, 13):
    sys.exit(
        f"Python 3.10 to 3.13 is needed, this is {sys.version.split()[0]}; "
        "name another with: make PYTHON=python3.12 …"
    )
CHECK
  if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    "$here/debian.sh" python3-venv
  fi
  "$python" -m venv "$folder"
fi

pip=("$folder/bin/python" -m pip --disable-pip-version-check install --quiet)
if [[ $(uname) == Linux ]] && ! command -v nvidia-smi >/dev/null; then
  # PyPI's torch for Linux brings 2 GB of CUDA along. Without a GPU the CPU build does; where its
  # index cannot be reached, the next line installs what the usual index has.
  torch=$(grep '^torch==' "$here/demo.txt")
  "${pip[@]}" --retries 0 --timeout 10 --index-url https://download.pytorch.org/whl/cpu \
    "$torch" 2>/dev/null || echo "PyTorch's CPU index cannot be reached; taking the usual index."
fi
"${pip[@]}" --requirement "$requirements"
"${pip[@]}" --no-build-isolation --no-deps --editable .
