//! `dxgctl list` and `dxgctl info`: what the daemons say, for people and for programs.

use std::fmt::Write as _;
use std::io;
use std::io::Write as _;
use std::time::Duration;
use std::time::SystemTime;

use anyhow::Context as _;
use anyhow::bail;
use dxg_wire::control::Adapter;
use dxg_wire::control::Cuda;
use dxg_wire::control::State;
use dxg_wire::control::Vgpu;
use serde_json::json;

use crate::ask::Answer;
use crate::ask::Daemons;

/// How to print.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Format {
    /// From the flag of the command line.
    pub(crate) const fn of(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }
}

/// Prints a line per virtual GPU, and its clients.
pub(crate) fn list(format: Format) -> anyhow::Result<()> {
    let daemons = Daemons::find(None)?;
    match format {
        Format::Json => print_json(&daemons),
        Format::Text if daemons.gpus().is_empty() => bail!("{}", daemons.why_none()),
        Format::Text => {
            let gpus = daemons.gpus();
            let lines = gpus.iter().enumerate();
            print(
                &lines.map(|(index, (answer, gpu))| gpu_lines(index, gpu, &answer.state)).collect::<String>(),
            )
        }
    }
}

/// Prints all that is known of one virtual GPU, or of all.
pub(crate) fn info(gpu: Option<&str>, format: Format) -> anyhow::Result<()> {
    let mut daemons = Daemons::find(None)?;
    if daemons.gpus().is_empty() && format == Format::Text {
        bail!("{}", daemons.why_none());
    }
    if let Some(name) = gpu {
        let uuid = daemons.one_gpu(name)?;
        for answer in &mut daemons.answers {
            answer.state.vgpus.retain(|gpu| gpu.uuid == uuid);
        }
        daemons.answers.retain(|answer| !answer.state.vgpus.is_empty());
    }
    if format == Format::Json {
        return print_json(&daemons);
    }
    let mut text = String::new();
    for answer in &daemons.answers {
        text += &daemon_lines(answer);
        for gpu in &answer.state.vgpus {
            text += &info_lines(gpu, &answer.state);
        }
    }
    print(&text)
}

/// Prints a text. That whoever reads it has enough of it, as `head` has, is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("cannot print"),
        _ => Ok(()),
    }
}

fn print_json(daemons: &Daemons) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(&document(&daemons.answers))?))
}

/// What `--json` prints; `docs/dxgctl.md` describes it.
fn document(answers: &[Answer]) -> serde_json::Value {
    let all: Vec<_> = answers
        .iter()
        .map(|answer| {
            json!({
                "runtime_dir": answer.runtime_dir, "daemon": answer.state.daemon,
                "adapters": answer.state.adapters, "vgpus": answer.state.vgpus,
            })
        })
        .collect();
    json!({ "daemons": all })
}

/// The lines of `list` for one virtual GPU.
fn gpu_lines(index: usize, gpu: &Vgpu, state: &State) -> String {
    let adapter = adapter_of(gpu, state);
    let mut text = format!(
        "{index}  {}  {}  [{}], for {}\n   driver {} {}, memory {} of {} in use, {}\n",
        gpu.uuid,
        or_unknown(&adapter.name),
        or_unknown(&adapter.kind),
        purpose(&adapter),
        or_unknown(&adapter.driver_name),
        adapter.driver_version,
        bytes(gpu.used_bytes),
        bytes(gpu.quota_bytes),
        clients(gpu.clients.len()),
    );
    for client in &gpu.clients {
        let _ = writeln!(
            text,
            "     pid {:<8} uid {:<6} {:<16} {}",
            client.pid,
            client.uid,
            printable(&client.name),
            bytes(client.used_bytes)
        );
    }
    text
}

fn daemon_lines(answer: &Answer) -> String {
    let daemon = &answer.state.daemon;
    format!(
        "daemon     dxgd {} (pid {}), up {}\nruntime    {}\nsandbox    {}\ncode cache {}\n",
        daemon.version,
        daemon.pid,
        span(Duration::from_secs(daemon.uptime_seconds)),
        answer.runtime_dir.display(),
        or_unknown(&printable(&daemon.sandbox)),
        or_unknown(&printable(&daemon.code_cache))
    )
}

