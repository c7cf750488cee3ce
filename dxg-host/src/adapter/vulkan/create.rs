//! Creation of the native device: what the client asked for, checked, plus what this host needs for itself.
//!
//! *Why.* Completion rests on timeline semaphores and guest memory on imported host pointers; neither is the
//! application's business, so both are enabled here, once, whether or not it asked for them.

use std::ffi::CStr;
use std::ffi::c_char;

use ash::vk;

use super::chain::Chain;
use super::chain::array;
use super::driver::Driver;
use super::queue::QueuePlace;
use crate::failure::Violation;

const OP: &str = "CREATE_DEVICE";

/// Why no device was made.
#[derive(Debug)]
pub(crate) enum CreateError {
    /// The client asked for what no honest client asks for.
    Violation(Violation),
    /// The driver's answer, or ours in its place.
    Refused(vk::Result),
}

impl From<Violation> for CreateError {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

/// Features that this host needs of a device, and their structures where the client sent none.
#[derive(Default)]
struct OwnFeatures {
    timeline: vk::PhysicalDeviceTimelineSemaphoreFeatures<'static>,
    synchronization2: vk::PhysicalDeviceSynchronization2Features<'static>,
}

/// Structures of the client's chain that carry the features this host needs.
#[derive(Default)]
struct Found {
    timeline: bool,
    synchronization2: bool,
}

/// Makes the device that `info` asks for, with `queues` of it in use.
///
/// # Errors
/// [`CreateError`]; then nothing was made.
pub(crate) fn create_device(
    driver: &Driver,
    mut info: vk::DeviceCreateInfo<'static>,
    queues: &[QueuePlace],
    allowed: impl Fn(&CStr) -> bool,
) -> Result<ash::Device, CreateError> {
    check_queues(driver, &info, queues)?;

    let mut names = extension_names(&info)?;
    if let Some(unknown) = names.iter().find(|name| !allowed(name)) {
        tracing::debug!(extension = ?unknown, "device refused: extension is not offered");
        return Err(CreateError::Refused(vk::Result::ERROR_EXTENSION_NOT_PRESENT));
    }
    let mut add = |name: &'static CStr| {
        if driver.has_extension(name) && !names.contains(&name) {
            names.push(name);
        }
    };
    add(ash::ext::external_memory_host::NAME);
    if driver.api_version < vk::API_VERSION_1_2 {
        add(ash::khr::timeline_semaphore::NAME);
    }
    if driver.api_version < vk::API_VERSION_1_3 {
        add(ash::khr::synchronization2::NAME);
    }
    let pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();

    let mut own = OwnFeatures::default();
    // SAFETY:
    // - the chain was decoded for this call and is used by nothing else.
    let found = enable_in_chain(&mut unsafe { Chain::new(info.p_next) });
    if !found.timeline {
        own.timeline.timeline_semaphore = vk::TRUE;
        own.timeline.p_next = info.p_next.cast_mut();
        info.p_next = (&raw const own.timeline).cast();
    }
    if !found.synchronization2 && has_synchronization2(driver) {
        own.synchronization2.synchronization2 = vk::TRUE;
        own.synchronization2.p_next = info.p_next.cast_mut();
        info.p_next = (&raw const own.synchronization2).cast();
    }
    #[expect(deprecated, reason = "layers of devices are no more: none reaches the driver")]
    let info = vk::DeviceCreateInfo {
        enabled_layer_count: 0,
        pp_enabled_extension_names: pointers.as_ptr(),
        enabled_extension_count: u32::try_from(pointers.len())
            .map_err(|_| Violation::new(OP, "too many extensions"))?,
        ..info
    };
    // SAFETY:
    // - `info` was decoded into memory that outlives the call, or points to `own` and `pointers`, which do as well;
    // - its queues and extensions were checked against what the device has; the rest is the driver's to judge, in a
    //   process that serves this client alone.
    unsafe { driver.library.instance.create_device(driver.physical_device, &info, None) }
        .map_err(CreateError::Refused)
}

/// Whether devices have `vkQueueSubmit2` under either name.
pub(crate) fn has_synchronization2(driver: &Driver) -> bool {
    driver.api_version >= vk::API_VERSION_1_3 || driver.has_extension(ash::khr::synchronization2::NAME)
}

