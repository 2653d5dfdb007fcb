# Sourced by each area's `run` with `area` and `packages` (import names) set: goes to the workspace's folder and sets
# `here`, `built` (where release builds land) and `python`, an interpreter that has the area's packages.
#
# That is PEER_PYTHON where set; otherwise a virtual environment under target/peers, filled from requirements.txt the first
# time, which needs Python 3.10 or later with venv and access to PyPI.
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../../.."
built=${CARGO_TARGET_DIR:-target}/release

say() { echo "bench-peers $area: $*" >&2; }

command -v cargo >/dev/null || { say "cargo is missing: install Rust from https://rustup.rs"; exit 1; }
python=${PEER_PYTHON:-}
if [ -z "$python" ]; then
    command -v python3 >/dev/null || { say "python3 is missing: install Python 3.10 or later"; exit 1; }
    venv=target/peers/$area
    python=$venv/bin/python
    if ! cmp -s "$here/requirements.txt" "$venv/installed"; then
        python3 -m venv "$venv" || { say "python3 cannot make a virtual environment: install its venv module"; exit 1; }
        "$venv/bin/pip" install --quiet --requirement "$here/requirements.txt" >&2 ||
            { say "cannot install the packages of $here/requirements.txt: is PyPI reachable?"; exit 1; }
        cp "$here/requirements.txt" "$venv/installed"
    fi
fi
"$python" -c "import $packages" 2>/dev/null || { say "$python lacks one of $packages: see requirements.txt"; exit 1; }
