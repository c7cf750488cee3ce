//! Whether a buffer holds what it should.

use serde_json::Value;

use super::inputs::element_bytes;
use super::number::BF16;
use super::number::F16;

/// An element, widened.
fn widen(elem: &str, bytes: &[u8]) -> f64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    let bits = u64::from_le_bytes(word);
    match elem {
        "f64" => f64::from_bits(bits),
        "f32" => f64::from(f32::from_bits(bits as u32)),
        "f16" => F16.decode(bits as u16),
        "bf16" => BF16.decode(bits as u16),
        "i8" => f64::from(bits as i8),
        "i16" => f64::from(bits as i16),
        "i32" => f64::from(bits as i32),
        "i64" => bits as i64 as f64,
        _ => bits as f64,
    }
}

/// Compares as the case says. `count` is the first element of the buffer that a sorted prefix is counted by.
pub(crate) fn compare(
    elem: &str,
    rule: &Value,
    got: &[u8],
    want: &[u8],
    count: Option<usize>,
) -> Result<(), String> {
    let size = element_bytes(elem);
    let [got_all, want_all] = [got, want].map(|bytes| bytes.chunks(size).collect::<Vec<_>>());
    if got_all.len() != want_all.len() {
        return Err(format!("{} elements instead of {}", got_all.len(), want_all.len()));
    }
    let number = |key: &str| rule[key].as_f64().unwrap_or(0.0);
    let wrong = |index: usize| -> bool {
        let (got, want) = (got_all[index], want_all[index]);
        match rule["mode"].as_str() {
            Some("close") => {
                let (got, want) = (widen(elem, got), widen(elem, want));
                let limit = number("atol") + number("rtol") * want.abs();
                !(got == want || (got - want).abs() <= limit || got.is_nan() && want.is_nan())
            }
            _ => got != want,
        }
    };
    if rule["mode"] == "sorted_prefix" {
        let count = count.expect("the buffer that counts is known");
        let sorted = |all: &[&[u8]]| {
            let mut first = all[..count].iter().map(|bytes| bytes.to_vec()).collect::<Vec<_>>();
            first.sort();
            first
        };
        return if sorted(&got_all) == sorted(&want_all) { Ok(()) } else { Err("another set".to_owned()) };
    }
    let bad: Vec<usize> = (0..got_all.len()).filter(|&index| wrong(index)).collect();
    let Some(&first) = bad.first() else { return Ok(()) };
    let (got, want) = (widen(elem, got_all[first]), widen(elem, want_all[first]));
    Err(format!("{} of {} wrong, first [{first}]: {got:?} instead of {want:?}", bad.len(), got_all.len()))
}
