// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be chosen when a publisher or a subscriber is made.

use std::path::PathBuf;

use crate::error::Result;
use crate::os::sharing::Sharing;
use crate::topic::{RootPath, Wanted};

/// Shared memory that a publisher may take when nothing else is said, in bytes.
pub(crate) const DEFAULT_MEMORY: u64 = 256 << 20;

/// Options of a [`Publisher`](crate::Publisher). Zero means: as the topic has it, or the default when it is made.
///
/// ```
/// let options = shm::PublisherOptions { capacity: 256, ..Default::default() };
/// ```
#[derive(Clone, Debug, Default)]
pub struct PublisherOptions {
    /// The directory that holds the topics; `None`: `$SHM_ROOT`, else `/dev/shm/shm-<uid>`.
    pub root: Option<PathBuf>,
    /// How many messages the topic keeps at least: a power of two from 2 to 1,048,576. Default 64.
    pub capacity: u32,
    /// How many publishers and subscribers the topic takes at least: up to 1,024. Default 128.
    pub participants: u32,
    /// How many samples one subscriber may hold at least: up to 256. Default 8.
    pub holds: u32,
    /// Bytes of shared memory that this publisher's messages may take. Default 256 MiB.
    pub memory: u64,
    /// Whether each message carries the time of its publication (CLOCK_REALTIME; reading the clock takes some 25 ns).
    pub timestamps: bool,
    /// The permission bits of the topic's files, whatever the umask says. Without a `group` 0o600, or 0o640: then the members of the
    /// files' group can look at them with other tools, where the root lets them in, but not join. With a `group` always 0o660. An
    /// existing topic must have the same. Default: as the topic has it; when it is made 0o600, with a `group` 0o660.
    pub mode: u32,
    /// The group, by its id, that shares the topic: its members may join, recover and remove it, each with this option. They
    /// need a root of their own, which is made for them when it isn't there (mode 0770, with that group), as the default root
    /// is its user's alone; and they are trusted not to be malicious. Default `None`: the topic is this user's alone, and one that a
    /// group may write to is refused.
    pub group: Option<u32>,
}

/// Options of a [`Subscriber`](crate::Subscriber). Zero means: as the topic has it, or the default when it is made.
#[derive(Clone, Debug, Default)]
pub struct SubscriberOptions {
    /// The directory that holds the topics; `None`: `$SHM_ROOT`, else `/dev/shm/shm-<uid>`.
    pub root: Option<PathBuf>,
    /// How many messages the topic keeps at least: a power of two from 2 to 1,048,576. Default 64.
    pub capacity: u32,
    /// How many publishers and subscribers the topic takes at least: up to 1,024. Default 128.
    pub participants: u32,
    /// How many samples one subscriber may hold at least: up to 256. Default 8.
    pub holds: u32,
    /// How many messages from before the join to receive, as far as the topic still keeps them; `u32::MAX`: all.
    /// Default 0: from now on.
    pub history: u32,
    /// Whether publishers wait for this subscriber instead of overwriting what it has yet to read: from the join on it loses nothing,
    /// and what it does when it is slow or stopped is the publishers' delay. Its death isn't: they find that within 100 ms. What
    /// `history` gives may still be lost. Default false: the oldest messages make room.
    pub reliable: bool,
    /// The permission bits of the topic's files, whatever the umask says. Without a `group` 0o600, or 0o640: then the members of the
    /// files' group can look at them with other tools, where the root lets them in, but not join. With a `group` always 0o660. An
    /// existing topic must have the same. Default: as the topic has it; when it is made 0o600, with a `group` 0o660.
    pub mode: u32,
    /// The group, by its id, that shares the topic: its members may join, recover and remove it, each with this option. They
    /// need a root of their own, which is made for them when it isn't there (mode 0770, with that group), as the default root
    /// is its user's alone; and they are trusted not to be malicious. Default `None`: the topic is this user's alone, and one that a
    /// group may write to is refused.
    pub group: Option<u32>,
}

