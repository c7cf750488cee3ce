//! Finding devices: instances, physical devices, what they say, the addresses of functions.

use std::sync::Arc;

use anyhow::Result;
use anyhow::ensure;
use ash::vk;

use super::Case;
use super::same;
use super::scenarios;
use crate::gpu::Gpu;
use crate::gpu::Instance;
use crate::gpu::Physical;
use crate::gpu::Wanted;

scenarios![
    physical_devices_in_two_calls,
    device_groups,
    extensions_in_two_calls,
    limits_and_features_both_ways,
    queue_families_both_ways,
    memory_properties_both_ways,
    vulkan_1_1_to_1_3_structures,
    format_properties_both_ways,
    image_format_properties_both_ways,
    unsupported_images_have_limits_of_zero,
    instance_function_addresses,
    device_function_addresses,
    several_instances,
    second_instance_adds_no_connection,
    several_devices,
    device_with_all_queues,
    fifty_instances_leave_nothing,
    fifty_devices_leave_nothing,
    private_data,
    private_data_of_a_new_object,
    debug_names,
];

fn physical_devices_in_two_calls(case: &mut Case) -> Result<()> {
    let instance = Instance::new()?;
    let all = u32::try_from(instance.physical_devices()?.len())?;
    ensure!(all > 0, "no devices");
    same!(instance.physical_devices_within(0), (vk::Result::INCOMPLETE, 0), "room for none");
    same!(instance.physical_devices_within(all), (vk::Result::SUCCESS, all), "room for all");
    same!(instance.physical_devices_within(all + 3), (vk::Result::SUCCESS, all), "more room than devices");
    case.digest(&[1_u32]);
    Ok(())
}

fn device_groups(case: &mut Case) -> Result<()> {
    let physical = case.physical()?;
    let groups = physical.instance.groups()?;
    let mine = groups.iter().find(|group| group.physical_devices_as_slice().contains(&physical.raw));
    let group = mine.ok_or_else(|| anyhow::anyhow!("the device is in no group"))?;
    case.digest(&[group.physical_device_count, group.subset_allocation]);
    Ok(())
}

fn extensions_in_two_calls(case: &mut Case) -> Result<()> {
    let physical = case.physical()?;
    let (result, count, _) = physical.extensions_within(None);
    same!(result, vk::Result::SUCCESS, "counting");
    let (result, all, names) = physical.extensions_within(Some(count));
    same!((result, all), (vk::Result::SUCCESS, count), "room for all");
    let mut sorted = names.clone();
    sorted.sort();
    sorted.dedup();
    same!(sorted.len(), names.len(), "no extension twice");
    if count > 1 {
        let (result, some, first) = physical.extensions_within(Some(count - 1));
        same!((result, some), (vk::Result::INCOMPLETE, count - 1), "room for all but one");
        same!(first[..], names[..names.len() - 1], "the same order");
    }
    let (result, more, _) = physical.extensions_within(Some(count + 5));
    same!((result, more), (vk::Result::SUCCESS, count), "more room than extensions");
    Ok(())
}

fn limits_and_features_both_ways(case: &mut Case) -> Result<()> {
    let physical = case.physical()?;
    let mut new = vk::PhysicalDeviceProperties2::default();
    physical.properties2(&mut new);
    let old = physical.properties();
    same!(format!("{:?}", old.limits), format!("{:?}", new.properties.limits), "limits");
    same!(
        format!("{:?}", old.sparse_properties),
        format!("{:?}", new.properties.sparse_properties),
        "sparse"
    );
    same!(old.api_version, new.properties.api_version, "API version");
    let mut new = vk::PhysicalDeviceFeatures2::default();
    physical.features2(&mut new);
    same!(format!("{:?}", physical.features()), format!("{:?}", new.features), "features");
    case.digest_text(&old.limits);
    case.digest_text(&old.device_type);
    case.digest(&[old.vendor_id, old.device_id]);
    case.digest_text(&new.features);
    Ok(())
}

fn queue_families_both_ways(case: &mut Case) -> Result<()> {
    let physical = case.physical()?;
    let families = physical.queue_families();
    same!(format!("{families:?}"), format!("{:?}", physical.queue_families2()), "families");
    case.digest_text(&families);
    Ok(())
}

