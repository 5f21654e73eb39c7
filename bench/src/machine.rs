// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine that is measured on: which two CPUs the sides get, and how loud it is beside them.

use std::fs;
use std::path::Path;

use rustix::thread::{sched_getaffinity, sched_setaffinity, CpuSet};

use crate::Result;

/// Two CPUs for the two sides: of different cores, under one L3 where the machine has several.
///
/// Across an L3 the floor itself is several times higher, and siblings of one core share their L1.
pub fn two_cpus() -> Result<[usize; 2]> {
    let allowed = sched_getaffinity(None)?;
    let cpus: Vec<Cpu> = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).map(Cpu::read).collect();
    choose(&cpus).ok_or_else(|| "the two sides need two CPUs, and this process may use one".into())
}

pub fn pin(cpu: usize) -> rustix::io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set)
}

/// For the threads that are started next, which run where their maker may.
pub fn pin_to_both(cpus: [usize; 2]) -> rustix::io::Result<()> {
    let mut set = CpuSet::new();
    cpus.iter().for_each(|&cpu| set.set(cpu));
    sched_setaffinity(None, &set)
}

/// The run queue's length over the last minute, from `/proc/loadavg`.
pub fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// One line for the head of the table.
pub fn describe(cpus: [usize; 2]) -> String {
    let model = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split(':').nth(1)?.trim().to_owned())
    });
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{}, Linux {}, sides on CPUs {} and {}",
        model.as_deref().unwrap_or(std::env::consts::ARCH),
        kernel.trim(),
        cpus[0],
        cpus[1]
    )
}

struct Cpu {
    number: usize,
    core: Option<(i64, i64)>,
    l3: Option<Vec<usize>>,
}

impl Cpu {
    fn read(number: usize) -> Cpu {
        let base = format!("/sys/devices/system/cpu/cpu{number}");
        let read = |path: &str| fs::read_to_string(Path::new(&base).join(path)).ok();
        let number_in = |path: &str| read(path)?.trim().parse().ok();
        let l3 = (0..8).find(|index| number_in(&format!("cache/index{index}/level")) == Some(3));
        Cpu {
            number,
            core: number_in("topology/physical_package_id").zip(number_in("topology/core_id")),
            l3: l3.and_then(|index| cpu_list(&read(&format!("cache/index{index}/shared_cpu_list"))?)),
        }
    }

    /// How well `self` and `other` suit the two sides; `None` where they don't.
    fn suits(&self, other: &Cpu) -> Option<u32> {
        let siblings = self.core.is_some() && self.core == other.core;
        let one_l3 = self.l3.as_ref().is_some_and(|l3| l3.contains(&other.number));
        (self.number < other.number).then_some(u32::from(!siblings) * 2 + u32::from(one_l3))
    }
}

fn choose(cpus: &[Cpu]) -> Option<[usize; 2]> {
    let mut best = None;
    for first in cpus {
        for second in cpus {
            let Some(score) = first.suits(second) else { continue };
            if best.is_none_or(|(highest, _)| score > highest) {
                best = Some((score, [first.number, second.number]));
            }
        }
    }
    best.map(|(_, pair)| pair)
}

/// Parses the kernel's form of a CPU set: `0-3,8`.
fn cpu_list(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(number: usize, core: i64, l3: &str) -> Cpu {
        Cpu { number, core: Some((0, core)), l3: cpu_list(l3) }
    }

    #[test]
    fn lists_are_ranges_and_numbers() {
        assert_eq!(cpu_list("0-2,8\n"), Some(vec![0, 1, 2, 8]));
        assert_eq!(cpu_list("5"), Some(vec![5]));
        assert_eq!(cpu_list(""), None);
    }

    #[test]
    fn two_cores_under_one_l3_win() {
        let siblings_first = [cpu(0, 0, "0-3"), cpu(1, 0, "0-3"), cpu(2, 1, "0-3"), cpu(4, 2, "4-7")];
        assert_eq!(choose(&siblings_first), Some([0, 2]));
        let l3_apart = [cpu(0, 0, "0"), cpu(1, 1, "1-2"), cpu(2, 2, "1-2")];
        assert_eq!(choose(&l3_apart), Some([1, 2]));
    }

    #[test]
    fn an_unknown_machine_still_has_a_first_and_a_second() {
        let unknown = |number| Cpu { number, core: None, l3: None };
        assert_eq!(choose(&[unknown(3), unknown(5)]), Some([3, 5]));
        assert_eq!(choose(&[unknown(3)]), None);
    }
}
