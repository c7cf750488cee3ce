//! What stands around instructions: heads, variables and their initial values, functions, and modules that are joined.
#![allow(clippy::unwrap_used, reason = "a test fails where something is not there")]

use dxg_ptx::DiagnosticKind;
use dxg_ptx::Diagnostics;
use dxg_ptx::ir::Linkage;
use dxg_ptx::ir::Module;
use dxg_ptx::layout;

const HEAD: &str = ".version 8.0\n.target sm_75\n.address_size 64\n";

fn module(text: &str) -> Module {
    dxg_ptx::parse(format!("{HEAD}{text}").as_bytes(), "text").unwrap_or_else(|problems| panic!("{problems}"))
}

fn problems(text: &str) -> Diagnostics {
    dxg_ptx::load(text.as_bytes(), "text").expect_err(text)
}

fn refused(text: &str, want: &str) {
    assert_eq!(problems(&format!("{HEAD}{text}")).to_string(), want, "{text}");
}

#[test]
fn heads_that_are_wrong_are_refused() {
    let cases = [
        ("", "text, line 1, column 1: the text ends where `.version` is expected"),
        (".target sm_75", "text, line 1, column 1: `.target` where `.version` is expected"),
        (".version x", "text, line 1, column 10: `x` where a version is expected"),
        (".version 10.0", "text, line 1, column 10: PTX ISA 10.0 is newer than 9.x"),
        (".version 8.0\n.target 75", "text, line 2, column 9: `75` where a target is expected"),
        (
            ".version 8.0\n.target sm_xx",
            "text, line 2, column 9: `sm_xx` where an architecture such as sm_75 is expected",
        ),
        (".version 8.0\n.address_size 32", "text, line 2, column 15: 32-bit addresses are not supported"),
        (".version 8.0\n.frob", "text, line 2, column 1: `.frob` is no directive here"),
        (".version 8.0 /* x", "text, line 1, column 18: a comment without end where a directive is expected"),
        (".version 8.0\nfoo", "text, line 2, column 1: `foo` where a directive is expected"),
    ];
    for (text, want) in cases {
        assert_eq!(problems(text).to_string(), want, "{text}");
    }
}

#[test]
fn kinds_of_problems_tell_versions_features_and_mistakes_apart() {
    assert_eq!(problems(".version 10.0").kind(), DiagnosticKind::UnsupportedVersion);
    assert_eq!(problems(".version 8.0\n.address_size 32").kind(), DiagnosticKind::Unsupported);
    assert_eq!(problems("x").kind(), DiagnosticKind::Malformed);
    let missing = ".version 8.0 .target sm_75 .extern .func f; .entry e() { call f; }";
    assert_eq!(problems(missing).kind(), DiagnosticKind::Unresolved);
}

#[test]
fn a_text_ends_at_its_first_nul() {
    let text = format!("{HEAD}.entry e() {{ ret; }}\0garbage");
    let module = dxg_ptx::parse(text.as_bytes(), "text").unwrap();
    assert!(module.entry("e").is_some());
}

