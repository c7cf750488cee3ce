//! What shaders can do: memory, arithmetic, workgroups, subgroups, atomics.

use anyhow::Result;
use ash::vk;

use super::Case;
use super::same;
use super::scenarios;
use crate::gpu::Buffer;
use crate::gpu::BufferInfo;
use crate::gpu::Gpu;
use crate::gpu::KernelInfo;
use crate::shader;
use crate::shader::wgsl;

scenarios![
    storage_buffers,
    large_dispatch,
    many_dispatches_in_one_buffer,
    workgroup_memory_and_barriers,
    workgroup_reduction,
    atomics,
    atomic_compare_exchange,
    subgroup_ballot,
    subgroup_reduce,
    subgroup_shuffle,
    arithmetic_f32,
    logarithms_and_powers,
    arithmetic_f64,
    arithmetic_i64,
    arithmetic_f16,
    storage_16bit,
    storage_8bit,
    buffer_device_address,
];

/// Runs a kernel over storage buffers with one dispatch.
fn once(gpu: &Gpu, code: &[u32], buffers: &[Buffer], groups: [u32; 3]) -> Result<()> {
    let kernel = gpu.kernel(code, buffers.len())?;
    let set = gpu.storage_set(&kernel, buffers)?;
    gpu.run(|c| {
        c.bind(&kernel, set);
        c.dispatch(groups[0], groups[1], groups[2]);
    })
}

fn storage_buffers(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let a: Vec<u32> = (0..4096).map(|i| i * 7).collect();
    let b: Vec<u32> = (0..4096).map(|i| 100_000 - i).collect();
    let buffers = [gpu.buffer_of(&a)?, gpu.buffer_of(&b)?, gpu.buffer(4096 * 4)?];
    let code = wgsl(
        "@group(0) @binding(0) var<storage, read> a: array<u32>;
         @group(0) @binding(1) var<storage, read> b: array<u32>;
         @group(0) @binding(2) var<storage, read_write> c: array<u32>;
         @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
             c[id.x] = a[id.x] + b[id.x] * 3u;
         }",
    )?;
    once(&gpu, &code, &buffers, [64, 1, 1])?;
    let want: Vec<u32> = a.iter().zip(&b).map(|(a, b)| a + b * 3).collect();
    same!(buffers[2].words(), want, "sums");
    case.digest(&want);
    Ok(())
}

fn large_dispatch(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let buffer = gpu.buffer(4 << 20)?;
    let code = wgsl(
        "@group(0) @binding(0) var<storage, read_write> out: array<u32>;
         @compute @workgroup_size(8, 8, 2) fn main(
             @builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) n: vec3<u32>) {
             let at = (id.z * n.y * 8u + id.y) * n.x * 8u + id.x;
             out[at] = at * 2654435761u + n.z;
         }",
    )?;
    once(&gpu, &code, &[buffer], [16, 16, 32])?;
    let words = buffer.words();
    for (word, at) in words.iter().zip(0_u32..) {
        same!(*word, at.wrapping_mul(2_654_435_761).wrapping_add(32), "word {at}");
    }
    case.digest(&words);
    Ok(())
}

fn many_dispatches_in_one_buffer(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let buffer = gpu.buffer(256)?;
    let code = wgsl(
        "@group(0) @binding(0) var<storage, read_write> out: array<u32>;
         @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) i: u32) {
             out[i] = out[i] * 3u + i;
         }",
    )?;
    let kernel = gpu.kernel(&code, 1)?;
    let set = gpu.storage_set(&kernel, &[buffer])?;
    gpu.run(|c| {
        c.bind(&kernel, set);
        for _ in 0..2000 {
            c.dispatch(1, 1, 1);
            c.barrier();
        }
    })?;
    let mut want = vec![0_u32; 64];
    for _ in 0..2000 {
        for (value, i) in want.iter_mut().zip(0..) {
            *value = value.wrapping_mul(3).wrapping_add(i);
        }
    }
    same!(buffer.words(), want, "2000 dispatches");
    case.digest(&want);
    Ok(())
}

