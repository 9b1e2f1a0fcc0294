#!/bin/sh
# setup.sh VENV STAMP [EXTRA]: makes VENV, installs this project with the pins of constraints.txt, and writes STAMP.
# uv installs (three times quicker than pip, itself from pip); pip does it where uv cannot be had.
# A torch that is already in VENV is kept, so that a CPU build or one of your own can be put there first.
set -eu
venv=$1 stamp=$2 extra=${3:-}
started=$(date +%s)
say() { printf '%s\n' "setup: $*" >&2; }

python=$venv/bin/python
if [ ! -x "$python" ]; then
    for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3; do
        "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && break
        candidate=
    done
    [ -n "$candidate" ] || { say "no CPython 3.11, 3.12 or 3.13 found; install one, or run make PYTHON=/path/to/python"; exit 3; }
    say "making $venv with $candidate"
    "$candidate" -m venv "$venv" || { say "could not make $venv; on Debian, install python3-venv"; exit 3; }
fi

# The pins, with torch and torchvision as they already are, if they are.
pins=$venv/constraints.txt
installed() { "$python" -c 'import sys, importlib.metadata as m; print(m.version(sys.argv[1]).split("+")[0])' "$1" 2>/dev/null || true; }
torch=$(installed torch)
if [ -n "$torch" ]; then
    grep -v -E '^torch(vision)?==' constraints.txt > "$pins"
    printf 'torch==%s\n' "$torch" >> "$pins"
    torchvision=$(installed torchvision)
    [ -z "$torchvision" ] || printf 'torchvision==%s\n' "$torchvision" >> "$pins"
    say "keeping torch $torch"
else
    cp constraints.txt "$pins"
    torch=$(sed -n 's/^torch==//p' constraints.txt)
fi

# xformers runs on NVIDIA GPUs only, and its wheel is compiled for one torch: elsewhere it would only slow every import.
extras=$extra
case "$(uname -sm) $torch" in
    "Linux x86_64 2.10."*) [ ! -e /proc/driver/nvidia/version ] || extras=${extras:+$extras,}xformers ;;
esac
# OpenVINO samples on a CPU several times sooner than torch, where there is a wheel.
case "$(uname -sm)" in
    "Linux x86_64" | "Linux aarch64" | Darwin*) [ "$extra" = dev ] || extras=${extras:+$extras,}openvino ;;
esac
target=.${extras:+[$extras]}

export UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-300}" UV_CONCURRENT_DOWNLOADS="${UV_CONCURRENT_DOWNLOADS:-8}"
install() {
    if [ -x "$venv/bin/uv" ]; then
        "$venv/bin/uv" pip install --python "$python" --compile-bytecode -c "$pins" -e "$target"
    else
        "$python" -m pip install -c "$pins" -e "$target"
    fi
}
[ -x "$venv/bin/uv" ] || "$python" -m pip install -q --disable-pip-version-check -c "$pins" uv ||
    say "uv could not be installed; pip does it, which is slower"
say "installing $target into $venv"
install || { say "that did not work; once more"; sleep 5; install; } || { say "the installation failed: see above"; exit 3; }

if [ "$extra" != dev ]; then
    "$python" -c 'import sys; from gen import bundled_model, load_pipeline
load_pipeline(bundled_model(), backend="auto", log=lambda line: print("setup:", line, file=sys.stderr))'
fi

echo "$(($(date +%s) - started))" > "$stamp"
say "ready after $(cat "$stamp") s"
