//! The few native functions that submission and completion call themselves, under whichever name the driver has them.

use std::ffi::CStr;
use std::sync::Arc;
use std::time::Duration;

use ash::vk;

use super::create::has_synchronization2;
use super::driver::Driver;
use super::queue::QueuePlace;

/// How batches reach the driver.
#[derive(Clone, Copy)]
pub(crate) enum SubmitPath {
    /// `vkQueueSubmit2` of version 1.3 or of `VK_KHR_synchronization2`.
    Submit2(vk::PFN_vkQueueSubmit2),
    /// `vkQueueSubmit` with timeline values beside it.
    Submit,
}

/// A native device with the functions of this module.
pub(crate) struct SyncFns {
    pub(crate) device: ash::Device,
    pub(crate) submit: SubmitPath,
    get_counter_value: vk::PFN_vkGetSemaphoreCounterValue,
    wait_semaphores: vk::PFN_vkWaitSemaphores,
    signal_semaphore: vk::PFN_vkSignalSemaphore,
}

/// Looks a function up under the first of `names` that the driver knows.
fn find(driver: &Driver, device: &ash::Device, names: [&CStr; 2]) -> vk::PFN_vkVoidFunction {
    names.into_iter().find_map(|name| {
        // SAFETY:
        // - the device is alive and came from this instance; the name ends with a zero byte.
        unsafe { driver.library.instance.get_device_proc_addr(device.handle(), name.as_ptr()) }
    })
}

impl SyncFns {
    /// Takes the device over; it is destroyed with the last use of the result.
    ///
    /// # Errors
    /// `ERROR_INITIALIZATION_FAILED` when the driver lacks a function that it offered.
    pub(crate) fn new(driver: &Driver, device: ash::Device) -> Result<Arc<Self>, vk::Result> {
        let missing = vk::Result::ERROR_INITIALIZATION_FAILED;
        let value = find(driver, &device, [c"vkGetSemaphoreCounterValue", c"vkGetSemaphoreCounterValueKHR"]);
        let wait = find(driver, &device, [c"vkWaitSemaphores", c"vkWaitSemaphoresKHR"]);
        let signal = find(driver, &device, [c"vkSignalSemaphore", c"vkSignalSemaphoreKHR"]);
        let submit2 = if has_synchronization2(driver) {
            find(driver, &device, [c"vkQueueSubmit2", c"vkQueueSubmit2KHR"])
        } else {
            None
        };
        let (Some(value), Some(wait), Some(signal)) = (value, wait, signal) else {
            // SAFETY:
            // - the device was just made and nothing was made of it.
            unsafe { device.destroy_device(None) };
            return Err(missing);
        };
        type Void = unsafe extern "system" fn();
        // SAFETY:
        // - the driver answered this pointer for that name, under which the registry defines this signature.
        let get_counter_value =
            unsafe { std::mem::transmute::<Void, vk::PFN_vkGetSemaphoreCounterValue>(value) };
        // SAFETY:
        // - the driver answered this pointer for that name, under which the registry defines this signature.
        let wait_semaphores = unsafe { std::mem::transmute::<Void, vk::PFN_vkWaitSemaphores>(wait) };
        // SAFETY:
        // - the driver answered this pointer for that name, under which the registry defines this signature.
        let signal_semaphore = unsafe { std::mem::transmute::<Void, vk::PFN_vkSignalSemaphore>(signal) };
        let submit = submit2.map_or(SubmitPath::Submit, |submit2| {
            // SAFETY:
            // - the driver answered this pointer for that name, under which the registry defines this signature.
            SubmitPath::Submit2(unsafe { std::mem::transmute::<Void, vk::PFN_vkQueueSubmit2>(submit2) })
        });
        Ok(Arc::new(Self { device, submit, get_counter_value, wait_semaphores, signal_semaphore }))
    }

    /// The queue at `place`, which the device was made with.
    pub(crate) fn queue(&self, place: QueuePlace) -> vk::Queue {
        if place.flags.is_empty() {
            // SAFETY:
            // - creation checked that the device has this queue.
            return unsafe { self.device.get_device_queue(place.family, place.index) };
        }
        let info = vk::DeviceQueueInfo2::default()
            .flags(place.flags)
            .queue_family_index(place.family)
            .queue_index(place.index);
        // SAFETY:
        // - creation checked that the device has this queue, made with these flags.
        unsafe { self.device.get_device_queue2(&info) }
    }

    /// Makes a timeline semaphore that stands at 0.
    pub(crate) fn create_timeline(&self) -> Result<vk::Semaphore, vk::Result> {
        let mut kind = vk::SemaphoreTypeCreateInfo::default()
            .semaphore_type(vk::SemaphoreType::TIMELINE)
            .initial_value(0);
        let info = vk::SemaphoreCreateInfo::default().push_next(&mut kind);
        // SAFETY:
        // - timeline semaphores are enabled on every device of this host.
        unsafe { self.device.create_semaphore(&info, None) }
    }

    /// Value of a timeline semaphore.
    pub(crate) fn counter_value(&self, semaphore: vk::Semaphore) -> Result<u64, vk::Result> {
        let mut value = 0;
        // SAFETY:
        // - the semaphore is a live timeline semaphore of this device; `value` is ours.
        unsafe { (self.get_counter_value)(self.device.handle(), semaphore, &raw mut value) }
            .result_with_success(value)
    }

    /// Waits until a timeline semaphore has a value: `SUCCESS`, `TIMEOUT` or an error.
    pub(crate) fn wait_semaphore(
        &self,
        semaphore: vk::Semaphore,
        value: u64,
        timeout: Duration,
    ) -> vk::Result {
        let semaphores = [semaphore];
        let values = [value];
        let info = vk::SemaphoreWaitInfo::default().semaphores(&semaphores).values(&values);
        let timeout_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        // SAFETY:
        // - the semaphore is a live timeline semaphore of this device; `info` lives until the call returns.
        unsafe { (self.wait_semaphores)(self.device.handle(), &raw const info, timeout_ns) }
    }

    /// Signals a timeline semaphore from the host.
    pub(crate) fn signal(&self, semaphore: vk::Semaphore, value: u64) -> vk::Result {
        let info = vk::SemaphoreSignalInfo::default().semaphore(semaphore).value(value);
        // SAFETY:
        // - the semaphore is a live timeline semaphore of this device; `info` lives until the call returns.
        unsafe { (self.signal_semaphore)(self.device.handle(), &raw const info) }
    }
}