fn memory_properties_both_ways(case: &mut Case) -> Result<()> {
    let physical = case.physical()?;
    let memory = physical.memory();
    let new = physical.memory2();
    same!(
        format!("{:?}", memory.memory_types_as_slice()),
        format!("{:?}", new.memory_types_as_slice()),
        "types"
    );
    same!(
        format!("{:?}", memory.memory_heaps_as_slice()),
        format!("{:?}", new.memory_heaps_as_slice()),
        "heaps"
    );
    case.digest_text(&memory.memory_types_as_slice());
    case.digest_text(&memory.memory_heaps_as_slice());
    Ok(())
}

fn vulkan_1_1_to_1_3_structures(case: &mut Case) -> Result<()> {
    let physical = case.physical()?;
    let mut subgroup = vk::PhysicalDeviceSubgroupProperties::default();
    let mut eleven = vk::PhysicalDeviceVulkan11Properties::default();
    let mut twelve = vk::PhysicalDeviceVulkan12Properties::default();
    let mut thirteen = vk::PhysicalDeviceVulkan13Properties::default();
    physical.properties2(
        &mut vk::PhysicalDeviceProperties2::default()
            .push_next(&mut subgroup)
            .push_next(&mut eleven)
            .push_next(&mut twelve)
            .push_next(&mut thirteen),
    );
    same!(subgroup.subgroup_size, eleven.subgroup_size, "subgroup size");
    same!(subgroup.supported_operations, eleven.subgroup_supported_operations, "subgroup operations");
    case.digest(&[eleven.subgroup_size, eleven.max_multiview_view_count, eleven.max_per_set_descriptors]);
    case.digest(&[eleven.max_memory_allocation_size, twelve.max_timeline_semaphore_value_difference]);
    case.digest(&[twelve.max_update_after_bind_descriptors_in_all_pools]);
    case.digest(&[
        thirteen.min_subgroup_size,
        thirteen.max_subgroup_size,
        thirteen.max_inline_uniform_block_size,
    ]);
    case.digest(&[thirteen.max_buffer_size]);
    let mut timeline = vk::PhysicalDeviceTimelineSemaphoreFeatures::default();
    let mut twelve = vk::PhysicalDeviceVulkan12Features::default();
    physical.features2(&mut vk::PhysicalDeviceFeatures2::default().push_next(&mut timeline));
    physical.features2(&mut vk::PhysicalDeviceFeatures2::default().push_next(&mut twelve));
    same!(timeline.timeline_semaphore, twelve.timeline_semaphore, "timeline semaphores");
    ensure!(twelve.timeline_semaphore == vk::TRUE, "Vulkan 1.3 promises timeline semaphores");
    Ok(())
}

fn format_properties_both_ways(case: &mut Case) -> Result<()> {
    let physical = case.physical()?;
    for number in 0..=184 {
        let format = vk::Format::from_raw(number);
        let old = physical.format(format);
        same!(format!("{old:?}"), format!("{:?}", physical.format2(format)), "{format:?}");
        case.digest_text(&old);
    }
    Ok(())
}

fn unsupported_images_have_limits_of_zero(case: &mut Case) -> Result<()> {
    let physical = case.physical()?;
    let rubbish = vk::ImageFormatProperties {
        max_extent: vk::Extent3D { width: 0xCD, height: 0xCD, depth: 0xCD },
        max_mip_levels: 0xCD,
        max_array_layers: 0xCD,
        sample_counts: vk::SampleCountFlags::from_raw(0xCD),
        max_resource_size: 0xCD,
    };
    let info = vk::PhysicalDeviceImageFormatInfo2::default()
        .format(vk::Format::D16_UNORM)
        .ty(vk::ImageType::TYPE_3D)
        .tiling(vk::ImageTiling::LINEAR)
        .usage(vk::ImageUsageFlags::DEPTH_STENCIL_ATTACHMENT);
    for (result, limits) in physical.image_format_over(&info, rubbish) {
        same!(result, vk::Result::ERROR_FORMAT_NOT_SUPPORTED, "result");
        same!(format!("{limits:?}"), format!("{:?}", vk::ImageFormatProperties::default()), "limits");
    }
    Ok(())
}

