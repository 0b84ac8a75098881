//! The system calls that put a thread into a class and take it out again. Linux only; elsewhere they fail.

use std::io;

use crate::settings::Priority;

/// A class of the processor and the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// `SCHED_IDLE`, and the idle class of I/O.
    Idle,
    /// Nice 19, and the lowest level of best-effort I/O.
    Low,
}

impl Class {
    pub fn of(priority: Priority) -> Option<Class> {
        match priority {
            Priority::Idle => Some(Class::Idle),
            Priority::Low => Some(Class::Low),
            Priority::Normal => None,
        }
    }

    /// Puts the calling thread into the class.
    pub fn enter(self) -> io::Result<()> {
        match self {
            Class::Idle => {
                linux::scheduler(linux::IDLE)?;
                linux::io_priority(linux::IO_IDLE)
            }
            Class::Low => {
                linux::nice(19)?;
                linux::io_priority(linux::IO_LOWEST)
            }
        }
    }

    /// Takes the calling thread out of whatever class it is in.
    pub fn leave() -> io::Result<()> {
        linux::scheduler(linux::OTHER)?;
        linux::nice(linux::nice_of_process())?;
        linux::io_priority(linux::IO_NONE)
    }
}

/// Whether the calling thread is in the idle class.
#[cfg(test)]
pub(super) fn is_idle() -> bool {
    linux::policy() == Some(linux::IDLE)
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
mod linux {
    use std::io;
    use std::sync::OnceLock;

    pub const IDLE: libc::c_int = libc::SCHED_IDLE;
    pub const OTHER: libc::c_int = libc::SCHED_OTHER;

    // <linux/ioprio.h>: the class stands above 13 bits of level; 0 takes the level from the nice value.
    pub const IO_NONE: libc::c_int = 0;
    pub const IO_LOWEST: libc::c_int = (2 << 13) | 7;
    pub const IO_IDLE: libc::c_int = 3 << 13;
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;

    fn checked(result: i64) -> io::Result<()> {
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Sets the scheduling policy of the calling thread.
    pub fn scheduler(policy: libc::c_int) -> io::Result<()> {
        // SAFETY: a plain struct of numbers, for which all zeros is a valid value.
        let param: libc::sched_param = unsafe { std::mem::zeroed() };
        // SAFETY: `param` is valid for reading during the call; 0 is the calling thread.
        checked(unsafe { libc::sched_setscheduler(0, policy, &raw const param) }.into())
    }

    /// Sets the nice value of the calling thread.
    pub fn nice(value: libc::c_int) -> io::Result<()> {
        // SAFETY: takes numbers only; 0 is the calling thread.
        checked(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, value) }.into())
    }

    /// The nice value that the process has been started with.
    pub fn nice_of_process() -> libc::c_int {
        static NICE: OnceLock<libc::c_int> = OnceLock::new();
        // Of the process's first thread, which never enters a class.
        let pid = std::process::id();
        // SAFETY: takes numbers only.
        *NICE.get_or_init(|| unsafe { libc::getpriority(libc::PRIO_PROCESS, pid) })
    }

    /// Sets the I/O priority of the calling thread.
    pub fn io_priority(value: libc::c_int) -> io::Result<()> {
        // SAFETY: takes numbers only; 0 is the calling thread.
        checked(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value) })
    }

    #[cfg(test)]
    pub fn policy() -> Option<libc::c_int> {
        // SAFETY: takes a number only.
        let policy = unsafe { libc::sched_getscheduler(0) };
        (policy >= 0).then_some(policy)
    }
}

#[cfg(not(target_os = "linux"))]
mod linux {
    use std::io;

    pub const IDLE: i32 = 0;
    pub const OTHER: i32 = 0;
    pub const IO_NONE: i32 = 0;
    pub const IO_LOWEST: i32 = 0;
    pub const IO_IDLE: i32 = 0;

    pub fn scheduler(_: i32) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn nice(_: i32) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn nice_of_process() -> i32 {
        0
    }

    pub fn io_priority(_: i32) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(test)]
    pub fn policy() -> Option<i32> {
        None
    }
}
