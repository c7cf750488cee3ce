//! Calls: recursion, function pointers, the system's functions, `alloca`.

use super::kernel::Kernel;
use crate::support::program::Make;

fn recursion_returns_through_all_frames(make: Make<'_>) {
    let outside = ".func (.param .u32 r) fib(.param .u32 n)\n{\n.reg .b32 %a<6>;\n.reg .pred %q;\nld.param.u32 %a0, [n];\n\
                   setp.lt.u32 %q, %a0, 2;\n@%q bra SMALL;\n{\n.param .u32 p;\n.param .u32 v;\nsub.u32 %a1, %a0, 1;\n\
                   st.param.u32 [p], %a1;\ncall (v), fib, (p);\nld.param.u32 %a2, [v];\n}\n{\n.param .u32 p;\n.param .u32 v;\n\
                   sub.u32 %a1, %a0, 2;\nst.param.u32 [p], %a1;\ncall (v), fib, (p);\nld.param.u32 %a3, [v];\n}\n\
                   add.u32 %a2, %a2, %a3;\nst.param.u32 [r], %a2;\nret;\nSMALL:\nst.param.u32 [r], %a0;\nret;\n}\n";
    let body = "and.b32 %r1, %t, 15;\n{\n.param .u32 p;\n.param .u32 v;\nst.param.u32 [p], %r1;\ncall (v), fib, (p);\n\
                ld.param.u32 %r2, [v];\n}\nst.global.u32 [%mine], %r2;";
    let got = Kernel { outside, body, ..Kernel::default() }.out(make);
    let mut fib = vec![0, 1];
    (2..16).for_each(|i| fib.push(fib[i - 1] + fib[i - 2]));
    assert_eq!(got[..32], (0..32).map(|i: usize| fib[i % 16]).collect::<Vec<u32>>());
}

fn function_pointers_choose_per_lane(make: Make<'_>) {
    let function = |name: &str, op: &str| {
        format!(
            ".func (.param .u32 r) {name}(.param .u32 n)\n{{\n.reg .b32 %a;\nld.param.u32 %a, [n];\n{op}\n\
             st.param.u32 [r], %a;\nret;\n}}\n"
        )
    };
    let outside = function("twice", "shl.b32 %a, %a, 1;")
        + &function("next", "add.u32 %a, %a, 1;")
        + ".global .align 8 .u64 table[2] = {twice, next};\n";
    let body = "and.b32 %r1, %t, 1;\nmul.wide.u32 %rd1, %r1, 8;\nmov.u64 %rd2, table;\nadd.u64 %rd2, %rd2, %rd1;\n\
                ld.global.u64 %rd3, [%rd2];\n{\nproto: .callprototype (.param .u32 _) _ (.param .u32 _);\n.param .u32 p;\n\
                .param .u32 v;\nst.param.u32 [p], %t;\ncall (v), %rd3, (p), proto;\nld.param.u32 %r2, [v];\n}\n\
                st.global.u32 [%mine], %r2;";
    let got = Kernel { outside: &outside, body, ..Kernel::default() }.out(make);
    assert_eq!(got[..32], (0..32).map(|i: u32| if i & 1 == 0 { i * 2 } else { i + 1 }).collect::<Vec<u32>>());
}

fn a_list_of_targets_names_the_functions_of_a_call(make: Make<'_>) {
    let function = |name: &str, add: u32| {
        format!(
            ".func (.param .u32 r) {name}(.param .u32 n)\n{{\n.reg .b32 %a;\nld.param.u32 %a, [n];\nadd.u32 %a, %a, {add};\n\
             st.param.u32 [r], %a;\nret;\n}}\n"
        )
    };
    let outside = function("ten", 10) + &function("hundred", 100) + &function("nobody", 1000);
    let body = "setp.gt.u32 %p1, %t, 15;\nmov.u64 %rd1, ten;\n@%p1 mov.u64 %rd1, hundred;\n{\nlist: .calltargets ten, hundred;\n\
                call (%r2), %rd1, (%t), list;\n}\nst.global.u32 [%mine], %r2;";
    let got = Kernel { outside: &outside, body, ..Kernel::default() }.out(make);
    assert_eq!(got[..32], (0..32).map(|t: u32| t + if t > 15 { 100 } else { 10 }).collect::<Vec<u32>>());
}

