//! `dxgd`: the daemon, and the processes that it starts itself as.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::IsTerminal;
use std::io::Write;
use std::os::fd::RawFd;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use clap::Subcommand;
use dxg_host::adapter::AdapterChoice;
use dxg_host::adapter::probe;
use dxg_host::adapter::probe::Wanted;
use dxg_host::broker;
use dxg_host::broker::Leftovers;
use dxg_host::broker::ServeOptions;
use dxg_host::code_store;
use dxg_host::config::Config;
use dxg_host::sandbox;
use dxg_host::sandbox::Policy;
use dxg_host::worker;
use tracing_subscriber::EnvFilter;

/// Offers the machine's GPUs as virtual GPUs.
#[derive(Parser)]
#[command(name = "dxgd", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve virtual GPUs until SIGTERM, SIGINT or SIGHUP.
    Serve(ServeArgs),
    /// Serve one client on the socket at descriptor 0. Started by the daemon.
    #[command(hide = true)]
    Worker {
        /// The adapter to load.
        #[arg(long)]
        adapter: AdapterChoice,
        /// How far to close in.
        #[arg(long, default_value = "best")]
        sandbox: Policy,
        /// What may be read beside what drivers have on most systems.
        #[arg(long, value_name = "PATH")]
        readable: Vec<PathBuf>,
        /// The host's CUDA library, where it is not the one that the system has.
        #[arg(long, value_name = "PATH")]
        host_libcuda: Option<PathBuf>,
    },
    /// Keep compiled code for the daemon on the socket at descriptor 0. Started by the daemon.
    #[command(hide = true)]
    Keeper {
        /// How far to close in.
        #[arg(long, default_value = "best")]
        sandbox: Policy,
    },
    /// Print what adapters there are, as JSON.
    Probe {
        /// Which adapters to look for.
        #[arg(long, default_value = "auto")]
        adapter: Wanted,
        /// The host's CUDA library, where it is not the one that the system has.
        #[arg(long, value_name = "PATH")]
        host_libcuda: Option<PathBuf>,
    },
}

#[derive(clap::Args)]
struct ServeArgs {
    /// Directory of the sockets.
    #[arg(long)]
    runtime_dir: Option<PathBuf>,
    /// Configuration file (TOML).
    #[arg(long)]
    config: Option<PathBuf>,
    /// Which adapters to offer.
    #[arg(long, default_value = "auto")]
    adapter: Wanted,
    /// Stay in the foreground. The daemon always does; the flag says so in service files.
    #[arg(long)]
    foreground: bool,
    /// Environment of the host driver, such as VK_DRIVER_FILES=/path. Workers get nothing else.
    #[arg(long, value_name = "KEY=VALUE")]
    host_env: Vec<String>,
    /// Directory of compiled code, in the place of the configuration's; "" keeps none.
    #[arg(long, value_name = "DIR")]
    code_cache: Option<OsString>,
    /// Remove the runtime directory, with what the daemon made there, at the end.
    #[arg(long)]
    remove_dir: bool,
    /// Write one line to this descriptor once clients can connect.
    #[arg(long, value_name = "N")]
    ready_fd: Option<RawFd>,
    /// End when the other end of this pipe is closed.
    #[arg(long, value_name = "N")]
    exit_with_fd: Option<RawFd>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("DXG_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // Colours are for people; a log that nobody can write to any more is no reason to end.
    let colours =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .init();
    let done = match cli.command {
        Command::Serve(args) => serve(args),
        Command::Worker { adapter, sandbox, readable, host_libcuda } => {
            worker::run(adapter, sandbox, &readable, host_libcuda.as_deref()).context("worker")
        }
        Command::Keeper { sandbox } => code_store::run(sandbox).context("keeper of code"),
        Command::Probe { adapter, host_libcuda } => print_probe(adapter, host_libcuda.as_deref()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: ServeArgs) -> anyhow::Result<()> {
    // Descriptors first: nothing of ours has taken their numbers yet.
    let inherited = |fd: Option<RawFd>| fd.map(sandbox::inherited).transpose();
    let ready = inherited(args.ready_fd).context("--ready-fd")?;
    let exit_with = inherited(args.exit_with_fd).context("--exit-with-fd")?;
    let mut config = match &args.config {
        Some(path) => Config::read(path)?,
        None => Config::default(),
    };
    for variable in &args.host_env {
        let (key, value) = variable.split_once('=').context("--host-env wants KEY=VALUE")?;
        config.host_env.insert(key.to_owned(), value.to_owned());
    }
    config.cuda.code_cache = args.code_cache.map(PathBuf::from).or(config.cuda.code_cache);
    let leftovers = if args.remove_dir { Leftovers::Remove } else { Leftovers::Keep };
    let options = ServeOptions {
        runtime_dir: args.runtime_dir,
        leftovers,
        config,
        wanted: args.adapter,
        ready,
        exit_with,
    };
    Ok(broker::serve(options)?)
}

fn print_probe(wanted: Wanted, host_libcuda: Option<&Path>) -> anyhow::Result<()> {
    let found = probe::probe(wanted, host_libcuda);
    let mut stdout = std::io::stdout().lock();
    serde_json::to_writer(&mut stdout, &found)?;
    Ok(stdout.write_all(b"\n")?)
}
