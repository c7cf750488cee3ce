//! Swapchains. A swapchain handle is a pointer to a [`Swapchain`].
//!
//! # Safety
//!
//! The loader and the program call entry points as the Vulkan specification says: handles are live and of the type
//! that the parameter says, pointers are valid for what the command does with them, and what the specification calls
//! externally synchronized is.

// UNSAFETY: entry points of the program, which passes handles and pointers.
#![expect(unsafe_code, reason = "entry points take handles and pointers of the program")]

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use ash::vk;
use ash::vk::Handle;
use tracing::debug;

use super::pictures::ImageSpec;
use super::pictures::Images;
use super::pictures::can_be_linear;
use super::surface::surface_of;
use crate::device::Device;
use crate::ffi::fence;
use crate::ffi::forward;
use crate::ffi::guard::guard;
use crate::ffi::guard::guard_result;
use crate::ffi::pointers::enumerate;
use crate::ffi::pointers::find;
use crate::ffi::pointers::put;
use crate::ffi::pointers::slice;
use crate::ffi::pointers::slice_mut;
use crate::ffi::queue;
use crate::ffi::queue::QueueObject;
use crate::wait;
use crate::wait::Target;
use crate::wait::Which;
use crate::wsi::PictureFormat;
use crate::wsi::Shown;
use crate::wsi::chain::Chain;

/// What a swapchain handle means. The order of the members is the order of their ends: first nobody reads the images any more.
#[derive(Debug)]
pub(super) struct Swapchain {
    chain: Chain,
    images: Images,
    device: Arc<Device>,
    surface: vk::SurfaceKHR,
    /// The queue that presented last: what signals that an image is acquired.
    queue: AtomicUsize,
}

/// # Safety
/// `swapchain` is a live swapchain.
unsafe fn swapchain_of<'a>(swapchain: vk::SwapchainKHR) -> &'a Swapchain {
    let pointer = swapchain.as_raw() as *const Swapchain;
    // SAFETY: the caller passes a live swapchain, which is a pointer that `create_swapchain` made from a box.
    unsafe { &*pointer }
}

/// How the images of a swapchain lie: images that a program makes to be bound to their memory lie alike.
///
/// # Safety
/// `swapchain` is a live swapchain.
pub(in crate::ffi) unsafe fn image_info_of(swapchain: vk::SwapchainKHR) -> vk::ImageTiling {
    // SAFETY: the caller passes a live swapchain.
    unsafe { swapchain_of(swapchain) }.images.spec.tiling
}

/// The memory of an image of a swapchain; null for none.
///
/// # Safety
/// `swapchain` is a live swapchain.
pub(in crate::ffi) unsafe fn memory_of(swapchain: vk::SwapchainKHR, image: u32) -> vk::DeviceMemory {
    // SAFETY: the caller passes a live swapchain.
    let swapchain = unsafe { swapchain_of(swapchain) };
    swapchain.images.images.get(image as usize).map_or(vk::DeviceMemory::null(), |image| image.memory)
}