#[test]
fn what_stands_outside_of_functions_is_refused_where_it_is_wrong() {
    let cases = [
        (".global .u32 x", "line 4, column 15: the text ends where `;` is expected"),
        (".global .u32 x;\n.global .u32 x;", "line 5, column 14: `x` is declared twice"),
        (".global .align 3 .u32 x;", "line 4, column 9: an alignment is a power of two up to 65536"),
        (".global x;", "line 4, column 9: `x` where a type is expected"),
        (".global .u32 x[2] = {1, 2, 3};", "line 4, column 28: an initial value has too many elements"),
        (".global .u32 x = {{1}};", "line 4, column 19: braces are nested deeper than the array"),
        (".global .f32 x = 1;", "line 4, column 18: a constant does not fit its type"),
        (".global .u32 x = y;", "line 4, column 18: `y` is no variable and no function"),
        (".global .b8 x[99999999999999999];", "line 4, column 13: an array has no such extent"),
        (".global .b64 x[99999999999][99999999];", "line 4, column 14: a variable is too large"),
        (".global .texref t;", "line 4, column 9: `.texref`: textures and surfaces are not supported"),
        (".entry e(.param .u32 a, .param .u32 a) { ret; }", "line 4, column 37: `a` is declared twice"),
        (".entry e(.param .b8 a[40000]) { ret; }", "line 4, column 21: the parameters take too much room"),
        (".entry e() { ret;", "line 4, column 18: the text ends where `}` is expected"),
        (
            ".entry e() .explicitcluster { ret; }",
            "line 4, column 12: `.explicitcluster`: clusters are not supported",
        ),
        (".entry e() { ret; } .entry e() { ret; }", "line 4, column 21: `e` is defined twice"),
        (".func f; .entry f() { ret; }", "line 4, column 17: `f` is declared as entry and as function"),
        (".entry e(.u32 a) { ret; }", "line 4, column 10: `.u32` where `.param` is expected"),
        (
            ".entry e(.param .u32 a .param .u32 b) { ret; }",
            "line 4, column 24: `.param` where `,` is expected",
        ),
        (".entry e() { } } ", "line 4, column 16: `}` where a directive is expected"),
        (
            ".entry e() { .local .b8 x[16777217]; ret; }",
            "line 4, column 25: the variables of a function take too much room",
        ),
        (".alias a, b;", "line 4, column 8: `a` is no function"),
        (".func b; .func a; .alias a, b;", "line 4, column 7: `b` has an alias and is not defined"),
        (
            ".func f(.param .b32 a); .func f(.param .b64 a) { ret; }",
            "line 4, column 31: `f` was declared with other parameters before",
        ),
        (
            ".func b { ret; } .func a(.param .b32 x); .alias a, b;",
            "line 4, column 24: `a` cannot be an alias of `b`",
        ),
        (".extern .func f; .entry e() { call f; }", "line 4, column 31: the function `f` is not defined"),
        (
            ".extern .global .u32 x; .entry e() { .reg .u32 r; ld.global.u32 r, [x]; }",
            "line 4, column 51: the variable `x` is not defined",
        ),
        (
            ".extern .func cudaLaunchDeviceV2; .entry e() { call cudaLaunchDeviceV2; }",
            "line 4, column 48: `cudaLaunchDeviceV2` is not supported: there is no dynamic parallelism",
        ),
    ];
    for (text, want) in cases {
        refused(text, &format!("text, {want}"));
    }
}

#[test]
fn after_an_error_reading_goes_on_with_the_next_statement() {
    let text = format!("{HEAD}.entry e() {{\nfrob;\nret;\nadd.u32;\n}}\n");
    assert_eq!(
        problems(&text).to_string(),
        "text, line 5, column 1: `frob` is no instruction\ntext, line 7, column 1: `add` takes 3 operands, not 0"
    );
}

#[test]
fn after_many_errors_reading_ends() {
    let text = format!("{HEAD}.entry e() {{\n{}}}\n", "frob;\n".repeat(500));
    assert_eq!(problems(&text).list.len(), 21);
}

#[test]
fn scopes_and_expressions_nested_without_end_are_refused() {
    let scopes = format!("{HEAD}.entry e() {}", "{".repeat(100_000));
    assert!(problems(&scopes).to_string().contains("scopes are nested too deeply"));
    let minus = format!("{HEAD}.global .u32 x = {}1;", "-".repeat(100_000));
    assert!(problems(&minus).to_string().contains("an expression is nested too deeply"));
    let braces = format!("{HEAD}.global .u32 x[2] = {}", "{".repeat(100_000));
    assert!(problems(&braces).to_string().contains("braces are nested deeper than the array"));
}

#[test]
fn declared_registers_cost_nothing_until_they_are_named() {
    let module = module(".entry e() { .reg .b32 r<4000000000>; mov.u32 r3999999999, r7; ret; }");
    assert_eq!(module.functions[0].regs.len(), 2);
}