fn workgroup_memory_and_barriers(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let input: Vec<u32> = (0..1024).map(|i: u32| i.wrapping_mul(40_503) % 9973).collect();
    let buffers = [gpu.buffer_of(&input)?, gpu.buffer(4096)?];
    let code = wgsl(
        "@group(0) @binding(0) var<storage, read> input: array<u32>;
         @group(0) @binding(1) var<storage, read_write> out: array<u32>;
         var<workgroup> tile: array<u32, 256>;
         @compute @workgroup_size(256) fn main(
             @builtin(local_invocation_index) i: u32, @builtin(workgroup_id) group: vec3<u32>) {
             tile[i] = input[group.x * 256u + i];
             workgroupBarrier();
             out[group.x * 256u + i] = tile[255u - i];
         }",
    )?;
    once(&gpu, &code, &buffers, [4, 1, 1])?;
    let want: Vec<u32> = input.chunks(256).flat_map(|tile| tile.iter().rev().copied()).collect();
    same!(buffers[1].words(), want, "reversed tiles");
    case.digest(&want);
    Ok(())
}

fn workgroup_reduction(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let input: Vec<u32> = (0..8192).map(|i: u32| i ^ (i >> 3)).collect();
    let buffers = [gpu.buffer_of(&input)?, gpu.buffer(32 * 4)?];
    let code = wgsl(
        "@group(0) @binding(0) var<storage, read> input: array<u32>;
         @group(0) @binding(1) var<storage, read_write> out: array<u32>;
         var<workgroup> sums: array<u32, 256>;
         @compute @workgroup_size(256) fn main(
             @builtin(local_invocation_index) i: u32, @builtin(workgroup_id) group: vec3<u32>) {
             sums[i] = input[group.x * 256u + i];
             workgroupBarrier();
             for (var half = 128u; half > 0u; half = half / 2u) {
                 if (i < half) { sums[i] = sums[i] + sums[i + half]; }
                 workgroupBarrier();
             }
             if (i == 0u) { out[group.x] = sums[0]; }
         }",
    )?;
    once(&gpu, &code, &buffers, [32, 1, 1])?;
    let want: Vec<u32> = input.chunks(256).map(|chunk| chunk.iter().sum()).collect();
    same!(buffers[1].words(), want, "sums");
    case.digest(&want);
    Ok(())
}

fn atomics(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let buffer = gpu.buffer_of(&[0_u32, u32::MAX, 0, u32::MAX, 0, 0])?;
    let code = wgsl(
        "@group(0) @binding(0) var<storage, read_write> cells: array<atomic<u32>, 6>;
         @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
             atomicAdd(&cells[0], id.x);
             atomicMin(&cells[1], id.x + 5u);
             atomicMax(&cells[2], id.x * 2u);
             atomicAnd(&cells[3], ~(1u << (id.x % 32u)) | 0xffff0000u);
             atomicOr(&cells[4], 1u << (id.x % 24u));
             atomicXor(&cells[5], id.x);
         }",
    )?;
    once(&gpu, &code, &[buffer], [100, 1, 1])?;
    let n = 6400_u32;
    let xor = (0..n).fold(0, |all, i| all ^ i);
    let want = vec![(0..n).sum(), 5, (n - 1) * 2, 0xffff_0000, 0x00ff_ffff, xor];
    same!(buffer.words(), want, "cells");
    case.digest(&want);
    Ok(())
}

fn atomic_compare_exchange(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let buffer = gpu.buffer(4)?;
    let code = wgsl(
        "@group(0) @binding(0) var<storage, read_write> cell: atomic<u32>;
         @compute @workgroup_size(32) fn main() {
             var seen = atomicLoad(&cell);
             loop {
                 let tried = atomicCompareExchangeWeak(&cell, seen, seen + 3u);
                 if (tried.exchanged) { break; }
                 seen = tried.old_value;
             }
         }",
    )?;
    once(&gpu, &code, &[buffer], [40, 1, 1])?;
    same!(buffer.words(), [32 * 40 * 3], "total");
    case.digest(&buffer.words());
    Ok(())
}

