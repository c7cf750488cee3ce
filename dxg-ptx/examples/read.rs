//! Reads PTX texts, prints what they mean, and says how long the reading took.
//!
//! `cargo run --release -p dxg-ptx --example read -- FILE...`; with `--quiet` nothing but the times.

use std::time::Instant;

fn main() {
    let mut is_quiet = false;
    for path in std::env::args().skip(1) {
        if path == "--quiet" {
            is_quiet = true;
            continue;
        }
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) => {
                eprintln!("{path}: {error}");
                continue;
            }
        };
        let mut best = f64::INFINITY;
        let mut read = dxg_ptx::load(&text, &path);
        for _ in 0..runs() {
            let start = Instant::now();
            read = dxg_ptx::load(&text, &path);
            best = best.min(start.elapsed().as_secs_f64());
        }
        match read {
            Ok(module) if !is_quiet => print!("{module}"),
            Ok(_) => {}
            Err(problems) => println!("{problems}"),
        }
        let kilobytes = text.len() as f64 / 1000.0;
        println!("{path}: {:.1} us, {:.2} ms per 100 kB", best * 1e6, best * 1e5 / kilobytes);
    }
}

/// How often each text is read: `READ_RUNS`, or 20 times.
fn runs() -> u32 {
    std::env::var("READ_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(20)
}
