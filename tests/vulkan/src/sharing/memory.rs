//! Memory by descriptor.

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use ash::vk;
use dxg_core::AllocationOptions;
use dxg_core::FenceValue;
use dxg_core::ResourceOptions;
use dxg_core::ResourceSharing;

use super::dxg_device;
use super::gpu;
use crate::gpu::MEMORY_FD;

const SIZE_BYTES: u64 = 256 << 10;
const WHOLE: vk::BufferCopy = vk::BufferCopy { src_offset: 0, dst_offset: 0, size: SIZE_BYTES };
const LEN: usize = SIZE_BYTES as usize;

super::table! {
    memory_crosses_two_devices,
    memory_of_vulkan_is_opened_by_dxg,
    memory_of_dxg_is_imported_by_vulkan,
    memory_outlives_its_maker,
    memory_is_imported_by_its_own_device_and_shared_on,
    memory_is_refused_for_what_it_is_not,
    memory_shared_again_and_again_leaves_nothing,
    memory_queries_say_what_there_is,
}

/// What one device fills, the other copies out.
fn memory_crosses_two_devices() -> Result<()> {
    let (maker, user) = (gpu()?, gpu()?);
    let made = maker.shareable_buffer(SIZE_BYTES)?;
    let used = user.imported_buffer(maker.memory_fd(made.memory)?, SIZE_BYTES)?;
    maker.run(|c| c.fill_buffer(made.handle, 0, SIZE_BYTES, 0x1234_5678))?;
    let out = user.buffer(SIZE_BYTES)?;
    user.run(|c| c.copy_buffer(used.handle, out.handle, &[WHOLE]))?;
    ensure!(out.words().iter().all(|word| *word == 0x1234_5678), "the copy has other words");
    // Back through the mapping.
    user.write_mapped(used.memory, 100, b"through the mapping")?;
    ensure!(maker.read_mapped(made.memory, 100, 19)? == b"through the mapping");
    Ok(())
}

/// The descriptor of a `VkDeviceMemory` is a dxg resource with one allocation: the same bytes.
fn memory_of_vulkan_is_opened_by_dxg() -> Result<()> {
    let (maker, device) = (gpu()?, dxg_device()?);
    let made = maker.shareable_buffer(SIZE_BYTES)?;
    let descriptor = maker.memory_fd(made.memory)?;
    let resource = device.open_shared_resource(descriptor.as_fd())?;
    ensure!(resource.allocations().len() == 1, "{} allocations", resource.allocations().len());
    let mapped = resource.allocations()[0].map()?;
    maker.run(|c| c.fill_buffer(made.handle, 0, SIZE_BYTES, 0x0a0b_0c0d))?;
    let mut bytes = vec![0; LEN];
    mapped.read(0, &mut bytes)?;
    ensure!(bytes.chunks_exact(4).all(|word| word == [0x0d, 0x0c, 0x0b, 0x0a]), "dxg sees other bytes");
    mapped.write(0, b"written by dxg")?;
    ensure!(maker.read_mapped(made.memory, 0, 14)? == b"written by dxg");
    Ok(())
}

/// A resource that dxg made is imported as it is.
fn memory_of_dxg_is_imported_by_vulkan() -> Result<()> {
    let (user, device) = (gpu()?, dxg_device()?);
    let options = ResourceOptions {
        allocations: vec![AllocationOptions::cross_adapter(SIZE_BYTES)],
        sharing: ResourceSharing::Shareable,
        ..ResourceOptions::default()
    };
    let resource = device.create_resource(options)?;
    let mapped = resource.allocations().first().context("no allocation")?.map()?;
    mapped.write(4096, &[0x77; 4096])?;
    let used = user.imported_buffer(resource.share()?, SIZE_BYTES)?;
    let out = user.buffer(SIZE_BYTES)?;
    user.run(|c| c.copy_buffer(used.handle, out.handle, &[WHOLE]))?;
    ensure!(out.read::<u8>(4096, 4096) == [0x77; 4096], "Vulkan sees other bytes");
    user.run(|c| c.fill_buffer(used.handle, 0, 4096, u32::MAX))?;
    let mut bytes = [0; 4096];
    mapped.read(0, &mut bytes)?;
    ensure!(bytes == [0xff; 4096], "dxg sees other bytes");
    Ok(())
}

/// A descriptor keeps the memory, whatever becomes of the device that made it.
fn memory_outlives_its_maker() -> Result<()> {
    let maker = gpu()?;
    let made = maker.shareable_buffer(SIZE_BYTES)?;
    maker.run(|c| c.fill_buffer(made.handle, 0, SIZE_BYTES, 0x5eed))?;
    let descriptor = maker.memory_fd(made.memory)?;
    drop(maker);
    let user = gpu()?;
    let used = user.imported_buffer(descriptor, SIZE_BYTES)?;
    let out = user.buffer(SIZE_BYTES)?;
    user.run(|c| c.copy_buffer(used.handle, out.handle, &[WHOLE]))?;
    ensure!(out.words().iter().all(|word| *word == 0x5eed), "the copy has other words");
    Ok(())
}

