//! Memory by descriptor.

use std::os::fd::AsFd;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use ash::vk;
use dxg_core::AllocationOptions;
use dxg_core::ResourceOptions;
use dxg_core::ResourceSharing;

use super::dxg_device;
use super::gpu;

const SIZE_BYTES: u64 = 256 << 10;
const WHOLE: vk::BufferCopy = vk::BufferCopy { src_offset: 0, dst_offset: 0, size: SIZE_BYTES };
const LEN: usize = SIZE_BYTES as usize;

super::table! {
    memory_crosses_two_devices,
    memory_of_vulkan_is_opened_by_dxg,
    memory_of_dxg_is_imported_by_vulkan,
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
