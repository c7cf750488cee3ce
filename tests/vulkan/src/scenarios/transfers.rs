//! Copies, fills and updates of buffers, and the barriers between them.

use anyhow::Result;
use ash::vk;

use super::Case;
use super::same;
use super::scenarios;
use crate::gpu::Buffer;
use crate::gpu::Commands;
use crate::gpu::Gpu;
use crate::shader::wgsl;

scenarios![
    copy_buffer,
    copy_buffer_many_regions,
    copy_buffer_inside_itself,
    copy_buffer2,
    fill_buffer,
    update_buffer,
    update_buffer_largest,
    copy_64_mib,
    buffer_barriers,
    memory_barriers,
    buffer_barriers2,
    memory_barriers2,
    execution_barriers_only,
];

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|i| (i.wrapping_mul(31) >> 3) as u8).collect()
}

fn region(src_offset: u64, dst_offset: u64, size: u64) -> vk::BufferCopy {
    vk::BufferCopy { src_offset, dst_offset, size }
}

fn copy_buffer(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let input = bytes(10_007);
    let (from, to) = (gpu.buffer_of(&input)?, gpu.buffer(10_007)?);
    gpu.run(|c| c.copy_buffer(from.handle, to.handle, &[region(0, 0, 10_007)]))?;
    same!(to.read::<u8>(0, 10_007), input, "bytes");
    case.digest(&input);
    Ok(())
}

fn copy_buffer_many_regions(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let input = bytes(4000);
    let (from, to) = (gpu.buffer_of(&input)?, gpu.buffer(4000)?);
    // Blocks of 7 bytes in reverse order, with a hole between them.
    let regions: Vec<_> = (0..400_u64).map(|i| region(i * 10, (399 - i) * 10, 7)).collect();
    gpu.run(|c| c.copy_buffer(from.handle, to.handle, &regions))?;
    let mut want = vec![0_u8; 4000];
    for i in 0..400 {
        want[(399 - i) * 10..][..7].copy_from_slice(&input[i * 10..][..7]);
    }
    same!(to.read::<u8>(0, 4000), want, "bytes");
    case.digest(&want);
    Ok(())
}

fn copy_buffer_inside_itself(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let input = bytes(512);
    let buffer = gpu.buffer_of(&input)?;
    gpu.run(|c| c.copy_buffer(buffer.handle, buffer.handle, &[region(0, 256, 256)]))?;
    same!(buffer.read::<u8>(256, 256), input[..256], "second half");
    same!(buffer.read::<u8>(0, 256), input[..256], "first half");
    Ok(())
}

fn copy_buffer2(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let input = bytes(300);
    let (from, to) = (gpu.buffer_of(&input)?, gpu.buffer(300)?);
    let regions = [
        vk::BufferCopy2::default().src_offset(0).dst_offset(200).size(100),
        vk::BufferCopy2::default().src_offset(100).dst_offset(0).size(200),
    ];
    let info = vk::CopyBufferInfo2::default().src_buffer(from.handle).dst_buffer(to.handle).regions(&regions);
    gpu.run(|c| c.copy_buffer2(&info))?;
    let want = [&input[100..], &input[..100]].concat();
    same!(to.read::<u8>(0, 300), want, "bytes");
    case.digest(&want);
    Ok(())
}

fn fill_buffer(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let buffer = gpu.buffer_of(&bytes(1030))?;
    gpu.run(|c| {
        c.fill_buffer(buffer.handle, 0, 64, 0x1122_3344);
        c.fill_buffer(buffer.handle, 128, 4, 5);
        // To the end, whose last two bytes are no whole word and stay.
        c.fill_buffer(buffer.handle, 512, vk::WHOLE_SIZE, u32::MAX);
    })?;
    let mut want = bytes(1030);
    want[..64].copy_from_slice(&[0x44, 0x33, 0x22, 0x11].repeat(16));
    want[128..132].copy_from_slice(&[5, 0, 0, 0]);
    want[512..1028].fill(255);
    same!(buffer.read::<u8>(0, 1030), want, "bytes");
    case.digest(&want);
    Ok(())
}

