//! Whether the class is worth anything: the kernel compares threads within one group only, and groups with each other by
//! their weights.
//!
//! Threads of processes in the root cgroup are grouped by session where autogroup is on (sched(7)), all others by their
//! cgroup (cgroups(7)): within the group the idle class gives way, beyond it the group's own weight decides. The idle
//! weight of a cgroup (`cpu.idle`, systemd's `CPUWeight=idle`) makes the whole group give way to its neighbours.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{ClassEntry, Working};
use crate::lenient::known_or_default;
use crate::settings::Priority;

/// Against whom the class is in force.
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grip {
    /// Against everybody, or all neighbours of its cgroup.
    Yes,
    /// Against processes of its own session or cgroup only, or only for the disk.
    Partly,
    /// Against nobody.
    #[default]
    No,
}

#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema), schemars(rename = "Priority"))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// What was asked for.
    #[serde(deserialize_with = "known_or_default")]
    pub asked: Priority,
    /// Against whom it is in force.
    #[serde(rename = "in_force", deserialize_with = "known_or_default")]
    pub grip: Grip,
    /// One line for people that says which class is in force, and why.
    pub text: String,
    /// The scheduling class of threads at work: `SCHED_IDLE`, `nice 19`, `normal`.
    pub cpu_class: Cow<'static, str>,
    /// Their I/O class: `idle`, `best effort 7`, `normal`.
    pub io_class: Cow<'static, str>,
    /// Whether the kernel groups by session, so that the class does nothing against other sessions; null if unknown.
    pub autogroup: Option<bool>,
    /// The cgroup whose weight counts, if it is not the root.
    pub cgroup: Option<String>,
    /// Whether that cgroup has the idle weight, which holds against all others; null if unknown.
    pub cgroup_idle: Option<bool>,
}

/// Looks what is in force for this process.
pub fn in_force(working: &Working) -> InForce {
    judge(working, &SchedulerGroup::of_process(Path::new("/")))
}

/// The group that the kernel schedules this process in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct SchedulerGroup {
    autogroup: Option<bool>,
    cgroup: Option<String>,
    idle: Option<bool>,
}

impl SchedulerGroup {
    /// Reads it below a root, `/` but in tests.
    fn of_process(root: &Path) -> SchedulerGroup {
        let read = |path: &str| fs::read_to_string(root.join(path)).ok();
        let autogroup = read("proc/sys/kernel/sched_autogroup_enabled").map(|text| text.trim() == "1");
        let group = read("proc/self/cgroup").and_then(|lines| {
            let parts = lines.lines().filter_map(|line| {
                let mut fields = line.splitn(3, ':').skip(1);
                Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
            });
            let parts: Vec<(String, String)> = parts.collect();
            // Version 1 has the processor in a hierarchy of its own; where that is mounted, it is the one that counts.
            let first = parts.iter().find(|(controllers, _)| controllers.split(',').any(|c| c == "cpu"));
            if let Some((controllers, path)) = first {
                return nearest(&root.join("sys/fs/cgroup").join(controllers), path, "cpu.shares");
            }
            let second = parts.iter().find(|(controllers, _)| controllers.is_empty());
            second.and_then(|(_, path)| nearest(&root.join("sys/fs/cgroup"), path, "cpu.weight"))
        });
        let (cgroup, idle) = group.map_or((None, None), |(name, idle)| (Some(name), idle));
        SchedulerGroup { autogroup, cgroup, idle }
    }
}

/// The nearest group upwards that has a weight, and whether it is the idle one; `None` up to the root.
fn nearest(mount: &Path, path: &str, weight: &str) -> Option<(String, Option<bool>)> {
    let mut group = PathBuf::from(path.trim_start_matches('/'));
    while !group.as_os_str().is_empty() {
        let folder = mount.join(&group);
        if folder.join(weight).is_file() {
            let idle = fs::read_to_string(folder.join("cpu.idle")).ok().map(|text| text.trim() == "1");
            return Some((format!("/{}", group.display()), idle));
        }
        group.pop();
    }
    None
}

