//! Query results and buffer addresses: commands whose answer is the host's.
//!
//! # Safety
//!
//! The loader and the program call entry points as the Vulkan specification says: handles are live and of the type
//! that the parameter says, pointers are valid for what the command does with them, and what the specification calls
//! externally synchronized is.

// UNSAFETY: entry points of the program, which passes handles and pointers.
#![expect(unsafe_code, reason = "entry points take handles and pointers of the program")]

use std::ffi::c_void;
use std::time::Duration;

use ash::vk;
use dxg_wire::codec::Encoder;
use dxg_wire::generated::vulkan::VkOp;
use dxg_wire::vulkan::QUERIES_ASK_AGAIN;
use dxg_wire::vulkan::op;

use super::forward;
use super::guard::guard;
use super::guard::guard_result;
use crate::generated::commands;

/// How long a wait for query results pauses before it asks again, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_micros(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(1);

/// # Safety
/// `data` is null or names `len` bytes.
unsafe fn bytes<'a>(data: *const c_void, len: usize) -> &'a [u8] {
    if data.is_null() {
        return &[];
    }
    // SAFETY: not null, and the caller promises so many bytes.
    unsafe { std::slice::from_raw_parts(data.cast(), len) }
}

/// `vkGetQueryPoolResults`.
///
/// Waiting happens here: a host that waited would hold up the stream that carries the submission to wait for.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_query_pool_results(
    device: vk::Device,
    pool: vk::QueryPool,
    first: u32,
    count: u32,
    data_bytes: usize,
    data: *mut c_void,
    stride_bytes: vk::DeviceSize,
    flags: vk::QueryResultFlags,
) -> vk::Result {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    let mut result = vk::Result::SUCCESS;
    let status = guard_result(|| {
        let mut pause = FIRST_PAUSE;
        loop {
            let body = |encoder: &mut Encoder| {
                // SAFETY: only values are encoded.
                unsafe {
                    commands::encode_get_query_pool_results(
                        encoder,
                        pool,
                        first,
                        count,
                        data_bytes,
                        stride_bytes,
                        flags,
                    );
                };
                // What the command does not write stays as it is, so it travels along.
                encoder.count(data_bytes);
                // SAFETY: the program passes a place of the length it names.
                encoder.bytes(unsafe { bytes(data, data_bytes) });
            };
            result = device.stream.call_sized(VkOp(op::QUERY_RESULTS), data_bytes + 16, body, |reply| {
                // SAFETY: the program passes a place of the length it names.
                unsafe { commands::reply_get_query_pool_results(reply, data, data_bytes) }
            })?;
            // The host's driver would wait for its device, and there it may not.
            if result.as_raw() != QUERIES_ASK_AGAIN {
                return Ok(());
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    });
    if status == vk::Result::SUCCESS { result } else { status }
}

/// `vkGetBufferDeviceAddress`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_buffer_device_address(
    device: vk::Device,
    info: *const vk::BufferDeviceAddressInfo<'_>,
) -> vk::DeviceAddress {
    // SAFETY: the program passes a live device.
    let device = unsafe { forward::device(device) };
    guard(|| {
        // SAFETY: the program passes a valid structure.
        let body =
            |encoder: &mut Encoder| unsafe { commands::encode_get_buffer_device_address(encoder, info) };
        device.call(VkOp::GET_BUFFER_DEVICE_ADDRESS, body, |reply| reply.u64()).unwrap_or_default()
    })
}
