//! What a guest encodes is what the host decodes, structure by structure and command by command; and no bytes make the
//! host's decoders panic or give out pointers that do not hold what their counts say.
//!
//! The generated code of both halves is compiled into this test; neither half depends on the other.

#![allow(dead_code, unreachable_pub, reason = "both halves have more than this test uses")]

mod calls;
#[path = "../../src/adapter/vulkan/context.rs"]
mod context;
mod fill;
mod forward;
#[path = "../../../dxg-vk/src/generated/commands.rs"]
mod guest_commands;
#[path = "../../../dxg-vk/src/generated/entry.rs"]
mod guest_entry;
#[path = "../../../dxg-vk/src/generated/structs.rs"]
mod guest_structs;
#[path = "../../src/generated/vulkan/dispatch.rs"]
mod host_dispatch;
#[path = "../../src/generated/vulkan/native.rs"]
mod host_native;
#[path = "../../src/generated/vulkan/structs.rs"]
mod host_structs;
#[path = "../../src/adapter/vulkan/objects.rs"]
mod objects;
#[path = "../../src/adapter/vulkan/reader.rs"]
mod reader;
mod same;
mod structs;
#[path = "../../src/adapter/vulkan/table.rs"]
mod table;
#[path = "../generated/vulkan_values.rs"]
mod values;
#[path = "../generated/vulkan_calls.rs"]
mod vulkan_calls;

use calls::Calls;
use structs::Case;

/// Where generated code looks for what it stands on.
mod adapter {
    pub(crate) mod vulkan {
        pub(crate) use crate::context;
        pub(crate) use crate::reader;
    }
}

/// Where generated code looks for its neighbours: each half has its own below.
mod generated {
    pub(crate) use crate::guest_commands as commands;
    pub(crate) use crate::guest_structs as structs;

    pub(crate) mod vulkan {
        pub(crate) use crate::host_native as native;
        pub(crate) use crate::host_structs as structs;
    }
}

#[test]
fn structures_come_out_of_the_host_as_they_went_into_the_guest() {
    values::each(&mut Case::new(64, 0));
}

#[test]
fn structures_come_back_to_the_guest_as_the_driver_filled_them() {
    values::each_output(&mut Case::new(64, 0));
}

#[test]
fn changed_bytes_are_refused_or_decode_to_what_their_counts_say() {
    let mut case = Case::new(16, 64);
    values::each(&mut case);
    values::each_output(&mut case);
    assert!(case.decoded_mutants > 1000, "mutants are not all refused at once: {}", case.decoded_mutants);
}

#[test]
fn driver_is_called_as_the_program_called_and_its_answers_come_back() {
    let mut calls = Calls::new(32, 0);
    vulkan_calls::each(&mut calls);
    assert!(calls.commands > 280, "only {} commands were called", calls.commands);
}

#[test]
#[should_panic(expected = "the driver got other parameters: [\"instanceCount\"]")]
fn parameter_that_changed_on_the_way_is_noticed() {
    vulkan_calls::call_cmd_draw(&mut Calls::new(1, 1));
}
