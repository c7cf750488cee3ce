//! Turns rules into a program for the kernel's filter machine.
//!
//! *Why by hand.* One program answers with several errors, and refuses by range what it does not know; it is a few lines.
//!
//! *Cost.* Calls without a rule on an argument are decided once, by the kernel, for their number. The others come first
//! in the program and leave it as soon as they are decided.

use std::collections::BTreeMap;

/// Loads a word of the call's description.
const LOAD: u16 = 0x20;
/// Goes on at one of two places: is the word the value?
const IF_EQUAL: u16 = 0x15;
/// Goes on at one of two places: is the word the value or more?
const IF_AT_LEAST: u16 = 0x35;
/// Goes on at one of two places: does the word have a bit of the value?
const IF_ANY_BIT: u16 = 0x45;
/// Keeps the bits of the value.
const AND: u16 = 0x54;
/// Answers the value.
const ANSWER: u16 = 0x06;

/// Where the call's number is in its description.
const NUMBER_AT: u32 = 0;
/// Where the processor's mode is.
const MODE_AT: u32 = 4;
/// Where the low half of the first argument is; each takes eight bytes, low half first.
const ARGUMENTS_AT: u32 = 16;

/// The only mode of the processor whose calls have the numbers of our table.
#[cfg(target_arch = "x86_64")]
const MODE: u32 = 0xC000_003E;
/// The only mode of the processor whose calls have the numbers of our table.
#[cfg(target_arch = "aarch64")]
const MODE: u32 = 0xC000_00B7;

/// First call that is refused because it is newer than what libraries count on; those from here to where this was
/// written (470) list mounts and change attributes. Numbers of the x32 mode are above it too.
const FIRST_UNKNOWN: u32 = 457;

/// One step of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u16,
    pub(super) if_true: u8,
    pub(super) if_false: u8,
    pub(super) value: u32,
}

/// What is refused of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// All of it.
    Always,
    /// What has this in the low half of an argument, counted from zero.
    Argument(u8, Test),
}

/// What an argument is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    /// This.
    Equal(u32),
    /// Anything else.
    NotEqual(u32),
    /// Neither of these.
    Neither(u32, u32),
    /// Any of these bits.
    AnyBit(u32),
    /// None of these bits.
    NoBit(u32),
    /// These bits, and of the mask no other.
    Masked {
        /// What is looked at.
        mask: u32,
        /// What it is.
        equal: u32,
    },
}

/// A call, what of it is refused, and with which error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) call: libc::c_long,
    pub(super) when: When,
    pub(super) error: i32,
}

/// The program of a list of rules. Rules of one call are tried in their order; what no rule refuses is allowed.
pub(super) fn compile(rules: &[Rule]) -> Vec<Instruction> {
    let kill = answer(libc::SECCOMP_RET_KILL_PROCESS);
    let mut program = vec![
        load(MODE_AT),
        jump(IF_EQUAL, MODE, 1, 0),
        kill,
        load(NUMBER_AT),
        jump(IF_AT_LEAST, FIRST_UNKNOWN, 0, 1),
    ];
    program.push(refuse(libc::ENOSYS));
    let mut by_argument: BTreeMap<u32, Vec<Instruction>> = BTreeMap::new();
    let mut whole = Vec::new();
    for rule in rules {
        let Ok(number) = u32::try_from(rule.call) else { continue };
        match rule.when {
            When::Always => whole.extend([jump(IF_EQUAL, number, 0, 1), refuse(rule.error)]),
            When::Argument(index, test) => {
                by_argument.entry(number).or_default().extend(check(index, test, rule.error))
            }
        }
    }
    for (number, mut checks) in by_argument {
        checks.push(answer(libc::SECCOMP_RET_ALLOW));
        let len = u8::try_from(checks.len()).expect("a call has few rules");
        program.push(jump(IF_EQUAL, number, 0, len));
        program.extend(checks);
    }
    program.extend(whole);
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    program
}

/// Refuses if an argument is so; else goes on behind.
fn check(index: u8, test: Test, error: i32) -> Vec<Instruction> {
    let mut steps = vec![load(ARGUMENTS_AT + 8 * u32::from(index))];
    match test {
        Test::Equal(value) => steps.push(jump(IF_EQUAL, value, 0, 1)),
        Test::NotEqual(value) => steps.push(jump(IF_EQUAL, value, 1, 0)),
        Test::Neither(one, other) => steps.extend([jump(IF_EQUAL, one, 2, 0), jump(IF_EQUAL, other, 1, 0)]),
        Test::AnyBit(bits) => steps.push(jump(IF_ANY_BIT, bits, 0, 1)),
        Test::NoBit(bits) => steps.push(jump(IF_ANY_BIT, bits, 1, 0)),
        Test::Masked { mask, equal } => steps.extend([step(AND, mask), jump(IF_EQUAL, equal, 0, 1)]),
    }
    steps.push(refuse(error));
    steps
}

