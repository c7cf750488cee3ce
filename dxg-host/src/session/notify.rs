//! Packets that the host sends of its own accord, on the global channel.

use std::sync::Arc;

use dxg_ioctl::UserPtr;
use dxg_wire::messages::HostToVmCommandId;
use dxg_wire::messages::HostToVmHeader;
use dxg_wire::messages::SetGuestDataCommand;
use dxg_wire::messages::SetGuestDataCommandValue;
use dxg_wire::messages::SignalGuestEventCommand;
use dxg_wire::session::Reason;
use dxg_wire::vmbus::ChannelSender;
use dxg_wire::vmbus::PacketFlags;
use dxg_wire::vmbus::PacketType;
use parking_lot::Mutex;
use zerocopy::FromZeros;
use zerocopy::IntoBytes;

use super::channel::channel_failure;
use crate::failure::Failure;
use crate::objects::timeline::EventId;
use crate::worker::BrokerLink;

/// Sends packets to the guest.
pub(super) struct Notifier {
    sender: Arc<Mutex<ChannelSender>>,
    link: Arc<BrokerLink>,
}

impl Notifier {
    /// Sends on the global channel.
    pub(super) fn new(sender: Arc<Mutex<ChannelSender>>, link: Arc<BrokerLink>) -> Self {
        Self { sender, link }
    }

    /// Sets a guest event.
    pub(super) fn signal(&self, event: EventId) {
        let mut packet = SignalGuestEventCommand::new_zeroed();
        packet.hdr = HostToVmHeader::new(HostToVmCommandId::SIGNALGUESTEVENT);
        packet.event = event.0;
        self.send(packet.as_bytes());
    }

    /// Says that the device with this cookie has changed its state.
    pub(super) fn device_changed(&self, cookie: u64) {
        let mut packet = SetGuestDataCommand::new_zeroed();
        packet.hdr = HostToVmHeader::new(HostToVmCommandId::SETGUESTDATA);
        packet.guest_pointer = UserPtr(cookie);
        packet.data = SetGuestDataCommandValue::from_data32(1);
        self.send(packet.as_bytes());
    }

    fn send(&self, packet: &[u8]) {
        let sent =
            self.sender
                .lock()
                .send(PacketType::DATA_IN_BAND, PacketFlags::NONE, 0, &[packet], None, &|| false);
        if let Err(error) = sent {
            let (reason, failure) = match channel_failure("notify", error) {
                Failure::Violation(violation) => (Reason::VIOLATION, violation.to_string()),
                other => (Reason::DEVICE_LOST, other.to_string()),
            };
            self.link.end(reason, &failure);
        }
    }
}
