// SPDX-License-Identifier: MIT OR Apache-2.0
//! Device topics through the C interface.

use std::ffi::{c_char, c_void, CStr, CString};
use std::ptr::{null, null_mut};

use shm::ffi::device_loan::*;
use shm::ffi::device_publisher::*;
use shm::ffi::device_sample::*;
use shm::ffi::device_subscriber::*;
use shm::ffi::error::*;
use shm::ffi::options::*;
use shm::ffi::status::*;

use crate::driver::Driver;
use crate::run;
use crate::support::child::Parent;

#[test]
fn messages_go_through_the_c_interface() {
    run("device_c::there_and_back", &[]);
}

/// # Safety
/// `root` is a string, and stays.
unsafe fn create(root: *const c_char, blocks: u32) -> *mut ShmDevicePublisher {
    // SAFETY: plain data, set by the interface; the caller's.
    unsafe {
        let mut options = std::mem::zeroed();
        assert_eq!(shm_publisher_options_init(&mut options), SHM_OK);
        options.root = root;
        let mut device: ShmDeviceOptions = std::mem::zeroed();
        assert_eq!(shm_device_options_init(&mut device), SHM_OK);
        let mut publisher = null_mut();
        let refused = shm_device_publisher_create(c"t".as_ptr(), &options, &device, &mut publisher);
        assert_eq!(refused, SHM_ERR_INVALID_OPTION, "largest is needed");
        (device.largest, device.blocks, device.placement) = (4096, blocks, 3);
        let refused = shm_device_publisher_create(c"t".as_ptr(), &options, &device, &mut publisher);
        assert_eq!(refused, SHM_ERR_INVALID_OPTION);
        device.placement = SHM_PLACEMENT_AUTO;
        assert_eq!(shm_device_publisher_create(c"t".as_ptr(), &options, &device, &mut publisher), SHM_OK);
        publisher
    }
}

/// # Safety
/// `publisher` is one.
unsafe fn loan(driver: &Driver, publisher: *mut ShmDevicePublisher, byte: u8) -> *mut ShmDeviceLoan {
    // SAFETY: the caller's.
    unsafe {
        let mut loan = null_mut();
        assert_eq!(shm_device_publisher_loan(publisher, 10, &mut loan), SHM_OK);
        assert_eq!((shm_device_loan_size(loan), shm_device_loan_placement(loan)), (10, SHM_PLACEMENT_DEVICE));
        driver.behind(shm_device_loan_data(loan).cast(), 10).fill(byte);
        loan
    }
}

/// # Safety
/// `sample` is one.
unsafe fn check(driver: &Driver, sample: *mut ShmDeviceSample, byte: u8, position: u64) {
    // SAFETY: the caller's.
    unsafe {
        assert_eq!((shm_device_sample_size(sample), shm_device_sample_timestamp(sample)), (10, 0));
        assert_eq!(shm_device_sample_position(sample), position);
        assert_eq!(shm_device_sample_placement(sample), SHM_PLACEMENT_DEVICE);
        assert_eq!(driver.behind(shm_device_sample_data(sample).cast(), 10), [byte; 10]);
    }
}

