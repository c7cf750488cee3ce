//! Device memory: mapping, many and large allocations, binding.

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use ash::vk;

use super::Case;
use super::same;
use super::scenarios;
use crate::gpu::Gpu;

scenarios![
    map_at_offsets,
    map_again_and_again,
    flush_and_invalidate,
    mapped_while_the_device_works,
    allocations_4096,
    allocations_of_odd_sizes,
    allocation_256_mib,
    memory_used_again_after_free,
    allocation_larger_than_the_heap,
    resources_larger_than_the_device,
    several_buffers_in_one_allocation,
    buffers_over_the_same_memory,
    bind_several_at_once,
    dedicated_allocation,
    allocation_that_exports_nothing,
    memory_without_mapping,
    buffer_requirements_three_ways,
    buffer_churn,
];

fn allocate(gpu: &Gpu, size: u64) -> Result<vk::DeviceMemory> {
    let info = vk::MemoryAllocateInfo::default()
        .allocation_size(size)
        .memory_type_index(gpu.host_memory_type(u32::MAX)?);
    gpu.allocate_memory(&info).context("vkAllocateMemory")
}

fn plain_buffer(gpu: &Gpu, size: u64) -> Result<vk::Buffer> {
    let usage = vk::BufferUsageFlags::TRANSFER_DST | vk::BufferUsageFlags::TRANSFER_SRC;
    Ok(gpu.keep(gpu.create_buffer(&vk::BufferCreateInfo::default().size(size).usage(usage))?))
}

fn bytes(count: usize, seed: u8) -> Vec<u8> {
    (0..count).map(|i| (i >> 4) as u8 ^ (i as u8).wrapping_mul(seed)).collect()
}

fn allocation_that_exports_nothing(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let mut export = vk::ExportMemoryAllocateInfo::default();
    let info = vk::MemoryAllocateInfo::default()
        .allocation_size(4096)
        .memory_type_index(gpu.host_memory_type(u32::MAX)?)
        .push_next(&mut export);
    let memory = gpu.keep(gpu.allocate_memory(&info).context("vkAllocateMemory")?);
    gpu.write_mapped(memory, 0, &[7; 64])?;
    same!(gpu.read_mapped(memory, 0, 64)?, [7; 64], "bytes");
    gpu.run(|_| ())
}

fn resources_larger_than_the_device(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    for bits in [33, 40, 62] {
        let usage = vk::BufferUsageFlags::TRANSFER_DST;
        let made = gpu.create_buffer(&vk::BufferCreateInfo::default().size(1 << bits).usage(usage));
        case.digest_text(&made.map(|buffer| gpu.destroy(buffer)));
    }
    let image = vk::ImageCreateInfo::default()
        .image_type(vk::ImageType::TYPE_3D)
        .format(vk::Format::R32G32B32A32_SFLOAT)
        .extent(vk::Extent3D { width: 1 << 14, height: 1 << 14, depth: 1 << 11 })
        .mip_levels(1)
        .array_layers(1)
        .samples(vk::SampleCountFlags::TYPE_1)
        .usage(vk::ImageUsageFlags::TRANSFER_DST);
    case.digest_text(&gpu.create_image(&image).map(|image| gpu.destroy(image)));
    // Whatever was refused, the device goes on.
    gpu.run(|_| ())
}

fn map_at_offsets(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let memory = gpu.keep(allocate(&gpu, 100_000)?);
    let data = bytes(100_000, 7);
    for (piece, at) in data.chunks(1234).zip((0..).step_by(1234)) {
        gpu.write_mapped(memory, at, piece)?;
    }
    same!(gpu.read_mapped(memory, 0, 100_000)?, data, "bytes");
    same!(gpu.read_mapped(memory, 99_999, 1)?, data[99_999..], "last byte");
    let whole = gpu.map(memory, 0, vk::WHOLE_SIZE)?;
    gpu.unmap(memory);
    let rest = gpu.map(memory, 4096, vk::WHOLE_SIZE)?;
    gpu.unmap(memory);
    // An address of offset 0 is aligned as the limits say, one at an offset has that offset from such.
    let alignment = gpu.limits.min_memory_map_alignment;
    same!((whole % alignment, rest % alignment), (0, 4096 % alignment), "alignment");
    Ok(())
}

