// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looking after a root: taking away what the dead left, and whether what lies there is as it should be.

use super::error::c_string;
use super::guard::guard;
use super::options::{output_size, write_sized, ShmRootOptions};
use super::status::SHM_OK;
use crate::{Audit, Collected, Kind};
use std::ffi::{c_char, c_void};
use std::mem::{offset_of, size_of};

/// For what `shm_audit` finds: it is about a topic.
pub const SHM_KIND_TOPIC: u32 = 0;
/// For what `shm_audit` finds: it is about a service. A topic and a service may have the same name.
pub const SHM_KIND_SERVICE: u32 = 1;

/// What `shm_gc` did. Set `struct_size` to sizeof(shm_collected) before it is filled in.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ShmCollected {
    /// sizeof(shm_collected), set by the caller.
    pub struct_size: usize,
    /// Topics and services that nobody used any more, which are gone now.
    pub removed: u64,
    /// Topics and services that somebody uses.
    pub in_use: u64,
    /// Participants that were dead, whose entries and holds were freed in what others use.
    pub recovered: u64,
    /// Directories of topics or services, or of a root that a group shares, which were never put in place.
    pub swept: u64,
    /// Topics and services that were left alone because they are damaged, aren't safe to use or couldn't be worked on.
    pub refused: u64,
}

impl ShmCollected {
    const ENDS: [usize; 5] = [
        offset_of!(Self, in_use),
        offset_of!(Self, recovered),
        offset_of!(Self, swept),
        offset_of!(Self, refused),
        size_of::<Self>(),
    ];

    fn new(struct_size: usize, collected: &Collected) -> Self {
        Self {
            struct_size,
            removed: collected.removed.len() as u64,
            in_use: collected.in_use.len() as u64,
            recovered: collected.recovered as u64,
            swept: collected.swept as u64,
            refused: collected.refused.len() as u64,
        }
    }
}

/// What `shm_audit` found in a root. Set `struct_size` to sizeof(shm_audit_summary) before it is filled in.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ShmAuditSummary {
    /// sizeof(shm_audit_summary), set by the caller.
    pub struct_size: usize,
    /// The topics.
    pub topics: u64,
    /// The services.
    pub services: u64,
    /// Participants of all topics and services that are alive.
    pub living: u64,
    /// Entries of the dead, which the next to join, or `shm_gc`, frees.
    pub dead: u64,
    /// Segments of participants that are gone, which the next publisher, client or server takes or deletes once nothing in them is
    /// needed.
    pub orphans: u64,
    /// What contradicts the library's invariants. 0 unless something is broken.
    pub findings: u64,
    /// Directories of topics or services that were never put in place, or are being taken away, and whose maker is dead.
    pub abandoned: u64,
    /// Names in the root that aren't the library's.
    pub foreign: u64,
}

impl ShmAuditSummary {
    const ENDS: [usize; 8] = [
        offset_of!(Self, services),
        offset_of!(Self, living),
        offset_of!(Self, dead),
        offset_of!(Self, orphans),
        offset_of!(Self, findings),
        offset_of!(Self, abandoned),
        offset_of!(Self, foreign),
        size_of::<Self>(),
    ];

    fn new(struct_size: usize, audit: &Audit) -> Self {
        let topics = &audit.topics;
        let count = |kind| topics.iter().filter(|topic| topic.kind == kind).count() as u64;
        Self {
            struct_size,
            topics: count(Kind::Topic),
            services: count(Kind::Service),
            living: topics.iter().map(|topic| u64::from(topic.living)).sum(),
            dead: topics.iter().map(|topic| u64::from(topic.dead)).sum(),
            orphans: topics.iter().map(|topic| u64::from(topic.orphans)).sum(),
            findings: topics.iter().map(|topic| topic.findings.len() as u64).sum(),
            abandoned: audit.abandoned.len() as u64,
            foreign: audit.foreign.len() as u64,
        }
    }
}