/// # Safety
/// `info` and its chain are valid.
unsafe fn spec_of(info: &vk::SwapchainCreateInfoKHR<'_>) -> ImageSpec {
    // SAFETY: the caller passes a valid chain.
    let list = unsafe { find::<vk::ImageFormatListCreateInfo<'_>>(info.p_next) };
    // SAFETY: which holds an array of the length it names.
    let view_formats = list.map(|list| unsafe { slice(list.p_view_formats, list.view_format_count) });
    let is_mutable = info.flags.contains(vk::SwapchainCreateFlagsKHR::MUTABLE_FORMAT);
    let flags = if is_mutable {
        vk::ImageCreateFlags::MUTABLE_FORMAT | vk::ImageCreateFlags::EXTENDED_USAGE
    } else {
        vk::ImageCreateFlags::empty()
    };
    let is_concurrent = info.image_sharing_mode == vk::SharingMode::CONCURRENT;
    let count = if is_concurrent { info.queue_family_index_count } else { 0 };
    // SAFETY: the caller passes an array of the length named.
    let families = unsafe { slice(info.p_queue_family_indices, count) };
    ImageSpec {
        format: info.image_format,
        extent: info.image_extent,
        layers: info.image_array_layers.max(1),
        usage: info.image_usage,
        families: families.to_vec(),
        flags,
        view_formats: view_formats.filter(|_| is_mutable).unwrap_or_default().to_vec(),
        tiling: vk::ImageTiling::OPTIMAL,
    }
}

/// # Safety
/// `info` and its chain are valid; the handles live.
unsafe fn new_swapchain(
    handle: vk::Device,
    info: &vk::SwapchainCreateInfoKHR<'_>,
) -> Result<Swapchain, vk::Result> {
    // SAFETY: the caller passes a live device.
    let device = unsafe { forward::device(handle) };
    // SAFETY: the caller passes a live surface.
    let surface = unsafe { surface_of(info.surface) };
    if !info.old_swapchain.is_null() {
        // SAFETY: the caller passes null or a live swapchain.
        unsafe { swapchain_of(info.old_swapchain) }.chain.retire();
    }
    let owner = *surface.owner.lock();
    if owner.is_some_and(|owner| owner != info.old_swapchain) {
        return Err(vk::Result::ERROR_NATIVE_WINDOW_IN_USE_KHR);
    }
    *surface.owner.lock() = None;
    if info.image_extent.width == 0 || info.image_extent.height == 0 {
        debug!("a swapchain of no size: the window is minimised");
        return Err(vk::Result::ERROR_INITIALIZATION_FAILED);
    }
    // SAFETY: the caller passes a valid structure.
    let mut spec = unsafe { spec_of(info) };
    let is_read = surface.window.wants_pictures();
    if is_read && can_be_linear(device, &spec) {
        spec.tiling = vk::ImageTiling::LINEAR;
    } else if is_read {
        spec.usage |= vk::ImageUsageFlags::TRANSFER_SRC;
    }
    let is_linear = spec.tiling == vk::ImageTiling::LINEAR;
    let mut images = Images::new(device, handle, spec);
    let mut pictures = Vec::new();
    for _ in 0..info.min_image_count.max(surface.window.capabilities()?.min_images) {
        match (is_read, is_linear) {
            (false, _) => images.add_plain()?,
            (true, true) => pictures.push(images.add_linear()?),
            (true, false) => pictures.push(images.add_copied()?),
        }
    }
    // The window system is given memory that the device has.
    device.stream.drain()?;
    device.check()?;
    let format = PictureFormat {
        format: info.image_format,
        extent: info.image_extent,
        composite_alpha: info.composite_alpha,
        mode: info.present_mode,
    };
    let presenter = surface.window.presenter(format, pictures)?;
    let chain = Chain::new(images.images.len(), info.present_mode, presenter)?;
    Ok(Swapchain {
        chain,
        images,
        device: Arc::clone(device),
        surface: info.surface,
        queue: AtomicUsize::new(0),
    })
}

/// `vkCreateSwapchainKHR`.
///
/// # Safety
/// As the specification of this command demands.
pub(in crate::ffi) unsafe extern "system" fn create_swapchain(
    device: vk::Device,
    info: *const vk::SwapchainCreateInfoKHR<'_>,
    _allocator: *const vk::AllocationCallbacks<'_>,
    swapchain: *mut vk::SwapchainKHR,
) -> vk::Result {
    // SAFETY: the program passes a valid structure.
    let info = unsafe { &*info };
    guard_result(|| {
        // SAFETY: as above, its chain and handles included.
        let made = unsafe { new_swapchain(device, info) }?;
        let handle = vk::SwapchainKHR::from_raw(Box::into_raw(Box::new(made)) as u64);
        // SAFETY: the program passes a live surface.
        *unsafe { surface_of(info.surface) }.owner.lock() = Some(handle);
        // SAFETY: the program passes a place for the handle.
        unsafe { put(swapchain, handle) };
        Ok(())
    })
}

/// `vkDestroySwapchainKHR`.
///
/// # Safety
/// As the specification of this command demands.
pub(in crate::ffi) unsafe extern "system" fn destroy_swapchain(
    device: vk::Device,
    swapchain: vk::SwapchainKHR,
    _allocator: *const vk::AllocationCallbacks<'_>,
) {
    if swapchain.is_null() {
        return;
    }
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard(|| {
        device.private_data.forget(vk::ObjectType::SWAPCHAIN_KHR, swapchain.as_raw());
        // SAFETY: not null, so a pointer that `create_swapchain` made with `Box::into_raw`, and nothing uses it any more.
        let object = unsafe { Box::from_raw(swapchain.as_raw() as *mut Swapchain) };
        // SAFETY: a surface lives longer than its swapchains.
        let surface = unsafe { surface_of(object.surface) };
        drop(object);
        let mut owner = surface.owner.lock();
        if *owner == Some(swapchain) {
            *owner = None;
        }
    });
}

/// `vkGetSwapchainImagesKHR`.
///
/// # Safety
/// As the specification of this command demands.
pub(in crate::ffi) unsafe extern "system" fn get_swapchain_images(
    _device: vk::Device,
    swapchain: vk::SwapchainKHR,
    count: *mut u32,
    images: *mut vk::Image,
) -> vk::Result {
    // SAFETY: the program passes a live swapchain.
    let swapchain = unsafe { swapchain_of(swapchain) };
    let handles: Vec<vk::Image> = swapchain.images.images.iter().map(|image| image.handle).collect();
    // SAFETY: the program passes a count and an array of that length or null.
    unsafe { enumerate(&handles, count, images) }
}

/// Success, or the success that says that the window has changed.
fn code(result: Result<Shown, vk::Result>) -> vk::Result {
    match result {
        Ok(Shown::Optimal) => vk::Result::SUCCESS,
        Ok(Shown::Suboptimal) => vk::Result::SUBOPTIMAL_KHR,
        Ok(Shown::OutOfDate) => vk::Result::ERROR_OUT_OF_DATE_KHR,
        Ok(Shown::SurfaceLost) => vk::Result::ERROR_SURFACE_LOST_KHR,
        Err(error) => error,
    }
}

/// # Safety
/// `semaphore` and `fence` are null or live.
unsafe fn acquire(
    swapchain: &Swapchain,
    timeout_ns: u64,
    semaphore: vk::Semaphore,
    fence: vk::Fence,
) -> Result<(u32, Shown), vk::Result> {
    swapchain.device.check()?;
    let acquired = swapchain.chain.acquire(wait::deadline(timeout_ns), timeout_ns != 0)?;
    if semaphore.is_null() {
        if !fence.is_null() {
            // SAFETY: not null, so the caller passes a live fence.
            unsafe { fence::signal(fence) };
        }
    } else {
        let position = swapchain.queue.load(Ordering::Relaxed);
        let object = QueueObject { device: Arc::clone(&swapchain.device), position };
        let signalled = queue::submit_between(&object, &[], Vec::new(), &[semaphore], fence);
        signalled.inspect_err(|_| swapchain.chain.give_back(acquired.image))?;
    }
    let image = u32::try_from(acquired.image).unwrap_or_default();
    Ok((image, if acquired.is_suboptimal { Shown::Suboptimal } else { Shown::Optimal }))
}

/// `vkAcquireNextImageKHR`.
///
/// # Safety
/// As the specification of this command demands.
pub(in crate::ffi) unsafe extern "system" fn acquire_next_image(
    _device: vk::Device,
    swapchain: vk::SwapchainKHR,
    timeout_ns: u64,
    semaphore: vk::Semaphore,
    fence: vk::Fence,
    image: *mut u32,
) -> vk::Result {
    // SAFETY: the program passes a live swapchain.
    let swapchain = unsafe { swapchain_of(swapchain) };
    guard(|| {
        // SAFETY: the program passes handles that are null or live.
        let acquired = unsafe { acquire(swapchain, timeout_ns, semaphore, fence) };
        code(acquired.map(|(number, shown)| {
            // SAFETY: the program passes a place for the number.
            unsafe { put(image, number) };
            shown
        }))
    })
}

/// `vkAcquireNextImage2KHR`.
///
/// # Safety
/// As the specification of this command demands.
pub(in crate::ffi) unsafe extern "system" fn acquire_next_image2(
    device: vk::Device,
    info: *const vk::AcquireNextImageInfoKHR<'_>,
    image: *mut u32,
) -> vk::Result {
    // SAFETY: the program passes a valid structure.
    let info = unsafe { &*info };
    // SAFETY: as the program promises of this command.
    unsafe { acquire_next_image(device, info.swapchain, info.timeout, info.semaphore, info.fence, image) }
}

/// What is presented to one swapchain.
struct Present<'a> {
    swapchain: &'a Swapchain,
    image: usize,
    damage: Vec<vk::RectLayerKHR>,
    id: u64,
}

