// SPDX-License-Identifier: MIT OR Apache-2.0
//! The structs that clients and servers are made with: see `options.rs`.

use super::arguments::output;
use super::error::Failure;
use super::guard::guard;
use super::options::{check_flag, group, path, read_sized};
use super::status::SHM_OK;
use crate::{ClientOptions, ServerOptions};
use std::ffi::c_char;
use std::mem::{offset_of, size_of};
use std::ptr;

/// How a client is made. `shm_client_options_init` sets it to the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ShmClientOptions {
    /// sizeof(shm_client_options), set by `shm_client_options_init`.
    pub struct_size: usize,
    /// The directory that holds the services. NULL: `$SHM_ROOT`, else `/dev/shm/shm-<uid>`.
    pub root: *const c_char,
    /// How many requests the service's queue takes at least: a power of two from 2 to 1,048,576. 0: as it has them, 256 when made.
    pub capacity: u32,
    /// How many clients and servers the service takes at least: up to 1,024. 0: as it has them, 64 when made.
    pub participants: u32,
    /// How many replies a client, and requests a server, may hold at least: up to 256. 0: as the service has them, 64 when made.
    pub holds: u32,
    /// How many calls of a client may be in flight at least: up to 256. 0: as the service has them, 64 when made.
    pub calls: u32,
    /// Bytes of shared memory that this client's requests may take. 0: 256 MiB.
    pub memory: u64,
    /// 1: a call waits for a server to come when there is none. 0: it fails with SHM_ERR_NO_SERVER.
    pub wait_for_server: u32,
    /// 1: a request whose server died is sent again, to another one, as often as that happens: only for functions
    /// that may be carried out more than once.
    /// 0: it fails with SHM_ERR_PEER_DIED.
    pub idempotent: u32,
    /// The permission bits of the service's files: 0600, 0640 or 0660, whatever the umask says; the directory can be entered by
    /// who may read. An existing service must have the same. 0: as the service has it; when made 0600, with a group 0660.
    pub mode: u32,
    /// 1: the members of `group` share the service. 0: it is this user's alone, and `group` must be 0.
    pub has_group: u32,
    /// The group, by its id, whose members may join, recover and remove the service, each with this option. They need a root of
    /// their own, which is made for them when it isn't there (mode 0770, with that group), as the default root is its
    /// user's alone; and they are trusted not to be malicious.
    pub group: u32,
    /// 0.
    pub reserved: u32,
}

impl ShmClientOptions {
    const DEFAULT: Self = Self {
        struct_size: size_of::<Self>(),
        root: ptr::null(),
        capacity: 0,
        participants: 0,
        holds: 0,
        calls: 0,
        memory: 0,
        wait_for_server: 0,
        idempotent: 0,
        mode: 0,
        has_group: 0,
        group: 0,
        reserved: 0,
    };

    const ENDS: [usize; 12] = [
        offset_of!(Self, capacity),
        offset_of!(Self, participants),
        offset_of!(Self, holds),
        offset_of!(Self, calls),
        offset_of!(Self, memory),
        offset_of!(Self, wait_for_server),
        offset_of!(Self, idempotent),
        offset_of!(Self, mode),
        offset_of!(Self, has_group),
        offset_of!(Self, group),
        offset_of!(Self, reserved),
        size_of::<Self>(),
    ];

    /// # Safety
    /// NULL, or C2 holds for `options`, its `struct_size` and its `root`.
    pub(super) unsafe fn read(options: *const Self) -> Result<ClientOptions, Failure> {
        // SAFETY: the caller's; the struct is plain old data.
        let options = unsafe { read_sized(options, Self::DEFAULT, &Self::ENDS)? };
        check_flag("wait_for_server", options.wait_for_server)?;
        check_flag("idempotent", options.idempotent)?;
        Ok(ClientOptions {
            // SAFETY: the caller's.
            root: unsafe { path(options.root) },
            capacity: options.capacity,
            participants: options.participants,
            holds: options.holds,
            calls: options.calls,
            memory: options.memory,
            wait_for_server: options.wait_for_server == 1,
            idempotent: options.idempotent == 1,
            mode: options.mode,
            group: group(options.has_group, options.group, options.reserved)?,
        })
    }
}

