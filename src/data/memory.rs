//! How much memory data may take before they are streamed.

use crate::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// The memory that the rows of a data set may take. Plain IDX and NPY files whose rows would take more are left on the
/// disk and streamed; see [`load_within`](super::load_within).
///
/// ```
/// use elbo::data::Memory;
/// assert_eq!("512M".parse(), Ok(Memory::Bytes(512 << 20)));
/// assert_eq!("auto".parse(), Ok(Memory::Auto));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Memory {
    /// Half of what the system says is available when the data are loaded; no limit where it does not say.
    #[default]
    Auto,
    /// So many bytes.
    Bytes(u64),
}

/// Suffixes of a size, each 1,024 times the one before.
const UNITS: [char; 4] = ['K', 'M', 'G', 'T'];

impl Memory {
    /// The limit in bytes, as of now.
    pub(super) fn limit(self) -> u64 {
        match self {
            // Without swapping.
            Memory::Auto => available(&["MemAvailable:"]).map_or(u64::MAX, |bytes| bytes / 2),
            Memory::Bytes(bytes) => bytes,
        }
    }
}

/// Whether so many bytes can be had for `what`. Asked first, because a system that promises memory which it does not have
/// kills the process that uses it.
///
/// # Errors
/// Fewer bytes available, swapping included, or so many that the system refuses them outright.
pub(crate) fn expect_memory(bytes: u64, what: &str) -> Result<()> {
    let (most, needed) = (available(&["MemAvailable:", "SwapFree:"]), human(bytes));
    let few = match most.filter(|&most| most < bytes) {
        Some(most) => format!("{} can be had", human(most)),
        None if usize::try_from(bytes).is_ok_and(|n| Vec::<u8>::new().try_reserve_exact(n).is_ok()) => return Ok(()),
        None => "the system refuses it".to_owned(),
    };
    Err(Error::input(format!("{what} takes at least {needed} of memory, and {few}")))
}

/// The sum of what Linux says of these kinds of memory, and no more than the control group's share; nothing elsewhere.
fn available(kinds: &[&str]) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let free = kinds.iter().map(|kind| bytes_of(&text, kind)).sum::<Option<u64>>()?;
    let share = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let share = share.and_then(|text| text.trim().parse().ok()).unwrap_or(u64::MAX);
    Some(free.min(share))
}

/// The bytes of a line such as `MemAvailable:  12345 kB` of `/proc/meminfo`.
fn bytes_of(meminfo: &str, kind: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(kind))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// A number of bytes as people write it: `7.5 MiB`.
pub(super) fn human(bytes: u64) -> String {
    let (mut size, mut unit) = (bytes as f64, None);
    for next in UNITS {
        if size < 1024.0 {
            break;
        }
        (size, unit) = (size / 1024.0, Some(next));
    }
    match unit {
        None => format!("{bytes} bytes"),
        Some(unit) => format!("{} {unit}iB", (size * 10.0).round() / 10.0),
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Memory::Auto => f.pad("auto"),
            Memory::Bytes(bytes) => write!(f, "{bytes}"),
        }
    }
}

impl FromStr for Memory {
    type Err = Error;
    /// `auto`, or a whole number of bytes; `K`, `M`, `G` and `T` behind it are powers of 1,024.
    fn from_str(text: &str) -> Result<Self> {
        if text == "auto" {
            return Ok(Memory::Auto);
        }
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
            "" | "B" => Some(0),
            unit => {
                let letter = unit.strip_suffix("IB").or(unit.strip_suffix('B')).unwrap_or(unit);
                UNITS.iter().position(|u| *letter == u.to_string()).map(|at| 10 * (at + 1))
            }
        };
        let bytes = shift.and_then(|shift| digits.parse::<u64>().ok()?.checked_mul(1 << shift));
        bytes.map(Memory::Bytes).ok_or_else(|| {
            Error::input(format!("`{text}` is no size of memory")).hint("write 512M, 2G, a number of bytes, or auto")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("1000", 1000),
            ("7B", 7),
            ("3k", 3072),
            ("512M", 512 << 20),
            ("2GiB", 2 << 30),
            ("1TB", 1 << 40),
        ] {
            assert_eq!(text.parse(), Ok(Memory::Bytes(bytes)), "{text}");
        }
        for text in ["", "M", "-1", "1.5G", "12X", "1 G", "99999999999T", "1MBB"] {
            assert!(text.parse::<Memory>().is_err(), "{text}");
        }
        assert_eq!(Memory::Auto.to_string().parse(), Ok(Memory::Auto));
        assert_eq!(Memory::Bytes(5).to_string().parse(), Ok(Memory::Bytes(5)));
    }

    #[test]
    fn what_is_available() {
        let text = "MemTotal:       24000000 kB\nMemFree:        1 kB\nMemAvailable:   2048 kB\n";
        let kind = "MemAvailable:";
        assert_eq!(bytes_of(text, kind), Some(2 << 20));
        assert_eq!(bytes_of("MemTotal: 1 kB\n", kind), None);
        assert_eq!(bytes_of("MemAvailable: many kB", kind), None);
    }

    #[test]
    fn memory_that_is_not_there_is_refused_in_words() {
        assert_eq!(expect_memory(1 << 20, "this"), Ok(()));
        for bytes in [1 << 55, u64::MAX] {
            let words = expect_memory(bytes, "this").unwrap_err().to_string();
            assert!(words.starts_with("this takes at least ") && words.contains("TiB of memory, and "), "{words}");
        }
    }

    #[test]
    fn sizes_for_people() {
        let texts = [(1023, "1023 bytes"), (1024, "1 KiB"), (7_864_320, "7.5 MiB"), (3 << 50, "3072 TiB")];
        for (bytes, text) in texts {
            assert_eq!(human(bytes), text);
        }
    }
}
