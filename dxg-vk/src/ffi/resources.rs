//! Buffers and images, and what they require of memory.
//!
//! # Safety
//!
//! The loader and the program call entry points as the Vulkan specification says: handles are live and of the type
//! that the parameter says, pointers are valid for what the command does with them, and what the specification calls
//! externally synchronized is.

// UNSAFETY: entry points of the program, which passes handles and pointers.
#![expect(unsafe_code, reason = "entry points take handles and pointers of the program")]

use std::sync::Arc;

use ash::vk;
use ash::vk::Handle;
use dxg_wire::codec::Decoder;
use dxg_wire::codec::Encoder;
use dxg_wire::generated::vulkan::VkOp;

use super::forward;
use super::guard::guard;
use super::guard::guard_result;
use super::pointers::find;
use super::pointers::put;
use super::wsi;
use crate::device::Device;
use crate::device::Objects;
use crate::generated::commands;
use crate::ids::Table;
use crate::requirements::Requirements;
use crate::requirements::RequirementsCache;
use crate::stream::with_scratch;

/// Resources of more bytes are made with an answer: the host may well refuse them, and the program can then go on.
const SURE_BYTES: u64 = 256 << 20;

/// Has a resource of about so many bytes made and names it. `encode` puts the creation with an id at the end.
fn create(
    device: &Device,
    made: Made<'_>,
    size_bytes: u64,
    encode: impl Fn(&mut Encoder, u64),
) -> Result<u64, vk::Result> {
    let mut id = 0;
    // Objects are alike when everything before the id is.
    let name = |encoder: &mut Encoder| {
        let start = encoder.len();
        encode(encoder, 0);
        let at = encoder.len().saturating_sub(size_of::<u64>());
        let alike = encoder.as_slice().get(start..at).unwrap_or_default();
        id = made.objects.insert(made.cache.entry(alike))?;
        encoder.patch_u64(at, id);
        Ok(())
    };
    let done = if size_bytes <= SURE_BYTES {
        device.post_made(made.op, name)
    } else {
        with_scratch(name).and_then(|()| {
            let body = |encoder: &mut Encoder| encode(encoder, id);
            device.call(made.op, body, |reply| Ok(vk::Result::from_raw(reply.i32()?)))?.result()
        })
    };
    done.map(|()| id).inspect_err(|_| drop(made.objects.remove(id)))
}

/// Where a kind of resource is kept.
#[derive(Clone, Copy)]
struct Made<'a> {
    op: VkOp,
    objects: &'a Table<Arc<Requirements>>,
    cache: &'a RequirementsCache,
}

/// Bytes of an image whose texels are the largest there are.
fn most_bytes(info: &vk::ImageCreateInfo<'_>) -> u64 {
    const TEXEL_BYTES: u64 = 16;
    let vk::Extent3D { width, height, depth } = info.extent;
    [width, height, depth, info.array_layers, info.samples.as_raw()]
        .into_iter()
        .fold(TEXEL_BYTES, |bytes, count| bytes.saturating_mul(u64::from(count)))
}

/// `vkCreateBuffer`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn create_buffer(
    device: vk::Device,
    info: *const vk::BufferCreateInfo<'_>,
    _allocator: *const vk::AllocationCallbacks<'_>,
    buffer: *mut vk::Buffer,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard_result(|| {
        let Objects { buffers, buffer_cache, .. } = &device.objects;
        let made = Made { op: VkOp::CREATE_BUFFER, objects: buffers, cache: buffer_cache };
        // SAFETY: the program passes a valid structure.
        let size_bytes = unsafe { (*info).size };
        let id = create(device, made, size_bytes, |encoder, id| {
            // SAFETY: as above, its chain included.
            unsafe { commands::encode_create_buffer(encoder, info, id) };
        })?;
        // SAFETY: the program passes a place for the handle.
        unsafe { put(buffer, vk::Buffer::from_raw(id)) };
        Ok(())
    })
}

