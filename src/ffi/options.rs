// SPDX-License-Identifier: MIT OR Apache-2.0
//! The structs that callers allocate. Members are only ever appended, so that a struct's size says its version.
//!
//! An `_init` can't know how much its caller allocated. When a struct grows, its `_init` goes on writing the
//! members that it has today, and the header gives the larger struct an `_init` with a symbol of its own.

use super::arguments::output;
use super::error::Failure;
use super::guard::guard;
use super::status::SHM_OK;
use crate::{PublisherOptions, RootOptions, SubscriberOptions, TopicInfo};
use std::ffi::{c_char, CStr, OsStr};
use std::mem::{offset_of, size_of};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr;

/// For `shm_subscriber_options.history`: every message that the topic still has.
pub const SHM_HISTORY_ALL: u32 = u32::MAX;

/// A `struct_size` above this is taken for memory that was never initialised.
const LARGEST: usize = 4096;

/// How a publisher is made. `shm_publisher_options_init` sets it to the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ShmPublisherOptions {
    /// sizeof(shm_publisher_options), set by `shm_publisher_options_init`.
    pub struct_size: usize,
    /// The directory that holds the topics. NULL: `$SHM_ROOT`, else `/dev/shm/shm-<uid>`.
    pub root: *const c_char,
    /// How many messages the topic keeps at least: a power of two from 2 to 1,048,576. 0: as it has them, 64 when made.
    pub capacity: u32,
    /// How many publishers and subscribers the topic takes at least: up to 1,024. 0: as it has them, 128 when made.
    pub participants: u32,
    /// How many samples one subscriber may hold at least: up to 256. 0: as the topic has them, 8 when made.
    pub holds: u32,
    /// 1: each message carries the time of its publication. 0: none does.
    pub timestamps: u32,
    /// Bytes of shared memory that this publisher's messages may take. 0: 256 MiB.
    pub memory: u64,
    /// The permission bits of the topic's files, whatever the umask says. Without a group 0600, or 0640: then the members of the
    /// files' group can look at them with other tools, where the root lets them in, but not join. With a group always 0660. An
    /// existing topic must have the same. 0: as the topic has it; when it is made 0600, with a group 0660.
    pub mode: u32,
    /// 1: the members of `group` share the topic. 0: it is this user's alone, one that a group may write to is refused, and
    /// `group` must be 0.
    pub has_group: u32,
    /// The group, by its id, whose members may join, recover and remove the topic, each with this option. They need a root of
    /// their own, which is made for them when it isn't there (mode 0770, with that group), as the default root is its
    /// user's alone; and they are trusted not to be malicious.
    pub group: u32,
    /// 0.
    pub reserved: u32,
}

impl ShmPublisherOptions {
    const DEFAULT: Self = Self {
        struct_size: size_of::<Self>(),
        root: ptr::null(),
        capacity: 0,
        participants: 0,
        holds: 0,
        timestamps: 0,
        memory: 0,
        mode: 0,
        has_group: 0,
        group: 0,
        reserved: 0,
    };

    const ENDS: [usize; 10] = [
        offset_of!(Self, capacity),
        offset_of!(Self, participants),
        offset_of!(Self, holds),
        offset_of!(Self, timestamps),
        offset_of!(Self, memory),
        offset_of!(Self, mode),
        offset_of!(Self, has_group),
        offset_of!(Self, group),
        offset_of!(Self, reserved),
        size_of::<Self>(),
    ];

    /// # Safety
    /// NULL, or C2 holds for `options`, its `struct_size` and its `root`.
    pub(super) unsafe fn read(options: *const Self) -> Result<PublisherOptions, Failure> {
        // SAFETY: the caller's; the struct is plain old data.
        let options = unsafe { read_sized(options, Self::DEFAULT, &Self::ENDS)? };
        check_flag("timestamps", options.timestamps)?;
        Ok(PublisherOptions {
            // SAFETY: the caller's.
            root: unsafe { path(options.root) },
            capacity: options.capacity,
            participants: options.participants,
            holds: options.holds,
            memory: options.memory,
            timestamps: options.timestamps == 1,
            mode: options.mode,
            group: group(options.has_group, options.group, options.reserved)?,
        })
    }
}

