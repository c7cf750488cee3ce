//! The steps of the demo, run under the private daemon.

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

use crate::process;

/// No step takes this long; a program that does hangs and is ended.
const HANG_GUARD: Duration = Duration::from_secs(180);

/// Runs the steps of the demo; meant to be started by `demo` under a daemon.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The staged dxgctl.
    #[arg(long)]
    dxgctl: PathBuf,
    /// The sample `share`.
    #[arg(long)]
    share: PathBuf,
    /// The sample `mandelbrot`.
    #[arg(long)]
    mandelbrot: PathBuf,
    /// The sample `cuda-vecadd`.
    #[arg(long)]
    cuda_vecadd: PathBuf,
    /// The CUDA sample in C, where there is a compiler for it.
    #[arg(long)]
    cuda_c: Option<PathBuf>,
    /// Where the pictures go.
    #[arg(long)]
    out: PathBuf,
}

/// One step: programs that run at the same time, and what must be true afterwards.
struct Step {
    title: &'static str,
    shows: &'static str,
    commands: Vec<Run>,
    /// Leave out the output before this line, where a program says more than the step is about.
    from_line: Option<&'static str>,
    check: Check,
}

/// A program with its arguments.
struct Run {
    program: PathBuf,
    args: Vec<OsString>,
}

/// What makes a step good, beside the exit status of its programs.
enum Check {
    /// A line of the output has this name and this value.
    Says { name: &'static str, value: &'static str },
    /// There is some output.
    SaysSomething,
    /// These files are whole pictures.
    Pictures(Vec<PathBuf>),
    /// So many programs have found the same device and added right on it.
    Sums { programs: usize },
}

