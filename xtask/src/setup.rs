//! `cargo xtask setup`: the system packages that demo and tests need.

use std::fs;
use std::io::IsTerminal as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use clap::ValueEnum;

use crate::process;

/// Installs the missing Debian or Ubuntu packages.
///
/// Looks each package up with dpkg-query and installs only what is missing, with apt-get and without recommended
/// packages. Needs root or sudo only when something is missing; when nothing is, it touches neither the network
/// nor the system.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What the packages are for.
    #[arg(long = "for", value_enum, default_value_t = Purpose::All)]
    purpose: Purpose,
}

/// What a package is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Purpose {
    /// What `cargo xtask demo` needs.
    Demo,
    /// What `cargo xtask test` needs.
    Test,
    /// What `cargo xtask test --clients` needs.
    Clients,
    /// Everything but the clients.
    All,
}

/// A package and why it is here.
struct Package {
    name: &'static str,
    why: &'static str,
    needed_for: &'static [Purpose],
}

const PACKAGES: &[Package] = &[
    Package {
        name: "libvulkan1",
        why: "the Vulkan loader: finds our driver for programs, and the host's driver for the daemon",
        needed_for: &[Purpose::Demo, Purpose::Test, Purpose::Clients],
    },
    Package {
        name: "mesa-vulkan-drivers",
        why: "a host driver on every machine: lavapipe runs Vulkan on the CPU where there is no GPU",
        needed_for: &[Purpose::Demo, Purpose::Test, Purpose::Clients],
    },
    Package {
        name: "xvfb",
        why: "an X server without a screen, for tests that present to windows",
        needed_for: &[Purpose::Test, Purpose::Clients],
    },
    Package {
        name: "vulkan-tools",
        why: "vulkaninfo, a program that knows nothing of us and must work unchanged",
        needed_for: &[Purpose::Demo, Purpose::Test, Purpose::Clients],
    },
    Package {
        name: "weston",
        why: "a Wayland compositor without a screen, for programs with a window",
        needed_for: &[Purpose::Test],
    },
    Package {
        name: "libx11-xcb1",
        why: "what the sample triangle loads to make a window on X11",
        needed_for: &[Purpose::Test],
    },
    Package { name: "libxcursor1", why: "as libx11-xcb1", needed_for: &[Purpose::Test] },
    Package { name: "libxi6", why: "as libx11-xcb1", needed_for: &[Purpose::Test] },
    Package { name: "libxkbcommon-x11-0", why: "as libx11-xcb1", needed_for: &[Purpose::Test] },
    Package {
        name: "gcc",
        why: "compiles the CUDA sample that is written in C",
        needed_for: &[Purpose::Demo, Purpose::Test],
    },
    Package { name: "libc6-dev", why: "as gcc", needed_for: &[Purpose::Demo, Purpose::Test] },
    Package {
        name: "python3-venv",
        why: "clients from PyPI, in an environment of their own",
        needed_for: &[Purpose::Clients],
    },
    Package { name: "glmark2-es2-x11", why: "a client: OpenGL ES", needed_for: &[Purpose::Clients] },
    Package { name: "piglit", why: "a client: OpenGL's tests", needed_for: &[Purpose::Clients] },
    Package {
        name: "gfxreconstruct",
        why: "a client: records and replays Vulkan",
        needed_for: &[Purpose::Clients],
    },
    Package { name: "libsdl2-tests", why: "a client: SDL's testvulkan", needed_for: &[Purpose::Clients] },
    Package {
        name: "vkd3d-demos",
        why: "two clients: Direct3D 12 on Vulkan",
        needed_for: &[Purpose::Clients],
    },
    Package {
        name: "faketime",
        why: "lets time stand still for a client that moves with it",
        needed_for: &[Purpose::Clients],
    },
    Package { name: "mpv", why: "a client: plays videos", needed_for: &[Purpose::Clients] },
    Package {
        name: "vulkan-validationlayers",
        why: "the Khronos validation layer, which must have nothing to say of our driver and of what it asks of the host's",
        needed_for: &[Purpose::Test],
    },
];

/// What `ensure` did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing was missing, or it is installed now.
    Ready,
    /// This machine does not let us install; the reason.
    Unable(String),
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<()> {
    match ensure(args.purpose)? {
        Outcome::Ready => Ok(()),
        Outcome::Unable(why) => bail!("{why}"),
    }
}

