//! Contexts and hardware queues: created with private data that comes back changed.
//!
//! The answer to both is the command itself, without prefix, with what the host fills in: handles, addresses, and the
//! private data. So one type serves both directions.

use std::mem::offset_of;

use crate::messages::CreateContextVirtualCommand;
use crate::messages::CreateHwQueueCommand;
use crate::messages::codec::tail_message;

tail_message! {
    /// CREATECONTEXTVIRTUAL, and its answer. In the answer `context` 0 means failure.
    CreateContextVirtualMessage: CreateContextVirtualCommand,
    tail at offset_of!(CreateContextVirtualCommand, priv_drv_data), slack |_| 3;
    /// The driver's private data; the answer has as many bytes.
    private_data: u8, counted by priv_drv_data_size;
}

tail_message! {
    /// CREATEHWQUEUE, and its answer.
    CreateHwQueueMessage: CreateHwQueueCommand,
    tail at offset_of!(CreateHwQueueCommand, priv_drv_data),
    slack |command| if command.priv_drv_data_size == 0 { 4 } else { 3 };
    /// The driver's private data; the answer has as many bytes.
    private_data: u8, counted by priv_drv_data_size;
}