/// How a subscriber is made. `shm_subscriber_options_init` sets it to the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ShmSubscriberOptions {
    /// sizeof(shm_subscriber_options), set by `shm_subscriber_options_init`.
    pub struct_size: usize,
    /// The directory that holds the topics. NULL: `$SHM_ROOT`, else `/dev/shm/shm-<uid>`.
    pub root: *const c_char,
    /// How many messages the topic keeps at least: a power of two from 2 to 1,048,576. 0: as it has them, 64 when made.
    pub capacity: u32,
    /// How many publishers and subscribers the topic takes at least: up to 1,024. 0: as it has them, 128 when made.
    pub participants: u32,
    /// How many samples one subscriber may hold at least: up to 256. 0: as the topic has them, 8 when made.
    pub holds: u32,
    /// How many messages from before the join to receive, as far as the topic still keeps them. SHM_HISTORY_ALL: all.
    pub history: u32,
    /// The permission bits of the topic's files, whatever the umask says. Without a group 0600, or 0640: then the members of the
    /// files' group can look at them with other tools, where the root lets them in, but not join. With a group always 0660. An
    /// existing topic must have the same. 0: as the topic has it; when it is made 0600, with a group 0660.
    pub mode: u32,
    /// 1: the members of `group` share the topic. 0: it is this user's alone, one that a group may write to is refused, and
    /// `group` must be 0.
    pub has_group: u32,
    /// The group, by its id, whose members may join, recover and remove the topic, each with this option. They need a root of
    /// their own, which is made for them when it isn't there (mode 0770, with that group), as the default root is its
    /// user's alone; and they are trusted not to be malicious.
    pub group: u32,
    /// 1: publishers wait for this subscriber instead of overwriting what it has yet to read: from the join on it loses nothing,
    /// and what it does when it is slow or stopped is the publishers' delay. Its death isn't: they find that within 100 ms. What
    /// `history` gives may still be lost. 0: the oldest messages make room.
    pub reliable: u32,
}

impl ShmSubscriberOptions {
    const DEFAULT: Self = Self {
        struct_size: size_of::<Self>(),
        root: ptr::null(),
        capacity: 0,
        participants: 0,
        holds: 0,
        history: 0,
        mode: 0,
        has_group: 0,
        group: 0,
        reliable: 0,
    };

    const ENDS: [usize; 9] = [
        offset_of!(Self, capacity),
        offset_of!(Self, participants),
        offset_of!(Self, holds),
        offset_of!(Self, history),
        offset_of!(Self, mode),
        offset_of!(Self, has_group),
        offset_of!(Self, group),
        offset_of!(Self, reliable),
        size_of::<Self>(),
    ];

    /// # Safety
    /// NULL, or C2 holds for `options`, its `struct_size` and its `root`.
    pub(super) unsafe fn read(options: *const Self) -> Result<SubscriberOptions, Failure> {
        // SAFETY: the caller's; the struct is plain old data.
        let options = unsafe { read_sized(options, Self::DEFAULT, &Self::ENDS)? };
        check_flag("reliable", options.reliable)?;
        Ok(SubscriberOptions {
            // SAFETY: the caller's.
            root: unsafe { path(options.root) },
            capacity: options.capacity,
            participants: options.participants,
            holds: options.holds,
            history: options.history,
            reliable: options.reliable == 1,
            mode: options.mode,
            group: group(options.has_group, options.group, 0)?,
        })
    }
}

/// Which directory of topics to look after. `shm_root_options_init` sets it to the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ShmRootOptions {
    /// sizeof(shm_root_options), set by `shm_root_options_init`.
    pub struct_size: usize,
    /// The directory that holds the topics. NULL: `$SHM_ROOT`, else `/dev/shm/shm-<uid>`.
    pub root: *const c_char,
    /// 1: the members of `group` share the topics. 0: they are this user's alone, and `group` must be 0.
    pub has_group: u32,
    /// The group, by its id, that shares the topics, as for a publisher.
    pub group: u32,
}

