//! Submissions: a command buffer address, handles, and the driver's private data.

use dxg_ioctl::RawHandle;

use crate::messages::SubmitCommandCommand;
use crate::messages::SubmitCommandToHwQueueCommand;
use crate::messages::codec::tail_message;

tail_message! {
    /// SUBMITCOMMAND. The addresses in its argument are those of a process of the guest and mean nothing to the host.
    SubmitCommandMessage: SubmitCommandCommand,
    tail at size_of::<SubmitCommandCommand>(), slack |_| 0;
    /// Buffers for the history of the submission.
    history_buffers: RawHandle, counted by args.num_history_buffers;
    /// The driver's private data.
    private_data: u8, counted by args.priv_drv_data_size;
}

tail_message! {
    /// SUBMITCOMMANDTOHWQUEUE. The addresses in its argument mean nothing to the host.
    SubmitCommandToHwQueueMessage: SubmitCommandToHwQueueCommand,
    tail at size_of::<SubmitCommandToHwQueueCommand>(), slack |_| 0;
    /// Primaries that the submission writes.
    written_primaries: RawHandle, counted by args.num_primaries;
    /// The driver's private data.
    private_data: u8, counted by args.priv_drv_data_size;
}