fn map_again_and_again(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let memory = gpu.keep(allocate(&gpu, 65_536)?);
    for round in 0..1000_u32 {
        let at = u64::from(round) * 64;
        gpu.write_mapped(memory, at, &round.to_le_bytes())?;
        same!(gpu.read_mapped(memory, at, 4)?, round.to_le_bytes(), "round {round}");
    }
    Ok(())
}

fn flush_and_invalidate(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let (a, b) = (gpu.buffer(1 << 16)?, gpu.buffer(1 << 16)?);
    let atom = gpu.limits.non_coherent_atom_size;
    let range =
        |memory, offset, size| vk::MappedMemoryRange::default().memory(memory).offset(offset).size(size);
    let data = bytes(1 << 16, 3);
    a.write(0, &data);
    gpu.flush(&[range(a.memory, 0, vk::WHOLE_SIZE), range(b.memory, atom * 2, atom)])?;
    gpu.run(|c| {
        c.copy_buffer(a.handle, b.handle, &[vk::BufferCopy { size: 1 << 16, ..Default::default() }])
    })?;
    gpu.invalidate(&[range(b.memory, 0, vk::WHOLE_SIZE), range(b.memory, 0, atom)])?;
    same!(b.read::<u8>(0, 1 << 16), data, "bytes");
    Ok(())
}

fn mapped_while_the_device_works(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let (a, b) = (gpu.buffer(64)?, gpu.buffer(64)?);
    let copy = gpu.recorded(|c| {
        c.copy_buffer(a.handle, b.handle, &[vk::BufferCopy { size: 64, ..Default::default() }]);
        c.to_host();
    })?;
    for round in 0..100_u32 {
        a.write(0, &[round; 16]);
        gpu.submit_and_wait(&[copy])?;
        same!(b.words(), vec![round; 16], "round {round}");
    }
    Ok(())
}

fn allocations_4096(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let count = gpu.limits.max_memory_allocation_count.min(4096);
    let mut all = Vec::new();
    for i in 0..count {
        let memory = gpu.keep(allocate(&gpu, 256)?);
        gpu.write_mapped(memory, 0, &i.to_le_bytes())?;
        all.push(memory);
    }
    for (memory, i) in all.iter().zip(0_u32..) {
        same!(gpu.read_mapped(*memory, 0, 4)?, i.to_le_bytes(), "allocation {i}");
    }
    Ok(())
}

fn allocations_of_odd_sizes(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let sizes = [1, 2, 3, 63, 64, 65, 4095, 4096, 4097, 65_535, 65_537, 1_000_003, (16 << 20) + 1];
    let mut all = Vec::new();
    for (size, seed) in sizes.iter().zip(1..) {
        let memory = gpu.keep(allocate(&gpu, *size)?);
        let data = bytes(usize::try_from(*size)?, seed);
        gpu.write_mapped(memory, 0, &data)?;
        all.push((memory, data));
    }
    for (memory, data) in all {
        ensure!(gpu.read_mapped(memory, 0, data.len())? == data, "{} bytes differ", data.len());
    }
    Ok(())
}

fn allocation_256_mib(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let size = 256 << 20;
    let memory = gpu.keep(allocate(&gpu, size)?);
    let buffer = plain_buffer(&gpu, size)?;
    ensure!(
        gpu.get_buffer_memory_requirements(buffer).size <= size,
        "a transfer buffer needs more than its size"
    );
    gpu.bind_buffer_memory(buffer, memory, 0)?;
    gpu.run(|c| {
        c.fill_buffer(buffer, 0, vk::WHOLE_SIZE, 0x0102_0304);
        c.barrier();
        c.fill_buffer(buffer, size - 4096, 4096, 0x0a0b_0c0d);
    })?;
    for at in (0..size - 4096).step_by(32 << 20) {
        same!(gpu.read_mapped(memory, at, 4)?, [4, 3, 2, 1], "at {at}");
    }
    same!(gpu.read_mapped(memory, size - 4, 4)?, [0xd, 0xc, 0xb, 0xa], "at the end");
    Ok(())
}