/// The lines of `info` for one virtual GPU.
fn info_lines(gpu: &Vgpu, state: &State) -> String {
    let adapter = adapter_of(gpu, state);
    let mut text = format!("\nvirtual GPU {}\n", gpu.uuid);
    let mut row = |title: &str, value: String| {
        let _ = writeln!(text, "  {title:<10} {value}");
    };
    row("adapter", format!("{} [{}]", or_unknown(&adapter.name), or_unknown(&adapter.kind)));
    row("for", purpose(&adapter).to_owned());
    row("device", format!("{:04x}:{:04x}", adapter.vendor_id, adapter.device_id));
    row("driver", format!("{} {}", or_unknown(&adapter.driver_name), adapter.driver_version));
    for heap in &adapter.heaps {
        row(
            "heap",
            format!("{}{}", bytes(heap.size_bytes), if heap.device_local { ", of the device" } else { "" }),
        );
    }
    row("LUID", format!("{:08x}-{:08x}", gpu.luid >> 32, gpu.luid & 0xffff_ffff));
    row(
        "node",
        format!("{} (mode {:04o}, owner {}:{})", gpu.node_path, gpu.mode, gpu.owner_uid, gpu.owner_gid),
    );
    row("memory", format!("{} of {} in use", bytes(gpu.used_bytes), bytes(gpu.quota_bytes)));
    if !gpu.cuda.executor.is_empty() {
        row("CUDA", cuda(&gpu.cuda));
    }
    row("clients", gpu.clients.len().to_string());
    for client in &gpu.clients {
        let connected = SystemTime::UNIX_EPOCH + Duration::from_secs(client.since);
        row(
            "",
            format!(
                "pid {} (uid {}) {}: session {}, {}, connected for {}",
                client.pid,
                client.uid,
                printable(&client.name),
                client.session,
                bytes(client.used_bytes),
                span(connected.elapsed().unwrap_or_default())
            ),
        );
    }
    text
}

/// What programs can do with virtual GPUs of an adapter, beside memory and fences, which all have.
fn purpose(adapter: &Adapter) -> &'static str {
    match adapter.kind.as_str() {
        "vulkan" => "Vulkan and CUDA",
        "cpu" | "cuda" => "CUDA",
        "none" => "memory and fences only",
        _ => "what its driver can",
    }
}

fn adapter_of(gpu: &Vgpu, state: &State) -> Adapter {
    usize::try_from(gpu.adapter).ok().and_then(|index| state.adapters.get(index)).cloned().unwrap_or_default()
}

/// What runs kernels, and for how long.
fn cuda(cuda: &Cuda) -> String {
    let capability = match cuda.compute_capability {
        0 => String::new(),
        number => format!(", compute capability {}.{}", number / 10, number % 10),
    };
    let limit = match cuda.watchdog_ms {
        0 => "kernels run as long as they like".to_owned(),
        limit => format!("kernels end after {limit} ms"),
    };
    format!("{}{capability}, {limit}", printable(&cuda.executor))
}

fn clients(count: usize) -> String {
    match count {
        0 => "no client".to_owned(),
        1 => "1 client".to_owned(),
        more => format!("{more} clients"),
    }
}

fn or_unknown(text: &str) -> &str {
    if text.is_empty() { "unknown" } else { text }
}

/// A client's name for a terminal: it chose the name itself, control characters included.
fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// A size in the largest unit of which there is at least one.
fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| count >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", count as f64 / *unit as f64),
        None => format!("{count} B"),
    }
}

fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use dxg_wire::control;
    use dxg_wire::control::Client;

    use super::*;

    #[test]
    fn bytes_are_printed_in_the_largest_unit() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(2 << 30), "2.0 GiB");
    }

    #[test]
    fn list_shows_adapter_driver_memory_and_clients_without_control_characters() {
        let client = Client { pid: 7, uid: 1000, name: "evil\x1b[2J".to_owned(), ..Client::default() };
        let gpu =
            Vgpu { uuid: "u-1".to_owned(), quota_bytes: 1 << 30, clients: vec![client], ..Vgpu::default() };
        let adapter =
            Adapter { name: "card".to_owned(), driver_name: "drv".to_owned(), ..Adapter::default() };
        let state = State { adapters: vec![adapter], ..State::default() };
        let text = gpu_lines(0, &gpu, &state);
        for part in ["0  u-1", "card", "driver drv", "0 B of 1.0 GiB", "1 client", "pid 7", "evil?[2J"] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }

    #[test]
    fn info_says_how_long_kernels_may_run() {
        let info = |executor: &str, compute_capability, watchdog_ms| {
            let cuda = Cuda { executor: executor.to_owned(), compute_capability, watchdog_ms };
            info_lines(&Vgpu { cuda, ..Vgpu::default() }, &State::default())
        };
        assert!(
            info("native", 75, 0)
                .contains("CUDA       native, compute capability 7.5, kernels run as long as they like\n")
        );
        assert!(info("driver", 0, 60_000).contains("CUDA       driver, kernels end after 60000 ms\n"));
        assert!(!info("", 0, 0).contains("CUDA"));
    }

    #[test]
    fn documented_json_is_what_is_printed() {
        let manual = include_str!("../../docs/dxgctl.md");
        let (_, rest) = manual.split_once("```json\n").unwrap();
        let (example, _) = rest.split_once("```").unwrap();
        let example: serde_json::Value = serde_json::from_str(example).unwrap();
        let daemon = &example["daemons"][0];
        let state =
            json!({ "daemon": daemon["daemon"], "adapters": daemon["adapters"], "vgpus": daemon["vgpus"] });
        let state: State = serde_json::from_value(state).unwrap();
        let answer = Answer { runtime_dir: "/run/dxg".into(), state };
        assert_eq!(document(&[answer]), example);
    }

    #[test]
    fn list_and_info_say_what_a_virtual_gpu_is_for() {
        for (kind, purpose) in [
            ("cpu", "CUDA"),
            ("cuda", "CUDA"),
            ("vulkan", "Vulkan and CUDA"),
            ("none", "memory and fences only"),
        ] {
            let adapter = Adapter { kind: kind.to_owned(), ..Adapter::default() };
            let state = State { adapters: vec![adapter], ..State::default() };
            let gpu = Vgpu::default();
            assert!(gpu_lines(0, &gpu, &state).contains(&format!("[{kind}], for {purpose}\n")));
            assert!(info_lines(&gpu, &state).contains(&format!("for        {purpose}\n")));
        }
    }

    #[test]
    fn info_says_how_far_workers_are_closed_in() {
        let answer = |sandbox: &str| {
            let daemon = control::Daemon { sandbox: sandbox.to_owned(), ..control::Daemon::default() };
            Answer { runtime_dir: PathBuf::new(), state: State { daemon, ..State::default() } }
        };
        assert!(daemon_lines(&answer("partial: no landlock")).contains("sandbox    partial: no landlock\n"));
        assert!(daemon_lines(&answer("")).contains("sandbox    unknown\n"));
    }

    #[test]
    fn info_says_where_compiled_code_is_kept() {
        let daemon = control::Daemon { code_cache: "/var/cache/dxg/code".to_owned(), ..Default::default() };
        let answer = Answer { runtime_dir: PathBuf::new(), state: State { daemon, ..State::default() } };
        assert!(daemon_lines(&answer).contains("code cache /var/cache/dxg/code\n"));
    }

    #[test]
    fn a_gpu_of_an_adapter_that_is_not_listed_is_still_shown() {
        let gpu = Vgpu { adapter: 9, ..Vgpu::default() };
        assert!(gpu_lines(0, &gpu, &State::default()).contains("unknown"));
    }
}
