// SPDX-License-Identifier: MIT OR Apache-2.0
//! Unix sockets of abstract names, over which descriptors go from process to process: nothing of them is left after a kill.
//!
//! Anybody in the same network namespace may connect to an abstract name, and take it when its owner is gone. So both sides ask the kernel who is
//! at the other end. A child of a fork keeps none of them: its parent's death must be seen.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{
    sockopt, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use super::fork::Unshared;
use super::sharing::this_user;
use crate::error::{Error, Result};

/// What the kernel keeps of connections that weren't accepted yet.
const BACKLOG: i32 = 64;
/// More supplementary groups than this aren't looked at.
const MOST_GROUPS: usize = 1024;

/// Takes connections.
#[derive(Debug)]
pub(crate) struct Listener(Unshared);

/// One end of a connection, which messages go over as a whole.
#[derive(Debug)]
pub(crate) struct Connection(Unshared);

/// A message that came, as many bytes as there was room for, and a descriptor with it.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) len: usize,
    pub(crate) descriptor: Option<OwnedFd>,
}

fn socket(flags: SocketFlags) -> Result<Unshared> {
    Unshared::open(|| {
        let kind = SocketType::SEQPACKET;
        rustix::net::socket_with(AddressFamily::UNIX, kind, flags | SocketFlags::CLOEXEC, None)
            .map(File::from)
            .map_err(|errno| Error::os("socket", "a Unix socket", errno))
    })
}

fn address(name: &str) -> std::result::Result<SocketAddrUnix, Errno> {
    SocketAddrUnix::new_abstract_name(name.as_bytes())
}

impl Listener {
    /// Listens at `name`, which is nobody's.
    pub(crate) fn bind(name: &str) -> Result<Listener> {
        let socket = socket(SocketFlags::NONBLOCK)?;
        let bound = address(name).and_then(|address| rustix::net::bind(socket.get(), &address));
        bound.map_err(|errno| Error::os("bind", name, errno))?;
        rustix::net::listen(socket.get(), BACKLOG).map_err(|errno| Error::os("listen", name, errno))?;
        Ok(Listener(socket))
    }

    /// The next connection, if there is one.
    pub(crate) fn accept(&self) -> Result<Option<Connection>> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let mut is_none = false;
        let accept = || {
            let accepted = rustix::net::accept_with(self.0.get(), flags);
            is_none = matches!(accepted, Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED));
            accepted.map(File::from).map_err(|errno| Error::os("accept", "a Unix socket", errno))
        };
        match Unshared::open(accept) {
            Err(_) if is_none => Ok(None),
            accepted => accepted.map(|file| Some(Connection(file))),
        }
    }
}

impl Connection {
    /// Connects to who listens at `name`. Waits up to `limit` where too many wait already.
    pub(crate) fn open(name: &str, limit: Duration) -> Result<Connection> {
        let socket = socket(SocketFlags::empty())?;
        let connect = || {
            sockopt::set_socket_timeout(socket.get(), sockopt::Timeout::Send, Some(limit))?;
            let address = address(name)?;
            loop {
                match rustix::net::connect(socket.get(), &address) {
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => return Err(Errno::TIMEDOUT),
                    done => return done,
                }
            }
        };
        connect().map_err(|errno| Error::os("connect", name, errno))?;
        Ok(Connection(socket))
    }

    /// Whether the process at the other end is this user's, or of a member of `group`.
    pub(crate) fn is_trusted(&self, group: Option<u32>) -> bool {
        let Ok(peer) = sockopt::socket_peercred(self.0.get()) else { return false };
        peer.uid.as_raw() == this_user()
            || group.is_some_and(|group| peer.gid.as_raw() == group || self.groups().contains(&group))
    }

    /// The supplementary groups of the process at the other end.
    fn groups(&self) -> Vec<u32> {
        let mut groups = vec![0 as libc::gid_t; MOST_GROUPS];
        let mut len = (groups.len() * size_of::<libc::gid_t>()) as libc::socklen_t;
        // SAFETY: the kernel writes at most `len` bytes, and says how many.
        let failed = unsafe {
            libc::getsockopt(
                self.0.get().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &mut len,
            )
        };
        groups.truncate(if failed == 0 { len as usize / size_of::<libc::gid_t>() } else { 0 });
        groups
    }

    /// Sends a message, and a descriptor with it. Never waits.
    pub(crate) fn send(&self, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> rustix::io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = descriptor.as_slice();
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(Errno::NOBUFS);
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        loop {
            match rustix::net::sendmsg(self.0.get(), &[IoSlice::new(bytes)], &mut control, flags) {
                Err(Errno::INTR) => {}
                sent => return sent.map(|_| ()),
            }
        }
    }

    /// Receives a message if there is one: `AGAIN` otherwise. 0 bytes: the other end is gone.
    pub(crate) fn receive(&self, bytes: &mut [u8]) -> rustix::io::Result<Received> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let len = loop {
            match rustix::net::recvmsg(self.0.get(), &mut [IoSliceMut::new(bytes)], &mut control, flags) {
                Err(Errno::INTR) => {}
                received => break received?.bytes,
            }
        };
        let rights = |message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        };
        Ok(Received { len, descriptor: control.drain().find_map(rights) })
    }

    /// Waits until there is something to receive, or the other end is gone: false when `deadline` came first.
    pub(crate) fn wait(&self, deadline: Instant) -> rustix::io::Result<bool> {
        Ok(poll(&[self.0.get().as_fd()], Some(deadline))?[0])
    }

    /// Whether the other end is closed. Doesn't look at what it sent before.
    pub(crate) fn is_closed(&self) -> bool {
        let mut polled = [PollFd::new(self.0.get(), PollFlags::empty())];
        let looked = rustix::event::poll(&mut polled, Some(&Timespec::default()));
        looked.is_ok() && polled[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get().as_fd()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get().as_fd()
    }
}

/// Waits until there is something to read at one of `descriptors`, and says at which. None at `deadline`.
pub(crate) fn poll(
    descriptors: &[BorrowedFd<'_>],
    deadline: Option<Instant>,
) -> rustix::io::Result<Vec<bool>> {
    let mut polled: Vec<_> =
        descriptors.iter().map(|descriptor| PollFd::new(descriptor, PollFlags::IN)).collect();
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match rustix::event::poll(&mut polled, left.as_ref()) {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
            Ok(_) => return Ok(polled.iter().map(|polled| !polled.revents().is_empty()).collect()),
        }
    }
}

/// Tells a thread that polls to end.
#[derive(Debug)]
pub(crate) struct Bell(OwnedFd);

impl Bell {
    pub(crate) fn new() -> Result<Bell> {
        rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map(Bell)
            .map_err(|errno| Error::os("eventfd", "a thread's end", errno))
    }

    /// From now on there is something to read.
    pub(crate) fn ring(&self) {
        // It counts to more than anybody rings.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The network namespace of this process, as a number; 0: nobody knows.
pub(crate) fn network_namespace() -> u64 {
    std::fs::metadata("/proc/self/ns/net").map_or(0, |data| data.ino())
}
