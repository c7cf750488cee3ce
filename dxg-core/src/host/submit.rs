//! Submissions. There is no submission without a call in this interface; streams are the fast way.

use dxg_ioctl::CallError;
use dxg_ioctl::NtStatus;
use dxg_ioctl::UserPtr;
use dxg_ioctl::abi::MAX_BROADCAST_CONTEXT;
use dxg_ioctl::abi::MAX_WRITTEN_PRIMARIES;
use dxg_ioctl::abi::SubmitCommand;
use dxg_ioctl::abi::SubmitCommandToHwQueue;
use dxg_wire::messages::SubmitCommandCommand;
use dxg_wire::messages::SubmitCommandToHwQueueCommand;
use dxg_wire::messages::submit::SubmitCommandMessage;
use dxg_wire::messages::submit::SubmitCommandToHwQueueMessage;

use super::HostNode;
use super::query::MAX_PRIVATE_BYTES;
use crate::caller::CallerMemory;
use crate::errno;

/// Most history buffers of a submission.
const MAX_HISTORY_BUFFERS: usize = 1024;

impl HostNode {
    pub(super) fn submit_command(
        &self,
        args: &mut SubmitCommand,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        let contexts = args.broadcast_context_count as usize;
        let history = args.num_history_buffers as usize;
        if contexts == 0
            || contexts > MAX_BROADCAST_CONTEXT
            || history > MAX_HISTORY_BUFFERS
            || args.num_primaries as usize > MAX_WRITTEN_PRIMARIES
            || args.priv_drv_data_size > MAX_PRIVATE_BYTES
        {
            return Err(errno::INVALID);
        }
        let [first, ..] = args.broadcast_context;
        self.objects.context(first)?;
        let history_buffers = memory.array(args.history_buffer_array, history)?;
        let private_data = memory.bytes(args.priv_drv_data, args.priv_drv_data_size as usize)?;
        let mut command: SubmitCommandCommand = self.command();
        command.args = *args;
        // Addresses of this process are nobody else's business.
        command.args.priv_drv_data = UserPtr::NULL;
        command.args.history_buffer_array = UserPtr::NULL;
        self.ask_long_status(&SubmitCommandMessage { command, history_buffers, private_data })
    }

    pub(super) fn submit_command_to_hw_queue(
        &self,
        args: &mut SubmitCommandToHwQueue,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        self.objects.hw_queue(args.hwqueue)?;
        if args.num_primaries as usize > MAX_WRITTEN_PRIMARIES || args.priv_drv_data_size > MAX_PRIVATE_BYTES
        {
            return Err(errno::INVALID);
        }
        let written_primaries = memory.array(args.written_primaries, args.num_primaries as usize)?;
        let private_data = memory.bytes(args.priv_drv_data, args.priv_drv_data_size as usize)?;
        let mut command: SubmitCommandToHwQueueCommand = self.command();
        command.args = *args;
        command.args.priv_drv_data = UserPtr::NULL;
        command.args.written_primaries = UserPtr::NULL;
        self.ask_long_status(&SubmitCommandToHwQueueMessage { command, written_primaries, private_data })
    }
}
