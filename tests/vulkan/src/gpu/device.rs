//! A device with one queue and everything that is made on it.

use std::ffi::CStr;
use std::ffi::CString;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use ash::vk;

use super::Commands;
use super::Object;
use super::Physical;

/// How long a wait may take before it is a hang.
pub(crate) const HANG: Duration = Duration::from_secs(60);

/// Which queues a device is made with.
#[derive(Clone, Copy)]
pub(crate) enum Wanted {
    /// One queue that computes.
    OneQueue,
    /// Every queue of the family that computes.
    AllQueues,
    /// Every queue of every family.
    AllFamilies,
}

type Destroy = Box<dyn FnOnce(&Gpu) + Send>;

/// A device; waits for it and destroys everything when dropped.
pub(crate) struct Gpu {
    pub(crate) physical: Physical,
    pub(super) raw: ash::Device,
    /// The first queue.
    pub(crate) queue: vk::Queue,
    /// All queues that were made.
    pub(crate) queues: Vec<vk::Queue>,
    /// The family of the queues.
    pub(crate) family: u32,
    /// How many bits of a timestamp count.
    pub(crate) timestamp_bits: u32,
    pub(crate) memory: vk::PhysicalDeviceMemoryProperties,
    pub(crate) limits: vk::PhysicalDeviceLimits,
    pub(crate) features: vk::PhysicalDeviceFeatures,
    pub(crate) features12: vk::PhysicalDeviceVulkan12Features<'static>,
    pub(crate) features13: vk::PhysicalDeviceVulkan13Features<'static>,
    pub(crate) features11: vk::PhysicalDeviceVulkan11Features<'static>,
    /// Calls of `VK_KHR_push_descriptor`, where it is there.
    pub(super) push_descriptor: Option<ash::khr::push_descriptor::Device>,
    /// Calls of `VK_EXT_transform_feedback`, where it is there.
    pub(crate) transform_feedback: Option<ash::ext::transform_feedback::Device>,
    /// Calls of `VK_EXT_conditional_rendering`, where it is there.
    pub(crate) conditional_rendering: Option<ash::ext::conditional_rendering::Device>,
    /// Calls of `VK_KHR_swapchain`, where it is there.
    pub(super) swapchain: Option<ash::khr::swapchain::Device>,
    /// Calls of `VK_KHR_present_wait`, where it is there.
    pub(super) present_wait: Option<ash::khr::present_wait::Device>,
    /// Calls of `VK_EXT_external_memory_host`, where it is there.
    pub(crate) external_memory_host: Option<ash::ext::external_memory_host::Device>,
    kept: Mutex<Vec<Destroy>>,
    waits_at_the_end: bool,
}

// SAFETY: the feature structures hold null chains; everything else may be used from any thread.
unsafe impl Send for Gpu {}
// SAFETY: as above; what Vulkan wants synchronised (queues, pools) the scenarios synchronise.
unsafe impl Sync for Gpu {}

