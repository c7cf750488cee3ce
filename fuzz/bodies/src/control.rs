//! Lines of the control protocol, as the daemon and its tools read them.

use std::cell::RefCell;

use dxg_host::fuzzing::BrokerStage;
use dxg_wire::control;

thread_local! {
    static STAGE: RefCell<BrokerStage> = RefCell::new(BrokerStage::new().expect("a stage"));
}

/// Each line is answered, by an answer that can be read.
pub fn control(data: &[u8]) {
    for line in data.split_inclusive(|byte| *byte == b'\n').take(16) {
        let reply = STAGE.with_borrow_mut(|stage| stage.ask(line)).expect("an answer");
        assert!(control::from_line::<control::Reply>(&reply).is_ok(), "an answer that is none");
        let _ = control::from_line::<control::Reply>(line);
    }
    let mut reader = data;
    while let Ok(control::Reply::State(_) | control::Reply::Vgpu(_)) = control::read(&mut reader) {}
}
