//! What analyses find and what rewrites leave, on small texts.

use dxg_ptx::analysis::flow::Flow;
use dxg_ptx::analysis::fold;
use dxg_ptx::analysis::guards;
use dxg_ptx::analysis::inline;
use dxg_ptx::analysis::promote;
use dxg_ptx::analysis::spaces;
use dxg_ptx::analysis::uniform::Uniform;
use dxg_ptx::ir::Function;
use dxg_ptx::ir::Module;
use dxg_ptx::ir::Op;
use dxg_ptx::ir::Space;
use dxg_ptx::regions::PointKind;
use dxg_ptx::regions::Regions;
use dxg_ptx::regions::verify::verify;

fn read(text: &str) -> Module {
    let text = format!(".version 8.0\n.target sm_70\n.address_size 64\n{text}");
    dxg_ptx::parse(text.as_bytes(), "text").expect("the text is right")
}

fn entry(module: &Module) -> Function {
    let id = module.entry("k").expect("the entry is there");
    let mut function = module.functions[id.0 as usize].clone();
    guards::remove_guards(&mut function);
    function
}

fn ops(function: &Function, count: impl Fn(&Op) -> bool) -> usize {
    function.blocks.iter().flat_map(|block| &block.insts).filter(|inst| count(&inst.op)).count()
}

fn regions(function: &Function) -> Regions {
    let flow = Flow::of(function);
    let uniform = Uniform::of(function);
    let regions = Regions::of(function, &flow, &uniform.regs);
    assert_eq!(verify(&regions, function), Ok(()), "{regions}");
    regions
}

const CALLS: &str = ".func (.param .u32 r) twice(.param .u32 n)\n{\n.reg .b32 %a;\nld.param.u32 %a, [n];\nadd.u32 %a, %a, %a;\n\
                     st.param.u32 [r], %a;\nret;\n}\n.visible .entry k(.param .u64 out)\n{\n.reg .b32 %r<3>;\n.reg .b64 %o;\n\
                     .reg .pred %p;\nld.param.u64 %o, [out];\nmov.u32 %r0, %tid.x;\nsetp.ne.u32 %p, %r0, 0;\n{\n.param .u32 x;\n\
                     .param .u32 y;\nst.param.u32 [x], %r0;\n@%p call (y), twice, (x);\nld.param.u32 %r1, [y];\n}\n\
                     st.global.u32 [%o], %r1;\nret;\n}\n";

#[test]
fn calls_become_part_of_the_caller_and_their_variables_registers() {
    let module = read(CALLS);
    let mut function = entry(&module);
    inline::inline_calls(&mut function, &module);
    assert_eq!(ops(&function, |op| matches!(op, Op::Call(_))), 0);
    promote::promote_locals(&mut function);
    assert_eq!(ops(&function, |op| matches!(op, Op::Load { space: Space::Local, .. })), 0);
    assert_eq!(function.local_bytes, 0);
    assert!(regions(&function).is_straight());
}

#[test]
fn recursive_functions_stay_calls() {
    let module = read(
        ".func f(.param .u32 n)\n{\n.reg .b32 %a;\n.reg .pred %p;\nld.param.u32 %a, [n];\nsetp.eq.u32 %p, %a, 0;\n@%p ret;\n\
         sub.u32 %a, %a, 1;\n{\n.param .u32 x;\nst.param.u32 [x], %a;\ncall f, (x);\n}\nret;\n}\n\
         .visible .entry k()\n{\n.reg .b32 %r;\nmov.u32 %r, 3;\n{\n.param .u32 x;\nst.param.u32 [x], %r;\ncall f, (x);\n}\nret;\n}\n",
    );
    assert_eq!(inline::recursive(&module), [true, false]);
    let mut function = entry(&module);
    inline::inline_calls(&mut function, &module);
    assert_eq!(ops(&function, |op| matches!(op, Op::Call(_))), 1);
    assert_eq!(regions(&function).points[1].kind, PointKind::Call);
}

const DEPOT: &str = ".visible .entry k(.param .u64 out)\n{\n.local .align 8 .b8 depot[16];\n.reg .b64 %sp, %spl, %o, %a;\n.reg .b32 %r<3>;\n\
                     mov.u64 %spl, depot;\ncvta.local.u64 %sp, %spl;\nld.param.u64 %o, [out];\nmov.u32 %r0, %tid.x;\n\
                     add.u64 %a, %sp, 8;\nst.u32 [%a], %r0;\nst.local.u32 [%spl+4], %r0;\nld.local.u32 %r1, [%spl+8];\n";

