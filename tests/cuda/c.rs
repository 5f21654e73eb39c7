// SPDX-License-Identifier: MIT OR Apache-2.0
//! The C interface of the CUDA copier.

use std::ffi::c_void;
use std::ptr::{null, null_mut};

use shm::ffi::copier::{shm_copier_alloc, shm_copier_dealloc, shm_copier_destroy, ShmCopier};
use shm::ffi::copier_cuda::{shm_copier_cuda_create, shm_cuda_options_init, ShmCudaOptions};
use shm::ffi::status::{SHM_ERR_INVALID_OPTION, SHM_ERR_NO_DEVICE, SHM_ERR_NULL, SHM_OK};

use crate::driver::Driver;
use crate::run;
use crate::support::child::Parent;

#[test]
fn a_copier_is_made_for_the_device_of_the_options() {
    run("c::makes_copiers", &[]);
}

fn make(options: *const ShmCudaOptions, expected: i32) -> *mut ShmCopier {
    let mut copier = null_mut();
    // SAFETY: the options are null or the callers'; a place for the copier.
    assert_eq!(unsafe { shm_copier_cuda_create(options, &mut copier) }, expected);
    assert_eq!(copier.is_null(), expected != SHM_OK);
    copier
}

/// Which device the memory of a copier is on; the copier ends.
fn device_of(driver: &Driver, copier: *mut ShmCopier) -> i32 {
    let mut memory: *mut c_void = null_mut();
    // SAFETY: the copier is in use, and the memory its own.
    unsafe {
        assert_eq!(shm_copier_alloc(copier, 10, &mut memory), SHM_OK);
        let device = driver.device_of(memory.cast());
        assert_eq!(shm_copier_dealloc(copier, memory, 10), SHM_OK);
        shm_copier_destroy(copier);
        device
    }
}

pub fn makes_copiers(_: Parent) {
    let driver = Driver::open();
    let mut options = std::mem::MaybeUninit::uninit();
    // SAFETY: a place for the options, which are whole after that.
    let mut options: ShmCudaOptions = unsafe {
        assert_eq!(shm_cuda_options_init(null_mut()), SHM_ERR_NULL);
        assert_eq!(shm_cuda_options_init(options.as_mut_ptr()), SHM_OK);
        options.assume_init()
    };
    // SAFETY: null is refused.
    assert_eq!(unsafe { shm_copier_cuda_create(&options, null_mut()) }, SHM_ERR_NULL);
    assert_eq!(device_of(&driver, make(null(), SHM_OK)), 0);
    assert_eq!(device_of(&driver, make(&options, SHM_OK)), 0);
    options.device = 1;
    assert_eq!(device_of(&driver, make(&options, SHM_OK)), 1);
    options.device = 2;
    make(&options, SHM_ERR_NO_DEVICE);
    (options.device, options.reserved) = (1, 1);
    make(&options, SHM_ERR_INVALID_OPTION);
    // An older one, from before the last member.
    options.struct_size -= 4;
    assert_eq!(device_of(&driver, make(&options, SHM_OK)), 1);
    driver.assert_clean();
}
