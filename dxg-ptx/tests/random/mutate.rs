//! Damage to programs: what comes out is often still a program, but one that does what nobody meant.

use crate::support::random::Random;

/// Numbers at which something may break.
const NUMBERS: [&str; 10] =
    ["0", "1", "31", "32", "33", "255", "0x7fffffff", "0x80000000", "0xffffffff", "0xffffffffffffffff"];

fn below(random: &mut Random, limit: usize) -> usize {
    (random.next() % limit.max(1) as u64) as usize
}

/// Where words that begin in a certain way stand in a text.
fn words(text: &str, begins: fn(u8) -> bool) -> Vec<std::ops::Range<usize>> {
    let bytes = text.as_bytes();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let starts =
        (1..bytes.len()).filter(|&at| begins(bytes[at]) && !is_word(bytes[at - 1]) && bytes[at - 1] != b'%');
    starts
        .map(|at| at..(at + 1..bytes.len()).find(|&end| !is_word(bytes[end])).unwrap_or(bytes.len()))
        .collect()
}

/// The text with a few changes.
pub(crate) fn mutate(text: &str, random: &mut Random) -> String {
    let mut text = text.to_owned();
    for _ in 0..1 + below(random, 3) {
        text = match below(random, 4) {
            0 => {
                let numbers = words(&text, |byte| byte.is_ascii_digit());
                let place = numbers[below(random, numbers.len())].clone();
                let number = NUMBERS[below(random, NUMBERS.len())];
                text[..place.start].to_owned() + number + &text[place.end..]
            }
            1 => {
                let registers = words(&text, |byte| byte == b'%');
                let [from, to] = [0, 1].map(|_| registers[below(random, registers.len())].clone());
                text[..to.start].to_owned() + &text[from] + &text[to.end..]
            }
            choice => {
                let mut lines: Vec<&str> = text.lines().collect();
                let [from, to] = [0, 1].map(|_| below(random, lines.len()));
                if choice == 2 {
                    lines.swap(from, to);
                } else {
                    lines.insert(to, lines[from]);
                }
                lines.join("\n") + "\n"
            }
        };
    }
    text
}