/// # Safety
/// `info` and its chain are valid.
unsafe fn presents_of<'a>(info: &vk::PresentInfoKHR<'a>) -> Vec<Present<'a>> {
    // SAFETY: the caller passes arrays of the lengths named.
    let swapchains = unsafe { slice(info.p_swapchains, info.swapchain_count) };
    // SAFETY: as above.
    let images = unsafe { slice(info.p_image_indices, info.swapchain_count) };
    // SAFETY: the caller passes a valid chain.
    let regions = unsafe { find::<vk::PresentRegionsKHR<'_>>(info.p_next) };
    // SAFETY: which holds an array of the length it names.
    let regions = regions.map(|regions| unsafe { slice(regions.p_regions, regions.swapchain_count) });
    // SAFETY: the caller passes a valid chain.
    let ids = unsafe { find::<vk::PresentIdKHR<'_>>(info.p_next) };
    // SAFETY: which holds an array of the length it names.
    let ids = ids.map(|ids| unsafe { slice(ids.p_present_ids, ids.swapchain_count) });
    let both = swapchains.iter().zip(images).enumerate();
    let present = both.map(|(at, (swapchain, image))| {
        let region = regions.and_then(|regions| regions.get(at));
        // SAFETY: the caller passes arrays of the lengths named.
        let damage = region.map(|region| unsafe { slice(region.p_rectangles, region.rectangle_count) });
        Present {
            // SAFETY: the caller passes live swapchains.
            swapchain: unsafe { swapchain_of(*swapchain) },
            image: *image as usize,
            damage: damage.unwrap_or_default().to_vec(),
            id: ids.and_then(|ids| ids.get(at)).copied().unwrap_or_default(),
        }
    });
    present.collect()
}

/// Submits what stands between drawing and presenting; says when it is done.
fn submit(
    object: &QueueObject,
    waits: &[vk::Semaphore],
    presents: &[Present<'_>],
) -> Result<Target, vk::Result> {
    let device_queue = object.device.queues.get(object.position).ok_or(vk::Result::ERROR_DEVICE_LOST)?;
    let mut copies = Vec::new();
    for present in presents {
        copies.extend(present.swapchain.images.copy_commands(present.image, device_queue.family)?);
        present.swapchain.queue.store(object.position, Ordering::Relaxed);
    }
    queue::submit_between(object, waits, copies, &[], vk::Fence::null())
}

fn present(present: Present<'_>, target: Target) -> Result<Shown, vk::Result> {
    let device = Arc::clone(&present.swapchain.device);
    let until = target.clone();
    let ready = move || {
        wait::wait(std::slice::from_ref(&until), Which::All, None, &*device)?;
        device.check()
    };
    let is_ready = move || target.is_reached();
    present.swapchain.chain.present(
        present.image,
        Box::new(ready),
        Box::new(is_ready),
        present.damage,
        present.id,
    )
}

/// `vkQueuePresentKHR`.
///
/// # Safety
/// As the specification of this command demands.
pub(in crate::ffi) unsafe extern "system" fn queue_present(
    queue: vk::Queue,
    info: *const vk::PresentInfoKHR<'_>,
) -> vk::Result {
    // SAFETY: the program passes a live queue.
    let object = unsafe { forward::queue(queue) };
    // SAFETY: the program passes a valid structure.
    let info = unsafe { &*info };
    // SAFETY: with an array of the length it names.
    let waits = unsafe { slice(info.p_wait_semaphores, info.wait_semaphore_count) };
    // SAFETY: as above, or null.
    let results = unsafe { slice_mut(info.p_results, info.swapchain_count) };
    guard(|| {
        // SAFETY: as above, its chain included.
        let presents = unsafe { presents_of(info) };
        let submitted = object.device.check().and_then(|()| submit(object, waits, &presents));
        let mut worst = vk::Result::SUCCESS;
        for (at, one) in presents.into_iter().enumerate() {
            let result = code(match &submitted {
                Ok(target) => present(one, target.clone()),
                Err(error) => Err(*error),
            });
            if let Some(place) = results.get_mut(at) {
                *place = result;
            }
            // Errors are below zero, and a success that says something above.
            if result.as_raw() < 0 && worst.as_raw() >= 0 || worst == vk::Result::SUCCESS {
                worst = result;
            }
        }
        worst
    })
}

/// `vkWaitForPresentKHR`.
///
/// # Safety
/// As the specification of this command demands.
pub(in crate::ffi) unsafe extern "system" fn wait_for_present(
    _device: vk::Device,
    swapchain: vk::SwapchainKHR,
    id: u64,
    timeout_ns: u64,
) -> vk::Result {
    // SAFETY: the program passes a live swapchain.
    let swapchain = unsafe { swapchain_of(swapchain) };
    guard(|| {
        if let Err(error) = swapchain.device.check() {
            return error;
        }
        match swapchain.chain.wait_for(id, wait::deadline(timeout_ns)) {
            Ok(()) => code(swapchain.chain.status()),
            Err(error) => error,
        }
    })
}
