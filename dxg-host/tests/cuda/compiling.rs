//! Modules that are large, deep or slow to compile, and what goes on meanwhile.

use std::fmt::Write as _;

use dxg_wire::cuda as wire;
use dxg_wire::cuda::op;

use crate::context::Context;

const HEAD: &str = ".version 7.5\n.target sm_80\n.address_size 64\n";
const ONE: [[u32; 3]; 2] = [[1, 1, 1], [32, 1, 1]];

/// An entry of many instructions, none of which is for nothing.
fn long(name: &str, instructions: usize) -> String {
    let mut text = format!(
        ".visible .entry {name}(.param .u64 at) {{ .reg .b64 %rd<3>; .reg .b32 %r<9>; ld.param.u64 %rd1, [at];\n"
    );
    for number in 0..instructions {
        let (to, from) = (number % 8 + 1, (number + 3) % 8 + 1);
        writeln!(text, "mad.lo.s32 %r{to}, %r{from}, %r{to}, {number};").unwrap();
    }
    for number in 1..9 {
        writeln!(text, "st.global.u32 [%rd1+{}], %r{number};", number * 4).unwrap();
    }
    text + "ret; }\n"
}

/// An entry that stores 5.
fn short(name: &str) -> String {
    format!(
        ".visible .entry {name}(.param .u64 at) {{ .reg .b64 %rd<2>; .reg .b32 %r<2>; ld.param.u64 %rd1, [at]; mov.u32 %r1, 5; st.global.u32 [%rd1], %r1; ret; }}\n"
    )
}

#[test]
fn context_closes_while_a_long_entry_is_compiled() {
    let mut context = Context::new();
    let module = context.load(&format!("{HEAD}{}", long("long", 30_000)), 0);
    let mut stream = context.stream();
    let base = context.base;
    context.launch(&mut stream, &module, "long", ONE, &[base]);
    context.guest.settle();
    context.close();
}

#[test]
fn another_stream_goes_on_while_a_long_entry_is_compiled() {
    let mut context = Context::new();
    let slow = context.load(&format!("{HEAD}{}", long("long", 5_000)), 0);
    let quick = context.load(&format!("{HEAD}{}", short("short")), 0);
    let [mut one, mut other] = [context.stream(), context.stream()];
    let base = context.base;
    context.launch(&mut one, &slow, "long", ONE, &[base]);
    context.launch(&mut other, &quick, "short", ONE, &[base + 64]);
    let copy = wire::Copy {
        stream: other.number,
        sequence: other.next(),
        to: base + 128,
        from: base + 64,
        bytes: 4,
    };
    context.guest.post(op::COPY, |e| copy.encode(e));
    context.synchronise(&other);
    assert_eq!(context.memory(128, 4).read::<u32>(0), Ok(5));
    context.synchronise(&one);
    assert_eq!(context.error(), 0);
    context.close();
}

#[test]
fn entry_of_far_too_many_instructions_is_run_all_the_same() {
    let mut context = Context::new();
    let module = context.load(&format!("{HEAD}{}", long("long", 205_000)), 0);
    let mut stream = context.stream();
    let base = context.base;
    context.launch(&mut stream, &module, "long", [[1, 1, 1], [1, 1, 1]], &[base]);
    context.synchronise(&stream);
    assert_eq!(context.error(), 0);
    assert_ne!(context.memory(4, 4).read::<u32>(0), Ok(0));
    context.close();
}

#[test]
fn module_of_thousands_of_entries_runs_the_one_that_is_launched() {
    let mut text = HEAD.to_owned();
    (0..4000).for_each(|number| text += &short(&format!("entry_{number}")));
    let mut context = Context::new();
    let module = context.load(&text, 0);
    context.guest.settle();
    assert_eq!(module.info.functions.0.len(), 4000);
    let mut stream = context.stream();
    let base = context.base;
    context.launch(&mut stream, &module, "entry_3999", ONE, &[base]);
    context.synchronise(&stream);
    assert_eq!((context.error(), context.memory(0, 4).read::<u32>(0)), (0, Ok(5)));
    context.close();
}

#[test]
fn deep_blocks_and_expressions_and_calls_end_in_an_answer() {
    let entry = |body: &str| {
        format!(
            "{HEAD}.visible .entry deep(.param .u64 at) {{ .reg .b32 %r<4>; .reg .pred %p<2>; {body} ret; }}\n"
        )
    };
    let depth = 20_000;
    let blocks = entry(&format!("{}{}", "{ ".repeat(depth), "} ".repeat(depth)));
    let expression = entry(&format!("mov.u32 %r1, {}1{};", "(".repeat(depth), ")".repeat(depth)));
    let signs = entry(&format!("mov.u32 %r1, {}1;", "-".repeat(depth)));
    let mut calls = HEAD.to_owned();
    calls += ".func f0() { ret; }\n";
    for number in 1..1000 {
        writeln!(calls, ".func f{number}() {{ call.uni f{}; ret; }}", number - 1).unwrap();
    }
    calls += ".visible .entry deep() { call.uni f999; ret; }\n";
    let mut loops = String::new();
    (0..200).for_each(|number| writeln!(loops, "L{number}: add.s32 %r1, %r1, 1;").unwrap());
    (0..200).rev().for_each(|number| {
        writeln!(loops, "setp.eq.u32 %p1, %r1, {number}; @%p1 bra L{number};").unwrap();
    });
    let mut branches = String::new();
    (0..1000).for_each(|number| {
        writeln!(
            branches,
            "setp.eq.u32 %p1, %r1, {number}; @%p1 bra B{number}; add.s32 %r2, %r2, 1; B{number}:"
        )
        .unwrap();
    });
    for text in [blocks, expression, signs, calls, entry(&loops), entry(&branches)] {
        let mut context = Context::new();
        let (number, loaded) = context.try_load(&[&text]);
        assert!([0, 218, 801].contains(&loaded.result), "{}", loaded.result);
        if loaded.result == 0 {
            context
                .guest
                .post(op::PLACE_MODULE, |e| wire::PlaceModule { module: number, address: 0 }.encode(e));
            let mut stream = context.stream();
            let launch = wire::Launch {
                stream: stream.number,
                flags: 0,
                sequence: stream.next(),
                module: number,
                function: 0,
                grid: ONE[0],
                block: ONE[1],
                shared_bytes: 0,
                params: vec![0; 8],
            };
            context.guest.post(op::LAUNCH, |e| launch.encode(e));
            context.synchronise(&stream);
        }
        context.close();
    }
}