/// The device's subgroup size, if compute shaders have these operations.
fn subgroup(case: &Case, gpu: &Gpu, operations: vk::SubgroupFeatureFlags) -> Result<u32> {
    let mut properties = vk::PhysicalDeviceSubgroupProperties::default();
    gpu.physical.properties2(&mut vk::PhysicalDeviceProperties2::default().push_next(&mut properties));
    let there = properties.supported_operations.contains(operations)
        && properties.supported_stages.contains(vk::ShaderStageFlags::COMPUTE);
    case.need(there, "such subgroup operations")?;
    Ok(properties.subgroup_size)
}

fn subgroup_ballot(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let size = subgroup(case, &gpu, vk::SubgroupFeatureFlags::BALLOT)?;
    let buffer = gpu.buffer(128 * 4 * 4)?;
    let code = wgsl(
        "@group(0) @binding(0) var<storage, read_write> out: array<vec4<u32>>;
         @compute @workgroup_size(128) fn main(
             @builtin(local_invocation_index) i: u32, @builtin(subgroup_size) size: u32,
             @builtin(subgroup_invocation_id) lane: u32) {
             let odd = subgroupBallot((lane & 1u) == 1u);
             let first = subgroupBroadcastFirst(i);
             out[i] = vec4<u32>(countOneBits(odd.x) + countOneBits(odd.y) + countOneBits(odd.z)
                 + countOneBits(odd.w), size, i - lane - first, lane);
         }",
    )?;
    once(&gpu, &code, &[buffer], [1, 1, 1])?;
    for (lane, i) in buffer.words().chunks(4).zip(0_u32..) {
        same!(lane, [size / 2, size, 0, i % size], "invocation {i}");
    }
    case.digest(&buffer.words());
    Ok(())
}

fn subgroup_reduce(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let size = subgroup(case, &gpu, vk::SubgroupFeatureFlags::ARITHMETIC | vk::SubgroupFeatureFlags::VOTE)?;
    let buffer = gpu.buffer(128 * 4 * 4)?;
    let code = wgsl(
        "@group(0) @binding(0) var<storage, read_write> out: array<vec4<u32>>;
         @compute @workgroup_size(128) fn main(@builtin(local_invocation_index) i: u32) {
             let every = select(0u, 1u, subgroupAll(i < 128u)) + select(0u, 2u, subgroupAny(i > 128u));
             out[i] = vec4<u32>(subgroupAdd(i), subgroupMax(i), subgroupExclusiveAdd(1u), every);
         }",
    )?;
    once(&gpu, &code, &[buffer], [1, 1, 1])?;
    for (lane, i) in buffer.words().chunks(4).zip(0_u32..) {
        let first = i - i % size;
        let sum: u32 = (first..first + size).sum();
        same!(lane, [sum, first + size - 1, i % size, 1], "invocation {i}");
    }
    case.digest(&buffer.words());
    Ok(())
}

fn subgroup_shuffle(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let wanted = vk::SubgroupFeatureFlags::SHUFFLE | vk::SubgroupFeatureFlags::SHUFFLE_RELATIVE;
    let size = subgroup(case, &gpu, wanted)?;
    let buffer = gpu.buffer(128 * 4 * 4)?;
    let code = wgsl(
        "@group(0) @binding(0) var<storage, read_write> out: array<vec4<u32>>;
         @compute @workgroup_size(128) fn main(
             @builtin(local_invocation_index) i: u32, @builtin(subgroup_size) size: u32,
             @builtin(subgroup_invocation_id) lane: u32) {
             let value = i * 10u;
             let down = subgroupShuffleDown(value, 1u);
             out[i] = vec4<u32>(subgroupShuffle(value, size - 1u - lane), subgroupShuffleXor(value, 1u),
                 select(down, 0u, lane == size - 1u), lane);
         }",
    )?;
    once(&gpu, &code, &[buffer], [1, 1, 1])?;
    for (lane, i) in buffer.words().chunks(4).zip(0_u32..) {
        let (first, at) = (i - i % size, i % size);
        let down = if at == size - 1 { 0 } else { (i + 1) * 10 };
        same!(lane, [(first + size - 1 - at) * 10, (i ^ 1) * 10, down, at], "invocation {i}");
    }
    case.digest(&buffer.words());
    Ok(())
}