/// Takes away what the dead left in a root: topics and services that nobody uses, those that were never finished, and in
/// those that are in use the entries and the holds of the dead. Never what is in use.
///
/// The root is for topics and services alone: an empty directory in it is taken for what a removal left, and goes.
///
/// Nobody needs to call this: whoever joins one does the same for it. It is for those that nobody joins any more.
///
/// `options` may be NULL for the defaults. The caller sets `collected->struct_size` to sizeof(shm_collected) before;
/// the struct stays the caller's. Any thread may call this at any time, several at once.
///
/// Errors: SHM_ERR_NULL; SHM_ERR_INVALID_OPTION, also when `collected->struct_size` isn't the size of such a struct;
/// SHM_ERR_NOT_TRUSTED and SHM_ERR_OS for the root. What can't be done to one of them counts as `refused`,
/// and `shm_audit` says more of it. A root that isn't there has nothing to take away.
#[no_mangle]
pub unsafe extern "C" fn shm_gc(options: *const ShmRootOptions, collected: *mut ShmCollected) -> i32 {
    guard(|| {
        // SAFETY: C2.
        let (size, options) =
            unsafe { (output_size(collected, "collected")?, ShmRootOptions::read(options)?) };
        let done = ShmCollected::new(size, &crate::gc(&options)?);
        // SAFETY: C2; `collected` isn't NULL and has this size.
        unsafe { write_sized(collected, done, size, &ShmCollected::ENDS) };
        Ok(SHM_OK)
    })
}

/// Looks through all topics and services of a root, and at the files and the words of each. Changes nothing and takes no
/// part.
///
/// It may run at any time and disturbs nobody, but is exact only while nobody joins, leaves, publishes, receives or calls:
/// what is in motion while it looks may be reported though nothing is wrong.
///
/// `found` may be NULL; otherwise it is called with SHM_KIND_TOPIC or SHM_KIND_SERVICE, with the name of that topic or
/// service, with words in UTF-8, and with `user_data`, once for each thing that should not be. It is called by this thread
/// and before `shm_audit` returns. Both strings belong to the library and are valid during that call: copy what is to be
/// kept. `found` may call any function of this interface. It must return: a C++ exception or a longjmp must not leave it.
///
/// `options` may be NULL for the defaults. The caller sets `summary->struct_size` to sizeof(shm_audit_summary)
/// before; the struct stays the caller's. Any thread may call this at any time, several at once.
///
/// Errors: SHM_ERR_NULL; SHM_ERR_INVALID_OPTION, also when `summary->struct_size` isn't the size of such a struct;
/// SHM_ERR_NOT_TRUSTED and SHM_ERR_OS for the root. `found` isn't called then. What can't be read of one of them
/// is a finding, and a root that isn't there has none.
#[no_mangle]
pub unsafe extern "C" fn shm_audit(
    options: *const ShmRootOptions,
    found: Option<
        unsafe extern "C" fn(kind: u32, name: *const c_char, finding: *const c_char, user_data: *mut c_void),
    >,
    user_data: *mut c_void,
    summary: *mut ShmAuditSummary,
) -> i32 {
    guard(|| {
        // SAFETY: C2.
        let (size, options) = unsafe { (output_size(summary, "summary")?, ShmRootOptions::read(options)?) };
        let audit = crate::audit(&options)?;
        let seen = ShmAuditSummary::new(size, &audit);
        if let Some(found) = found {
            tell(audit, |kind, name, finding| {
                // SAFETY: the caller's function, which C2 holds for; both strings outlive the call.
                unsafe { found(kind, name, finding, user_data) }
            });
        }
        // SAFETY: C2; `summary` isn't NULL and has this size.
        unsafe { write_sized(summary, seen, size, &ShmAuditSummary::ENDS) };
        Ok(SHM_OK)
    })
}

fn tell(audit: Audit, found: impl Fn(u32, *const c_char, *const c_char)) {
    for topic in audit.topics {
        let kind = match topic.kind {
            Kind::Topic => SHM_KIND_TOPIC,
            Kind::Service => SHM_KIND_SERVICE,
        };
        let name = c_string(topic.name);
        for finding in &topic.findings {
            let finding = c_string(finding.to_string());
            found(kind, name.as_ptr(), finding.as_ptr());
        }
    }
}