fn steps(args: &Args) -> Vec<Step> {
    let run = |program: &Path, words: &[&str]| Run {
        program: program.to_path_buf(),
        args: words.iter().map(OsString::from).collect(),
    };
    let pictures = vec![args.out.join("mandelbrot-1.png"), args.out.join("mandelbrot-2.png")];
    let draw = |picture: &PathBuf| Run {
        program: args.mandelbrot.clone(),
        args: vec!["--out".into(), picture.into(), "--size".into(), "1024".into()],
    };
    // Where there is no C compiler, the second one is in Rust too.
    let second = args.cuda_c.as_ref().unwrap_or(&args.cuda_vecadd);
    vec![
        Step {
            title: "The virtual GPUs of this daemon",
            shows: "dxgctl asks the daemon which virtual GPUs this user may open. None of them needs a device \
                    node or a kernel module.",
            commands: vec![run(&args.dxgctl, &["list"])],
            from_line: None,
            check: Check::SaysSomething,
        },
        Step {
            title: "A program that knows nothing of us",
            shows: "vulkaninfo from the distribution, unchanged: the Vulkan loader finds our driver, the driver \
                    talks to a worker process of the daemon, the worker to the host's driver.",
            commands: vec![run(Path::new("vulkaninfo"), &["--summary"])],
            from_line: Some("Devices:"),
            check: Check::Says { name: "driverName", value: "dxg" },
        },
        Step {
            title: "Sharing between processes",
            shows: "One process passes memory and a fence to another as file descriptors. There are no global \
                    names: who has not been given the descriptor cannot reach the object.",
            commands: vec![run(&args.share, &[])],
            from_line: None,
            check: Check::SaysSomething,
        },
        Step {
            title: "Two programs on one GPU at once",
            shows: "Each draws the Mandelbrot set with a compute shader, in a sandboxed worker of its own.",
            commands: pictures.iter().map(draw).collect(),
            from_line: None,
            check: Check::Pictures(pictures),
        },
        Step {
            title: "CUDA without NVIDIA",
            shows: "A program on the CUDA driver API: it loads libcuda.so.1 and finds ours. Its kernel, in PTX, is \
                    compiled in a worker for the cores of this machine. It needs nothing of NVIDIA's, neither hardware \
                    nor software.",
            commands: vec![run(&args.cuda_vecadd, &[])],
            from_line: None,
            check: Check::Sums { programs: 1 },
        },
        Step {
            title: "Two CUDA programs on one GPU at once",
            shows: "One in Rust, one in C. They see the same device, the one that dxgctl has listed, and each has a \
                    worker, and memory, of its own.",
            commands: vec![run(&args.cuda_vecadd, &[]), run(second, &[])],
            from_line: None,
            check: Check::Sums { programs: 2 },
        },
    ]
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<()> {
    fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    let steps = steps(args);
    let count = steps.len();
    for (number, step) in (1..).zip(&steps) {
        println!("\n[{number}/{count}] {}\n      {}", step.title, step.shows);
        let start = Instant::now();
        perform(step).with_context(|| format!("step {number}, \"{}\"", step.title))?;
        println!("      ok ({:.1} s)", start.elapsed().as_secs_f64());
        if let Check::Pictures(paths) = &step.check {
            for path in paths {
                println!("      picture: {}", path.display());
            }
        }
    }
    println!("\nThe demo worked: {count} steps of {count}.");
    Ok(())
}

fn perform(step: &Step) -> Result<()> {
    if let Check::Pictures(paths) = &step.check {
        // A picture of an earlier demo must not pass for one of this.
        for path in paths.iter().filter(|path| path.exists()) {
            fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    let running = step.commands.iter().map(Running::start).collect::<Result<Vec<_>>>()?;
    let mut output = String::new();
    let mut problems = Vec::new();
    for one in running {
        let (said, outcome) = one.finish();
        // A failure is shown whole.
        let start = step.from_line.filter(|_| outcome.is_ok());
        let dull = |line: &&str| start.is_some_and(|first| !line.starts_with(first));
        show(said.out.lines().skip_while(dull));
        output.push_str(&said.out);
        if let Err(error) = outcome {
            // What a program mutters while it works is not part of the show; what it says when it fails is.
            show(said.err.lines());
            problems.push(format!("{error:#}"));
        }
    }
    ensure!(problems.is_empty(), "{}", problems.join("; "));
    step.check.judge(&output)
}

fn show<'a>(lines: impl Iterator<Item = &'a str>) {
    for line in lines {
        println!("      | {line}");
    }
}

impl Check {
    fn judge(&self, output: &str) -> Result<()> {
        match self {
            Self::Says { name, value } => {
                let found = output
                    .lines()
                    .filter_map(|line| line.split_once('='))
                    .any(|(key, text)| key.trim() == *name && text.trim() == *value);
                ensure!(found, "the output has no `{name} = {value}`");
            }
            Self::SaysSomething => ensure!(!output.trim().is_empty(), "there is no output"),
            Self::Pictures(paths) => {
                for path in paths {
                    let bytes = fs::read(path).with_context(|| format!("no picture {}", path.display()))?;
                    ensure!(is_whole_png(&bytes), "{} is not a whole PNG file", path.display());
                }
            }
            Self::Sums { programs } => {
                let right = output.lines().filter(|line| line.ends_with("all sums are right")).count();
                ensure!(right == *programs, "{right} of {programs} programs added right");
                let uuids: Vec<&str> =
                    output.lines().filter_map(|line| line.strip_prefix("uuid ")).map(str::trim).collect();
                ensure!(
                    uuids.len() == *programs,
                    "{} of {programs} programs say on which device",
                    uuids.len()
                );
                ensure!(
                    uuids.iter().all(|uuid| *uuid == uuids[0]),
                    "the devices differ: {}",
                    uuids.join(", ")
                );
            }
        }
        Ok(())
    }
}

/// Whether the bytes begin and end as a PNG file does.
fn is_whole_png(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89PNG\r\n\x1a\n") && bytes.ends_with(b"IEND\xae\x42\x60\x82")
}

/// A program that runs, with the threads that read its output.
struct Running {
    line: String,
    child: Child,
    output: mpsc::Receiver<Said>,
}

/// What a program wrote.
#[derive(Default)]
struct Said {
    out: String,
    err: String,
}

impl Running {
    fn start(run: &Run) -> Result<Self> {
        let mut command = Command::new(&run.program);
        command.args(&run.args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let line = process::line(&command);
        println!("      $ {line}");
        let mut child = command.spawn().with_context(|| format!("cannot start `{line}`"))?;
        let (sender, output) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            collect(stdout, sender.clone(), |out| Said { out, ..Said::default() });
        }
        if let Some(stderr) = child.stderr.take() {
            collect(stderr, sender, |err| Said { err, ..Said::default() });
        }
        Ok(Self { line, child, output })
    }

    /// Waits for the end; returns what the program wrote and whether it succeeded.
    fn finish(mut self) -> (Said, Result<()>) {
        let deadline = Instant::now() + HANG_GUARD;
        let mut said = Said::default();
        loop {
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(more) => {
                    said.out.push_str(&more.out);
                    said.err.push_str(&more.err);
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return (said, self.wait()),
                Err(mpsc::RecvTimeoutError::Timeout) => return (said, self.end()),
            }
        }
    }

    fn wait(&mut self) -> Result<()> {
        let status = self.child.wait()?;
        if !status.success() {
            bail!("`{}` failed ({status})", self.line);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        bail!("`{}` did not end within {} s and was killed", self.line, HANG_GUARD.as_secs())
    }
}

/// Sends what a pipe says, whole, when it closes.
fn collect(
    mut pipe: impl Read + Send + 'static,
    sender: mpsc::Sender<Said>,
    said: impl FnOnce(String) -> Said + Send + 'static,
) {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // An error ends the output like a closed pipe; the exit status tells whether the program worked.
        let _ = pipe.read_to_end(&mut bytes);
        let _ = sender.send(said(String::from_utf8_lossy(&bytes).into_owned()));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_png_has_its_first_and_last_bytes() {
        let whole = b"\x89PNG\r\n\x1a\n....IEND\xae\x42\x60\x82";
        assert!(is_whole_png(whole));
        assert!(!is_whole_png(&whole[..whole.len() - 1]));
        assert!(!is_whole_png(b""));
    }

    #[test]
    fn check_output_is_judged_by_its_text() {
        let ours = Check::Says { name: "driverName", value: "dxg" };
        assert!(ours.judge("GPU0:\n\tdriverName         = dxg\n").is_ok());
        assert!(ours.judge("\tdriverName         = llvmpipe\n\tdeviceName = dxg\n").is_err());
        assert!(Check::SaysSomething.judge(" \n").is_err());
    }

    #[test]
    fn sums_of_two_programs_are_right_on_one_device_only() {
        let said = |uuid: &str| {
            format!("device  d\nuuid    {uuid}\nadded   3 numbers 2 times; all sums are right\n")
        };
        let both = Check::Sums { programs: 2 };
        assert!(both.judge(&(said("1-2") + &said("1-2"))).is_ok());
        assert!(both.judge(&(said("1-2") + &said("1-3"))).is_err());
        assert!(both.judge(&said("1-2")).is_err());
        assert!(both.judge(&(said("1-2") + "uuid    1-2\n")).is_err());
    }

    #[test]
    fn steps_draw_into_the_output_directory() {
        let args = Args {
            dxgctl: "/s/bin/dxgctl".into(),
            share: "/t/share".into(),
            mandelbrot: "/t/mandelbrot".into(),
            cuda_vecadd: "/t/cuda-vecadd".into(),
            cuda_c: None,
            out: "/t/demo".into(),
        };
        let steps = steps(&args);
        let drawn = steps.iter().find_map(|step| match &step.check {
            Check::Pictures(paths) => Some(paths),
            _ => None,
        });
        let paths = drawn.expect("a step draws");
        assert!(!paths.is_empty());
        assert!(paths.iter().all(|path| path.starts_with("/t/demo")));
    }
}
