#!/usr/bin/env bash
# Every shader, in every form in which it is launched, through Tint, the WGSL compiler of Chrome, on a device with WebGPU's
# default limits. Needs node and npm, and no driver: Dawn's null backend does it. BACKEND=vulkan has a driver compile what Tint
# writes as well; Dawn refuses old versions of lavapipe and takes SwiftShader (see README.md), which needs minutes. An argument
# is a directory of shaders that replace the built-in ones.
set -euo pipefail
shaders=${1:+$(realpath -- "$1")}
cd "$(dirname "$0")/.."

modules=target/tint
mkdir -p $modules
cp scripts/tint/package.json scripts/tint/package-lock.json scripts/tint/check.mjs $modules
npm ci --prefix $modules --silent --no-audit --no-fund --ignore-scripts
cargo build --release --quiet --example pipelines
target/release/examples/pipelines ${shaders:+"$shaders"} >$modules/pipelines.json
node $modules/check.mjs "${BACKEND:-null}" <$modules/pipelines.json
