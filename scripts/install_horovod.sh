#!/usr/bin/env bash
# Build Horovod for the torch of this environment, and install it there.
#
#   scripts/install_horovod.sh             Gloo: CPUs, one machine or several
#   scripts/install_horovod.sh --nccl      NCCL as well: needs nvcc and a CUDA build of torch
#
#   --cache DIR   where the wheel is kept (default: ${XDG_CACHE_HOME:-~/.cache}/busaug/horovod)
#   --jobs N      compiler processes (default: the cores at hand); 4 to 7 minutes with two
#
# $PYTHON is the interpreter (default: python), $CXX the compiler (default: c++).
#
# Horovod 0.28.1 is its newest release. It asks for C++14 where torch's headers need C++20, and
# "pip install horovod" leaves a package behind that imports but cannot start: pip builds it apart
# from torch, and does not notice that the extension is missing. The source itself is sound.
set -euo pipefail

version=0.28.1
python=${PYTHON:-python}
jobs=$(nproc 2>/dev/null || echo 2)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/busaug/horovod
variant=gloo

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    case $1 in
        --nccl) variant=nccl ;;
        --cache) cache=${2:?--cache needs a folder}; shift ;;
        --jobs) jobs=${2:?--jobs needs a number}; shift ;;
        -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0"; exit 0 ;;
        *) fail "unknown option $1. Say --help for the options." ;;
    esac
    shift
done

# What is here?
command -v "$python" >/dev/null || fail "no $python. Activate the environment first."
facts=$("$python" - <<'PY'
import sys
try:
    import torch
except ImportError:
    sys.exit(1)
print(torch.__version__, torch.version.cuda or "none", sys.implementation.cache_tag, sys.prefix)
PY
) || fail "$(command -v "$python") has no torch. Install busaug first: Horovod is built for its torch."
read -r torch cuda tag prefix <<<"$facts"
echo "torch $torch (CUDA: $cuda), $tag, in $prefix"

compiler=$(command -v "${CXX:-c++}") || fail "no C++ compiler ${CXX:-c++}. Install one or set CXX."
echo 'int main() {}' | "$compiler" -std=c++20 -fsyntax-only -x c++ - 2>/dev/null ||
    fail "$compiler does not know -std=c++20. Install gcc 10 or newer, or set CXX."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The recipe. It is part of the wheel's key: another recipe, another wheel.
rewrite='exec "$compiler" "${@/#-std=c++14/-std=c++20}"'
recipe=(
    HOROVOD_WITH_PYTORCH=1 HOROVOD_WITHOUT_TENSORFLOW=1 HOROVOD_WITHOUT_MXNET=1
    HOROVOD_WITH_GLOO=1 HOROVOD_WITHOUT_MPI=1
    LDFLAGS=-Wl,-s
    CMAKE_POLICY_VERSION_MINIMUM=3.5 # its Gloo asks for a policy level that CMake 4 has dropped
)
if [ "$variant" = nccl ]; then
    [ "$cuda" != none ] || fail "torch $torch has no CUDA. Install a CUDA build of torch first."
    nvcc=$(command -v nvcc || command -v "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc") ||
        fail "no nvcc. Install the CUDA $cuda toolkit, or set CUDA_HOME."
    nccl=$("$python" -c 'import nvidia.nccl as nccl; print(list(nccl.__path__)[0])') ||
        fail "no nvidia-nccl package. It comes with torch: pip install nvidia-nccl-cu${cuda%%.*}"
    # The package has libnccl.so.2 only; the linker looks for libnccl.so.
    mkdir -p "$work/nccl/lib"
    ln -s "$nccl/include" "$work/nccl/include"
    ln -s "$nccl/lib/libnccl.so.2" "$work/nccl/lib/libnccl.so"
    export HOROVOD_NCCL_HOME=$work/nccl HOROVOD_CUDA_HOME=$(dirname "$(dirname "$nvcc")")
    recipe+=(HOROVOD_GPU_OPERATIONS=NCCL HOROVOD_NCCL_LINK=shared)
fi
key=$(printf '%s\n' "$version" "$rewrite" "${recipe[@]}" | sha256sum | cut -c1-12)
place=$cache/torch-$torch-$tag-$(uname -m)-$variant-$key

# What Horovod is built and run with.
"$python" -m pip install --quiet -c "$(dirname "$0")/../constraints.txt" \
    'cffi>=1.4' cloudpickle numpy packaging psutil pyyaml setuptools wheel

wheel=$(compgen -G "$place/horovod-*.whl" || true)
if [ -n "$wheel" ]; then
    echo "wheel: $wheel"
else
    command -v cmake >/dev/null || "$python" -m pip install --quiet 'cmake>=3.25'
    # A compiler of our own rewrites the standard. (A compiler launcher would do, but where ccache
    # is found Horovod puts that in the launcher's place.)
    printf '#!/usr/bin/env bash\ncompiler=%q\n%s\n' "$compiler" "$rewrite" >"$work/c++"
    chmod +x "$work/c++"
    echo "building Horovod $version ($variant) with $jobs processes: some minutes"
    # No build isolation: it must see this torch. No pip cache: its key knows nothing of the recipe.
    env "${recipe[@]}" CXX="$work/c++" MAKEFLAGS="-j$jobs" PATH="$(dirname "$(command -v "$python")"):$PATH" \
        "$python" -m pip wheel --quiet --no-build-isolation --no-deps --no-cache-dir \
        --no-binary horovod --wheel-dir "$work/wheel" "horovod==$version" ||
        fail "the build failed; its last lines are above. Report them with: torch $torch, $tag, $("$compiler" --version | head -1)"
    mkdir -p "$place"
    mv "$work"/wheel/horovod-*.whl "$place/"
    wheel=$(compgen -G "$place/horovod-*.whl")
fi
"$python" -m pip install --quiet --no-deps --force-reinstall "$wheel"

"$python" - "$variant" <<'PY'
import sys

import horovod
import horovod.torch as hvd

if not hasattr(hvd, "init"):
    sys.exit("error: Horovod was installed without its torch extension")
built = [name for name in ("gloo", "mpi", "nccl") if getattr(hvd, f"{name}_built")()]
print(f"Horovod {horovod.__version__} is installed with {', '.join(built)}")
if sys.argv[1] not in built:
    sys.exit(f"error: {sys.argv[1]} is missing")
PY
