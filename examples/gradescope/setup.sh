#!/usr/bin/env bash
# Installs Attest. Gradescope runs this as root, once, when it builds the autograder's image.
set -euo pipefail

# From where git clones Attest. Empty: it is in the zip, as the folder attest.
ATTEST_URL=""

# The index of PyTorch's CPU builds, as PyTorch's own page on installing it says. Empty: the usual
# build, which grades alike and is some GB larger.
TORCH_INDEX=""

AUTOGRADER=${AUTOGRADER:-/autograder}
attest=$AUTOGRADER/source/attest
venv=$AUTOGRADER/venv

export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install --yes --no-install-recommends bubblewrap git python3 python3-venv
python=python3
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  # Ubuntu 22.04 has Python 3.10 by that name, and a later one beside it.
  apt-get install --yes --no-install-recommends python3.11 python3.11-venv
  python=python3.11
fi

if [[ -n $ATTEST_URL ]]; then
  git clone --depth 1 "$ATTEST_URL" "$attest"
fi
if [[ ! -f $attest/constraints.txt ]]; then
  echo "setup.sh: Attest is not here: put it into the zip as the folder attest, with its" \
    "constraints.txt, or set ATTEST_URL" >&2
  exit 1
fi

if [[ -n $TORCH_INDEX ]]; then
  export PIP_EXTRA_INDEX_URL=$TORCH_INDEX
fi
"$python" -m venv "$venv"
"$venv/bin/pip" install --no-cache-dir --constraint "$attest/constraints.txt" "$attest"
"$venv/bin/attest" list >/dev/null # what is not installed well is noticed now

# Containers often allow no sandbox. A submission runs as nobody then, and could import the
# reference or read the rubric.
chmod go= "$AUTOGRADER/source"
chmod -R go= "$venv"/lib/python3*/site-packages/{attest,properties,reference}
