//! Texts that are cut off or changed: whatever they are, reading them ends with a module or with what is wrong.
#![allow(clippy::unwrap_used, reason = "a test fails where something is not there")]

use std::fs;
use std::path::Path;
use std::path::PathBuf;

fn texts(dir: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "ptx") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn cases() -> Vec<Vec<u8>> {
    let mut texts = texts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases"));
    let statements = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lowering")).unwrap();
    let mut all =
        b".version 9.0\n.target sm_90\n.entry e() {\n.reg .b32 r<20>; .reg .b64 d<9>; .reg .f32 f<40>;\n"
            .to_vec();
    let mut paths: Vec<PathBuf> = statements.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let text = fs::read_to_string(path).unwrap();
        all.extend(
            text.lines()
                .filter(|line| !line.starts_with(' '))
                .flat_map(|line| [line, "\n"])
                .flat_map(str::bytes),
        );
    }
    all.extend(b"}\n");
    texts.push(all);
    texts
}

/// Reads a text and looks at all of what comes out.
fn read(text: &[u8]) {
    match dxg_ptx::load(text, "text") {
        Ok(module) => {
            dxg_ptx::verify::verify(&module).unwrap();
            assert!(!module.to_string().is_empty());
        }
        Err(problems) => assert!(!problems.list.is_empty() && !problems.to_string().contains("internal")),
    }
}

#[test]
fn texts_cut_off_after_any_token_are_read_or_refused() {
    for text in cases() {
        let mut previous = b' ';
        let mut ends = Vec::new();
        for (at, &byte) in text.iter().enumerate() {
            let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'%');
            let is_inside = is_word(previous) && is_word(byte);
            if !is_inside && !byte.is_ascii_whitespace() {
                ends.push(at);
            }
            previous = byte;
        }
        // Of a long text not each, or this would take as long as its square.
        for at in ends.iter().step_by(1 + text.len() / 3000) {
            read(&text[..*at]);
        }
    }
}

/// Numbers that look random and are the same in each run.
struct Noise(u64);

impl Noise {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(end.max(1)).unwrap()).unwrap()
    }
}

#[test]
fn changed_texts_are_read_or_refused() {
    let texts = cases();
    // Words that mean something are worse than noise.
    let words: Vec<Vec<u8>> = texts
        .iter()
        .flat_map(|text| text.split(|byte| b" \t\n,;".contains(byte)))
        .filter(|word| !word.is_empty() && word.len() < 40)
        .map(<[u8]>::to_vec)
        .collect();
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    for _ in 0..20_000 {
        // The head and some of the rest is enough, and quicker.
        let whole = &texts[noise.below(texts.len())];
        let (head, rest) = whole.split_at(whole.len().min(100 + noise.below(400)));
        let start = noise.below(rest.len());
        let end = rest.len().min(start + noise.below(1500));
        let mut text = [head, &rest[start..end]].concat();
        for _ in 0..=noise.below(4) {
            let at = noise.below(text.len());
            match noise.below(5) {
                0 => text[at] = u8::try_from(noise.below(256)).unwrap(),
                1 => drop(text.drain(at..(at + noise.below(12)).min(text.len()))),
                2 => {
                    let mut more = words[noise.below(words.len())].clone();
                    more.push(b' ');
                    drop(text.splice(at..at, more));
                }
                3 => {
                    let from = noise.below(text.len());
                    let part = text[from..(from + noise.below(60)).min(text.len())].to_vec();
                    drop(text.splice(at..at, part));
                }
                _ => text[at] = b"{}[]();:,.@!|%<>0-+*/\""[noise.below(22)],
            }
            if text.is_empty() {
                break;
            }
        }
        if noise.below(2) == 0 {
            text.extend(b"\nret;\n}\n");
        }
        read(&text);
    }
}
