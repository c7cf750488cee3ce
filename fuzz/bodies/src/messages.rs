//! dxgvmbus messages: commands as the host reads them, answers and packets as the guest does.

use dxg_wire::messages::InterfaceVersion;
use dxg_wire::messages::allocation::CreateAllocationAnswer;
use dxg_wire::messages::framing::HostPacket;
use dxg_wire::messages::framing::unframe;
use dxg_wire::messages::incoming::Incoming;
use dxg_wire::messages::info::OpenResourceAnswer;
use dxg_wire::messages::info::QueryAdapterInfoAnswer;
use dxg_wire::messages::info::StandardAllocationAnswer;
use dxg_wire::messages::info::StandardAllocationQuery;
use dxg_wire::messages::info::decode_escape_answer;

use crate::input::Input;

/// Reads the bytes as one of them.
pub fn messages(data: &[u8]) {
    let mut input = Input::new(data);
    let what = input.u8();
    let count = u32::from(input.u8()) << (input.u8() % 25);
    let bytes = input.rest();
    match what % 8 {
        0 | 1 => {
            if let Ok(incoming) = Incoming::decode(bytes) {
                assert!(!incoming.command.name().is_empty());
            }
        }
        2 => {
            let version = if count & 1 == 0 { InterfaceVersion::CURRENT } else { InterfaceVersion::OLD };
            if let Ok((_, command)) = unframe(version, bytes) {
                assert!(command.len() <= bytes.len());
                let _ = Incoming::decode(command);
            }
        }
        3 => {
            let _ = HostPacket::decode(bytes);
        }
        4 => {
            if let Ok(answer) = CreateAllocationAnswer::decode(bytes, count) {
                assert_eq!(answer.allocations.len(), count as usize);
            }
        }
        5 => {
            if let Ok(answer) = OpenResourceAnswer::decode(bytes, count) {
                let again = answer.encode().expect("what was read can be written");
                assert!(OpenResourceAnswer::decode(&again, count).is_ok());
            }
        }
        6 => {
            let _ = QueryAdapterInfoAnswer::decode(bytes, InterfaceVersion::CURRENT, count);
            let _ = QueryAdapterInfoAnswer::decode(bytes, InterfaceVersion::OLD, count);
            let _ = decode_escape_answer(bytes, count);
        }
        _ => {
            for query in [StandardAllocationQuery::Sizes, StandardAllocationQuery::Data] {
                let _ = StandardAllocationAnswer::decode(bytes, query);
            }
        }
    }
}
