//! How much memory the KV cache may take. Linux reports it; elsewhere it is not known.

use std::fs;
use std::path::{Path, PathBuf};

use llama_cpp_2::model::LlamaModel;

use super::LlamaSettings;
use super::placement::{GpuLayers, free_gpu_memory};

/// What the buffers of computations and everything else take, besides weights and cache.
const OTHER_MEMORY: u64 = 256 << 20;

/// The size of a model in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct ModelMemory {
    /// The size of the weights in bytes.
    pub weights: u64,
    /// The number of layers, including the output.
    pub layers: u32,
}

impl ModelMemory {
    /// The size of a model.
    pub fn new(model: &LlamaModel) -> Self {
        Self { weights: model.size(), layers: model.n_layer() + 1 }
    }
}

/// The memory in bytes that the KV cache of a loaded model may take: on a CPU half of what is
/// free, because other programs need memory too. `settings` say how many layers are on the GPU,
/// which has their share of the cache.
pub(super) fn cache_budget(model: ModelMemory, settings: &LlamaSettings) -> Option<u64> {
    let layers = u64::from(model.layers);
    let on_gpu = match settings.n_gpu_layers {
        GpuLayers::Count(count) => u64::from(count).min(layers),
        GpuLayers::Auto | GpuLayers::All => layers,
    };
    let machine = machine_memory();
    let free = if settings.is_repeatable { machine.total } else { machine.available };
    // The pages of a file in memory count as free.
    let weights = if settings.mmap { model.weights * (layers - on_gpu) / layers } else { 0 };
    let on_cpu = free.map(|free| free.saturating_sub(weights + OTHER_MEMORY) / 2);
    let gpu = if on_gpu > 0 { free_gpu_memory(settings) } else { None };
    let whole = |part: u64, share: u64| part.saturating_mul(layers) / share;
    match gpu {
        None => on_cpu,
        Some(gpu) => {
            let by_cpu = on_cpu.filter(|_| on_gpu < layers);
            let by_cpu = by_cpu.map_or(u64::MAX, |free| whole(free, layers - on_gpu));
            Some(whole(gpu, on_gpu).min(by_cpu))
        }
    }
}

/// The memory of the machine in bytes, or of the group of processes that limits it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct MachineMemory {
    /// All of it.
    total: Option<u64>,
    /// What can be used without swapping.
    available: Option<u64>,
}

impl MachineMemory {
    fn within(self, limit: Self) -> Self {
        let least = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        Self {
            total: least(self.total, limit.total),
            available: least(self.available, limit.available),
        }
    }
}

fn machine_memory() -> MachineMemory {
    let Ok(info) = fs::read_to_string("/proc/meminfo") else { return MachineMemory::default() };
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let folders = group_folders(&groups);
    folders.iter().map(|folder| limit(folder)).fold(in_meminfo(&info), MachineMemory::within)
}

/// The memory that `/proc/meminfo` reports.
fn in_meminfo(text: &str) -> MachineMemory {
    let value = |key: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes << 10)
    };
    MachineMemory { total: value("MemTotal"), available: value("MemAvailable") }
}

/// The folders of the control groups in `/proc/self/cgroup` that may limit memory, with those of
/// all groups around them. In a container the groups of the host are not visible, and the root
/// stands for the container's own.
fn group_folders(groups: &str) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let root = match controllers {
            "" => Path::new("/sys/fs/cgroup"),
            names if names.split(',').any(|name| name == "memory") => {
                Path::new("/sys/fs/cgroup/memory")
            }
            _ => continue,
        };
        let folder = root.join(path.trim_start_matches('/'));
        folders
            .extend(folder.ancestors().take_while(|it| it.starts_with(root)).map(Path::to_owned));
    }
    folders
}

/// The limit of a control group, of version 2 or 1.
fn limit(folder: &Path) -> MachineMemory {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let files =
        [("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")];
    for (limit, usage) in files {
        if let (Some(limit), Some(usage)) = (number(limit), number(usage)) {
            let cached = read("memory.stat").map_or(0, |stat| cached_files(&stat));
            let used = usage.saturating_sub(cached);
            return MachineMemory {
                total: Some(limit),
                available: Some(limit.saturating_sub(used)),
            };
        }
    }
    MachineMemory::default()
}

/// How many bytes of a group's memory hold files and can be freed.
fn cached_files(stat: &str) -> u64 {
    let value = |key: &str| -> Option<u64> {
        stat.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok())
    };
    value("total_inactive_file").or_else(|| value("inactive_file")).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_the_machine_is_read() {
        let text = "MemTotal:       16000 kB\nMemFree:  100 kB\nMemAvailable:    9000 kB\n";
        let memory = in_meminfo(text);
        let expected = MachineMemory { total: Some(16_000 << 10), available: Some(9000 << 10) };
        assert_eq!(memory, expected);
        assert_eq!(in_meminfo("MemTotal: many kB\n"), MachineMemory::default());
    }

    #[test]
    fn groups_are_limited_by_those_around_them() {
        let folders = group_folders("5:cpu,memory:/a/b\n4:pids:/x\n0::/c\nnoise\n");
        let shown: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
        assert_eq!(
            shown,
            [
                "/sys/fs/cgroup/memory/a/b",
                "/sys/fs/cgroup/memory/a",
                "/sys/fs/cgroup/memory",
                "/sys/fs/cgroup/c",
                "/sys/fs/cgroup"
            ]
        );
    }

    #[test]
    fn the_cached_files_of_a_group_count_as_available() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        assert_eq!(limit(folder.path()), MachineMemory::default());
        write("memory.max", "max\n");
        write("memory.current", "700\n");
        assert_eq!(limit(folder.path()), MachineMemory::default());
        write("memory.max", "1000\n");
        write("memory.stat", "anon 400\ninactive_file 250\nactive_file 50\n");
        let group = MachineMemory { total: Some(1000), available: Some(550) };
        assert_eq!(limit(folder.path()), group);
        let machine = MachineMemory { total: Some(2000), available: Some(300) };
        let within = MachineMemory { total: Some(1000), available: Some(300) };
        assert_eq!(machine.within(group), within);
        assert_eq!(machine.within(MachineMemory::default()), machine);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_reports_its_memory() {
        let MachineMemory { total, available } = machine_memory();
        assert!(available.unwrap() > 0 && available <= total, "{available:?} of {total:?}");
    }
}