fn arithmetic_f32(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    // Values whose results are exact, so that every device agrees on every bit.
    let input: Vec<f32> = (0..256_u16).map(|i| f32::from(i) * 0.25 - 32.0).collect();
    let buffers = [gpu.buffer_of(&input)?, gpu.buffer(256 * 16)?];
    let code = wgsl(
        "@group(0) @binding(0) var<storage, read> input: array<f32>;
         @group(0) @binding(1) var<storage, read_write> out: array<vec4<f32>>;
         @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
             let x = input[id.x];
             out[id.x] = vec4<f32>(x * x + 0.5, floor(x), abs(x), clamp(x, -8.0, 8.0));
         }",
    )?;
    once(&gpu, &code, &buffers, [4, 1, 1])?;
    let got: Vec<[f32; 4]> = buffers[1].read(0, 256);
    let want: Vec<[f32; 4]> =
        input.iter().map(|x| [x * x + 0.5, x.floor(), x.abs(), x.clamp(-8.0, 8.0)]).collect();
    same!(got, want, "results");
    case.digest(&got);
    Ok(())
}

fn logarithms_and_powers(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    // A driver for the CPU may leave these to the C library, which it then looks for in its process.
    let input: Vec<f32> = (1..=256_u16).map(|i| f32::from(i) * 0.125).collect();
    let buffers = [gpu.buffer_of(&input)?, gpu.buffer(256 * 32)?];
    let code = wgsl(
        "@group(0) @binding(0) var<storage, read> input: array<f32>;
         @group(0) @binding(1) var<storage, read_write> out: array<vec4<f32>>;
         @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
             let x = input[id.x];
             out[id.x * 2u] = vec4<f32>(log2(x), log(x), exp2(x * 0.25), exp(x * 0.25));
             out[id.x * 2u + 1u] = vec4<f32>(pow(x, 1.5), sin(x), cos(x), x % 1.75);
         }",
    )?;
    once(&gpu, &code, &buffers, [4, 1, 1])?;
    let got: Vec<[f32; 8]> = buffers[1].read(0, 256);
    for (x, got) in input.iter().zip(&got) {
        let y = x * 0.25;
        let want = [x.log2(), x.ln(), y.exp2(), y.exp(), x.powf(1.5), x.sin(), x.cos(), x % 1.75];
        for (got, want) in got.iter().zip(want) {
            // The remainder may come out as the divisor itself.
            let off = (got - want).abs().min((got - want - 1.75).abs());
            anyhow::ensure!(off <= 0.002 * want.abs().max(1.0), "of {x}: {got} instead of {want}");
        }
    }
    case.digest(&got);
    Ok(())
}

fn arithmetic_f64(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    case.need(gpu.features.shader_float64, "shaderFloat64")?;
    let input: Vec<f64> = (0..64_u16).map(|i| f64::from(i) * 1_048_576.125).collect();
    let buffers = [gpu.buffer_of(&input)?, gpu.buffer(64 * 8)?];
    let code = wgsl(
        "@group(0) @binding(0) var<storage, read> input: array<f64>;
         @group(0) @binding(1) var<storage, read_write> out: array<f64>;
         @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) i: u32) {
             out[i] = input[i] * input[i] + input[0];
         }",
    )?;
    once(&gpu, &code, &buffers, [1, 1, 1])?;
    let want: Vec<f64> = input.iter().map(|x| x * x).collect();
    same!(buffers[1].read::<f64>(0, 64), want, "squares");
    case.digest(&want);
    Ok(())
}

fn arithmetic_i64(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    case.need(gpu.features.shader_int64, "shaderInt64")?;
    let input: Vec<u64> = (0..64).map(|i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
    let buffers = [gpu.buffer_of(&input)?, gpu.buffer(64 * 8)?];
    let code = wgsl(
        "@group(0) @binding(0) var<storage, read> input: array<u64>;
         @group(0) @binding(1) var<storage, read_write> out: array<u64>;
         @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) i: u32) {
             out[i] = (input[i] >> 7u) * 1099511628211lu + u64(i);
         }",
    )?;
    once(&gpu, &code, &buffers, [1, 1, 1])?;
    let want: Vec<u64> = input
        .iter()
        .zip(0..)
        .map(|(x, i)| (x >> 7).wrapping_mul(1_099_511_628_211).wrapping_add(i))
        .collect();
    same!(buffers[1].read::<u64>(0, 64), want, "hashes");
    case.digest(&want);
    Ok(())
}

