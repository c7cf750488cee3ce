//! GPU virtual addresses: the one message with a list.

use std::mem::offset_of;

use dxg_ioctl::abi::UpdateGpuVirtualAddressOperation;

use crate::messages::UpdateGpuVirtualAddressCommand;
use crate::messages::codec::tail_message;

tail_message! {
    /// UPDATEGPUVIRTUALADDRESS.
    UpdateGpuVirtualAddressMessage: UpdateGpuVirtualAddressCommand,
    tail at offset_of!(UpdateGpuVirtualAddressCommand, operations), slack |_| 0;
    /// What to map, unmap and copy, in order.
    operations: UpdateGpuVirtualAddressOperation, counted by num_operations;
}