#[test]
fn variable_whose_address_nobody_takes_becomes_registers() {
    let module = read(&format!("{DEPOT}st.global.u32 [%o], %r1;\nret;\n}}\n"));
    let mut function = entry(&module);
    fold::fold_addresses(&mut function, &module);
    fold::remove_unread(&mut function);
    promote::promote_locals(&mut function);
    let touches =
        |op: &Op| matches!(op, Op::Load { space: Space::Local, .. } | Op::Store { space: Space::Local, .. });
    assert_eq!(ops(&function, touches), 0);
    assert_eq!(ops(&function, |op| matches!(op, Op::Cvta { .. } | Op::AddressOf { .. })), 0);
}

#[test]
fn variable_whose_address_is_stored_stays_in_memory() {
    let module = read(&format!("{DEPOT}st.global.u64 [%o], %sp;\nret;\n}}\n"));
    let mut function = entry(&module);
    fold::fold_addresses(&mut function, &module);
    fold::remove_unread(&mut function);
    promote::promote_locals(&mut function);
    assert_eq!(ops(&function, |op| matches!(op, Op::Store { space: Space::Local, .. })), 2);
    assert_eq!(function.local_bytes, 16);
}

#[test]
fn generic_address_of_a_shared_variable_is_guessed_to_be_shared() {
    let module = read(
        ".visible .entry k()\n{\n.shared .align 4 .b8 s[64];\n.reg .b64 %a<4>;\n.reg .b32 %r;\nmov.u64 %a0, s;\n\
         cvta.shared.u64 %a1, %a0;\nmov.u32 %r, %tid.x;\nmul.wide.u32 %a2, %r, 4;\nadd.u64 %a3, %a1, %a2;\nst.u32 [%a3], %r;\nret;\n}\n",
    );
    let function = entry(&module);
    let guesses = spaces::guess(&function);
    assert_eq!(guesses.iter().filter(|guess| **guess == Some(Space::Shared)).count(), 2);
}

/// A value that all threads share, one of each thread that lives across two barriers, one that lives across one.
const BARRIERS: &str = ".visible .entry k(.param .u64 out)\n{\n.shared .align 4 .b8 s[128];\n.reg .b64 %o, %a;\n.reg .b32 %r<6>;\n\
                        ld.param.u64 %o, [out];\nmov.u32 %r0, %tid.x;\nshl.b32 %r1, %r0, 2;\nmov.u32 %r2, s;\n\
                        add.u32 %r3, %r2, %r1;\nst.shared.u32 [%r3], %r0;\nbar.sync 0;\nld.shared.u32 %r4, [%r3];\n\
                        bar.sync 0;\nmul.wide.u32 %a, %r0, 4;\nadd.u64 %a, %a, %o;\nst.global.u32 [%a], %r4;\nret;\n}\n";

#[test]
fn points_store_what_changed_and_load_what_is_read() {
    let module = read(BARRIERS);
    let function = entry(&module);
    let regions = regions(&function);
    let [start, first, second] = regions.points.as_slice() else { panic!("{regions}") };
    assert_eq!(
        [start.kind, first.kind, second.kind],
        [PointKind::Start, PointKind::Barrier, PointKind::Barrier]
    );
    // The thread's number and its place in shared memory; what is uniform is not kept.
    assert_eq!((first.live.len(), first.stored.len(), first.loaded.len()), (2, 2, 1), "{regions}");
    // Its number is in its slot still.
    assert_eq!((second.live.len(), second.stored.len(), second.loaded.len()), (2, 1, 2), "{regions}");
}

#[test]
fn regions_that_lack_a_slot_are_found() {
    let module = read(BARRIERS);
    let function = entry(&module);
    let mut regions = regions(&function);
    let reg = regions.points[1].live[0];
    regions.frame.slots[reg.0 as usize] = None;
    let error = verify(&regions, &function).expect_err("a slot is missing");
    assert_eq!((error.point, error.what), (1, format!("r{} is live and has no slot", reg.0)));
}

#[test]
fn loops_that_may_wait_for_others_have_a_point() {
    let spin = |load: &str| {
        read(&format!(
            ".visible .entry k(.param .u64 flag)\n{{\n.reg .b64 %f;\n.reg .b32 %r;\n.reg .pred %p;\nld.param.u64 %f, [flag];\n\
             LOOP:\n{load} %r, [%f];\nsetp.eq.u32 %p, %r, 0;\n@%p bra LOOP;\nret;\n}}\n"
        ))
    };
    let waiting = regions(&entry(&spin("ld.volatile.global.u32")));
    assert_eq!(waiting.points.last().map(|point| point.kind), Some(PointKind::LoopHead));
    assert!(regions(&entry(&spin("ld.global.u32"))).is_straight());
}

#[test]
fn uniform_registers_are_those_that_no_thread_number_reaches() {
    let module = read(BARRIERS);
    let function = entry(&module);
    let uniform = Uniform::of(&function);
    // The parameter and the address of the shared variable.
    assert_eq!(uniform.regs.iter().count(), 2);
}