fn judge(working: &Working, group: &SchedulerGroup) -> InForce {
    let asked = working.priority();
    let (cpu_class, io_class) = match (working.manner(), asked) {
        (ClassEntry::Never, _) | (_, Priority::Normal) => ("normal", "normal"),
        (_, Priority::Idle) => ("SCHED_IDLE", "idle"),
        (_, Priority::Low) => ("nice 19", "best effort 7"),
    };
    let set = format!("{cpu_class} and {io_class} I/O for threads at work");
    let (grip, text) = match (asked, working.manner(), &group.cgroup) {
        (Priority::Normal, ..) => (Grip::Yes, "normal, as asked for: threads at work are as all others".to_owned()),
        (_, ClassEntry::Never, _) => (Grip::No, "not in force: the system refuses it to this user".to_owned()),
        (_, _, Some(cgroup)) if group.idle == Some(true) => (
            Grip::Yes,
            format!("{set}, and the cgroup {cgroup} has the idle weight: in force against its neighbours too"),
        ),
        (_, _, Some(cgroup)) => {
            let advice = "give the cgroup the idle weight (CPUWeight=idle in its unit)";
            (Grip::Partly, format!("{set}: in force within the cgroup {cgroup} only; against others {advice}"))
        }
        (_, _, None) if group.autogroup == Some(true) => {
            let advice = "start it as a unit with CPUWeight=idle, or switch kernel.sched_autogroup_enabled off";
            (Grip::Partly, format!("{set}: in force within its own session only; against others {advice}"))
        }
        (_, _, None) => (Grip::Yes, format!("{set}: in force")),
    };
    let SchedulerGroup { autogroup, cgroup, idle } = group.clone();
    InForce {
        asked,
        grip,
        text,
        cpu_class: cpu_class.into(),
        io_class: io_class.into(),
        autogroup,
        cgroup,
        cgroup_idle: idle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn grip(files: &[(&str, &str)]) -> (Grip, String) {
        let root = machine(files);
        let idle = Working { priority: Priority::Idle, manner: ClassEntry::Switch };
        let found = judge(&idle, &SchedulerGroup::of_process(root.path()));
        (found.grip, found.text)
    }

    const AUTOGROUP: &str = "proc/sys/kernel/sched_autogroup_enabled";
    const CGROUP: &str = "proc/self/cgroup";

    #[test]
    fn a_session_of_its_own_makes_the_class_worth_little() {
        let (with, text) = grip(&[(AUTOGROUP, "1\n"), (CGROUP, "0::/\n")]);
        assert_eq!(with, Grip::Partly);
        assert!(text.contains("within its own session only"), "{text}");
        assert_eq!(grip(&[(AUTOGROUP, "0\n"), (CGROUP, "0::/\n")]).0, Grip::Yes);
    }

    #[test]
    fn a_cgroup_decides_by_its_weight_and_autogroup_no_longer_does() {
        let unit = "sys/fs/cgroup/system.slice/sexton.service";
        let files = |idle: &'static str| {
            vec![
                (AUTOGROUP.to_owned(), "1\n"),
                (CGROUP.to_owned(), "0::/system.slice/sexton.service\n"),
                (format!("{unit}/cpu.weight"), "100\n"),
                (format!("{unit}/cpu.idle"), idle),
            ]
        };
        for (idle, expected) in [("1\n", Grip::Yes), ("0\n", Grip::Partly)] {
            let files = files(idle);
            let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
            assert_eq!(grip(&files).0, expected);
        }
        // Where the controller is not handed down, the group above counts, and in the end the root.
        let handed = [(CGROUP, "0::/a/b\n"), ("sys/fs/cgroup/a/cpu.weight", "1"), ("sys/fs/cgroup/a/cpu.idle", "1")];
        assert!(grip(&handed).1.contains("the cgroup /a has"));
        assert_eq!(grip(&[(CGROUP, "0::/a/b\n"), (AUTOGROUP, "1")]).0, Grip::Partly);
    }

    #[test]
    fn version_1_has_the_processor_in_a_hierarchy_of_its_own() {
        let lines = "12:cpu,cpuacct:/box\n1:name=systemd:/x\n0::/x\n";
        let shares = ("sys/fs/cgroup/cpu,cpuacct/box/cpu.shares", "1024");
        assert!(grip(&[(CGROUP, lines), shares]).1.contains("within the cgroup /box only"));
        let idle = ("sys/fs/cgroup/cpu,cpuacct/box/cpu.idle", "1");
        assert_eq!(grip(&[(CGROUP, lines), shares, idle]).0, Grip::Yes);
    }

    #[test]
    fn what_was_not_asked_for_or_is_refused_is_said() {
        let group = SchedulerGroup::default();
        let never = Working { priority: Priority::Low, manner: ClassEntry::Never };
        assert_eq!(judge(&never, &group).grip, Grip::No);
        let low = judge(&Working { manner: ClassEntry::OwnThreads, ..never }, &group);
        assert_eq!((low.grip, &*low.cpu_class, &*low.io_class), (Grip::Yes, "nice 19", "best effort 7"));
        assert_eq!(judge(&Working::NORMAL, &group).grip, Grip::Yes);
    }
}