fn memory_used_again_after_free(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    for round in 0..300_u32 {
        let size = 4096 << (round % 9);
        let memory = allocate(&gpu, size)?;
        let buffer = gpu.create_buffer(
            &vk::BufferCreateInfo::default().size(size).usage(vk::BufferUsageFlags::TRANSFER_DST),
        )?;
        gpu.bind_buffer_memory(buffer, memory, 0)?;
        gpu.run(|c| c.fill_buffer(buffer, 0, vk::WHOLE_SIZE, round))?;
        same!(gpu.read_mapped(memory, size - 4, 4)?, round.to_le_bytes(), "round {round}");
        gpu.destroy(buffer);
        gpu.destroy(memory);
    }
    gpu.destroy(vk::DeviceMemory::null());
    Ok(())
}

fn allocation_larger_than_the_heap(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let memory_type = gpu.host_memory_type(u32::MAX)?;
    let heap = gpu.memory.memory_types_as_slice()[memory_type as usize].heap_index;
    let heap_size = gpu.memory.memory_heaps_as_slice()[heap as usize].size;
    for size in [1 << 44, 1 << 50] {
        ensure!(size > heap_size, "the heap has {heap_size} bytes");
        let info = vk::MemoryAllocateInfo::default().allocation_size(size).memory_type_index(memory_type);
        let error = gpu.allocate_memory(&info).map(|memory| gpu.keep(memory)).err();
        ensure!(
            matches!(
                error,
                Some(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY | vk::Result::ERROR_OUT_OF_HOST_MEMORY)
            ),
            "{size} bytes: {error:?}"
        );
    }
    // The device goes on.
    let buffer = gpu.buffer(64)?;
    gpu.run(|c| c.fill_buffer(buffer.handle, 0, 64, 3))?;
    same!(buffer.words(), [3; 16], "words");
    Ok(())
}

fn several_buffers_in_one_allocation(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let buffers = (0..64).map(|_| plain_buffer(&gpu, 1000)).collect::<Result<Vec<_>>>()?;
    let needs = gpu.get_buffer_memory_requirements(buffers[0]);
    let stride = needs.size.next_multiple_of(needs.alignment);
    let memory = gpu.keep(allocate(&gpu, stride * 64)?);
    for (buffer, i) in buffers.iter().zip(0..) {
        gpu.bind_buffer_memory(*buffer, memory, i * stride)?;
    }
    gpu.run(|c| {
        for (buffer, i) in buffers.iter().zip(1..) {
            c.fill_buffer(*buffer, 0, vk::WHOLE_SIZE, i);
        }
    })?;
    for i in 0..64_u32 {
        let got = gpu.read_mapped(memory, u64::from(i) * stride, 1000)?;
        same!(got, (i + 1).to_le_bytes().repeat(250), "buffer {i}");
    }
    case.digest(&[needs.size, needs.alignment]);
    Ok(())
}

fn buffers_over_the_same_memory(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let (a, b) = (plain_buffer(&gpu, 4096)?, plain_buffer(&gpu, 4096)?);
    let out = gpu.buffer(4096)?;
    let memory = gpu.keep(allocate(&gpu, 4096)?);
    gpu.bind_buffer_memory(a, memory, 0)?;
    gpu.bind_buffer_memory(b, memory, 0)?;
    gpu.run(|c| {
        c.fill_buffer(a, 0, 4096, 12);
        c.barrier();
        c.copy_buffer(b, out.handle, &[vk::BufferCopy { size: 4096, ..Default::default() }]);
    })?;
    same!(out.words(), [12; 1024], "words");
    Ok(())
}

fn bind_several_at_once(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let buffers = [plain_buffer(&gpu, 4096)?, plain_buffer(&gpu, 4096)?];
    let memory = gpu.keep(allocate(&gpu, 1 << 17)?);
    let bind = |buffer, offset| {
        vk::BindBufferMemoryInfo::default().buffer(buffer).memory(memory).memory_offset(offset)
    };
    gpu.bind_buffer_memory2(&[bind(buffers[0], 65_536), bind(buffers[1], 0)])?;
    gpu.run(|c| {
        c.fill_buffer(buffers[0], 0, 4096, 1);
        c.fill_buffer(buffers[1], 0, 4096, 2);
    })?;
    same!(gpu.read_mapped(memory, 65_536, 4)?, [1, 0, 0, 0], "first buffer");
    same!(gpu.read_mapped(memory, 0, 4)?, [2, 0, 0, 0], "second buffer");
    Ok(())
}