impl ShmRootOptions {
    const DEFAULT: Self = Self { struct_size: size_of::<Self>(), root: ptr::null(), has_group: 0, group: 0 };

    const ENDS: [usize; 3] = [offset_of!(Self, has_group), offset_of!(Self, group), size_of::<Self>()];

    /// # Safety
    /// NULL, or C2 holds for `options`, its `struct_size` and its `root`.
    pub(super) unsafe fn read(options: *const Self) -> Result<RootOptions, Failure> {
        // SAFETY: the caller's; the struct is plain old data.
        let options = unsafe { read_sized(options, Self::DEFAULT, &Self::ENDS)? };
        Ok(RootOptions {
            // SAFETY: the caller's.
            root: unsafe { path(options.root) },
            group: group(options.has_group, options.group, 0)?,
        })
    }
}

/// What a topic is. Set `struct_size` to sizeof(shm_topic_info) before it is filled in.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ShmTopicInfo {
    /// sizeof(shm_topic_info), set by the caller.
    pub struct_size: usize,
    /// A random number, another one for each topic ever made.
    pub instance: u64,
    /// How many messages it keeps.
    pub capacity: u32,
    /// How many publishers and subscribers it takes.
    pub participants: u32,
    /// How many samples one subscriber may hold.
    pub holds: u32,
    /// 0.
    pub reserved: u32,
}

impl ShmTopicInfo {
    const ENDS: [usize; 5] = [
        offset_of!(Self, capacity),
        offset_of!(Self, participants),
        offset_of!(Self, holds),
        offset_of!(Self, reserved),
        size_of::<Self>(),
    ];

    /// # Safety
    /// NULL, or C2 holds for `info` and its `struct_size`.
    pub(super) unsafe fn write(info: *mut Self, topic: &TopicInfo) -> Result<(), Failure> {
        // SAFETY: the caller's.
        let struct_size = unsafe { output_size(info, "info")? };
        let filled = Self {
            struct_size,
            instance: topic.instance,
            capacity: topic.capacity,
            participants: topic.participants,
            holds: topic.holds,
            reserved: 0,
        };
        // SAFETY: the caller's; `info` isn't NULL and has this size.
        unsafe { write_sized(info, filled, struct_size, &Self::ENDS) };
        Ok(())
    }
}

/// The size of a struct that the caller wants filled in, checked.
///
/// # Safety
/// NULL, or C2 holds for `place`. `T` begins with `struct_size`.
pub(super) unsafe fn output_size<T>(place: *mut T, argument: &'static str) -> Result<usize, Failure> {
    let place = output(place, argument)?;
    // SAFETY: the caller's.
    unsafe { struct_size(place.as_ptr().cast()) }
}

/// Fills in the members that the caller's struct has; members that this library doesn't know become 0. `ends` says where
/// each member after `struct_size` ends.
///
/// # Safety
/// C2 holds for `place`, and `struct_size` is what `output_size` gave for it. `T` has no padding.
pub(super) unsafe fn write_sized<T: Copy>(place: *mut T, filled: T, struct_size: usize, ends: &[usize]) {
    let (place, known) = (place.cast::<u8>(), known_size(struct_size, ends));
    // SAFETY: `known` bytes are within both structs, and the caller's has `struct_size`, which is no less.
    unsafe {
        ptr::copy_nonoverlapping(ptr::from_ref(&filled).cast(), place, known);
        ptr::write_bytes(place.add(known), 0, struct_size - known);
    }
}

/// Reads a struct of the caller's size over `defaults`. `ends` says where each member after `struct_size` ends.
///
/// # Safety
/// NULL, or C2 holds for `given` and its `struct_size`. `T` begins with it, and any bytes make a valid `T`.
pub(super) unsafe fn read_sized<T: Copy>(given: *const T, defaults: T, ends: &[usize]) -> Result<T, Failure> {
    if given.is_null() {
        return Ok(defaults);
    }
    let (given, mut options) = (given.cast::<u8>(), defaults);
    // SAFETY: the caller's; what is read lies within `struct_size`, and what is written within `T`.
    unsafe {
        let struct_size = struct_size(given)?;
        let tail = size_of::<T>()..struct_size.max(size_of::<T>());
        if tail.into_iter().any(|at| given.add(at).read() != 0) {
            let ours = size_of::<T>();
            return Err(Failure::option(format!(
                "options of {struct_size} bytes ask for something that this library doesn't know beyond its {ours} bytes; set it to zero or use a newer libshm"
            )));
        }
        ptr::copy_nonoverlapping(given, ptr::from_mut(&mut options).cast(), known_size(struct_size, ends));
    }
    Ok(options)
}

