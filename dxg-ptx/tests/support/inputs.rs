//! Inputs of cases: the generators that the case files name.

use serde_json::Value;

use super::number::BF16;
use super::number::F16;
use super::number::To;

/// The hash that all generators start from.
fn hash(seed: u32, index: u32) -> u32 {
    let mut x = index
        .wrapping_mul(0x9E37_79B1)
        .wrapping_add(seed.wrapping_mul(0x85EB_CA77))
        .wrapping_add(0x1656_67B1);
    x ^= x >> 15;
    x = x.wrapping_mul(0x2C1B_3C6D);
    x ^= x >> 12;
    x = x.wrapping_mul(0x297A_2D39);
    x ^ x >> 15
}

pub(crate) fn element_bytes(elem: &str) -> usize {
    match elem {
        "i8" | "u8" => 1,
        "i16" | "u16" | "f16" | "bf16" => 2,
        "i32" | "u32" | "f32" => 4,
        "i64" | "u64" | "f64" => 8,
        other => panic!("unknown element type {other}"),
    }
}

/// A JSON number as an element.
pub(crate) fn encode(elem: &str, value: &Value) -> Vec<u8> {
    let float = || value.as_f64().expect("the value is a number");
    match elem {
        "f16" | "bf16" | "f32" | "f64" => encode_float(elem, float()),
        _ => {
            let whole = value.as_i64().map(|value| value as u64).or_else(|| value.as_u64());
            let whole = whole.unwrap_or_else(|| float() as i64 as u64);
            whole.to_le_bytes()[..element_bytes(elem)].to_vec()
        }
    }
}

fn encode_float(elem: &str, value: f64) -> Vec<u8> {
    match elem {
        "f16" => F16.encode(value, To::Nearest).to_le_bytes().to_vec(),
        "bf16" => BF16.encode(f64::from(value as f32), To::Nearest).to_le_bytes().to_vec(),
        "f32" => (value as f32).to_le_bytes().to_vec(),
        _ => value.to_le_bytes().to_vec(),
    }
}

fn encode_number(elem: &str, value: f64) -> Vec<u8> {
    match elem {
        "f16" | "bf16" | "f32" | "f64" => encode_float(elem, value),
        _ => (value as i64).to_le_bytes()[..element_bytes(elem)].to_vec(),
    }
}

/// The content of a buffer.
pub(crate) fn generate(elem: &str, count: usize, init: &Value) -> Vec<u8> {
    let number = |key: &str| init[key].as_f64().unwrap_or_else(|| panic!("{key} is a number"));
    let seed = init["seed"].as_u64().unwrap_or(0) as u32;
    let size = element_bytes(elem);
    let element = |index: usize| -> Vec<u8> {
        let at = index as u32;
        match init["gen"].as_str().expect("a generator has a name") {
            "zero" => vec![0; size],
            "const" => encode(elem, &init["value"]),
            "iota" => {
                let start = init["start"].as_f64().unwrap_or(0.0);
                let step = init["step"].as_f64().unwrap_or(1.0);
                encode_number(elem, start + step * index as f64)
            }
            "list" => encode(elem, &init["values"][index]),
            "hash_u32" => u64::from(hash(seed, at)).to_le_bytes()[..size].to_vec(),
            "hash_u64" => {
                let [low, high] = [2 * at, 2 * at + 1].map(|at| u64::from(hash(seed, at)));
                (low | high << 32).to_le_bytes()[..size].to_vec()
            }
            "hash_int" => {
                let (low, high) = (number("lo") as i64, number("hi") as i64);
                let value = low + i64::from(hash(seed, at)) % (high - low);
                encode_number(elem, value as f64)
            }
            "hash_float" => {
                let (low, high) = (number("lo"), number("hi"));
                encode_number(elem, low + (high - low) * (f64::from(hash(seed, at)) / 4_294_967_296.0))
            }
            other => panic!("unknown generator {other}"),
        }
    };
    (0..count).flat_map(element).collect()
}