/// Refuses families and queues that the device does not have, and places that were not asked for.
fn check_queues(
    driver: &Driver,
    info: &vk::DeviceCreateInfo<'_>,
    places: &[QueuePlace],
) -> Result<(), Violation> {
    // SAFETY:
    // - the decoder made the array with as many elements as it wrote into the count.
    let asked = unsafe { array(info.p_queue_create_infos, info.queue_create_info_count) };
    for queue in asked {
        let index =
            usize::try_from(queue.queue_family_index).map_err(|_| Violation::new(OP, "queue family"))?;
        let family = driver.queue_families.get(index).ok_or(Violation::new(OP, "no such queue family"))?;
        if queue.queue_count == 0
            || queue.queue_count > family.queue_count
            || queue.p_queue_priorities.is_null()
        {
            return Err(Violation::new(OP, "queue count"));
        }
    }
    for place in places {
        let known = asked.iter().any(|queue| {
            queue.queue_family_index == place.family
                && queue.flags == place.flags
                && place.index < queue.queue_count
        });
        if !known {
            return Err(Violation::new(OP, "queue that was not asked for"));
        }
    }
    Ok(())
}

/// The extensions that the client enables.
fn extension_names(info: &vk::DeviceCreateInfo<'static>) -> Result<Vec<&'static CStr>, Violation> {
    // SAFETY:
    // - the decoder made the array with as many elements as it wrote into the count.
    let pointers = unsafe { array(info.pp_enabled_extension_names, info.enabled_extension_count) };
    pointers
        .iter()
        .map(|pointer| {
            if pointer.is_null() {
                return Err(Violation::new(OP, "null extension name"));
            }
            // SAFETY:
            // - the decoder ends each string with a zero byte, and it lives as long as `info`.
            Ok(unsafe { CStr::from_ptr(*pointer) })
        })
        .collect()
}

/// Turns on, in the client's own structures, the features that this host needs.
fn enable_in_chain(chain: &mut Chain<'_>) -> Found {
    let mut found = Found::default();
    if let Some(features) = chain.find::<vk::PhysicalDeviceVulkan12Features<'_>>() {
        features.timeline_semaphore = vk::TRUE;
        found.timeline = true;
    }
    if let Some(features) = chain.find::<vk::PhysicalDeviceTimelineSemaphoreFeatures<'_>>() {
        features.timeline_semaphore = vk::TRUE;
        found.timeline = true;
    }
    if let Some(features) = chain.find::<vk::PhysicalDeviceVulkan13Features<'_>>() {
        features.synchronization2 = vk::TRUE;
        found.synchronization2 = true;
    }
    if let Some(features) = chain.find::<vk::PhysicalDeviceSynchronization2Features<'_>>() {
        features.synchronization2 = vk::TRUE;
        found.synchronization2 = true;
    }
    found
}

#[cfg(test)]
mod tests {
    use ash::vk;

    use super::enable_in_chain;
    use crate::adapter::vulkan::chain::Chain;

    #[test]
    fn features_in_the_chain_are_turned_on_where_they_stand() {
        let mut vulkan13 = vk::PhysicalDeviceVulkan13Features::default();
        let mut vulkan12 = vk::PhysicalDeviceVulkan12Features::default();
        vulkan13.p_next = (&raw mut vulkan12).cast();
        // SAFETY:
        // - the structures are whole and live until the end of the test.
        let found = enable_in_chain(&mut unsafe { Chain::new((&raw const vulkan13).cast()) });
        assert!(found.timeline && found.synchronization2);
        assert_eq!(vulkan12.timeline_semaphore, vk::TRUE);
        assert_eq!(vulkan13.synchronization2, vk::TRUE);
    }

    #[test]
    fn chain_without_them_is_left_alone() {
        let vulkan11 = vk::PhysicalDeviceVulkan11Features::default();
        // SAFETY:
        // - the structure is whole and lives until the end of the test.
        let found = enable_in_chain(&mut unsafe { Chain::new((&raw const vulkan11).cast()) });
        assert!(!found.timeline && !found.synchronization2);
    }
}