fn image_format_properties_both_ways(case: &mut Case) -> Result<()> {
    let physical = case.physical()?;
    for number in [1, 9, 16, 23, 37, 44, 50, 64, 70, 83, 97, 98, 100, 103, 109, 124, 126, 130, 133, 147] {
        for kind in [vk::ImageType::TYPE_1D, vk::ImageType::TYPE_2D, vk::ImageType::TYPE_3D] {
            for tiling in [vk::ImageTiling::OPTIMAL, vk::ImageTiling::LINEAR] {
                let info = vk::PhysicalDeviceImageFormatInfo2::default()
                    .format(vk::Format::from_raw(number))
                    .ty(kind)
                    .tiling(tiling)
                    .usage(vk::ImageUsageFlags::TRANSFER_SRC | vk::ImageUsageFlags::SAMPLED);
                let answer = format!("{:?}", physical.image_format(&info));
                same!(answer, format!("{:?}", physical.image_format_1_0(&info)), "format {number}");
                case.digest_text(&answer);
            }
        }
    }
    Ok(())
}

fn instance_function_addresses(case: &mut Case) -> Result<()> {
    let physical = case.physical()?;
    let instance = &physical.instance;
    for name in
        [c"vkCreateInstance", c"vkEnumerateInstanceExtensionProperties", c"vkEnumerateInstanceVersion"]
    {
        ensure!(instance.global_function(name).is_some(), "{name:?} needs no instance");
    }
    for name in [c"vkCreateDevice", c"vkGetPhysicalDeviceProperties2", c"vkCmdDispatch", c"vkQueueSubmit2"] {
        ensure!(instance.instance_function(name).is_some(), "{name:?} is a function of the instance");
        ensure!(instance.global_function(name).is_none(), "{name:?} needs an instance");
    }
    ensure!(instance.instance_function(c"vkNoSuchFunction").is_none(), "a function that is not there");
    Ok(())
}

fn device_function_addresses(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    for name in [c"vkCmdDispatch", c"vkQueueSubmit2", c"vkWaitSemaphores", c"vkDestroyDevice"] {
        ensure!(gpu.device_function(name).is_some(), "{name:?} is a function of the device");
    }
    for name in [c"vkCreateInstance", c"vkEnumeratePhysicalDevices", c"vkCreateDevice", c"vkNoSuchFunction"] {
        ensure!(gpu.device_function(name).is_none(), "{name:?} is no function of the device");
    }
    same!(
        gpu.device_function(c"vkCmdPushDescriptorSetKHR").is_some(),
        gpu.has_push_descriptors(),
        "a function of an extension is there when it is enabled"
    );
    ensure!(
        gpu.device_function(c"vkCmdDrawMultiEXT").is_none(),
        "a function of an extension that is not enabled"
    );
    Ok(())
}

/// A result that shows that a device works.
fn works(gpu: &Gpu, value: u32) -> Result<()> {
    let buffer = gpu.buffer(64)?;
    gpu.run(|c| c.fill_buffer(buffer.handle, 0, 64, value))?;
    same!(buffer.words(), vec![value; 16], "fill");
    Ok(())
}

fn several_instances(case: &mut Case) -> Result<()> {
    let gpus = (0..4).map(|_| case.gpu()).collect::<Result<Vec<_>>>()?;
    for (gpu, value) in gpus.iter().zip(1..) {
        works(gpu, value)?;
    }
    let mut gpus = gpus;
    // The others go on when one is gone.
    drop(gpus.remove(1));
    drop(gpus.remove(0));
    for (gpu, value) in gpus.iter().zip(9..) {
        works(gpu, value)?;
    }
    Ok(())
}

/// Every socket that this process has open.
fn sockets() -> Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir("/proc/self/fd")? {
        // One of them is the listing's own, and gone by the time that it is looked at.
        let Ok(target) = std::fs::read_link(entry?.path()) else { continue };
        count += usize::from(target.to_string_lossy().starts_with("socket:"));
    }
    Ok(count)
}

fn second_instance_adds_no_connection(case: &mut Case) -> Result<()> {
    let first = Instance::new()?;
    let alone = sockets()?;
    let second = case.gpu()?;
    ensure!(sockets()? <= alone, "more sockets with a second instance");
    // What one makes does not depend on the other.
    drop(first);
    works(&second, 3)?;
    drop(second);
    works(&case.gpu()?, 4)?;
    ensure!(sockets()? <= alone, "more sockets with a later instance");
    Ok(())
}

