// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looking after a root: taking away what the dead left, and whether what lies there is as it should be.

use super::error::c_string;
use super::guard::guard;
use super::options::{output_size, write_sized, ShmRootOptions};
use super::status::SHM_OK;
use crate::{Audit, Collected};
use std::ffi::{c_char, c_void};
use std::mem::{offset_of, size_of};

/// What `shm_gc` did. Set `struct_size` to sizeof(shm_collected) before it is filled in.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ShmCollected {
    /// sizeof(shm_collected), set by the caller.
    pub struct_size: usize,
    /// Topics that nobody used any more, which are gone now.
    pub removed: u64,
    /// Topics that somebody uses.
    pub in_use: u64,
    /// Participants that were dead, whose entries and holds were freed in topics that others use.
    pub recovered: u64,
    /// Directories of topics, or of a root that a group shares, which were never put in place.
    pub swept: u64,
    /// Topics that were left alone because they are damaged, aren't safe to use or couldn't be worked on.
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
    /// Publishers and subscribers of all topics that are alive.
    pub living: u64,
    /// Entries of the dead, which the next to join, or `shm_gc`, frees.
    pub dead: u64,
    /// Segments of publishers that are gone, which the next publisher takes or deletes once nothing in them is needed.
    pub orphans: u64,
    /// What contradicts the library's invariants. 0 unless something is broken.
    pub findings: u64,
    /// Directories of topics that were never put in place, or are being taken away, and whose maker is dead.
    pub abandoned: u64,
    /// Names in the root that aren't the library's.
    pub foreign: u64,
}

impl ShmAuditSummary {
    const ENDS: [usize; 7] = [
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
        Self {
            struct_size,
            topics: topics.len() as u64,
            living: topics.iter().map(|topic| u64::from(topic.living)).sum(),
            dead: topics.iter().map(|topic| u64::from(topic.dead)).sum(),
            orphans: topics.iter().map(|topic| u64::from(topic.orphans)).sum(),
            findings: topics.iter().map(|topic| topic.findings.len() as u64).sum(),
            abandoned: audit.abandoned.len() as u64,
            foreign: audit.foreign.len() as u64,
        }
    }
}

/// Takes away what the dead left in a root: topics that nobody uses, topics that were never finished, and in topics
/// that are in use the entries and the holds of the dead. Never what is in use.
///
/// The root is for topics alone: an empty directory in it is taken for what a removal left, and goes.
///
/// Nobody needs to call this: whoever joins a topic does the same for that one. It is for topics that nobody joins
/// any more.
///
/// `options` may be NULL for the defaults. The caller sets `collected->struct_size` to sizeof(shm_collected) before;
/// the struct stays the caller's. Any thread may call this at any time, several at once.
///
/// Errors: SHM_ERR_NULL; SHM_ERR_INVALID_OPTION, also when `collected->struct_size` isn't the size of such a struct;
/// SHM_ERR_NOT_TRUSTED and SHM_ERR_OS for the root. What can't be done to one topic counts as `refused`, and
/// `shm_audit` says more of it. A root that isn't there has nothing to take away.
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

/// Looks through all topics of a root, and at the files and the words of each. Changes nothing and takes no part.
///
/// It may run at any time and disturbs nobody, but is exact only while nobody joins, leaves, publishes or receives:
/// what is in motion while it looks may be reported though nothing is wrong.
///
/// `found` may be NULL; otherwise it is called with the topic's name, with words in UTF-8, and with `user_data`, once
/// for each thing that should not be. It is called by this thread and before `shm_audit` returns. Both strings belong
/// to the library and are valid during that call: copy what is to be kept. `found` may call any function of this
/// interface. It must return: a C++ exception or a longjmp must not leave it.
///
/// `options` may be NULL for the defaults. The caller sets `summary->struct_size` to sizeof(shm_audit_summary)
/// before; the struct stays the caller's. Any thread may call this at any time, several at once.
///
/// Errors: SHM_ERR_NULL; SHM_ERR_INVALID_OPTION, also when `summary->struct_size` isn't the size of such a struct;
/// SHM_ERR_NOT_TRUSTED and SHM_ERR_OS for the root. `found` isn't called then. What can't be read of a topic is a
/// finding, and a root that isn't there has no topics.
#[no_mangle]
pub unsafe extern "C" fn shm_audit(
    options: *const ShmRootOptions,
    found: Option<unsafe extern "C" fn(topic: *const c_char, finding: *const c_char, user_data: *mut c_void)>,
    user_data: *mut c_void,
    summary: *mut ShmAuditSummary,
) -> i32 {
    guard(|| {
        // SAFETY: C2.
        let (size, options) = unsafe { (output_size(summary, "summary")?, ShmRootOptions::read(options)?) };
        let audit = crate::audit(&options)?;
        let seen = ShmAuditSummary::new(size, &audit);
        if let Some(found) = found {
            tell(audit, |topic, finding| {
                // SAFETY: the caller's function, which C2 holds for; both strings outlive the call.
                unsafe { found(topic, finding, user_data) }
            });
        }
        // SAFETY: C2; `summary` isn't NULL and has this size.
        unsafe { write_sized(summary, seen, size, &ShmAuditSummary::ENDS) };
        Ok(SHM_OK)
    })
}

fn tell(audit: Audit, found: impl Fn(*const c_char, *const c_char)) {
    for topic in audit.topics {
        let name = c_string(topic.name);
        for finding in &topic.findings {
            let finding = c_string(finding.to_string());
            found(name.as_ptr(), finding.as_ptr());
        }
    }
}