pub fn there_and_back(mut parent: Parent) {
    let (root, driver) = (CString::new(parent.text()).unwrap(), Driver::open());
    // SAFETY: each handle is used as the header says.
    unsafe {
        let publisher = create(root.as_ptr(), 3);
        driver.set_device(0);
        let stream = driver.stream().0;
        let mut options = std::mem::zeroed();
        assert_eq!(shm_subscriber_options_init(&mut options), SHM_OK);
        options.root = root.as_ptr();
        let (mut subscriber, mut sample) = (null_mut(), null_mut());
        let refused = shm_device_subscriber_create(c"t".as_ptr(), &options, 7, &mut subscriber);
        assert_eq!(refused, SHM_ERR_NO_DEVICE);
        assert_eq!(shm_device_subscriber_create(c"t".as_ptr(), &options, 0, &mut subscriber), SHM_OK);
        assert_eq!(shm_device_subscriber_try_receive(subscriber, &mut sample), SHM_WOULD_BLOCK);
        assert_eq!(shm_device_subscriber_receive_timeout(subscriber, 1, &mut sample), SHM_TIMED_OUT);
        let mut position = 0;
        assert_eq!(shm_device_loan_publish(loan(&driver, publisher, 1), &mut position), SHM_OK);
        assert_eq!(shm_device_subscriber_receive(subscriber, &mut sample), SHM_OK);
        check(&driver, sample, 1, position);
        shm_device_sample_release(sample);
        let on_stream = loan(&driver, publisher, 2);
        assert_eq!(shm_device_loan_publish_on_stream(on_stream, stream), SHM_OK);
        assert_eq!(shm_device_publisher_wait(publisher, u64::MAX), SHM_OK);
        assert_eq!(shm_device_subscriber_try_receive(subscriber, &mut sample), SHM_OK);
        check(&driver, sample, 2, position + 1);
        let mut info: ShmTopicInfo = std::mem::zeroed();
        info.struct_size = size_of::<ShmTopicInfo>();
        assert_eq!(shm_device_publisher_info(publisher, &mut info), SHM_OK);
        assert_eq!(shm_device_subscriber_info(subscriber, &mut info), SHM_OK);
        let mut lost = 9;
        assert_eq!((shm_device_subscriber_lost(subscriber, &mut lost), lost), (SHM_OK, 0));
        let mut loans = [null_mut(); 3];
        let statuses = loans.each_mut().map(|loan| shm_device_publisher_loan(publisher, 10, loan));
        assert_eq!(statuses, [SHM_OK, SHM_OK, SHM_ERR_OUT_OF_MEMORY], "the third one is held");
        let words = CStr::from_ptr(shm_last_error_message()).to_str().unwrap();
        assert!(words.contains("all 3 blocks") && words.contains("option `blocks`"), "{words}");
        for loan in loans {
            shm_device_loan_destroy(loan);
        }
        // Samples outlive their subscriber; loans outlive their publisher, but aren't published any more.
        shm_device_subscriber_destroy(subscriber);
        check(&driver, sample, 2, position + 1);
        assert_eq!(shm_device_sample_release_on_stream(sample, stream), SHM_OK);
        let left = loan(&driver, publisher, 3);
        assert_eq!(shm_device_publisher_placement(publisher), SHM_PLACEMENT_DEVICE);
        shm_device_publisher_destroy(publisher);
        assert_eq!(shm_device_loan_publish(left, null_mut()), SHM_ERR_CLOSED);
        assert_eq!(shm_device_loan_size(left), 10);
        shm_device_loan_destroy(left);
    }
    driver.assert_rules();
    // What was released on a stream goes when that has come to it.
    while driver.count("vmm_mappings") + driver.count("contexts") > 1 {
        std::thread::yield_now();
    }
}

#[test]
fn null_is_answered() {
    // SAFETY: NULL is answered.
    unsafe {
        let (publisher, loan): (*mut ShmDevicePublisher, *mut ShmDeviceLoan) = (null_mut(), null_mut());
        let (subscriber, sample): (*mut ShmDeviceSubscriber, *mut ShmDeviceSample) = (null_mut(), null_mut());
        let (mut a_loan, mut a_sample) = (null_mut(), null_mut());
        let stream: *mut c_void = null_mut();
        let statuses = [
            shm_device_options_init(null_mut()),
            shm_device_publisher_create(c"t".as_ptr(), null(), null(), null_mut()),
            shm_device_publisher_loan(publisher, 1, &mut a_loan),
            shm_device_publisher_loan(publisher, 1, null_mut()),
            shm_device_publisher_wait(publisher, 0),
            shm_device_publisher_info(publisher, null_mut()),
            shm_device_loan_publish(loan, null_mut()),
            shm_device_loan_publish_on_stream(loan, stream),
            shm_device_subscriber_create(c"t".as_ptr(), null(), 0, null_mut()),
            shm_device_subscriber_try_receive(subscriber, &mut a_sample),
            shm_device_subscriber_receive(subscriber, &mut a_sample),
            shm_device_subscriber_receive_timeout(subscriber, 0, &mut a_sample),
            shm_device_subscriber_lost(subscriber, null_mut()),
            shm_device_subscriber_info(subscriber, null_mut()),
            shm_device_sample_release_on_stream(sample, stream),
        ];
        assert_eq!(statuses, [SHM_ERR_NULL; 15]);
        assert!(shm_device_loan_data(loan).is_null() && shm_device_sample_data(sample).is_null());
        let numbers = [shm_device_loan_size(loan), shm_device_sample_size(sample)];
        assert_eq!(numbers, [0; 2]);
        assert_eq!(shm_device_sample_position(sample) + shm_device_sample_timestamp(sample), 0);
        let places = shm_device_loan_placement(loan) + shm_device_sample_placement(sample);
        assert_eq!(places + shm_device_publisher_placement(publisher), 0);
        shm_device_publisher_destroy(publisher);
        shm_device_loan_destroy(loan);
        shm_device_subscriber_destroy(subscriber);
        shm_device_sample_release(sample);
    }
}
