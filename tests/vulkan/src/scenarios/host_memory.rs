//! Memory of the program as device memory (`VK_EXT_external_memory_host`).

use anyhow::Result;
use ash::vk;

use super::Case;
use super::same;
use super::scenarios;
use crate::gpu::Gpu;
use crate::gpu::HOST_ALLOCATION;
use crate::gpu::HostRange;

scenarios![
    host_pointer_read_and_written_in_place,
    host_pointer_imported_again,
    host_pointer_freed_and_used_on,
    host_pointers_many,
    host_pointer_properties,
];

const LEN: usize = 64 << 10;

fn bytes(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i >> 8) as u8 ^ (i as u8).wrapping_mul(seed)).collect()
}

fn gpu(case: &Case) -> Result<(Gpu, u64)> {
    let gpu = case.gpu()?;
    case.need(gpu.external_memory_host.is_some(), "VK_EXT_external_memory_host")?;
    let alignment = gpu.physical.host_pointer_alignment();
    Ok((gpu, alignment))
}

fn copy(gpu: &Gpu, from: vk::Buffer, to: vk::Buffer, size: usize) -> Result<()> {
    let region = vk::BufferCopy { size: size as u64, ..Default::default() };
    gpu.run(|c| c.copy_buffer(from, to, &[region]))
}

fn host_pointer_read_and_written_in_place(case: &mut Case) -> Result<()> {
    let (gpu, alignment) = gpu(case)?;
    let range = HostRange::new(LEN, alignment)?;
    let before = bytes(LEN, 3);
    range.write(0, &before);
    let imported = gpu.import(&range, 0, LEN)?;
    same!(range.read(0, LEN), before, "bytes after the import");

    let other = gpu.buffer(LEN as u64)?;
    copy(&gpu, imported.0, other.handle, LEN)?;
    same!(other.read::<u8>(0, LEN), before, "what the device read");

    range.write(100, &[0xAB; 50]);
    copy(&gpu, imported.0, other.handle, LEN)?;
    same!(other.read::<u8>(0, LEN)[100..150], [0xAB; 50], "what the program wrote meanwhile");

    let after = bytes(LEN, 11);
    other.write(0, &after);
    copy(&gpu, other.handle, imported.0, LEN)?;
    same!(range.read(0, LEN), after, "what the device wrote");
    same!(gpu.read_mapped(imported.1, 4096, 64)?, after[4096..4160], "the same, mapped");
    gpu.forget(imported);
    same!(range.read(0, LEN), after, "bytes after the memory was freed");
    case.digest(&range.read(0, LEN));
    Ok(())
}

fn host_pointer_imported_again(case: &mut Case) -> Result<()> {
    let (gpu, alignment) = gpu(case)?;
    let range = HostRange::new(LEN, alignment)?;
    let half = LEN / 2;
    let whole = gpu.import(&range, 0, LEN)?;
    let upper = gpu.import(&range, half, half)?;
    let data = bytes(half, 5);
    let other = gpu.buffer_of(&data)?;
    copy(&gpu, other.handle, upper.0, half)?;
    same!(range.read(half, half), data, "written through the second import");
    gpu.forget(whole);
    let more = bytes(half, 7);
    other.write(0, &more);
    copy(&gpu, other.handle, upper.0, half)?;
    same!(range.read(half, half), more, "written after the first import was freed");
    gpu.forget(upper);
    let whole = gpu.import(&range, 0, LEN)?;
    copy(&gpu, whole.0, other.handle, half)?;
    same!(other.read::<u8>(0, half), vec![0; half], "the lower half");
    gpu.forget(whole);
    same!(range.read(half, half), more, "the upper half at the end");
    Ok(())
}

fn host_pointer_freed_and_used_on(case: &mut Case) -> Result<()> {
    let (gpu, alignment) = gpu(case)?;
    let range = HostRange::new(LEN, alignment)?;
    let other = gpu.buffer(LEN as u64)?;
    for round in 1..=50_u8 {
        let imported = gpu.import(&range, 0, LEN)?;
        range.write(usize::from(round), &[round]);
        copy(&gpu, imported.0, other.handle, LEN)?;
        same!(
            other.read::<u8>(0, LEN)[..=usize::from(round)],
            *(0..=round).collect::<Vec<u8>>(),
            "round {round}"
        );
        gpu.forget(imported);
        range.write(LEN - 1, &[round]);
        same!(range.read(LEN - 1, 1), [round], "the program's own again");
    }
    Ok(())
}

fn host_pointers_many(case: &mut Case) -> Result<()> {
    let (gpu, alignment) = gpu(case)?;
    let page = usize::try_from(alignment)?;
    let ranges = (0..64).map(|_| HostRange::new(page, alignment)).collect::<Result<Vec<_>>>()?;
    let imported = ranges.iter().map(|range| gpu.import(range, 0, page)).collect::<Result<Vec<_>>>()?;
    gpu.run(|c| {
        for ((buffer, _), value) in imported.iter().zip(1_u32..) {
            c.fill_buffer(*buffer, 0, vk::WHOLE_SIZE, value);
        }
    })?;
    for (range, value) in ranges.iter().zip(1_u32..) {
        same!(range.read(page - 4, 4), value.to_le_bytes(), "range {value}");
    }
    imported.into_iter().for_each(|one| gpu.forget(one));
    for (range, value) in ranges.iter().zip(1_u32..) {
        same!(range.read(0, 4), value.to_le_bytes(), "range {value} at the end");
    }
    Ok(())
}

fn host_pointer_properties(case: &mut Case) -> Result<()> {
    let (gpu, alignment) = gpu(case)?;
    let range = HostRange::new(LEN, alignment)?;
    let types = gpu.host_pointer_types(&range)?;
    same!(gpu.host_memory_type(types).is_ok(), true, "a type that can be mapped");
    case.digest(&[u64::from(types), alignment]);
    for usage in [vk::BufferUsageFlags::TRANSFER_SRC, vk::BufferUsageFlags::STORAGE_BUFFER] {
        let info = vk::PhysicalDeviceExternalBufferInfo::default().usage(usage).handle_type(HOST_ALLOCATION);
        case.digest_text(&gpu.physical.external_buffer(&info));
    }
    Ok(())
}