#[test]
fn initial_values_of_every_form_become_bytes() {
    let cases: &[(&str, &[u8])] = &[
        (".global .u32 x = 0x01020304;", &[4, 3, 2, 1]),
        (".global .u16 x[] = {1, -1};", &[1, 0, 255, 255]),
        (".global .b8 x[4] = {1, 2};", &[1, 2, 0, 0]),
        (".global .b8 x[2][3] = {{1}, {2, 3}};", &[1, 0, 0, 2, 3, 0]),
        (".global .b8 x[2][2] = {1, 2, 3, 4};", &[1, 2, 3, 4]),
        (".const .f32 x[2] = {0f3F800000, 2.0};", &[0, 0, 0x80, 0x3f, 0, 0, 0, 0x40]),
        (".global .f64 x = 0d3FF0000000000000;", &[0, 0, 0, 0, 0, 0, 0xf0, 0x3f]),
        (".global .v2 .u16 x = {1, 2};", &[1, 0, 2, 0]),
        (".global .v2 .u8 x[2] = {{1, 2}, {3, 4}};", &[1, 2, 3, 4]),
        (".global .b8 x[] = \"hi\\n\";", b"hi\n\0"),
        (".global .u32 x = (1 << 4) | 0x3 + 2 * 3;", &[25, 0, 0, 0]),
        (".global .u32 x = (7 > 3) ? 5 : 6;", &[5, 0, 0, 0]),
        (".global .s64 x = -1;", &[255; 8]),
        (".global .u8 x[2][1] = {{}, 7};", &[0, 7]),
    ];
    for (text, want) in cases {
        let module = module(text);
        let bytes = layout::fill_variables(&module, 0x1000);
        assert_eq!(&bytes, want, "{text}");
    }
}

#[test]
fn addresses_in_initial_values_are_filled_in() {
    let module = module(
        ".global .align 8 .b8 a[16];
         .func f() { ret; }
         .global .align 8 .u64 p[4] = {a, a+4, generic(a)+8, f};
         .global .align 8 .b8 q[8] = {0xFF(a), 0xFF00(a), 0xFF0000(a), 0xFF000000(a)};
         .global .align 8 .u64 self = self;",
    );
    let layout = layout::variables_layout(&module);
    assert_eq!((layout.bytes, layout.align), (64, 16));
    assert_eq!(layout.offsets, [Some(0), Some(16), Some(48), Some(56)]);
    let bytes = layout::fill_variables(&module, 0x1122_3300);
    let words: Vec<u64> =
        bytes[16..48].as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
    let function = Module::function_address(dxg_ptx::ir::FuncId(0));
    assert_eq!(words, [0x1122_3300, 0x1122_3304, 0x1122_3308, function]);
    assert_eq!(bytes[48..52], [0x00, 0x33, 0x22, 0x11]);
    assert_eq!(bytes[56..64], 0x1122_3338_u64.to_le_bytes());
}

#[test]
fn initial_values_that_leave_too_much_out_are_refused() {
    let row = ".global .b8 x$[2][1048576] = {{1}, {2}};\n";
    let text: String = (0..64).map(|number| row.replace('$', &number.to_string())).collect();
    assert!(problems(&format!("{HEAD}{text}")).to_string().contains("an initial value leaves too much out"));
}

#[test]
fn parameters_are_laid_out_by_their_alignment() {
    let module = module(
        ".entry e(.param .u8 a, .param .u64 .ptr .global .align 4 b, .param .align 16 .b8 c[3], .param .u16 d) { ret; }",
    );
    let entry = &module.functions[0];
    let places: Vec<(u32, u32)> = entry.params.iter().map(|slot| (slot.offset, slot.size)).collect();
    assert_eq!(places, [(0, 1), (8, 8), (16, 3), (20, 2)]);
    assert_eq!(entry.param_bytes, 22);
}

#[test]
fn directives_of_launches_are_kept() {
    let module = module(
        ".entry e() .maxntid 128, 2 .minnctapersm 3 .maxnreg 40 { ret; } .entry f() .reqntid 32 { ret; }",
    );
    let limits = module.functions[0].limits;
    assert_eq!((limits.max_threads, limits.min_blocks_per_sm, limits.max_registers), ([128, 2, 1], 3, 40));
    assert_eq!(module.functions[1].limits.required_threads, [32, 1, 1]);
}

#[test]
fn what_says_nothing_about_the_program_is_left_out() {
    let module = module(
        ".file 1 \"x.cu\", 1234, 5
         .pragma \"nounroll\";
         .section .debug_str { .b8 1, 2 .b32 label }
         @@DWARF .byte 0x00
         # 1 \"x\"
         .visible .entry e() .noreturn { .loc 1 2 3
           .pragma \"x\", \"y\";
           ret; }",
    );
    assert!(module.entry("e").is_some());
}

