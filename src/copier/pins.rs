// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which mappings of messages there are, and which copiers were told of them.
//!
//! A copier learns of a mapping before its first copy there and is told again before the mapping or the copier goes, whichever is first.
//! Both, and the telling, happen under one lock: no copier is told of a mapping that is going, and none goes while it is being told. Who copies has
//! a loan or a sample in the mapping, so it doesn't go meanwhile. A `Pin` keeps the code of its copier alive, not the handle of it.

use std::collections::BTreeMap;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Copier, PinAccess, Shared};
use crate::os::fork::Token;

/// By where a mapping starts.
type Mappings = BTreeMap<usize, Mapped>;

/// Those of one process.
struct Registry {
    token: Token,
    mappings: Mutex<Mappings>,
    /// The parent's, which a child keeps, so that nothing that looks for leaks finds one.
    _parents: *mut Registry,
}

/// A child of a fork, which has none of its parent's mappings, makes another one and leaves the old one alone: somebody may have been
/// holding its lock. Null before the first mapping.
static REGISTRY: AtomicPtr<Registry> = AtomicPtr::new(std::ptr::null_mut());

struct Mapped {
    len: usize,
    access: PinAccess,
    pins: Vec<Pin>,
    /// Pins of copiers that are gone which their devices didn't let go of.
    stuck: usize,
}

/// That a copier was told of a mapping.
struct Pin {
    id: u64,
    copier: Arc<dyn Copier>,
    /// It wants to be told of the end.
    is_pinned: bool,
}

/// The mappings of the process that `token` is of, which is this one.
fn mappings(token: Token) -> MutexGuard<'static, Mappings> {
    let seen = REGISTRY.load(Ordering::Acquire);
    // SAFETY: null, or a registry that is never freed.
    let registry = match unsafe { seen.as_ref() } {
        Some(registry) if registry.token == token => registry,
        _ => replace(seen, token),
    };
    // What a panic of a copier leaves is whole: entries are made and removed by single calls.
    registry.mappings.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cold]
fn replace(seen: *mut Registry, token: Token) -> &'static Registry {
    let made = Box::into_raw(Box::new(Registry { token, mappings: Mutex::default(), _parents: seen }));
    // AcqRel: who sees the pointer sees the registry.
    match REGISTRY.compare_exchange(seen, made, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: never freed.
        Ok(_) => unsafe { &*made },
        Err(others) => {
            // SAFETY: nobody else knows of `made`; another thread of this process was faster, and its registry is never freed.
            unsafe {
                drop(Box::from_raw(made));
                &*others
            }
        }
    }
}

/// Notes a mapping of messages.
pub(crate) fn mapped(token: Token, start: *mut u8, len: usize, access: PinAccess) {
    mappings(token).insert(start as usize, Mapped { len, access, pins: Vec::new(), stuck: 0 });
}

/// The mapping is about to go. False: it must not, since a device can't be made to let go of it.
pub(crate) fn unmapped(token: Token, start: *mut u8) -> bool {
    let mut mappings = mappings(token);
    let Some(mapped) = mappings.remove(&(start as usize)) else { return true };
    // Each, whatever the others say.
    let kept = mapped.pins.iter().filter(|pin| !pin.undo(start, mapped.len)).count();
    kept + mapped.stuck == 0
}

/// Tells `shared` of the mapping that `inside` lies in, unless it was told before or there is none. True: the device reaches it by itself.
pub(super) fn pin(shared: &Shared, inside: *const u8) -> bool {
    if !shared.copier.wants_pins() {
        return false;
    }
    let mut mappings = mappings(shared.token);
    let Some((start, mapped)) = around(&mut mappings, inside) else { return false };
    if let Some(pin) = mapped.pins.iter().find(|pin| pin.id == shared.id) {
        return pin.is_pinned;
    }
    mapped.mark(start);
    // SAFETY: a mapping, which stays as long as somebody has a message in it, and is unpinned before it goes.
    let is_pinned = unsafe { shared.copier.pin(start, mapped.len, mapped.access) };
    mapped.pins.push(Pin { id: shared.id, copier: shared.copier.clone(), is_pinned });
    is_pinned
}

/// Has the segment that `inside`, which is lent, lies in go with its publisher: nobody else writes to it when that one is dead.
pub(super) fn mark(token: Token, inside: *const u8) {
    if let Some((start, mapped)) = around(&mut mappings(token), inside) {
        mapped.mark(start);
    }
}

/// The mapping that `inside` lies in, and where that starts.
fn around(mappings: &mut Mappings, inside: *const u8) -> Option<(*mut u8, &mut Mapped)> {
    let inside = inside as usize;
    let (&start, mapped) = mappings.range_mut(..=inside).next_back()?;
    (inside - start < mapped.len).then_some((start as *mut u8, mapped))
}

impl Mapped {
    /// Has the segment say that a device may write to it, where its publisher may.
    fn mark(&self, start: *mut u8) {
        if self.access == PinAccess::Write {
            // SAFETY: a writable mapping of a segment's whole file, which stays as long as somebody has a message in it.
            unsafe { crate::pool::mark_pinned(start) };
        }
    }
}

/// A copier's handle is gone.
pub(super) fn unpin_all(token: Token, id: u64) {
    let mut mappings = mappings(token);
    for (&start, mapped) in mappings.iter_mut() {
        let gone = mapped.pins.extract_if(.., |pin| pin.id == id);
        mapped.stuck += gone.filter(|pin| !pin.undo(start as *mut u8, mapped.len)).count();
    }
}

impl Pin {
    /// Whether the device has let go.
    fn undo(&self, start: *mut u8, len: usize) -> bool {
        // SAFETY: pinned once, and undone once; who copies has a share in the copier, and a message in the mapping.
        let unpin = || unsafe { self.copier.unpin(start, len) };
        // A panic, which was reported, must not keep the others from hearing of it.
        !self.is_pinned || catch_unwind(AssertUnwindSafe(unpin)).unwrap_or(false)
    }
}