/// Installs what is missing. An error is a failed installation.
pub(crate) fn ensure(purpose: Purpose) -> Result<Outcome> {
    let wanted: Vec<&Package> = PACKAGES.iter().filter(|package| package.is_for(purpose)).collect();
    let names: Vec<&str> = wanted.iter().map(|package| package.name).collect();
    if !is_debian(&fs::read_to_string("/etc/os-release").unwrap_or_default()) {
        return Ok(Outcome::Unable(format!(
            "this is not Debian or Ubuntu; install what your system calls: {}",
            names.join(" ")
        )));
    }
    let installed = installed(&names)?;
    let missing: Vec<&&Package> =
        wanted.iter().filter(|package| !installed.iter().any(|name| name == package.name)).collect();
    if missing.is_empty() {
        println!("setup: nothing to do ({} installed)", names.join(", "));
        return Ok(Outcome::Ready);
    }
    for package in &missing {
        println!("setup: {} is missing: {}", package.name, package.why);
    }
    let missing: Vec<&str> = missing.iter().map(|package| package.name).collect();
    let Some(rights) = Rights::ours()? else {
        return Ok(Outcome::Unable(format!(
            "installing needs root, and there is no sudo; as root: apt-get install {}",
            missing.join(" ")
        )));
    };
    install(rights, &missing)?;
    Ok(Outcome::Ready)
}

impl Package {
    fn is_for(&self, purpose: Purpose) -> bool {
        match purpose {
            // Long to install, and of use to one command only, which installs it.
            Purpose::All => self.needed_for != [Purpose::Clients],
            one => self.needed_for.contains(&one),
        }
    }
}

/// How we may change the system.
#[derive(Clone, Copy)]
enum Rights {
    Root,
    Sudo,
}

impl Rights {
    fn ours() -> Result<Option<Self>> {
        // The owner of /proc/self is our effective user.
        if fs::metadata("/proc/self").context("cannot read /proc/self")?.uid() == 0 {
            return Ok(Some(Self::Root));
        }
        let mut probe = Command::new("sudo");
        probe.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(probe.status().is_ok_and(|status| status.success()).then_some(Self::Sudo))
    }

    fn apt_get(self) -> Command {
        let mut command = match self {
            Self::Root => Command::new("env"),
            Self::Sudo => {
                let mut sudo = Command::new("sudo");
                // Without a terminal nobody can answer a password prompt: fail instead of waiting.
                if !std::io::stdin().is_terminal() {
                    sudo.arg("-n");
                }
                sudo.arg("env");
                sudo
            }
        };
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "Dpkg::Use-Pty=0"]);
        command
    }
}

fn install(rights: Rights, packages: &[&str]) -> Result<()> {
    let known = {
        let mut simulate = Command::new("apt-get");
        simulate.args(["install", "--simulate", "--no-install-recommends"]).args(packages);
        simulate.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        simulate.status().context("cannot start `apt-get`")?.success()
    };
    let attempt = || {
        process::run(rights.apt_get().args(["install", "--yes", "--no-install-recommends"]).args(packages))
    };
    if known && attempt().is_ok() {
        return Ok(());
    }
    println!("setup: the package lists are missing or old, updating them");
    process::run(rights.apt_get().arg("update")).context("cannot update the package lists")?;
    attempt().context("cannot install the packages")
}

/// Which of the packages dpkg has installed and configured.
fn installed(names: &[&str]) -> Result<Vec<String>> {
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Abbrev} ${Package}\\n"])
        .args(names)
        .stdin(Stdio::null())
        .output()
        .context("cannot start `dpkg-query`")?;
    // It exits with 1 when one of the names is unknown and still prints the others.
    Ok(parse_installed(&String::from_utf8_lossy(&output.stdout)))
}

fn parse_installed(text: &str) -> Vec<String> {
    let name = |line: &str| line.strip_prefix("ii ").map(|rest| rest.trim().to_owned());
    text.lines().filter_map(name).collect()
}

fn is_debian(os_release: &str) -> bool {
    let value = |line: &str| {
        let (key, value) = line.split_once('=')?;
        (key == "ID" || key == "ID_LIKE").then(|| value.trim_matches('"').to_owned())
    };
    os_release.lines().filter_map(value).any(|ids| ids.split(' ').any(|id| id == "debian" || id == "ubuntu"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_installed_takes_configured_packages_only() {
        let text = "ii  libvulkan1\nrc  vulkan-tools\nun  mesa-vulkan-drivers\n";
        assert_eq!(parse_installed(text), ["libvulkan1"]);
    }

    #[test]
    fn is_debian_knows_debian_ubuntu_and_their_children() {
        assert!(is_debian("NAME=x\nID=debian\n"));
        assert!(is_debian("ID=pop\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!is_debian("ID=fedora\nHOME_URL=\"https://debian.example\"\n"));
        assert!(!is_debian(""));
    }

    #[test]
    fn packages_each_have_a_purpose() {
        assert!(PACKAGES.iter().all(|package| !package.needed_for.is_empty()));
    }
}
