//! Adapter information, escapes, standard allocations and shared resources: answers whose length only the question
//! tells.

use std::mem::offset_of;

use dxg_ioctl::Luid;
use dxg_ioctl::NtStatus;
use dxg_ioctl::RawHandle;
use zerocopy::FromZeros;
use zerocopy::IntoBytes;

use crate::messages::EscapeCommand;
use crate::messages::GetInternalAdapterInfoReply;
use crate::messages::GetStandardAllocationDriverDataReply;
use crate::messages::InterfaceVersion;
use crate::messages::OpenResourceReply;
use crate::messages::QueryAdapterInfoCommand;
use crate::messages::codec::DecodeError;
use crate::messages::codec::EncodeError;
use crate::messages::codec::MAX_MESSAGE_BYTES;
use crate::messages::codec::Reader;
use crate::messages::codec::Writer;
use crate::messages::codec::count_of;
use crate::messages::codec::tail_message;

tail_message! {
    /// QUERYADAPTERINFO.
    QueryAdapterInfoMessage: QueryAdapterInfoCommand,
    tail at offset_of!(QueryAdapterInfoCommand, private_data), slack |_| 7;
    /// The caller's buffer, which the answer replaces.
    private_data: u8, counted by private_data_size;
}

tail_message! {
    /// ESCAPE.
    EscapeMessage: EscapeCommand,
    tail at offset_of!(EscapeCommand, priv_drv_data), slack |_| 7;
    /// The caller's buffer. The answer is as many bytes and nothing else.
    private_data: u8, counted by priv_drv_data_size;
}

/// The answer to ESCAPE: `size_bytes` bytes. A failure is an answer that is too short.
///
/// # Errors
///
/// [`DecodeError::Short`] when there are fewer.
pub fn decode_escape_answer(bytes: &[u8], size_bytes: u32) -> Result<Vec<u8>, DecodeError> {
    Reader::new(bytes)?.list(size_bytes)
}

/// The answer to QUERYADAPTERINFO. Before version 40 it has no status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryAdapterInfoAnswer {
    /// How it went; success where the version has no status.
    pub status: NtStatus,
    /// As many bytes as the question had.
    pub private_data: Vec<u8>,
}

impl QueryAdapterInfoAnswer {
    /// The bytes to send.
    ///
    /// # Errors
    ///
    /// [`EncodeError::TooLong`] over the limit.
    pub fn encode(&self, version: InterfaceVersion) -> Result<Vec<u8>, EncodeError> {
        let status_bytes = if version.has_prefix() { size_of::<NtStatus>() } else { 0 };
        Writer::new(&self.status, status_bytes, MAX_MESSAGE_BYTES).list(&self.private_data).finish()
    }

    /// The answer to a question with a buffer of `size_bytes`.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Short`] when there are fewer bytes than that takes.
    pub fn decode(bytes: &[u8], version: InterfaceVersion, size_bytes: u32) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes)?;
        let status =
            if version.has_prefix() { reader.head(size_of::<NtStatus>())? } else { NtStatus::SUCCESS };
        Ok(Self { status, private_data: reader.list(size_bytes)? })
    }
}

/// Bytes of GETINTERNALADAPTERINFO's answer that a version has: the last field came with version 40.
fn adapter_info_bytes(version: InterfaceVersion) -> usize {
    if version.has_prefix() {
        size_of::<GetInternalAdapterInfoReply>()
    } else {
        offset_of!(GetInternalAdapterInfoReply, host_vgpu_luid)
    }
}

impl GetInternalAdapterInfoReply {
    /// The bytes to send to a guest of this version.
    pub fn encode(&self, version: InterfaceVersion) -> Vec<u8> {
        self.as_bytes().iter().take(adapter_info_bytes(version)).copied().collect()
    }

    /// The answer of a host of this version. [`host_vgpu_luid`](Self::host_vgpu_luid) is zero before version 40.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Short`] when there are fewer bytes than the version has.
    pub fn decode(bytes: &[u8], version: InterfaceVersion) -> Result<Self, DecodeError> {
        Reader::new(bytes)?.head(adapter_info_bytes(version))
    }

    /// The virtual GPU's identifier on the host, where the version tells it.
    pub fn vgpu_luid(&self) -> Option<Luid> {
        Some(self.host_vgpu_luid).filter(|luid| *luid != Luid::default())
    }
}

/// The answer to DDIGETSTANDARDALLOCATIONDRIVERDATA.
#[derive(Clone, Debug)]
pub struct StandardAllocationAnswer {
    /// The struct, with the two sizes: those wanted in the answer to the size query, where nothing follows.
    pub reply: GetStandardAllocationDriverDataReply,
    /// Private data for the allocation.
    pub allocation_data: Vec<u8>,
    /// Private data for the resource.
    pub resource_data: Vec<u8>,
}

/// Which of the two questions an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandardAllocationQuery {
    /// Asked with sizes of zero: how much data is there?
    Sizes,
    /// Asked with the sizes learned: what is it?
    Data,
}

impl StandardAllocationAnswer {
    /// The bytes to send. The sizes in the struct are set from the data unless both are empty.
    ///
    /// # Errors
    ///
    /// [`EncodeError::TooLong`] over the limit.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut reply = self.reply;
        if !self.allocation_data.is_empty() || !self.resource_data.is_empty() {
            reply.priv_driver_data_size = count_of(&self.allocation_data);
            reply.priv_driver_resource_size = count_of(&self.resource_data);
        }
        let mut writer = Writer::new(&reply, size_of_val(&reply), MAX_MESSAGE_BYTES);
        writer.list(&self.allocation_data).list(&self.resource_data).pad_to_8().finish()
    }

    /// The answer to the question `query`.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Short`] when there are fewer bytes than the sizes in it say.
    pub fn decode(bytes: &[u8], query: StandardAllocationQuery) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes)?;
        let reply: GetStandardAllocationDriverDataReply =
            reader.head(size_of::<GetStandardAllocationDriverDataReply>())?;
        let (allocation, resource) = match query {
            StandardAllocationQuery::Sizes => (0, 0),
            StandardAllocationQuery::Data => (reply.priv_driver_data_size, reply.priv_driver_resource_size),
        };
        let allocation_data = reader.list(allocation)?;
        let resource_data = reader.list(resource)?;
        Ok(Self { reply, allocation_data, resource_data })
    }
}

/// The answer to OPENRESOURCE.
#[derive(Clone, Debug)]
pub struct OpenResourceAnswer {
    /// The struct.
    pub reply: OpenResourceReply,
    /// The allocations of the resource.
    pub allocations: Vec<RawHandle>,
}

impl OpenResourceAnswer {
    /// The answer that something went wrong, for a command that expects `count` allocations.
    pub fn failure(status: NtStatus, count: usize) -> Self {
        let mut reply = OpenResourceReply::new_zeroed();
        reply.status = status;
        Self { reply, allocations: vec![RawHandle::NONE; count] }
    }

    /// The bytes to send.
    ///
    /// # Errors
    ///
    /// [`EncodeError::TooLong`] over the limit.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut writer = Writer::new(&self.reply, size_of_val(&self.reply), MAX_MESSAGE_BYTES);
        writer.list(&self.allocations).pad_to_8().finish()
    }

    /// The answer to a command that expects `count` allocations.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Short`] when there are fewer bytes than that takes.
    pub fn decode(bytes: &[u8], count: u32) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes)?;
        let reply = reader.head(size_of::<OpenResourceReply>())?;
        Ok(Self { reply, allocations: reader.list(count)? })
    }
}
