// SPDX-License-Identifier: MIT OR Apache-2.0
//! What of this process is registered with the driver, which takes each address once, for all contexts.
//!
//! So copiers of several devices share the registrations: the first makes it, the last ends it. The device that made it stays in use meanwhile, as
//! a registration ends with its context.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::device::Device;
use super::driver::{REGISTER_DEVICE_MAP, REGISTER_PORTABLE, REGISTER_READ_ONLY};
use crate::copier::PinAccess;
use crate::error::Result;

struct Registration {
    device: Arc<Device>,
    users: usize,
}

/// By where the memory starts. The child of a fork never comes here: CUDA doesn't work there.
static REGISTRATIONS: Mutex<BTreeMap<usize, Registration>> = Mutex::new(BTreeMap::new());

fn registrations() -> MutexGuard<'static, BTreeMap<usize, Registration>> {
    // Nothing in here panics halfway.
    REGISTRATIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Registers a mapping, unless another copier did.
pub(super) fn add(device: &Arc<Device>, memory: *mut u8, len: usize, access: PinAccess) -> Result<()> {
    let mut registrations = registrations();
    if let Some(registration) = registrations.get_mut(&(memory as usize)) {
        registration.users += 1;
        return Ok(());
    }
    let flags = match access {
        PinAccess::Read => REGISTER_PORTABLE | REGISTER_DEVICE_MAP | REGISTER_READ_ONLY,
        PinAccess::Write => REGISTER_PORTABLE | REGISTER_DEVICE_MAP,
    };
    let _current = device.enter()?;
    // SAFETY: a mapping that stays until `remove`.
    unsafe { device.driver.host_register(memory.cast(), len, flags)? };
    registrations.insert(memory as usize, Registration { device: device.clone(), users: 1 });
    Ok(())
}

/// One copier less.
pub(super) fn remove(memory: *mut u8) {
    let mut registrations = registrations();
    let Some(registration) = registrations.get_mut(&(memory as usize)) else { return };
    registration.users -= 1;
    if registration.users > 0 {
        return;
    }
    let ended = registrations.remove(&(memory as usize));
    let Some(Registration { device, .. }) = ended else { return };
    if let Ok(_current) = device.enter() {
        // SAFETY: registered above, once. A driver that has ended already has let go of it.
        let _ = unsafe { device.driver.host_unregister(memory.cast()) };
    };
}