fn arithmetic_f16(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    case.need(gpu.features12.shader_float16, "shaderFloat16")?;
    let input: Vec<f32> = (0..64_u16).map(|i| f32::from(i) * 0.5).collect();
    let buffers = [gpu.buffer_of(&input)?, gpu.buffer(64 * 4)?];
    let code = wgsl(
        "enable f16;
         @group(0) @binding(0) var<storage, read> input: array<f32>;
         @group(0) @binding(1) var<storage, read_write> out: array<f32>;
         @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) i: u32) {
             out[i] = f32(f16(input[i]) * 4.0h + 1.0h);
         }",
    )?;
    once(&gpu, &code, &buffers, [1, 1, 1])?;
    let want: Vec<f32> = input.iter().map(|x| x * 4.0 + 1.0).collect();
    same!(buffers[1].read::<f32>(0, 64), want, "results");
    case.digest(&want);
    Ok(())
}

fn storage_16bit(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    case.need(gpu.features11.storage_buffer16_bit_access, "storageBuffer16BitAccess")?;
    case.need(gpu.features.shader_int16, "shaderInt16")?;
    let input: Vec<u16> = (0..256).map(|i: u16| i.wrapping_mul(771)).collect();
    let buffers = [gpu.buffer_of(&input)?, gpu.buffer(512)?];
    once(&gpu, &shader::add_one_to_narrow(shader::Narrow::Bits16)?, &buffers, [256, 1, 1])?;
    let want: Vec<u16> = input.iter().map(|x| x.wrapping_add(1)).collect();
    same!(buffers[1].read::<u16>(0, 256), want, "increments");
    case.digest(&want);
    Ok(())
}

fn storage_8bit(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    case.need(gpu.features12.storage_buffer8_bit_access, "storageBuffer8BitAccess")?;
    case.need(gpu.features12.shader_int8, "shaderInt8")?;
    let input: Vec<u8> = (0..=255).collect();
    let buffers = [gpu.buffer_of(&input)?, gpu.buffer(256)?];
    once(&gpu, &shader::add_one_to_narrow(shader::Narrow::Bits8)?, &buffers, [256, 1, 1])?;
    let want: Vec<u8> = input.iter().map(|x| x.wrapping_add(1)).collect();
    same!(buffers[1].read::<u8>(0, 256), want, "increments");
    case.digest(&want);
    Ok(())
}

fn buffer_device_address(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    case.need(gpu.features12.buffer_device_address, "bufferDeviceAddress")?;
    case.need(gpu.features.shader_int64, "shaderInt64")?;
    let addressed = |size_bytes| {
        gpu.buffer_with(BufferInfo {
            size_bytes,
            usage: vk::BufferUsageFlags::STORAGE_BUFFER | vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS,
            allocate: vk::MemoryAllocateFlags::DEVICE_ADDRESS,
        })
    };
    let (from, to) = (addressed(1024)?, addressed(1024)?);
    let input: Vec<u32> = (0..256).map(|i| i * i).collect();
    from.write(0, &input);
    let address = |buffer: Buffer| {
        gpu.get_buffer_device_address(&vk::BufferDeviceAddressInfo::default().buffer(buffer.handle))
    };
    let addresses = [address(from), address(to)];
    anyhow::ensure!(addresses.iter().all(|address| *address != 0), "an address is null");
    same!(address(from), addresses[0], "address asked again");
    let kernel = gpu.kernel_with(KernelInfo {
        code: &shader::copy_by_address()?,
        push_bytes: 16,
        ..KernelInfo::default()
    })?;
    gpu.run(|c| {
        c.bind_pipeline(kernel.pipeline);
        c.push(&kernel, &addresses);
        c.dispatch(256, 1, 1);
    })?;
    let want: Vec<u32> = input.iter().map(|x| x + 1).collect();
    same!(to.words(), want, "words through addresses");
    case.digest(&want);
    Ok(())
}
