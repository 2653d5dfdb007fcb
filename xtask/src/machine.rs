//! What the program knows of itself and the machine.

use std::path::Path;
use std::process::Command;

/// The workspace's folder.
pub(crate) fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The commit, with `-dirty` when the files differ from it; `None` outside a repository.
pub(crate) fn git_revision() -> Option<String> {
    let mut git = Command::new("git");
    git.arg("-C").arg(workspace()).args(["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]);
    let output = git.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The processor's model, as far as the system tells.
pub(crate) fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

/// Processors this program may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Bytes of memory that are free or can be freed, where the system tells.
pub(crate) fn available_memory() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Makes [`peak_memory`] count anew, where the system allows it.
pub(crate) fn forget_peak_memory() {
    // Without it the peak is that of the whole process so far, which the next reading then shows.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The most bytes that this process held in memory since [`forget_peak_memory`], where the system tells.
pub(crate) fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(1024.0 * line.trim().trim_end_matches("kB").trim().parse::<f64>().ok()?)
}

/// The time in UTC, as in folder names: `20260131-235959`.
pub(crate) fn timestamp() -> String {
    jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string()
}