fn an_alias_is_called_from_another_module(make: Make<'_>) {
    let library = ".visible .func (.param .b64 r) real(.param .b32 a, .param .align 8 .b8 b[16])\n{\n.reg .b32 %a;\n.reg .b64 %b, %c;\n\
                   ld.param.b32 %a, [a];\nld.param.b64 %b, [b+8];\nmad.wide.u32 %c, %a, 3, %b;\nst.param.b64 [r], %c;\nret;\n}\n\
                   .visible .func (.param .b64 r) other(.param .b32 a, .param .align 8 .b8 b[16]);\n.alias other, real;\n";
    let outside = ".extern .func (.param .b64 r) other(.param .b32 a, .param .align 8 .b8 b[16]);\n";
    let body = "{\n.param .b32 x;\n.param .align 8 .b8 y[16];\n.param .b64 z;\nst.param.b32 [x], %t;\nmov.b64 %rd1, 1000;\n\
                st.param.b64 [y+8], %rd1;\ncall (z), other, (x, y);\nld.param.b64 %rd2, [z];\n}\ncvt.u32.u64 %r1, %rd2;\n\
                st.global.u32 [%mine], %r1;";
    let got = Kernel { outside, library, body, ..Kernel::default() }.out(make);
    assert_eq!(got[..32], (0..32).map(|t: u32| t * 3 + 1000).collect::<Vec<u32>>());
}

fn barrier_within_a_called_function_joins_the_block(make: Make<'_>) {
    let outside = ".shared .align 4 .u32 word;\n.func (.param .u32 r) sum(.param .u32 n)\n{\n.reg .b32 %a<3>;\n\
                   ld.param.u32 %a0, [n];\nred.shared.add.u32 [word], %a0;\nbar.sync 0;\nld.shared.u32 %a1, [word];\n\
                   st.param.u32 [r], %a1;\nret;\n}\n";
    let body = "setp.ne.u32 %p1, %t, 0;\nmov.u32 %r1, 0;\n@!%p1 st.shared.u32 [word], %r1;\nbar.sync 0;\n{\n.param .u32 p;\n\
                .param .u32 v;\nst.param.u32 [p], %t;\ncall (v), sum, (p);\nld.param.u32 %r2, [v];\n}\n\
                st.global.u32 [%mine], %r2;";
    let got = Kernel { outside, body, block: 96, ..Kernel::default() }.out(make);
    assert_eq!(got[..96], [95 * 96 / 2; 96]);
}

fn heap_memory_is_writable_and_goes_back(make: Make<'_>) {
    let outside =
        ".extern .func (.param .b64 r) malloc(.param .b64 n);\n.extern .func free(.param .b64 p);\n";
    let body = "{\n.param .b64 n;\n.param .b64 r;\nst.param.b64 [n], 64;\ncall (r), malloc, (n);\nld.param.b64 %rd1, [r];\n}\n\
                st.u32 [%rd1+60], %g;\nbar.sync 0;\nld.u32 %r1, [%rd1+60];\nst.global.u32 [%mine], %r1;\n{\n.param .b64 p;\n\
                st.param.b64 [p], %rd1;\ncall free, (p);\n}\n";
    let got = Kernel { outside, body, ..Kernel::default() }.out(make);
    assert_eq!(got[..32], (0..32).collect::<Vec<u32>>());
}

