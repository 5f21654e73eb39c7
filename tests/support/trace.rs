// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stopping another process at a chosen system call, or some instructions after it (ptrace(2)).
//!
//! What a process has done to shared memory and files changes only there, so that whoever stops or kills it at each
//! of these points in turn has seen every crash that is possible up to that many instructions.

use std::io::Error;

/// A thread of a child that runs only as far as it is told. It goes on when this is dropped.
pub struct Traced {
    thread: i32,
    /// Whether it is its process's first thread, whose end is the process's.
    is_first: bool,
    ended: bool,
}

impl Traced {
    /// Attaches to `thread` of the child `process`. Fails where the system doesn't permit it.
    pub fn attach(process: i32, thread: i32) -> Result<Traced, Error> {
        let options = libc::PTRACE_O_TRACESYSGOOD as usize;
        request(libc::PTRACE_SEIZE, thread, options)?;
        let mut traced = Traced { thread, is_first: process == thread, ended: false };
        request(libc::PTRACE_INTERRUPT, thread, 0)?;
        traced.wait();
        Ok(traced)
    }

    /// Lets the thread run to its next system call, or to the end of the one it is in. False: it ended.
    pub fn run_to_call(&mut self) -> bool {
        self.resume(libc::PTRACE_SYSCALL)
    }

    /// Lets the thread do one instruction. False: it ended.
    pub fn step(&mut self) -> bool {
        self.resume(libc::PTRACE_SINGLESTEP)
    }

    fn resume(&mut self, how: libc::c_uint) -> bool {
        if !self.ended {
            self.ended = request(how, self.thread, 0).is_err();
            if !self.ended {
                self.wait();
            }
        }
        !self.ended
    }

    /// Waits until the thread, which was sent SIGKILL, is gone.
    pub fn gone(mut self) {
        while !self.ended {
            self.wait();
        }
    }

    /// Waits until the thread stops or ends. A child's first thread is left for its parent to reap, the others
    /// are reaped here: the child isn't over before.
    fn wait(&mut self) {
        let mut status = 0;
        // SAFETY: siginfo_t is plain data.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let events = libc::WSTOPPED | libc::WEXITED | libc::__WALL;
        // SAFETY: waits for one thread, into a local, and leaves it waitable.
        while unsafe { libc::waitid(libc::P_PID, self.thread as u32, &mut info, events | libc::WNOWAIT) } != 0
        {
            assert_eq!(Error::last_os_error().raw_os_error(), Some(libc::EINTR));
        }
        self.ended = matches!(info.si_code, libc::CLD_EXITED | libc::CLD_KILLED | libc::CLD_DUMPED);
        if !self.ended || !self.is_first {
            // SAFETY: as above; it doesn't wait any more.
            unsafe { libc::waitpid(self.thread, &mut status, libc::__WALL) };
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        if !self.ended {
            let _ = request(libc::PTRACE_DETACH, self.thread, 0);
        }
    }
}

fn request(what: libc::c_uint, thread: i32, data: usize) -> Result<(), Error> {
    // SAFETY: none of the requests used here reads or writes this process's memory.
    match unsafe { libc::ptrace(what, thread, 0usize, data) } {
        -1 => Err(Error::last_os_error()),
        _ => Ok(()),
    }
}