/// How a server is made. `shm_server_options_init` sets it to the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ShmServerOptions {
    /// sizeof(shm_server_options), set by `shm_server_options_init`.
    pub struct_size: usize,
    /// The directory that holds the services. NULL: `$SHM_ROOT`, else `/dev/shm/shm-<uid>`.
    pub root: *const c_char,
    /// How many requests the service's queue takes at least: a power of two from 2 to 1,048,576. 0: as it has them, 256 when made.
    pub capacity: u32,
    /// How many clients and servers the service takes at least: up to 1,024. 0: as it has them, 64 when made.
    pub participants: u32,
    /// How many replies a client, and requests a server, may hold at least: up to 256. 0: as the service has them, 64 when made.
    pub holds: u32,
    /// How many calls of a client may be in flight at least: up to 256. 0: as the service has them, 64 when made.
    pub calls: u32,
    /// Bytes of shared memory that this server's replies may take. 0: 256 MiB.
    pub memory: u64,
    /// The permission bits of the service's files: 0600, 0640 or 0660, whatever the umask says; the directory can be entered by
    /// who may read. An existing service must have the same. 0: as the service has it; when made 0600, with a group 0660.
    pub mode: u32,
    /// 1: the members of `group` share the service. 0: it is this user's alone, and `group` must be 0.
    pub has_group: u32,
    /// The group, by its id, whose members may join, recover and remove the service, each with this option. They need a root of
    /// their own, which is made for them when it isn't there (mode 0770, with that group), as the default root is its
    /// user's alone; and they are trusted not to be malicious.
    pub group: u32,
    /// 0.
    pub reserved: u32,
}

impl ShmServerOptions {
    const DEFAULT: Self = Self {
        struct_size: size_of::<Self>(),
        root: ptr::null(),
        capacity: 0,
        participants: 0,
        holds: 0,
        calls: 0,
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
        offset_of!(Self, calls),
        offset_of!(Self, memory),
        offset_of!(Self, mode),
        offset_of!(Self, has_group),
        offset_of!(Self, group),
        offset_of!(Self, reserved),
        size_of::<Self>(),
    ];

    /// # Safety
    /// NULL, or C2 holds for `options`, its `struct_size` and its `root`.
    pub(super) unsafe fn read(options: *const Self) -> Result<ServerOptions, Failure> {
        // SAFETY: the caller's; the struct is plain old data.
        let options = unsafe { read_sized(options, Self::DEFAULT, &Self::ENDS)? };
        Ok(ServerOptions {
            // SAFETY: the caller's.
            root: unsafe { path(options.root) },
            capacity: options.capacity,
            participants: options.participants,
            holds: options.holds,
            calls: options.calls,
            memory: options.memory,
            mode: options.mode,
            group: group(options.has_group, options.group, options.reserved)?,
        })
    }
}

/// Sets `options` to the defaults and its `struct_size`.
///
/// The struct stays the caller's. Errors: SHM_ERR_NULL. Any thread may call this at any time.
#[no_mangle]
pub unsafe extern "C" fn shm_client_options_init(options: *mut ShmClientOptions) -> i32 {
    guard(|| {
        let options = output(options, "options")?;
        // SAFETY: C2.
        unsafe { options.write(ShmClientOptions::DEFAULT) };
        Ok(SHM_OK)
    })
}

/// Sets `options` to the defaults and its `struct_size`.
///
/// The struct stays the caller's. Errors: SHM_ERR_NULL. Any thread may call this at any time.
#[no_mangle]
pub unsafe extern "C" fn shm_server_options_init(options: *mut ShmServerOptions) -> i32 {
    guard(|| {
        let options = output(options, "options")?;
        // SAFETY: C2.
        unsafe { options.write(ShmServerOptions::DEFAULT) };
        Ok(SHM_OK)
    })
}