#[test]
fn variables_of_call_sites_share_their_room() {
    let site = "{ .param .b32 a; .param .b64 b[4]; st.param.b32 [a], 1; }";
    let module = module(&format!(".entry e() {{ .local .b32 x; {site} {site} ret; }}"));
    let entry = &module.functions[0];
    let offsets: Vec<u32> = entry.locals.iter().map(|slot| slot.offset).collect();
    assert_eq!(offsets, [0, 16, 24, 16, 24]);
    assert_eq!(entry.local_bytes, 64);
}

#[test]
fn shared_variables_of_an_entry_are_those_it_reaches() {
    let module = module(
        ".shared .align 4 .b8 a[12]; .shared .align 16 .b8 b[16]; .shared .b8 unused[999];
         .extern .shared .align 32 .b8 rest[]; .const .b32 k[3]; .const .b32 unused_too[3];
         .func f() { .reg .b32 r; ld.shared.b32 r, [b]; ret; }
         .entry e() { .reg .b32 r; ld.shared.b32 r, [a]; call f; mov.u32 r, rest; ld.const.b32 r, [k]; ret; }
         .entry g() { ret; }",
    );
    let layout = layout::shared_layout(&module, module.entry("e").unwrap());
    assert_eq!(layout.offsets, [Some(0), Some(16), None, Some(32), None, None]);
    assert_eq!((layout.static_bytes, layout.dynamic_offset, layout.const_bytes), (32, 32, 12));
    let layout = layout::shared_layout(&module, module.entry("g").unwrap());
    assert_eq!((layout.static_bytes, layout.dynamic_offset), (0, 0));
}

#[test]
fn an_alias_means_its_target() {
    let module = module(
        ".func real() { trap; } .func other; .alias other, real;
         .entry e() { call other; ret; }",
    );
    assert!(dxg_ptx::link::check_resolved(&module, "text").is_ok());
    assert!(module.to_string().contains("() = call `real` ()"));
}

#[test]
fn an_alias_is_seen_by_other_modules() {
    let library = module(
        ".visible .func (.param .b32 r) real(.param .b32 a) { st.param.b32 [r], 7; ret; }
         .visible .func (.param .b32 r) other(.param .b32 a); .alias other, real;
         .func hidden(); .func inner() { ret; } .alias hidden, inner;",
    );
    let main = module(
        ".extern .func (.param .b32 r) other(.param .b32 a);
         .entry e() { .reg .b32 r; call (r), other, (1); ret; }",
    );
    let joined = dxg_ptx::link(vec![main, library], "joined").unwrap();
    assert!(dxg_ptx::link::check_resolved(&joined, "joined").is_ok());
    assert!(dxg_ptx::verify::verify(&joined).is_ok());
    let defined = |name: &str| {
        let function = joined.functions.iter().find(|function| function.name == name);
        function.is_some_and(|function| !function.blocks.is_empty())
    };
    assert_eq!(["other", "real", "hidden"].map(defined), [true, true, false]);
}

#[test]
fn a_list_of_targets_is_all_that_a_call_reaches() {
    let text = |list: &str| {
        format!(
            ".func (.param .b32 r) f(.param .b32 a) {{ ret; }}
             .func (.param .b32 r) g(.param .b32 a) {{ ret; }}
             .func (.param .b32 r) h(.param .b32 a) {{ ret; }}
             .func wrong() {{ ret; }}
             .global .u64 table[3] = {{f, g, h}};
             .entry e() {{ .reg .b64 d; .reg .b32 r;
               ld.global.u64 d, [table];
               t: .calltargets {list};
               call (r), d, (r), t; ret; }}"
        )
    };
    let first = module(&text("h, f, h"));
    assert!(first.to_string().contains("call %rd0 of `f` `h` ("), "{first}");
    // The list goes with the functions where modules are joined.
    let before = module(".visible .func before() { ret; } .func f() { ret; }");
    let joined = dxg_ptx::link(vec![before, first], "joined").unwrap();
    assert!(joined.to_string().contains("call %rd0 of `f` `h` ("), "{joined}");
    let wrong = problems(&format!("{HEAD}{}", text("f, wrong")));
    assert_eq!(wrong.list[0].message, "`wrong` is not called as the first function of the list");
}