fn update_buffer(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let buffer = gpu.buffer(4096)?;
    let input = bytes(1024);
    gpu.run(|c| {
        for (piece, at) in input.chunks(16).zip((0..).step_by(32)) {
            c.update_buffer(buffer.handle, at, piece);
        }
    })?;
    let got = buffer.read::<u8>(0, 4096);
    for (i, piece) in input.chunks(16).enumerate() {
        same!(got[i * 32..][..16], *piece, "piece {i}");
        same!(got[i * 32 + 16..][..16], [0; 16], "hole {i}");
    }
    case.digest(&got);
    Ok(())
}

fn update_buffer_largest(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let buffer = gpu.buffer(1 << 20)?;
    let input = bytes(65_536);
    gpu.run(|c| {
        for piece in 0..16 {
            c.update_buffer(buffer.handle, piece * 65_536, &input);
        }
    })?;
    let got = buffer.read::<u8>(0, 1 << 20);
    for (i, piece) in got.chunks(65_536).enumerate() {
        anyhow::ensure!(piece == input, "piece {i} differs");
    }
    case.digest(&got);
    Ok(())
}

fn copy_64_mib(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let size = 64_u64 << 20;
    let (from, to) = (gpu.buffer(size)?, gpu.buffer(size)?);
    let input: Vec<u32> = (0..16 << 20).map(|i: u32| i.wrapping_mul(2_654_435_761)).collect();
    from.write(0, &input);
    gpu.run(|c| c.copy_buffer(from.handle, to.handle, &[region(0, 0, size)]))?;
    anyhow::ensure!(to.words() == input, "bytes differ");
    Ok(())
}

/// Adds 1 to 16 words, in place.
fn increment(gpu: &Gpu, buffer: Buffer) -> Result<impl Fn(&Commands<'_>)> {
    let code = wgsl(
        "@group(0) @binding(0) var<storage, read_write> out: array<u32>;
         @compute @workgroup_size(16) fn main(@builtin(local_invocation_index) i: u32) {
             out[i] = out[i] + 1u;
         }",
    )?;
    let kernel = gpu.kernel(&code, 1)?;
    let set = gpu.storage_set(&kernel, &[buffer])?;
    Ok(move |c: &Commands<'_>| {
        c.bind(&kernel, set);
        c.dispatch(1, 1, 1);
    })
}