/// The caller's `struct_size`, checked.
///
/// # Safety
/// A struct that begins with `struct_size` is at `place`.
unsafe fn struct_size(place: *const u8) -> Result<usize, Failure> {
    // SAFETY: the caller's.
    let size = unsafe { place.cast::<usize>().read() };
    if !(size_of::<usize>()..=LARGEST).contains(&size) {
        return Err(Failure::option(format!("struct_size is {size}; set it to the struct's sizeof")));
    }
    Ok(size)
}

/// Bytes of whole members that a struct of `struct_size` shares with ours.
fn known_size(struct_size: usize, ends: &[usize]) -> usize {
    let shared = ends.iter().copied().filter(|&end| end <= struct_size).max();
    shared.unwrap_or(size_of::<usize>())
}

pub(super) fn check_flag(option: &str, value: u32) -> Result<(), Failure> {
    match value {
        0 | 1 => Ok(()),
        _ => Err(Failure::option(format!("option {option} is {value}, but must be 0 or 1"))),
    }
}

/// The group to share with. One that is given without the word that it counts is a mistake, and dangerous to pass over.
pub(super) fn group(has_group: u32, group: u32, reserved: u32) -> Result<Option<u32>, Failure> {
    check_flag("has_group", has_group)?;
    match (has_group, group, reserved) {
        (_, _, 1..) => Err(Failure::option(format!("member reserved is {reserved}, but must be 0"))),
        (1, group, _) => Ok(Some(group)),
        (_, 0, _) => Ok(None),
        _ => Err(Failure::option(format!("option group is {group}, but must be 0 unless has_group is 1"))),
    }
}

/// # Safety
/// NULL, or C2 holds for `root`.
pub(super) unsafe fn path(root: *const c_char) -> Option<PathBuf> {
    if root.is_null() {
        return None;
    }
    // SAFETY: the caller's.
    let root = unsafe { CStr::from_ptr(root) };
    Some(OsStr::from_bytes(root.to_bytes()).into())
}

/// Sets `options` to the defaults and its `struct_size`.
///
/// The struct stays the caller's. Errors: SHM_ERR_NULL. Any thread may call this at any time.
#[no_mangle]
pub unsafe extern "C" fn shm_publisher_options_init(options: *mut ShmPublisherOptions) -> i32 {
    guard(|| {
        let options = output(options, "options")?;
        // SAFETY: C2.
        unsafe { options.write(ShmPublisherOptions::DEFAULT) };
        Ok(SHM_OK)
    })
}

/// Sets `options` to the defaults and its `struct_size`.
///
/// The struct stays the caller's. Errors: SHM_ERR_NULL. Any thread may call this at any time.
#[no_mangle]
pub unsafe extern "C" fn shm_subscriber_options_init(options: *mut ShmSubscriberOptions) -> i32 {
    guard(|| {
        let options = output(options, "options")?;
        // SAFETY: C2.
        unsafe { options.write(ShmSubscriberOptions::DEFAULT) };
        Ok(SHM_OK)
    })
}

/// Sets `options` to the defaults and its `struct_size`.
///
/// The struct stays the caller's. Errors: SHM_ERR_NULL. Any thread may call this at any time.
#[no_mangle]
pub unsafe extern "C" fn shm_root_options_init(options: *mut ShmRootOptions) -> i32 {
    guard(|| {
        let options = output(options, "options")?;
        // SAFETY: C2.
        unsafe { options.write(ShmRootOptions::DEFAULT) };
        Ok(SHM_OK)
    })
}