fn several_devices(case: &mut Case) -> Result<()> {
    let instance = Arc::new(Instance::new()?);
    let open = || Gpu::open(Physical::of(instance.clone(), case.device)?, Wanted::OneQueue);
    let mut gpus = (0..4).map(|_| open()).collect::<Result<Vec<_>>>()?;
    for (gpu, value) in gpus.iter().zip(1..) {
        works(gpu, value)?;
    }
    drop(gpus.remove(2));
    gpus.push(open()?);
    for (gpu, value) in gpus.iter().zip(100..) {
        works(gpu, value)?;
    }
    Ok(())
}

fn device_with_all_queues(case: &mut Case) -> Result<()> {
    let gpu = Gpu::open(case.physical()?, Wanted::AllQueues)?;
    for (queue, value) in gpu.queues.iter().zip(1..) {
        let buffer = gpu.buffer(64)?;
        let commands = gpu.recorded(|c| {
            c.fill_buffer(buffer.handle, 0, 64, value);
            c.to_host();
        })?;
        let buffers = [commands];
        gpu.queue_submit(*queue, &[vk::SubmitInfo::default().command_buffers(&buffers)], vk::Fence::null())?;
        gpu.queue_wait_idle(*queue)?;
        same!(buffer.words(), vec![value; 16], "fill by queue {value}");
    }
    case.digest(&[u32::try_from(gpu.queues.len())?]);
    Ok(())
}

/// The descriptors, threads and shared mappings of this process.
fn footprint() -> Result<[usize; 3]> {
    let count = |dir: &str| -> Result<usize> { Ok(std::fs::read_dir(dir)?.count()) };
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let shared = maps.lines().filter(|line| line.contains("memfd:")).count();
    Ok([count("/proc/self/fd")?, count("/proc/self/task")?, shared])
}

/// Does something over and over and looks at what stays behind.
fn leaves_nothing(mut work: impl FnMut() -> Result<()>) -> Result<()> {
    // What is loaded and cached on first use may stay.
    for _ in 0..3 {
        work()?;
    }
    let before = footprint()?;
    for _ in 0..50 {
        work()?;
    }
    same!(footprint()?, before, "descriptors, threads, shared mappings");
    Ok(())
}

fn fifty_instances_leave_nothing(case: &mut Case) -> Result<()> {
    leaves_nothing(|| case.gpu().map(drop))
}

fn fifty_devices_leave_nothing(case: &mut Case) -> Result<()> {
    let instance = Arc::new(Instance::new()?);
    leaves_nothing(|| works(&Gpu::open(Physical::of(instance.clone(), case.device)?, Wanted::OneQueue)?, 5))
}

fn private_data(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    case.need(gpu.features13.private_data, "privateData")?;
    let slot =
        || gpu.create_private_data_slot(&vk::PrivateDataSlotCreateInfo::default()).map(|s| gpu.keep(s));
    let (a, b) = (slot()?, slot()?);
    let (buffer, fence) = (gpu.buffer(16)?, gpu.fence()?);
    same!(gpu.private(buffer.handle, a), 0, "nothing kept");
    gpu.set_private(buffer.handle, a, 11)?;
    gpu.set_private(buffer.handle, b, u64::MAX)?;
    gpu.set_private(fence, a, 13)?;
    gpu.set_private(gpu.queue, a, 17)?;
    let got = [
        gpu.private(buffer.handle, a),
        gpu.private(buffer.handle, b),
        gpu.private(fence, a),
        gpu.private(fence, b),
        gpu.private(gpu.queue, a),
    ];
    same!(got, [11, u64::MAX, 13, 0, 17], "what was kept");
    gpu.set_private(buffer.handle, a, 12)?;
    same!(gpu.private(buffer.handle, a), 12, "what was kept last");
    Ok(())
}

fn private_data_of_a_new_object(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    case.need(gpu.features13.private_data, "privateData")?;
    let slot = gpu.keep(gpu.create_private_data_slot(&vk::PrivateDataSlotCreateInfo::default())?);
    // Handles come again; what was attached to the object before does not.
    for round in 0..200 {
        let fence = gpu.create_fence(&vk::FenceCreateInfo::default())?;
        same!(gpu.private(fence, slot), 0, "round {round}");
        gpu.set_private(fence, slot, 5)?;
        gpu.destroy(fence);
    }
    Ok(())
}

fn debug_names(case: &mut Case) -> Result<()> {
    let gpu = case.gpu()?;
    let buffer = gpu.buffer(16)?;
    gpu.name(buffer.handle, "a buffer")?;
    gpu.name(gpu.queue, "the queue")?;
    gpu.name(buffer.handle, "")?;
    works(&gpu, 3)
}