/// Fill, increment, copy, fill, increment, copy, with a barrier of the caller's between each two.
fn chain(gpu: &Gpu, barrier: impl Fn(&Commands<'_>, &[Buffer])) -> Result<Vec<u32>> {
    let (work, out) = (gpu.buffer(64)?, gpu.buffer(128)?);
    let step = increment(gpu, work)?;
    gpu.run(|c| {
        for (value, at) in [(10, 0), (20, 64)] {
            c.fill_buffer(work.handle, 0, 64, value);
            barrier(c, &[work, out]);
            step(c);
            barrier(c, &[work, out]);
            step(c);
            barrier(c, &[work, out]);
            c.copy_buffer(work.handle, out.handle, &[region(0, at, 64)]);
            barrier(c, &[work, out]);
        }
    })?;
    let want = [[12_u32; 16], [22; 16]].concat();
    same!(out.words(), want, "words");
    Ok(want)
}

const FROM: vk::PipelineStageFlags = vk::PipelineStageFlags::from_raw(
    vk::PipelineStageFlags::TRANSFER.as_raw() | vk::PipelineStageFlags::COMPUTE_SHADER.as_raw(),
);

const WRITES: vk::AccessFlags = vk::AccessFlags::from_raw(
    vk::AccessFlags::TRANSFER_WRITE.as_raw() | vk::AccessFlags::SHADER_WRITE.as_raw(),
);

const ALL: vk::AccessFlags = vk::AccessFlags::from_raw(
    WRITES.as_raw() | vk::AccessFlags::TRANSFER_READ.as_raw() | vk::AccessFlags::SHADER_READ.as_raw(),
);

fn buffer_barriers(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let words = chain(&gpu, |c, buffers| {
        let barriers: Vec<_> = buffers
            .iter()
            .map(|buffer| {
                vk::BufferMemoryBarrier::default()
                    .src_access_mask(WRITES)
                    .dst_access_mask(ALL)
                    .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
                    .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
                    .buffer(buffer.handle)
                    .size(vk::WHOLE_SIZE)
            })
            .collect();
        c.pipeline_barrier(FROM, FROM, vk::DependencyFlags::empty(), &[], &barriers, &[]);
    })?;
    case.digest(&words);
    Ok(())
}

fn memory_barriers(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let words = chain(&gpu, |c, _| {
        let barrier = [vk::MemoryBarrier::default().src_access_mask(WRITES).dst_access_mask(ALL)];
        c.pipeline_barrier(FROM, FROM, vk::DependencyFlags::empty(), &barrier, &[], &[]);
    })?;
    case.digest(&words);
    Ok(())
}

const FROM2: vk::PipelineStageFlags2 = vk::PipelineStageFlags2::from_raw(
    vk::PipelineStageFlags2::COPY.as_raw()
        | vk::PipelineStageFlags2::CLEAR.as_raw()
        | vk::PipelineStageFlags2::COMPUTE_SHADER.as_raw(),
);

const WRITES2: vk::AccessFlags2 = vk::AccessFlags2::from_raw(
    vk::AccessFlags2::TRANSFER_WRITE.as_raw() | vk::AccessFlags2::SHADER_STORAGE_WRITE.as_raw(),
);

const ALL2: vk::AccessFlags2 = vk::AccessFlags2::from_raw(
    WRITES2.as_raw()
        | vk::AccessFlags2::TRANSFER_READ.as_raw()
        | vk::AccessFlags2::SHADER_STORAGE_READ.as_raw(),
);

fn buffer_barriers2(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let words = chain(&gpu, |c, buffers| {
        let barriers: Vec<_> = buffers
            .iter()
            .map(|buffer| {
                vk::BufferMemoryBarrier2::default()
                    .src_stage_mask(FROM2)
                    .src_access_mask(WRITES2)
                    .dst_stage_mask(FROM2)
                    .dst_access_mask(ALL2)
                    .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
                    .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
                    .buffer(buffer.handle)
                    .size(vk::WHOLE_SIZE)
            })
            .collect();
        c.pipeline_barrier2(&vk::DependencyInfo::default().buffer_memory_barriers(&barriers));
    })?;
    case.digest(&words);
    Ok(())
}

fn memory_barriers2(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let words = chain(&gpu, |c, _| {
        let barrier = [vk::MemoryBarrier2::default()
            .src_stage_mask(FROM2)
            .src_access_mask(WRITES2)
            .dst_stage_mask(FROM2)
            .dst_access_mask(ALL2)];
        c.pipeline_barrier2(&vk::DependencyInfo::default().memory_barriers(&barrier));
    })?;
    case.digest(&words);
    Ok(())
}

fn execution_barriers_only(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let buffer = gpu.buffer(64)?;
    gpu.run(|c| {
        let (top, bottom) = (vk::PipelineStageFlags::TOP_OF_PIPE, vk::PipelineStageFlags::BOTTOM_OF_PIPE);
        for _ in 0..100 {
            c.pipeline_barrier(top, bottom, vk::DependencyFlags::empty(), &[], &[], &[]);
            c.pipeline_barrier2(&vk::DependencyInfo::default());
        }
        c.fill_buffer(buffer.handle, 0, 64, 8);
    })?;
    same!(buffer.words(), [8; 16], "words");
    Ok(())
}