/// `vkDestroyBuffer`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn destroy_buffer(
    device: vk::Device,
    buffer: vk::Buffer,
    _allocator: *const vk::AllocationCallbacks<'_>,
) {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard(|| {
        // A lost device has nothing left to destroy.
        let destroy = || device.post(VkOp::DESTROY_BUFFER, |encoder| encoder.u64(buffer.as_raw()));
        device.objects.buffers.remove_telling(buffer.as_raw(), destroy);
    });
}

/// `vkCreateImage`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn create_image(
    device: vk::Device,
    info: *const vk::ImageCreateInfo<'_>,
    _allocator: *const vk::AllocationCallbacks<'_>,
    image: *mut vk::Image,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard_result(|| {
        // SAFETY: the program passes a valid structure, which is copied with its chain.
        let mut parameters = unsafe { info.read() };
        // SAFETY: the program passes a valid chain.
        let of_swapchain = unsafe { find::<vk::ImageSwapchainCreateInfoKHR<'_>>(parameters.p_next) };
        if let Some(of) = of_swapchain.filter(|of| !of.swapchain.is_null()) {
            // SAFETY: the program passes a live swapchain.
            parameters.tiling = unsafe { wsi::image_info_of(of.swapchain) };
        }
        let info = &raw const parameters;
        let Objects { images, image_cache, .. } = &device.objects;
        let made = Made { op: VkOp::CREATE_IMAGE, objects: images, cache: image_cache };
        let id = create(device, made, most_bytes(&parameters), |encoder, id| {
            // SAFETY: as above, its chain included.
            unsafe { commands::encode_create_image(encoder, info, id) };
        })?;
        // SAFETY: the program passes a place for the handle.
        unsafe { put(image, vk::Image::from_raw(id)) };
        Ok(())
    })
}

/// `vkDestroyImage`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn destroy_image(
    device: vk::Device,
    image: vk::Image,
    _allocator: *const vk::AllocationCallbacks<'_>,
) {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard(|| {
        // A lost device has nothing left to destroy.
        let destroy = || device.post(VkOp::DESTROY_IMAGE, |encoder| encoder.u64(image.as_raw()));
        device.objects.images.remove_telling(image.as_raw(), destroy);
    });
}

/// Asks the host, or remembers what it said about an object made alike. `question` must not name the object itself.
fn ask(
    device: &Device,
    known: Option<Arc<Requirements>>,
    op: VkOp,
    question: &[u8],
    body: impl FnOnce(&mut Encoder),
) -> Result<Arc<[u8]>, vk::Result> {
    if let Some(reply) = known.as_ref().and_then(|known| known.reply(question)) {
        return Ok(reply);
    }
    let reply: Arc<[u8]> = device.call(op, body, |reply| Ok(Arc::from(reply.rest())))?;
    if let Some(known) = known {
        known.remember(question.to_vec(), Arc::clone(&reply));
    }
    Ok(reply)
}

fn decode_error<E>(_: E) -> vk::Result {
    vk::Result::ERROR_DEVICE_LOST
}