/// The same memory under a second handle of one device; and from that handle to another device.
fn memory_is_imported_by_its_own_device_and_shared_on() -> Result<()> {
    let (maker, user) = (gpu()?, gpu()?);
    let made = maker.shareable_buffer(SIZE_BYTES)?;
    let again = maker.imported_buffer(maker.memory_fd(made.memory)?, SIZE_BYTES)?;
    let used = user.imported_buffer(maker.memory_fd(again.memory)?, SIZE_BYTES)?;
    maker.run(|c| c.fill_buffer(again.handle, 0, SIZE_BYTES, 77))?;
    for (gpu, memory) in [(&maker, made.memory), (&user, used.memory)] {
        ensure!(gpu.read_mapped(memory, SIZE_BYTES - 4, 4)? == [77, 0, 0, 0], "other bytes");
    }
    Ok(())
}

/// What is refused stays the program's, and is worth what it was.
fn memory_is_refused_for_what_it_is_not() -> Result<()> {
    let (maker, user) = (gpu()?, gpu()?);
    let made = maker.shareable_buffer(SIZE_BYTES)?;
    let memory_type = user.host_memory_type(u32::MAX)?;
    let refused = |descriptor: OwnedFd, size_bytes: u64, what: &str| -> Result<OwnedFd> {
        match user.import_memory(descriptor, size_bytes, memory_type) {
            Ok(_) => bail!("{what} is imported"),
            Err((error, descriptor)) => {
                ensure!(error == vk::Result::ERROR_INVALID_EXTERNAL_HANDLE, "{what}: {error}");
                Ok(descriptor)
            }
        }
    };
    refused(std::fs::File::open("/dev/null")?.into(), SIZE_BYTES, "a file")?;
    refused(std::os::unix::net::UnixStream::pair()?.0.into(), SIZE_BYTES, "a socket")?;
    let semaphore = maker.shareable_semaphore(None)?;
    refused(maker.semaphore_fd(semaphore)?, SIZE_BYTES, "a semaphore")?;
    refused(dxg_device()?.create_shared_fence(FenceValue(0))?.share()?, SIZE_BYTES, "a dxg fence")?;
    let descriptor = refused(maker.memory_fd(made.memory)?, 2 * SIZE_BYTES, "a larger size")?;
    let descriptor = refused(descriptor, SIZE_BYTES / 2, "a smaller size")?;
    user.imported_buffer(descriptor, SIZE_BYTES)?;
    let mut import = vk::ImportMemoryFdInfoKHR::default().handle_type(MEMORY_FD).fd(-1);
    let allocate = vk::MemoryAllocateInfo::default()
        .allocation_size(SIZE_BYTES)
        .memory_type_index(memory_type)
        .push_next(&mut import);
    let answer = user.allocate_memory(&allocate);
    ensure!(answer == Err(vk::Result::ERROR_INVALID_EXTERNAL_HANDLE), "no descriptor: {answer:?}");
    Ok(())
}

/// More than there is, in turns: what is freed on both sides counts for nobody.
fn memory_shared_again_and_again_leaves_nothing() -> Result<()> {
    let (maker, user) = (gpu()?, gpu()?);
    let memory_type = maker.host_memory_type(u32::MAX)?;
    let heap = maker.memory.memory_types_as_slice()[memory_type as usize].heap_index;
    let heap_bytes = maker.memory.memory_heaps_as_slice()[heap as usize].size;
    let size_bytes = (heap_bytes / 5).next_multiple_of(4096);
    let descriptors = || std::fs::read_dir("/proc/self/fd").map(Iterator::count);
    let mut before = 0;
    for turn in 0..12 {
        let mut export = vk::ExportMemoryAllocateInfo::default().handle_types(MEMORY_FD);
        let allocate = vk::MemoryAllocateInfo::default()
            .allocation_size(size_bytes)
            .memory_type_index(memory_type)
            .push_next(&mut export);
        let made = maker.allocate_memory(&allocate).with_context(|| format!("turn {turn}"))?;
        let used = user.import_memory(maker.memory_fd(made)?, size_bytes, memory_type);
        let used = used.map_err(|(error, _)| error).with_context(|| format!("import of turn {turn}"))?;
        user.free_memory(used);
        maker.free_memory(made);
        // What is kept for good is there after the first turn.
        if turn == 0 {
            before = descriptors()?;
        }
    }
    ensure!(descriptors()? == before, "{} descriptors after {before}", descriptors()?);
    Ok(())
}

/// The capabilities say what works here, and nothing of other handles.
fn memory_queries_say_what_there_is() -> Result<()> {
    let gpu = gpu()?;
    let both = vk::ExternalMemoryFeatureFlags::EXPORTABLE | vk::ExternalMemoryFeatureFlags::IMPORTABLE;
    let told = [
        gpu.buffer_memory_properties(MEMORY_FD),
        gpu.image_memory_properties(vk::ImageTiling::OPTIMAL, MEMORY_FD)?,
        gpu.image_memory_properties(vk::ImageTiling::LINEAR, MEMORY_FD)?,
    ];
    for properties in told {
        let features = properties.external_memory_features & !vk::ExternalMemoryFeatureFlags::DEDICATED_ONLY;
        ensure!(features == both, "{properties:?}");
        ensure!(properties.compatible_handle_types == MEMORY_FD, "{properties:?}");
        ensure!(properties.export_from_imported_handle_types == MEMORY_FD, "{properties:?}");
    }
    let dma_buf = vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT;
    ensure!(gpu.buffer_memory_properties(dma_buf).external_memory_features.is_empty(), "dma-buf");
    let image = gpu.image_memory_properties(vk::ImageTiling::OPTIMAL, dma_buf);
    ensure!(image.is_err_and(|error| error == vk::Result::ERROR_FORMAT_NOT_SUPPORTED), "dma-buf image");
    Ok(())
}