#[test]
fn clusters_of_one_block_are_what_there_is() {
    let module = module(".entry e() .maxclusterrank 8 .reqnctapercluster 1, 1, 1 { ret; }");
    assert!(module.entry("e").is_some());
    refused(
        ".entry e() .reqnctapercluster 2, 1 { ret; }",
        "text, line 4, column 12: `.reqnctapercluster`: clusters are not supported",
    );
    refused(
        ".entry e() .blocksareclusters { ret; }",
        "text, line 4, column 12: `.blocksareclusters`: clusters are not supported",
    );
}

#[test]
fn modules_are_joined_by_their_symbols() {
    let main = module(
        ".extern .func (.param .b32 r) twice(.param .b32 a);
         .extern .global .align 4 .u32 counter;
         .common .global .align 4 .b8 pool[8];
         .func local() { ret; }
         .visible .entry e() { .reg .b32 r; .reg .b64 d; call (r), twice, (r); mov.u64 d, counter; call local; ret; }",
    );
    let library = module(
        ".common .global .align 16 .b8 pool[32];
         .visible .global .align 4 .u32 counter = 7;
         .global .u64 at = counter;
         .func local() { trap; }
         .visible .func (.param .b32 r) twice(.param .b32 a) { call local; ret; }
         .weak .func spare() { ret; }",
    );
    let joined = dxg_ptx::link(vec![main, library.clone()], "joined").unwrap();
    assert!(dxg_ptx::link::check_resolved(&joined, "joined").is_ok());
    assert!(dxg_ptx::verify::verify(&joined).is_ok());
    let counter: Vec<_> = joined.globals.iter().filter(|global| global.name == "counter").collect();
    assert_eq!((counter.len(), counter[0].linkage), (1, Linkage::Visible));
    let pool = joined.globals.iter().find(|global| global.name == "pool").unwrap();
    assert_eq!((pool.size, pool.align), (32, 16));
    let bodies: Vec<usize> = joined
        .functions
        .iter()
        .filter(|function| function.name == "local")
        .map(|function| function.blocks.len())
        .collect();
    assert_eq!(bodies, [1, 1]);
    let text = joined.to_string();
    assert_eq!(text.matches("call `twice`").count(), 1);
    let again = dxg_ptx::link(vec![library.clone(), library], "twice").unwrap_err();
    assert_eq!(again.kind(), DiagnosticKind::Unresolved);
    assert_eq!(again.list.len(), 2);
}

#[test]
fn declarations_with_other_parameters_are_not_joined() {
    let one = module(".extern .func f(.param .b32 a); .entry e() { call f, (1); }");
    let two = module(".visible .func f(.param .b64 a) { ret; }");
    let problem = dxg_ptx::link(vec![one, two], "joined").unwrap_err();
    assert_eq!(
        problem.to_string(),
        "joined, line 4, column 10: `f` is declared with other parameters elsewhere"
    );
}

#[test]
fn a_weak_definition_gives_way() {
    let weak = module(".weak .func f() { trap; }");
    let strong = module(".visible .func f() { ret; }");
    for modules in [vec![weak.clone(), strong.clone()], vec![strong, weak]] {
        let joined = dxg_ptx::link(modules, "joined").unwrap();
        assert_eq!(joined.functions.len(), 1);
        assert!(joined.functions[0].blocks[0].insts.is_empty());
    }
}

#[test]
fn indirect_calls_reach_the_functions_whose_address_is_taken_and_that_fit() {
    let module = module(
        ".func (.param .b32 r) f(.param .b32 a) { ret; }
         .func (.param .b32 r) g(.param .b32 a) { ret; }
         .func (.param .b32 r) not_taken(.param .b32 a) { ret; }
         .func (.param .b64 r) h(.param .b32 a) { ret; }
         .global .u64 table[3] = {f, g, h};
         .entry e() { .reg .b64 d; .reg .b32 r;
           ld.global.u64 d, [table];
           p: .callprototype (.param .b32 _) _ (.param .b32 _);
           call (r), d, (r), p; ret; }",
    );
    assert!(module.to_string().contains("call %rd0 of `f` `g` ("), "{module}");
}