/// Options of a [`Client`](crate::Client). Zero means: as the service has it, or the default when it is made.
#[derive(Clone, Debug, Default)]
pub struct ClientOptions {
    /// The directory that holds the services; `None`: `$SHM_ROOT`, else `/dev/shm/shm-<uid>`.
    pub root: Option<PathBuf>,
    /// How many requests the service's queue takes at least: a power of two from 2 to 1,048,576. Default 256.
    pub capacity: u32,
    /// How many clients and servers the service takes at least: up to 1,024. Default 64.
    pub participants: u32,
    /// How many replies a client, and requests a server, may hold at least: up to 256. Default 64.
    pub holds: u32,
    /// How many calls of a client may be in flight at least: up to 256. Default 64.
    pub calls: u32,
    /// Bytes of shared memory that this client's requests may take. Default 256 MiB.
    pub memory: u64,
    /// Whether a call waits for a server to come when there is none, instead of failing with
    /// [`Error::NoServer`](crate::Error::NoServer). Default false.
    pub wait_for_server: bool,
    /// Whether a request whose server died is sent again, to another one, as often as that happens, instead of failing with
    /// [`Error::PeerDied`](crate::Error::PeerDied): only for functions that may be carried out more than once, and not
    /// once the first reply of a stream was taken. A request that kills its servers kills all of them. Default false.
    pub idempotent: bool,
    /// As for [`PublisherOptions::mode`].
    pub mode: u32,
    /// As for [`PublisherOptions::group`].
    pub group: Option<u32>,
}

/// Options of a [`Server`](crate::Server). Zero means: as the service has it, or the default when it is made.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// The directory that holds the services; `None`: `$SHM_ROOT`, else `/dev/shm/shm-<uid>`.
    pub root: Option<PathBuf>,
    /// How many requests the service's queue takes at least: a power of two from 2 to 1,048,576. Default 256.
    pub capacity: u32,
    /// How many clients and servers the service takes at least: up to 1,024. Default 64.
    pub participants: u32,
    /// How many replies a client, and requests a server, may hold at least: up to 256. Default 64.
    pub holds: u32,
    /// How many calls of a client may be in flight at least: up to 256. Default 64.
    pub calls: u32,
    /// Bytes of shared memory that this server's replies may take. Default 256 MiB.
    pub memory: u64,
    /// As for [`PublisherOptions::mode`].
    pub mode: u32,
    /// As for [`PublisherOptions::group`].
    pub group: Option<u32>,
}

impl ClientOptions {
    pub(crate) fn wanted(&self) -> Wanted {
        let Self { capacity, participants, holds, calls, mode, group, .. } = *self;
        Wanted { capacity, participants, holds, calls: Some(calls), mode, group }
    }
}

impl ServerOptions {
    pub(crate) fn wanted(&self) -> Wanted {
        let Self { capacity, participants, holds, calls, mode, group, .. } = *self;
        Wanted { capacity, participants, holds, calls: Some(calls), mode, group }
    }
}

/// Which directory of topics to look after.
#[derive(Clone, Debug, Default)]
pub struct RootOptions {
    /// The directory that holds the topics; `None`: `$SHM_ROOT`, else `/dev/shm/shm-<uid>`.
    pub root: Option<PathBuf>,
    /// The group that shares the topics, as for [`PublisherOptions::group`]. Default `None`: they are this user's alone.
    pub group: Option<u32>,
}

impl RootOptions {
    pub(crate) fn path(&self) -> Result<RootPath> {
        RootPath::new(self.root.as_deref()).shared(Sharing::new(0, self.group)?)
    }
}

impl PublisherOptions {
    pub(crate) fn wanted(&self) -> Wanted {
        let Self { capacity, participants, holds, mode, group, .. } = *self;
        Wanted { capacity, participants, holds, calls: None, mode, group }
    }
}

impl SubscriberOptions {
    pub(crate) fn wanted(&self) -> Wanted {
        let Self { capacity, participants, holds, mode, group, .. } = *self;
        Wanted { capacity, participants, holds, calls: None, mode, group }
    }
}

/// How a publisher's memory is used. Chunks that are in none of the three places are loaned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct MemoryInfo {
    /// Bytes that the publisher may take: the option `memory`.
    pub budget: u64,
    /// Bytes of shared memory that it has taken.
    pub used: u64,
    /// Places for messages that this memory is divided into, of all sizes.
    pub chunks: u64,
    /// Chunks that the next loans take.
    pub free: u64,
    /// Chunks with messages that the topic still keeps.
    pub in_topic: u64,
    /// Chunks with messages that the topic doesn't keep any more, but a subscriber holds.
    pub held: u64,
}

/// What a topic is like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct TopicInfo {
    /// How many messages it keeps.
    pub capacity: u32,
    /// How many publishers and subscribers it takes.
    pub participants: u32,
    /// How many samples one subscriber may hold.
    pub holds: u32,
    /// A random number, another one for each topic ever made.
    pub instance: u64,
}

impl TopicInfo {
    pub(crate) fn of(topic: &crate::topic::Topic) -> Self {
        let geometry = topic.geometry();
        TopicInfo {
            capacity: geometry.capacity,
            participants: geometry.participants,
            holds: geometry.holds,
            instance: topic.instance(),
        }
    }
}