fn load(at: u32) -> Instruction {
    step(LOAD, at)
}

fn answer(value: u32) -> Instruction {
    step(ANSWER, value)
}

fn refuse(error: i32) -> Instruction {
    answer(libc::SECCOMP_RET_ERRNO | error.unsigned_abs())
}

fn step(code: u16, value: u32) -> Instruction {
    jump(code, value, 0, 0)
}

fn jump(code: u16, value: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction { code, if_true, if_false, value }
}

/// The filter machine, to ask a program without a kernel.
#[cfg(test)]
pub(super) fn ask(program: &[Instruction], mode: u32, number: u32, arguments: [u32; 6]) -> u32 {
    let (mut at, mut word) = (0, 0);
    loop {
        let step = program[at];
        at += 1;
        let branch = |taken: bool| usize::from(if taken { step.if_true } else { step.if_false });
        match step.code {
            LOAD if step.value == NUMBER_AT => word = number,
            LOAD if step.value == MODE_AT => word = mode,
            LOAD => word = arguments[(step.value - ARGUMENTS_AT) as usize / 8],
            AND => word &= step.value,
            IF_EQUAL => at += branch(word == step.value),
            IF_AT_LEAST => at += branch(word >= step.value),
            IF_ANY_BIT => at += branch(word & step.value != 0),
            ANSWER => return step.value,
            other => panic!("unknown step {other}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: libc::c_long = 7;

    fn decision(when: When, argument: u32) -> u32 {
        let rules = [Rule { call: 9, when: When::Always, error: 2 }, Rule { call: CALL, when, error: 1 }];
        ask(&compile(&rules), MODE, 7, [0, argument, 0, 0, 0, 0])
    }

    fn refused(test: Test, argument: u32) -> bool {
        match decision(When::Argument(1, test), argument) {
            libc::SECCOMP_RET_ALLOW => false,
            other => {
                assert_eq!(other, libc::SECCOMP_RET_ERRNO | 1);
                true
            }
        }
    }

    #[test]
    fn each_test_refuses_what_it_says_and_nothing_beside() {
        assert!(refused(Test::Equal(5), 5) && !refused(Test::Equal(5), 4));
        assert!(refused(Test::NotEqual(5), 4) && !refused(Test::NotEqual(5), 5));
        assert!(refused(Test::Neither(5, 6), 4) && !refused(Test::Neither(5, 6), 5));
        assert!(!refused(Test::Neither(5, 6), 6));
        assert!(refused(Test::AnyBit(6), 2) && !refused(Test::AnyBit(6), 9));
        assert!(refused(Test::NoBit(6), 9) && !refused(Test::NoBit(6), 4));
        let masked = Test::Masked { mask: 3, equal: 1 };
        assert!(refused(masked, 5) && !refused(masked, 2) && !refused(masked, 3));
    }

    #[test]
    fn rule_of_one_call_says_nothing_about_others() {
        let program = compile(&[
            Rule { call: CALL, when: When::Argument(0, Test::Equal(1)), error: 1 },
            Rule { call: 9, when: When::Always, error: 2 },
        ]);
        assert_eq!(ask(&program, MODE, 8, [1; 6]), libc::SECCOMP_RET_ALLOW);
        assert_eq!(ask(&program, MODE, 9, [0; 6]), libc::SECCOMP_RET_ERRNO | 2);
    }

    #[test]
    fn several_rules_of_one_call_are_all_tried() {
        let program = compile(&[
            Rule { call: CALL, when: When::Argument(0, Test::Equal(1)), error: 1 },
            Rule { call: CALL, when: When::Argument(2, Test::Equal(3)), error: 2 },
        ]);
        assert_eq!(ask(&program, MODE, 7, [1, 0, 3, 0, 0, 0]), libc::SECCOMP_RET_ERRNO | 1);
        assert_eq!(ask(&program, MODE, 7, [0, 0, 3, 0, 0, 0]), libc::SECCOMP_RET_ERRNO | 2);
        assert_eq!(ask(&program, MODE, 7, [0, 0, 4, 0, 0, 0]), libc::SECCOMP_RET_ALLOW);
    }

    #[test]
    fn newer_calls_do_not_exist_and_other_modes_are_the_end() {
        let program = compile(&[]);
        assert_eq!(ask(&program, MODE, FIRST_UNKNOWN - 1, [0; 6]), libc::SECCOMP_RET_ALLOW);
        let no_such_call = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
        assert_eq!(ask(&program, MODE, FIRST_UNKNOWN, [0; 6]), no_such_call);
        assert_eq!(ask(&program, MODE, 0x4000_0000, [0; 6]), no_such_call);
        assert_eq!(ask(&program, MODE ^ 1, 0, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
    }
}
