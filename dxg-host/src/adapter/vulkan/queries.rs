//! `vkGetQueryPoolResults`, by hand: what it leaves alone stays as the client has it, and nobody waits for the device here.
//!
//! *Why.* The command writes some of the client's bytes and not others (what is not there yet, what lies between two
//! results), and only the driver knows which. So the client's bytes come with the request and go back with the answer.

// UNSAFETY: the driver is called through a raw function pointer.
#![expect(unsafe_code, reason = "a Vulkan driver is foreign code behind raw pointers")]

use ash::vk;
use ash::vk::Handle;
use dxg_wire::codec::Encoder;
use dxg_wire::generated::vulkan::ObjectKind;
use dxg_wire::vulkan::QUERIES_ASK_AGAIN;

use super::super::StreamEnd;
use super::driver::Driver;
use super::reader::ReadError;
use super::reader::Reader;
use crate::failure::Violation;
use crate::generated::vulkan::native::DeviceFns;

/// The command, for messages.
const OP: &str = "QUERY_RESULTS";
/// Bytes after the client's, for drivers that do not look at the size: more than one result of any query has.
const SLACK_BYTES: usize = 4096;

/// What reading results of a pool does while queues work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// It looks at the queries, and waits for them where it is told to. Here it is not told: the client asks again.
    Looks,
    /// It waits for the whole device. The stream it runs in may carry the signal that the device waits for, so such a
    /// driver is not asked before its queues are idle. Then its answer is the last word, also about queries that nothing makes
    /// available.
    WaitsForIdle,
}

impl Reading {
    /// How this driver reads.
    pub(crate) fn of(driver: &Driver) -> Self {
        if driver.identity.driver_name == "llvmpipe" { Self::WaitsForIdle } else { Self::Looks }
    }
}

/// Whether the client asks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AsksAgain {
    Never,
    UntilReady,
}

/// With which flags the driver is asked, and what becomes of an answer that is not ready.
fn flags_of(asked: vk::QueryResultFlags, reading: Reading) -> (vk::QueryResultFlags, AsksAgain) {
    if reading == Reading::Looks && asked.contains(vk::QueryResultFlags::WAIT) {
        // Who waits gets whole results: partial ones would look like the end of the wait.
        (asked & !(vk::QueryResultFlags::WAIT | vk::QueryResultFlags::PARTIAL), AsksAgain::UntilReady)
    } else {
        (asked, AsksAgain::Never)
    }
}

/// A request, read.
pub(crate) struct Request {
    pool: vk::QueryPool,
    first: u32,
    count: u32,
    stride_bytes: u64,
    flags: vk::QueryResultFlags,
    data: Vec<u8>,
    data_bytes: usize,
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    /// When the bytes are none.
    pub(crate) fn read(reader: &mut Reader<'_, '_>) -> Result<Self, ReadError> {
        let pool = vk::QueryPool::from_raw(reader.handle(ObjectKind::QUERY_POOL)?);
        let first = reader.u32()?;
        let count = reader.u32()?;
        let data_bytes = usize::try_from(reader.u64()?).map_err(|_| ReadError::Count)?;
        let stride_bytes = reader.u64()?;
        let flags = vk::QueryResultFlags::from_raw(reader.u32()?);
        let given = usize::try_from(reader.u32()?).map_err(|_| ReadError::Count)?;
        let last_at = u64::from(count.saturating_sub(1)).saturating_mul(stride_bytes);
        if given != data_bytes || usize::try_from(last_at).map_or(true, |at| at > data_bytes) {
            return Err(ReadError::Count);
        }
        let mut data = reader.decoder().bytes(given)?.to_vec();
        reader.finish()?;
        data.resize(data_bytes.saturating_add(SLACK_BYTES), 0);
        Ok(Self { pool, first, count, stride_bytes, flags, data, data_bytes })
    }

    /// Asks the driver and answers.
    ///
    /// # Errors
    /// When the driver has no such command.
    pub(crate) fn run(
        mut self,
        fns: &DeviceFns,
        device: vk::Device,
        reading: Reading,
        reply: &mut Encoder,
    ) -> Result<(), StreamEnd> {
        let (flags, asks_again) = flags_of(self.flags, reading);
        let function =
            fns.get_query_pool_results.ok_or(Violation::new(OP, "the driver has no such command"))?;
        // SAFETY:
        // - the pool is a live one of this device, out of its table; `data` has room for all that the size and the stride
        //   say, and for one result more.
        let result = unsafe {
            function(
                device,
                self.pool,
                self.first,
                self.count,
                self.data_bytes,
                self.data.as_mut_ptr().cast(),
                self.stride_bytes,
                flags,
            )
        };
        if asks_again == AsksAgain::UntilReady && result == vk::Result::NOT_READY {
            reply.i32(QUERIES_ASK_AGAIN);
            return Ok(());
        }
        reply.i32(result.as_raw());
        if result.as_raw() >= 0 {
            self.data.truncate(self.data_bytes);
            reply.count(self.data.len());
            reply.bytes(&self.data);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ash::vk;

    use super::AsksAgain;
    use super::Reading;
    use super::flags_of;

    #[test]
    fn a_driver_that_looks_is_never_told_to_wait() {
        let (wait, partial) = (vk::QueryResultFlags::WAIT, vk::QueryResultFlags::PARTIAL);
        let wide = vk::QueryResultFlags::TYPE_64;
        assert_eq!(flags_of(wide | wait | partial, Reading::Looks), (wide, AsksAgain::UntilReady));
        assert_eq!(flags_of(wide | partial, Reading::Looks), (wide | partial, AsksAgain::Never));
    }

    #[test]
    fn the_answer_of_an_idle_device_is_the_last_word() {
        let asked = vk::QueryResultFlags::WAIT | vk::QueryResultFlags::PARTIAL;
        assert_eq!(flags_of(asked, Reading::WaitsForIdle), (asked, AsksAgain::Never));
    }
}
