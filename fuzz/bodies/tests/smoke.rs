//! The kept inputs of every target, and seeded mutations of them, through the functions that the fuzzer runs.
#![allow(clippy::unwrap_used, reason = "a test fails where something is not there")]

use std::fs;
use std::path::PathBuf;

use dxg_fuzz_bodies::TARGETS;
use dxg_fuzz_bodies::Target;

/// Longest mutation.
const MAX_BYTES: usize = 2048;

/// Numbers that look random and are the same in each run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }

    /// An input with a few changes.
    fn mutate(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = corpus.get(self.below(corpus.len())).cloned().unwrap_or_default();
        for _ in 0..=self.below(6) {
            let at = self.below(bytes.len());
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => {
                    let more: Vec<u8> = (0..self.below(40)).map(|_| self.byte()).collect();
                    bytes.splice(at..at, more);
                }
                2 => {
                    let other = &corpus[self.below(corpus.len())];
                    bytes.extend(&other[self.below(other.len())..]);
                }
                3 => drop(bytes.drain(at..(at + self.below(16)).min(bytes.len()))),
                _ if bytes.is_empty() => bytes.push(self.byte()),
                4 => bytes[at] ^= 1 << self.below(8),
                _ => bytes[at] = self.byte(),
            }
        }
        bytes.truncate(MAX_BYTES);
        bytes
    }
}

fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap()
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(name);
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let corpus: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(!corpus.is_empty(), "{name} has kept inputs");
    corpus
}

/// Runs a target; what fails is printed, so that it can be kept.
fn smoke(name: &str, mutations: usize) {
    let target = target(name);
    let corpus = corpus(name);
    let mut noise = Noise(0x9E37_79B9_7F4A_7C15);
    let run = |input: &[u8]| {
        let run = std::panic::AssertUnwindSafe(|| (target.run)(input));
        assert!(std::panic::catch_unwind(run).is_ok(), "{name} fails for {input:?}");
    };
    corpus.iter().for_each(|input| run(input));
    for _ in 0..mutations {
        run(&noise.mutate(&corpus));
    }
}

#[test]
fn command_ring_survives() {
    smoke("command_ring", 100_000);
}

#[test]
fn control_survives() {
    smoke("control", 20_000);
}

#[test]
fn cuda_stream_survives() {
    smoke("cuda_stream", 1_500);
}

#[test]
fn dxg_session_survives() {
    smoke("dxg_session", 1_500);
}

#[test]
fn handshake_survives() {
    smoke("handshake", 4_000);
}

#[test]
fn messages_survives() {
    smoke("messages", 100_000);
}

#[test]
fn ptx_survives() {
    smoke("ptx", 20_000);
}

#[test]
fn shared_object_survives() {
    smoke("shared_object", 100_000);
}

#[test]
fn vmbus_ring_survives() {
    smoke("vmbus_ring", 100_000);
}

#[test]
fn vulkan_stream_survives() {
    smoke("vulkan_stream", 2_000);
}

#[test]
fn each_target_has_a_program() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz_targets");
    let mut programs: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    programs.sort();
    let targets: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(programs, targets);
}
