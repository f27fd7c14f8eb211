#!/usr/bin/env bash
# All tests. They need a C linker, a Vulkan driver, a software one if there is no GPU, and on Linux Mesa's RADV, which
# compiles kernels for a GPU that is not there: on Debian and Ubuntu what is missing is installed. Arguments go to cargo
# test.
set -euo pipefail
cd "$(dirname "$0")/.."

drivers() {
    # Metal and DX12 come with their systems; elsewhere a driver is known by a file.
    [ "$(uname -s)" != Linux ] || [ -n "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ] ||
        compgen -G '/usr/share/vulkan/icd.d/*.json' || compgen -G '/etc/vulkan/icd.d/*.json'
}

radv() {
    [ "$(uname -s)" != Linux ] || compgen -G '/usr/share/vulkan/icd.d/radeon_icd*.json' ||
        compgen -G '/etc/vulkan/icd.d/radeon_icd*.json'
}

missing=()
command -v cc >/dev/null || missing+=(build-essential)
{ drivers && radv; } >/dev/null || missing+=(mesa-vulkan-drivers libvulkan1)

if [ ${#missing[@]} -gt 0 ]; then
    if ! command -v apt-get >/dev/null; then
        echo "These tests need a C linker and Mesa's Vulkan drivers (lavapipe, RADV), and not all of it was found." >&2
        exit 1
    fi
    sudo=()
    [ "$(id -u)" = 0 ] || sudo=(sudo)
    "${sudo[@]}" apt-get update
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
fi

# Some drivers print a complaint for each device when this is unset.
if [ -z "${XDG_RUNTIME_DIR:-}" ]; then
    XDG_RUNTIME_DIR=$(mktemp -d)
    export XDG_RUNTIME_DIR
    trap 'rm -rf "$XDG_RUNTIME_DIR"' EXIT
fi

cargo test --release "$@"
