//! PTX texts, as clients hand them in: one module, or two that are joined.

use dxg_ptx::layout;
use dxg_ptx::link;
use dxg_ptx::verify;

/// What the variables of a module may take, so that the fuzzer has room for them.
const MOST_VARIABLE_BYTES: u64 = 1 << 20;

/// Reads the bytes as a text; what stands after a form feed is a second one.
pub fn ptx(data: &[u8]) {
    let mut modules = Vec::new();
    for text in data.splitn(2, |&byte| byte == 0x0c) {
        match dxg_ptx::parse(text, "text") {
            Ok(module) => {
                verify::verify(&module).expect("what was read is sound");
                assert!(module.to_string().starts_with("version"));
                modules.push(module);
            }
            Err(problems) => {
                assert!(!problems.list.is_empty());
                assert!(!problems.to_string().contains("internal"), "{problems}");
            }
        }
    }
    let Ok(module) = dxg_ptx::link(modules, "text") else { return };
    verify::verify(&module).expect("what was joined is sound");
    let _ = link::check_resolved(&module, "text");
    let variables = layout::variables_layout(&module);
    assert_eq!(variables.offsets.len(), module.globals.len());
    if variables.bytes <= MOST_VARIABLE_BYTES {
        assert_eq!(layout::fill_variables(&module, 1 << 32).len() as u64, variables.bytes);
    }
    for id in (0..).map(dxg_ptx::ir::FuncId).take(module.functions.len()) {
        let shared = layout::shared_layout(&module, id);
        assert!(shared.dynamic_offset >= shared.static_bytes);
    }
}