macro_rules! requirements {
    ($($(#[$meta:meta])* $name:ident($handle:ty, $objects:ident), $op:ident, $encode:ident, $reply:ident;)*) => {
        $($(#[$meta])*
        ///
        /// # Safety
        /// As the specification of this command demands.
        pub(crate) unsafe extern "system" fn $name(
            device: vk::Device,
            object: $handle,
            requirements: *mut vk::MemoryRequirements,
        ) {
            // SAFETY: the program passes a live device.
            let device = unsafe { forward::device(device) };
            guard(|| {
                let objects = &device.objects.$objects;
                let known = objects.with(object.as_raw(), |known| known.plain()).flatten();
                let answer = known.unwrap_or_else(|| {
                    let mut answer = vk::MemoryRequirements::default();
                    // SAFETY: only values are encoded.
                    let body = |encoder: &mut Encoder| unsafe { commands::$encode(encoder, object) };
                    let asked = device.call(VkOp::$op, body, |reply| {
                        // SAFETY: a place for the answer.
                        unsafe { commands::$reply(reply, &raw mut answer) }
                    });
                    // A lost device requires nothing.
                    if asked.is_ok() {
                        objects.with(object.as_raw(), |known| known.remember_plain(answer));
                    }
                    answer
                });
                // SAFETY: the program passes a place for the answer.
                unsafe { put(requirements, answer) };
            });
        })*
    };
}

requirements! {
    /// `vkGetBufferMemoryRequirements`.
    get_buffer_memory_requirements(vk::Buffer, buffers), GET_BUFFER_MEMORY_REQUIREMENTS,
        encode_get_buffer_memory_requirements, reply_get_buffer_memory_requirements;
    /// `vkGetImageMemoryRequirements`.
    get_image_memory_requirements(vk::Image, images), GET_IMAGE_MEMORY_REQUIREMENTS,
        encode_get_image_memory_requirements, reply_get_image_memory_requirements;
}

macro_rules! requirements_2 {
    ($($(#[$meta:meta])* $name:ident($info:ident, $object:ident, $objects:ident, $handle:ident), $op:ident, $encode:ident,
        $reply:ident;)*) => {
        $($(#[$meta])*
        ///
        /// # Safety
        /// As the specification of this command demands.
        pub(crate) unsafe extern "system" fn $name(
            device: vk::Device,
            info: *const vk::$info<'_>,
            requirements: *mut vk::MemoryRequirements2<'_>,
        ) {
            // SAFETY: the program passes a live device.
            let device = unsafe { forward::device(device) };
            // SAFETY: the program passes a valid structure.
            let object = unsafe { &*info }.$object;
            guard(|| {
                let known = device.objects.$objects.get(object.as_raw());
                let mut question = Encoder::new();
                question.u32(u32::from(VkOp::$op.0));
                // SAFETY: a copy of a valid structure, its chain included.
                let mut nameless = unsafe { info.read() };
                nameless.$object = vk::$handle::null();
                // SAFETY: the program passes a place for the answer; the copy lives here.
                unsafe { commands::$encode(&mut question, &raw const nameless, requirements) };
                let body = |encoder: &mut Encoder| {
                    // SAFETY: the program passes a valid structure and a place for the answer.
                    unsafe { commands::$encode(encoder, info, requirements) };
                };
                // After an error the place keeps what it had: a lost device requires nothing.
                let _ = ask(device, known, VkOp::$op, question.as_slice(), body).and_then(|reply| {
                    // SAFETY: the program passes a place for the answer.
                    unsafe { commands::$reply(&mut Decoder::new(&reply), requirements) }.map_err(decode_error)
                });
            });
        })*
    };
}

requirements_2! {
    /// `vkGetBufferMemoryRequirements2`.
    get_buffer_memory_requirements2(BufferMemoryRequirementsInfo2, buffer, buffers, Buffer),
        GET_BUFFER_MEMORY_REQUIREMENTS2, encode_get_buffer_memory_requirements2, reply_get_buffer_memory_requirements2;
    /// `vkGetImageMemoryRequirements2`.
    get_image_memory_requirements2(ImageMemoryRequirementsInfo2, image, images, Image),
        GET_IMAGE_MEMORY_REQUIREMENTS2, encode_get_image_memory_requirements2, reply_get_image_memory_requirements2;
}

macro_rules! device_requirements {
    ($($(#[$meta:meta])* $name:ident($info:ident, $cache:ident), $op:ident, $encode:ident,
        $reply:ident;)*) => {
        $($(#[$meta])*
        ///
        /// # Safety
        /// As the specification of this command demands.
        pub(crate) unsafe extern "system" fn $name(
            device: vk::Device,
            info: *const vk::$info<'_>,
            requirements: *mut vk::MemoryRequirements2<'_>,
        ) {
            // SAFETY: the program passes a live device.
            let device = unsafe { forward::device(device) };
            guard(|| {
                let body = |encoder: &mut Encoder| {
                    // SAFETY: the program passes a valid structure and a place for the answer.
                    unsafe { commands::$encode(encoder, info, requirements) };
                };
                let mut question = Encoder::new();
                question.u32(u32::from(VkOp::$op.0));
                body(&mut question);
                let known = device.objects.$cache.entry(question.as_slice());
                // After an error the place keeps what it had: a lost device requires nothing.
                let _ = ask(device, Some(known), VkOp::$op, &[], body).and_then(|reply| {
                    // SAFETY: the program passes a place for the answer.
                    unsafe { commands::$reply(&mut Decoder::new(&reply), requirements) }.map_err(decode_error)
                });
            });
        })*
    };
}

device_requirements! {
    /// `vkGetDeviceBufferMemoryRequirements`.
    get_device_buffer_memory_requirements(DeviceBufferMemoryRequirements, buffer_cache),
        GET_DEVICE_BUFFER_MEMORY_REQUIREMENTS, encode_get_device_buffer_memory_requirements,
        reply_get_device_buffer_memory_requirements;
    /// `vkGetDeviceImageMemoryRequirements`.
    get_device_image_memory_requirements(DeviceImageMemoryRequirements, image_cache),
        GET_DEVICE_IMAGE_MEMORY_REQUIREMENTS, encode_get_device_image_memory_requirements,
        reply_get_device_image_memory_requirements;
}

/// `vkGetImageSparseMemoryRequirements`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_image_sparse_memory_requirements(
    device: vk::Device,
    image: vk::Image,
    count: *mut u32,
    requirements: *mut vk::SparseImageMemoryRequirements,
) {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard(|| {
        let body = |encoder: &mut Encoder| {
            // SAFETY: the program passes a count and an array of that length or null.
            unsafe {
                commands::encode_get_image_sparse_memory_requirements(encoder, image, count, requirements);
            };
        };
        // A lost device requires nothing.
        let _ = device.call(VkOp::GET_IMAGE_SPARSE_MEMORY_REQUIREMENTS, body, |reply| {
            // SAFETY: as above.
            unsafe { commands::reply_get_image_sparse_memory_requirements(reply, count, requirements) }
        });
    });
}

/// `vkGetImageSparseMemoryRequirements2`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_image_sparse_memory_requirements2(
    device: vk::Device,
    info: *const vk::ImageSparseMemoryRequirementsInfo2<'_>,
    count: *mut u32,
    requirements: *mut vk::SparseImageMemoryRequirements2<'_>,
) {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard(|| {
        let body = |encoder: &mut Encoder| {
            // SAFETY: the program passes a count and an array of that length or null.
            unsafe {
                commands::encode_get_image_sparse_memory_requirements2(encoder, info, count, requirements);
            };
        };
        // A lost device requires nothing.
        let _ = device.call(VkOp::GET_IMAGE_SPARSE_MEMORY_REQUIREMENTS2, body, |reply| {
            // SAFETY: as above.
            unsafe { commands::reply_get_image_sparse_memory_requirements2(reply, count, requirements) }
        });
    });
}

/// `vkGetDeviceImageSparseMemoryRequirements`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_device_image_sparse_memory_requirements(
    device: vk::Device,
    info: *const vk::DeviceImageMemoryRequirements<'_>,
    count: *mut u32,
    requirements: *mut vk::SparseImageMemoryRequirements2<'_>,
) {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard(|| {
        let body = |encoder: &mut Encoder| {
            // SAFETY: the program passes a count and an array of that length or null.
            unsafe {
                commands::encode_get_device_image_sparse_memory_requirements(
                    encoder,
                    info,
                    count,
                    requirements,
                );
            };
        };
        // A lost device requires nothing.
        let _ = device.call(VkOp::GET_DEVICE_IMAGE_SPARSE_MEMORY_REQUIREMENTS, body, |reply| {
            // SAFETY: as above.
            unsafe { commands::reply_get_device_image_sparse_memory_requirements(reply, count, requirements) }
        });
    });
}
