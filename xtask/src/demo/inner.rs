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
    /// Where the pictures go.
    #[arg(long)]
    out: PathBuf,
}

/// One step: programs that run at the same time, and what must be true afterwards.
struct Step {
    title: &'static str,
    shows: &'static str,
    commands: Vec<Run>,
    check: Check,
}

/// A program with its arguments.
struct Run {
    program: PathBuf,
    args: Vec<OsString>,
}

/// What makes a step good, beside the exit status of its programs.
enum Check {
    /// The output has this text.
    Says(&'static str),
    /// There is some output.
    SaysSomething,
    /// These files are whole pictures.
    Pictures(Vec<PathBuf>),
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
    vec![
        Step {
            title: "The virtual GPUs of this daemon",
            shows: "dxgctl asks the daemon which virtual GPUs this user may open. None of them needs a device \
                    node or a kernel module.",
            commands: vec![run(&args.dxgctl, &["list"])],
            check: Check::SaysSomething,
        },
        Step {
            title: "A program that knows nothing of us",
            shows: "vulkaninfo from the distribution, unchanged: the Vulkan loader finds our driver, the driver \
                    talks to a worker process of the daemon, the worker to the host's driver.",
            commands: vec![run(Path::new("vulkaninfo"), &["--summary"])],
            check: Check::Says("deviceName"),
        },
        Step {
            title: "Sharing between processes",
            shows: "One process passes memory and a fence to another as file descriptors. There are no global \
                    names: who has not been given the descriptor cannot reach the object.",
            commands: vec![run(&args.share, &[])],
            check: Check::SaysSomething,
        },
        Step {
            title: "Two programs on one GPU at once",
            shows: "Each draws the Mandelbrot set with a compute shader, in a sandboxed worker of its own.",
            commands: pictures.iter().map(draw).collect(),
            check: Check::Pictures(pictures),
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
        for line in said.lines() {
            println!("      | {line}");
        }
        output.push_str(&said);
        if let Err(error) = outcome {
            problems.push(format!("{error:#}"));
        }
    }
    ensure!(problems.is_empty(), "{}", problems.join("; "));
    step.check.judge(&output)
}

impl Check {
    fn judge(&self, output: &str) -> Result<()> {
        match self {
            Self::Says(text) => ensure!(output.contains(text), "the output has no `{text}`"),
            Self::SaysSomething => ensure!(!output.trim().is_empty(), "there is no output"),
            Self::Pictures(paths) => {
                for path in paths {
                    let bytes = fs::read(path).with_context(|| format!("no picture {}", path.display()))?;
                    ensure!(is_whole_png(&bytes), "{} is not a whole PNG file", path.display());
                }
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
    output: mpsc::Receiver<String>,
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
            collect(stdout, sender.clone());
        }
        if let Some(stderr) = child.stderr.take() {
            collect(stderr, sender);
        }
        Ok(Self { line, child, output })
    }

    /// Waits for the end; returns what the program wrote and whether it succeeded.
    fn finish(mut self) -> (String, Result<()>) {
        let deadline = Instant::now() + HANG_GUARD;
        let mut said = String::new();
        loop {
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(text) => said.push_str(&text),
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
fn collect(mut pipe: impl Read + Send + 'static, sender: mpsc::Sender<String>) {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // An error ends the output like a closed pipe; the exit status tells whether the program worked.
        let _ = pipe.read_to_end(&mut bytes);
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
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
        assert!(Check::Says("deviceName").judge("deviceName = x").is_ok());
        assert!(Check::Says("deviceName").judge("no device").is_err());
        assert!(Check::SaysSomething.judge(" \n").is_err());
    }

    #[test]
    fn steps_draw_into_the_output_directory() {
        let args = Args {
            dxgctl: "/s/bin/dxgctl".into(),
            share: "/t/share".into(),
            mandelbrot: "/t/mandelbrot".into(),
            out: "/t/demo".into(),
        };
        let steps = steps(&args);
        let Check::Pictures(paths) = &steps.last().expect("there are steps").check else {
            panic!("the last step draws")
        };
        assert!(paths.iter().all(|path| path.starts_with("/t/demo")));
    }
}