fn dedicated_allocation(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let buffer = plain_buffer(&gpu, 100_000)?;
    let mut dedicated = vk::MemoryDedicatedRequirements::default();
    let mut needs = vk::MemoryRequirements2::default().push_next(&mut dedicated);
    gpu.get_buffer_memory_requirements2(
        &vk::BufferMemoryRequirementsInfo2::default().buffer(buffer),
        &mut needs,
    );
    let needs = needs.memory_requirements;
    let mut for_buffer = vk::MemoryDedicatedAllocateInfo::default().buffer(buffer);
    let info = vk::MemoryAllocateInfo::default()
        .allocation_size(needs.size)
        .memory_type_index(gpu.host_memory_type(needs.memory_type_bits)?)
        .push_next(&mut for_buffer);
    let memory = gpu.keep(gpu.allocate_memory(&info)?);
    gpu.bind_buffer_memory(buffer, memory, 0)?;
    gpu.run(|c| c.fill_buffer(buffer, 0, vk::WHOLE_SIZE, 99))?;
    same!(gpu.read_mapped(memory, 99_996, 4)?, [99, 0, 0, 0], "last word");
    case.digest(&[dedicated.prefers_dedicated_allocation, dedicated.requires_dedicated_allocation]);
    Ok(())
}

fn memory_without_mapping(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let buffer = plain_buffer(&gpu, 1 << 20)?;
    let needs = gpu.get_buffer_memory_requirements(buffer);
    let memory_type = gpu
        .memory_type(needs.memory_type_bits, vk::MemoryPropertyFlags::DEVICE_LOCAL)
        .context("no device-local memory")?;
    let info = vk::MemoryAllocateInfo::default().allocation_size(needs.size).memory_type_index(memory_type);
    let memory = gpu.keep(gpu.allocate_memory(&info)?);
    gpu.bind_buffer_memory(buffer, memory, 0)?;
    let out = gpu.buffer(1 << 20)?;
    gpu.run(|c| {
        c.fill_buffer(buffer, 0, vk::WHOLE_SIZE, 0x55);
        c.barrier();
        c.copy_buffer(buffer, out.handle, &[vk::BufferCopy { size: 1 << 20, ..Default::default() }]);
    })?;
    ensure!(out.words().iter().all(|word| *word == 0x55), "words differ");
    Ok(())
}

fn buffer_requirements_three_ways(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let usages = [
        vk::BufferUsageFlags::TRANSFER_DST,
        vk::BufferUsageFlags::STORAGE_BUFFER,
        vk::BufferUsageFlags::UNIFORM_BUFFER | vk::BufferUsageFlags::INDIRECT_BUFFER,
        vk::BufferUsageFlags::UNIFORM_TEXEL_BUFFER | vk::BufferUsageFlags::STORAGE_TEXEL_BUFFER,
    ];
    for usage in usages {
        for size in [1, 4, 100, 4096, 4097, 1 << 20] {
            let create = vk::BufferCreateInfo::default().size(size).usage(usage);
            let buffer = gpu.keep(gpu.create_buffer(&create)?);
            let first = gpu.get_buffer_memory_requirements(buffer);
            let mut second = vk::MemoryRequirements2::default();
            let info = vk::BufferMemoryRequirementsInfo2::default().buffer(buffer);
            gpu.get_buffer_memory_requirements2(&info, &mut second);
            let mut third = vk::MemoryRequirements2::default();
            let info = vk::DeviceBufferMemoryRequirements::default().create_info(&create);
            gpu.get_device_buffer_memory_requirements(&info, &mut third);
            let first = format!("{first:?}");
            same!(first, format!("{:?}", second.memory_requirements), "{usage:?} of {size}");
            same!(first, format!("{:?}", third.memory_requirements), "{usage:?} of {size}");
            case.digest_text(&first);
        }
    }
    Ok(())
}

fn buffer_churn(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    for size in 1..5000 {
        let create = vk::BufferCreateInfo::default().size(size).usage(vk::BufferUsageFlags::STORAGE_BUFFER);
        gpu.destroy(gpu.create_buffer(&create)?);
    }
    gpu.destroy(vk::Buffer::null());
    Ok(())
}