fn printf_prints_its_arguments(make: Make<'_>) {
    let text: Vec<String> = b"%d+%s=%.1f\n\0".iter().map(u8::to_string).collect();
    let outside = format!(
        ".global .align 1 .b8 f[{}] = {{{}}};\n.global .align 1 .b8 x[3] = {{120, 121, 0}};\n\
         .extern .func (.param .b32 r) vprintf(.param .b64 a, .param .b64 b);\n",
        text.len(),
        text.join(", ")
    );
    let body = ".local .align 8 .b8 l[24];\nmov.u64 %rd1, l;\ncvta.local.u64 %rd1, %rd1;\nst.u32 [%rd1], %t;\nmov.u64 %rd2, x;\n\
                cvta.global.u64 %rd2, %rd2;\nst.u64 [%rd1+8], %rd2;\ncvt.rn.f64.u32 %rd3, %t;\nst.u64 [%rd1+16], %rd3;\n\
                {\n.param .b64 a;\n.param .b64 b;\n.param .b32 r;\nmov.u64 %rd4, f;\ncvta.global.u64 %rd4, %rd4;\n\
                st.param.b64 [a], %rd4;\nst.param.b64 [b], %rd1;\ncall (r), vprintf, (a, b);\nld.param.b32 %r1, [r];\n}\n\
                st.global.u32 [%mine], %r1;";
    let left = Kernel { outside: &outside, body, block: 3, ..Kernel::default() }.run(make);
    assert_eq!(left.outcome, Ok(()));
    let mut lines: Vec<&str> = left.printed.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["0+xy=0.0", "1+xy=1.0", "2+xy=2.0"]);
    assert_eq!(left.out[..3], [3; 3]);
}

fn functions_that_call_each_other_twice_are_compiled_in_time(make: Make<'_>) {
    let function = |name: &str, body: &str| format!(".func {name}()\n{{\n{body}ret;\n}}\n");
    // Each is on a way back to itself, so that none becomes part of another; 2 to the power of 40 ways lead through them.
    let mut outside = ".func f40();\n".to_owned()
        + &function("f0", ".reg .pred %q;\nsetp.ne.u32 %q, 0, 0;\n@%q call f40;\n");
    for level in 1..=40 {
        outside += &function(&format!("f{level}"), &format!("call f{};\n", level - 1).repeat(2));
    }
    let body = "setp.gt.u32 %p1, %t, 99;\n@%p1 call f40;\nst.global.u32 [%mine], %g;";
    let got = Kernel { outside: &outside, body, ..Kernel::default() }.out(make);
    assert_eq!(got[..32], (0..32).collect::<Vec<u32>>());
}

fn functions_that_call_the_next_twice_do_so(make: Make<'_>) {
    let function = |name: &str, body: &str| {
        format!(
            ".func (.param .u32 r) {name}(.param .u32 n)\n{{\n.reg .b32 %a;\nld.param.u32 %a, [n];\n{body}\n\
             st.param.u32 [r], %a;\nret;\n}}\n"
        )
    };
    let call = |register: &str, to: usize| {
        format!(
            "{{\n.param .u32 p;\n.param .u32 v;\nst.param.u32 [p], {register};\ncall (v), f{to}, (p);\n\
             ld.param.u32 {register}, [v];\n}}\n"
        )
    };
    // More instructions than are made one function, so that some of the calls stay calls.
    let mut outside = function("f0", "add.u32 %a, %a, 1;");
    for level in 1..12 {
        outside += &function(&format!("f{level}"), &call("%a", level - 1).repeat(2));
        let body = format!("mov.u32 %r1, %t;\n{}st.global.u32 [%mine], %r1;", call("%r1", level));
        let got = Kernel { outside: &outside, body: &body, ..Kernel::default() }.out(make);
        assert_eq!(got[..32], (0..32).map(|thread: u32| thread + (1 << level)).collect::<Vec<u32>>());
    }
}

crate::for_each_executor!(
    functions_that_call_each_other_twice_are_compiled_in_time,
    functions_that_call_the_next_twice_do_so,
    recursion_returns_through_all_frames,
    function_pointers_choose_per_lane,
    a_list_of_targets_names_the_functions_of_a_call,
    an_alias_is_called_from_another_module,
    barrier_within_a_called_function_joins_the_block,
    heap_memory_is_writable_and_goes_back,
    printf_prints_its_arguments,
);
