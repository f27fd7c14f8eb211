// Reads what examples/pipelines.rs writes, and makes each pipeline on a device with WebGPU's default limits. One line per
// shader; the exit code is 1 when one is refused. The argument is the backend: null has Tint and the limits and needs no
// driver; with vulkan a driver compiles what Tint writes.

import { readFileSync } from 'node:fs';
import { create, globals } from 'webgpu';

Object.assign(globalThis, globals);

// Appended modules start with a line that names their file.
function place(text, shader, line, column) {
    const above = text.split('\n').slice(0, line - 1);
    const first = above.findLastIndex((l) => l.startsWith('// from '));
    const file = first < 0 ? `${shader}.wgsl` : above[first].slice('// from '.length);
    return `${file}:${line - first - 1}:${column}`;
}

// Dawn ends, and the process with it, when this is collected.
const dawn = create([`backend=${process.argv[2] ?? 'null'}`]);
const adapter = await dawn.requestAdapter();
if (!adapter?.features.has('subgroups')) {
    throw new Error('Dawn finds no adapter with subgroups');
}
const device = await adapter.requestDevice({ requiredFeatures: ['subgroups'] });
const { maxComputeWorkgroupStorageSize, maxComputeInvocationsPerWorkgroup, maxStorageBuffersPerShaderStage } = device.limits;
const name = adapter.info.description || adapter.info.device;
console.log(`Tint on ${name}: ${maxStorageBuffersPerShaderStage} storage buffers, ` +
    `${maxComputeWorkgroupStorageSize} bytes of workgroup memory, ${maxComputeInvocationsPerWorkgroup} invocations`);

const shaders = new Map();
for (const { shader, variant, constants, subgroups, wgsl } of JSON.parse(readFileSync(0))) {
    if (!shaders.has(shader)) {
        shaders.set(shader, { pipelines: 0, texts: new Map(), refused: new Set(), notes: new Set() });
    }
    const state = shaders.get(shader);
    state.pipelines += 1;
    if (!state.texts.has(wgsl)) {
        // On the first line, so that the others keep their numbers.
        device.pushErrorScope('validation');
        const module = device.createShaderModule({ code: (subgroups ? 'enable subgroups; ' : '') + wgsl });
        const { messages } = await module.getCompilationInfo();
        await device.popErrorScope();
        for (const { type, message, lineNum, linePos } of messages) {
            const line = `${place(wgsl, shader, lineNum, linePos)}: ${message.split('\n')[0]}`;
            (type === 'error' ? state.refused : state.notes).add(`${type}: ${line}`);
        }
        state.texts.set(wgsl, messages.some((m) => m.type === 'error') ? null : module);
    }
    const module = state.texts.get(wgsl);
    if (module) {
        try {
            await device.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint: shader, constants } });
        } catch (error) {
            state.refused.add(`[${variant}] ${JSON.stringify(constants)}: ${error.message.split('\n')[0]}`);
        }
    }
}

let refused = 0;
for (const [shader, state] of shaders) {
    const verdict = state.refused.size ? 'REFUSED' : 'ok';
    console.log(`${verdict.padEnd(8)} ${shader.padEnd(26)} ${String(state.pipelines).padStart(4)} pipelines`);
    state.refused.forEach((line) => console.log(`         ${line}`));
    state.notes.forEach((line) => console.log(`         ${line}`));
    refused += state.refused.size > 0;
}
console.log(`${shaders.size} shaders, ${refused} refused`);
// Dawn's threads would keep the process alive.
process.exit(!dawn || shaders.size === 0 || refused > 0 ? 1 : 0);