impl Gpu {
    /// Makes a device with all core features it has and the extensions of interest.
    pub(crate) fn open(physical: Physical, wanted: Wanted) -> Result<Self> {
        let properties = physical.properties();
        ensure!(properties.api_version >= vk::API_VERSION_1_3, "the device is older than Vulkan 1.3");
        let families = physical.queue_families();
        let family = families
            .iter()
            .position(|family| family.queue_flags.contains(vk::QueueFlags::COMPUTE))
            .context("no queue family computes")?;
        let most = |family: usize| families[family].queue_count.min(16);
        let asked: Vec<(u32, u32)> = match wanted {
            Wanted::OneQueue => vec![(u32::try_from(family)?, 1)],
            Wanted::AllQueues => vec![(u32::try_from(family)?, most(family))],
            Wanted::AllFamilies => (0_u32..).zip((0..families.len()).map(most)).collect(),
        };
        let timestamp_bits = families[family].timestamp_valid_bits;
        let family = u32::try_from(family)?;
        let mut features11 = vk::PhysicalDeviceVulkan11Features::default();
        let mut features12 = vk::PhysicalDeviceVulkan12Features::default();
        let mut features13 = vk::PhysicalDeviceVulkan13Features::default();
        let mut chain = vk::PhysicalDeviceFeatures2::default()
            .push_next(&mut features11)
            .push_next(&mut features12)
            .push_next(&mut features13);
        physical.features2(&mut chain);
        // Checked accesses would hide a wrong range in a descriptor.
        chain.features.robust_buffer_access = vk::FALSE;
        let features = chain.features;
        let offered: Vec<CString> = physical.extensions()?;
        let has = |name: &CStr| offered.iter().any(|one| one.as_c_str() == name);
        let push = ash::khr::push_descriptor::NAME;
        let feedback = ash::ext::transform_feedback::NAME;
        let conditional = ash::ext::conditional_rendering::NAME;
        let (swapchain, mutable) = (ash::khr::swapchain::NAME, ash::khr::swapchain_mutable_format::NAME);
        let (present_id, present_wait) = (ash::khr::present_id::NAME, ash::khr::present_wait::NAME);
        let host = ash::ext::external_memory_host::NAME;
        let by_descriptor = [
            ash::khr::external_memory_fd::NAME,
            ash::khr::external_semaphore_fd::NAME,
            ash::khr::external_fence_fd::NAME,
        ];
        let names: Vec<_> = [push, feedback, conditional, swapchain, mutable, present_id, present_wait, host]
            .into_iter()
            .chain(by_descriptor)
            .filter(|name| has(name))
            .map(CStr::as_ptr)
            .collect();
        let mut feedback_features =
            vk::PhysicalDeviceTransformFeedbackFeaturesEXT::default().transform_feedback(true);
        let mut conditional_features =
            vk::PhysicalDeviceConditionalRenderingFeaturesEXT::default().conditional_rendering(true);
        if has(feedback) {
            chain = chain.push_next(&mut feedback_features);
        }
        let mut id_features = vk::PhysicalDevicePresentIdFeaturesKHR::default().present_id(true);
        let mut wait_features = vk::PhysicalDevicePresentWaitFeaturesKHR::default().present_wait(true);
        if has(present_wait) {
            chain = chain.push_next(&mut id_features).push_next(&mut wait_features);
        }
        if has(conditional) {
            chain = chain.push_next(&mut conditional_features);
        }
        let priorities = [1.0; 16];
        let queues: Vec<_> = asked
            .iter()
            .map(|(family, count)| {
                let priorities = &priorities[..*count as usize];
                vk::DeviceQueueCreateInfo::default().queue_family_index(*family).queue_priorities(priorities)
            })
            .collect();
        let create = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&names)
            .push_next(&mut chain);
        // SAFETY: the device offers these features and extensions; all pointers live through the call.
        let raw = unsafe { physical.instance.raw.create_device(physical.raw, &create, None) }
            .context("vkCreateDevice")?;
        let queues: Vec<vk::Queue> = asked
            .iter()
            .flat_map(|(family, count)| (0..*count).map(move |index| (*family, index)))
            .map(|(family, index)| {
                // SAFETY: the device was made with this many queues.
                unsafe { raw.get_device_queue(family, index) }
            })
            .collect();
        features11.p_next = std::ptr::null_mut();
        features12.p_next = std::ptr::null_mut();
        features13.p_next = std::ptr::null_mut();
        let instance = &physical.instance.raw;
        let push_descriptor = has(push).then(|| ash::khr::push_descriptor::Device::new(instance, &raw));
        let transform_feedback =
            has(feedback).then(|| ash::ext::transform_feedback::Device::new(instance, &raw));
        let conditional_rendering =
            has(conditional).then(|| ash::ext::conditional_rendering::Device::new(instance, &raw));
        let present_wait = has(present_wait).then(|| ash::khr::present_wait::Device::new(instance, &raw));
        let swapchain = has(swapchain).then(|| ash::khr::swapchain::Device::new(instance, &raw));
        let external_memory_host =
            has(host).then(|| ash::ext::external_memory_host::Device::new(instance, &raw));
        Ok(Self {
            memory: physical.memory(),
            limits: properties.limits,
            physical,
            raw,
            queue: queues[0],
            queues,
            family,
            timestamp_bits,
            features,
            features11,
            features12,
            features13,
            push_descriptor,
            transform_feedback,
            conditional_rendering,
            swapchain,
            present_wait,
            external_memory_host,
            kept: Mutex::new(Vec::new()),
            waits_at_the_end: true,
        })
    }

    /// Destroys the device without waiting for it, with all that was made on it.
    pub(crate) fn abandon(mut self) {
        self.waits_at_the_end = false;
        drop(self);
    }

    /// Leaves an object to the device, which destroys it at its end.
    pub(crate) fn keep<T: Object>(&self, object: T) -> T {
        self.later(move |gpu| gpu.destroy(object));
        object
    }

    fn later(&self, destroy: impl FnOnce(&Self) + Send + 'static) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(destroy));
    }

    /// Destroys an object now; it must not be kept.
    pub(crate) fn destroy<T: Object>(&self, object: T) {
        object.destroy(self);
    }

    /// Whether `vkCmdPushDescriptorSetKHR` can be called.
    pub(crate) fn has_push_descriptors(&self) -> bool {
        self.push_descriptor.is_some()
    }

    /// Gives an object a debug name.
    pub(crate) fn name(&self, handle: impl vk::Handle, name: &str) -> Result<()> {
        self.physical.instance.name_object(&self.raw, handle, name)
    }

    /// The address of a device function, if it has one.
    pub(crate) fn device_function(&self, name: &CStr) -> Option<usize> {
        let instance = &self.physical.instance.raw;
        // SAFETY: the device is alive and the name ends with NUL.
        let found = unsafe { instance.get_device_proc_addr(self.raw.handle(), name.as_ptr()) };
        found.map(|function| function as usize)
    }

    /// A pool whose command buffers can be reset one by one.
    pub(crate) fn command_pool(&self) -> Result<vk::CommandPool> {
        let create = vk::CommandPoolCreateInfo::default()
            .queue_family_index(self.family)
            .flags(vk::CommandPoolCreateFlags::RESET_COMMAND_BUFFER);
        Ok(self.keep(self.create_command_pool(&create)?))
    }

    /// Command buffers of a pool.
    pub(crate) fn command_buffers(
        &self,
        pool: vk::CommandPool,
        level: vk::CommandBufferLevel,
        count: u32,
    ) -> Result<Vec<vk::CommandBuffer>> {
        let allocate = vk::CommandBufferAllocateInfo::default()
            .command_pool(pool)
            .level(level)
            .command_buffer_count(count);
        Ok(self.allocate_command_buffers(&allocate)?)
    }

    /// Records commands into a command buffer.
    pub(crate) fn record(
        &self,
        buffer: vk::CommandBuffer,
        flags: vk::CommandBufferUsageFlags,
        commands: impl FnOnce(&Commands<'_>),
    ) -> Result<()> {
        self.begin_command_buffer(buffer, &vk::CommandBufferBeginInfo::default().flags(flags))?;
        commands(&Commands { gpu: self, raw: buffer });
        Ok(self.end_command_buffer(buffer)?)
    }

    /// A new secondary command buffer that goes on with a render pass.
    pub(crate) fn continued(
        &self,
        inheritance: &vk::CommandBufferInheritanceInfo<'_>,
        commands: impl FnOnce(&Commands<'_>),
    ) -> Result<vk::CommandBuffer> {
        let pool = self.command_pool()?;
        let buffer = self.command_buffers(pool, vk::CommandBufferLevel::SECONDARY, 1)?[0];
        let begin = vk::CommandBufferBeginInfo::default()
            .flags(vk::CommandBufferUsageFlags::RENDER_PASS_CONTINUE)
            .inheritance_info(inheritance);
        self.begin_command_buffer(buffer, &begin)?;
        commands(&Commands { gpu: self, raw: buffer });
        self.end_command_buffer(buffer)?;
        Ok(buffer)
    }

    /// A new primary command buffer with these commands, in a pool of its own.
    pub(crate) fn recorded(&self, commands: impl FnOnce(&Commands<'_>)) -> Result<vk::CommandBuffer> {
        let pool = self.command_pool()?;
        let buffer = self.command_buffers(pool, vk::CommandBufferLevel::PRIMARY, 1)?[0];
        self.record(buffer, vk::CommandBufferUsageFlags::empty(), commands)?;
        Ok(buffer)
    }

    /// A new unsignalled fence.
    pub(crate) fn fence(&self) -> Result<vk::Fence> {
        Ok(self.keep(self.create_fence(&vk::FenceCreateInfo::default())?))
    }

    /// A new binary semaphore.
    pub(crate) fn semaphore(&self) -> Result<vk::Semaphore> {
        Ok(self.keep(self.create_semaphore(&vk::SemaphoreCreateInfo::default())?))
    }

    /// A new timeline semaphore.
    pub(crate) fn timeline(&self, initial: u64) -> Result<vk::Semaphore> {
        let mut kind = vk::SemaphoreTypeCreateInfo::default()
            .semaphore_type(vk::SemaphoreType::TIMELINE)
            .initial_value(initial);
        let create = vk::SemaphoreCreateInfo::default().push_next(&mut kind);
        Ok(self.keep(self.create_semaphore(&create)?))
    }

    /// Submits command buffers in one batch without semaphores.
    pub(crate) fn submit(&self, buffers: &[vk::CommandBuffer], fence: vk::Fence) -> Result<()> {
        let batch = [vk::SubmitInfo::default().command_buffers(buffers)];
        Ok(self.queue_submit(self.queue, &batch, fence)?)
    }

    /// Submits command buffers and waits for them.
    pub(crate) fn submit_and_wait(&self, buffers: &[vk::CommandBuffer]) -> Result<()> {
        let fence = self.create_fence(&vk::FenceCreateInfo::default())?;
        self.submit(buffers, fence)?;
        let waited = self.wait(fence);
        self.destroy_fence(fence);
        waited
    }

    /// Waits for a fence.
    pub(crate) fn wait(&self, fence: vk::Fence) -> Result<()> {
        let timeout_ns = u64::try_from(HANG.as_nanos())?;
        self.wait_for_fences(&[fence], true, timeout_ns).context("vkWaitForFences")
    }

    /// Waits until a timeline semaphore has a value.
    pub(crate) fn wait_value(&self, semaphore: vk::Semaphore, value: u64) -> Result<()> {
        let (semaphores, values) = ([semaphore], [value]);
        let wait = vk::SemaphoreWaitInfo::default().semaphores(&semaphores).values(&values);
        self.wait_semaphores(&wait, u64::try_from(HANG.as_nanos())?).context("vkWaitSemaphores")
    }

    /// Records commands, submits them, waits, and makes what they wrote visible to the host.
    pub(crate) fn run(&self, commands: impl FnOnce(&Commands<'_>)) -> Result<()> {
        let create = vk::CommandPoolCreateInfo::default()
            .queue_family_index(self.family)
            .flags(vk::CommandPoolCreateFlags::TRANSIENT);
        let pool = self.create_command_pool(&create)?;
        let done = (|| {
            let buffer = self.command_buffers(pool, vk::CommandBufferLevel::PRIMARY, 1)?[0];
            self.record(buffer, vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT, |c| {
                commands(c);
                c.to_host();
            })?;
            self.submit_and_wait(&[buffer])
        })();
        self.destroy_command_pool(pool);
        done
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // A lost device has nothing to wait for; what is on it is destroyed all the same.
        if self.waits_at_the_end {
            let _ = self.device_wait_idle();
        }
        let kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        for destroy in kept.into_iter().rev() {
            destroy(self);
        }
        // SAFETY: what was made on the device is destroyed, and nobody else can reach the device.
        unsafe { self.raw.destroy_device(None) };
    }
}
