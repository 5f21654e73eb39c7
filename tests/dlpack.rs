// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages as DLPack's tensors, and tensors as messages.

use std::path::Path;
use std::ptr::{self, NonNull};

use shm::dlpack::{DLDataType, DLDevice, DLManagedTensor, DLManagedTensorVersioned, DLTensor};
use shm::{Error, Publisher, PublisherOptions, Subscriber, SubscriberOptions};

const HOLDS: u32 = 2;

fn publisher(root: &Path) -> Publisher {
    let options = PublisherOptions { root: Some(root.into()), ..Default::default() };
    Publisher::with_options("t", &options).unwrap()
}

fn subscriber(root: &Path) -> Subscriber {
    let options = SubscriberOptions { root: Some(root.into()), holds: HOLDS, ..Default::default() };
    Subscriber::with_options("t", &options).unwrap()
}

/// A tensor on its way to whoever ends it.
struct Tensor(NonNull<DLManagedTensor>);

// SAFETY: a tensor may be used and ended by any thread.
unsafe impl Send for Tensor {}

impl Tensor {
    fn get(&self) -> &DLTensor {
        // SAFETY: it wasn't ended yet.
        unsafe { &self.0.as_ref().dl_tensor }
    }

    fn bytes(&self, len: usize) -> &[u8] {
        // SAFETY: the tests say how long it is.
        unsafe { std::slice::from_raw_parts(self.get().data.cast(), len) }
    }

    fn end(self) {
        // SAFETY: its only end.
        unsafe { (self.0.as_ref().deleter.unwrap())(self.0.as_ptr()) }
    }
}

fn dims(start: *const i64, ndim: i32) -> Vec<i64> {
    // SAFETY: the tensor says so.
    unsafe { std::slice::from_raw_parts(start, ndim as usize) }.to_vec()
}

#[test]
fn a_sample_becomes_a_tensor_in_place() {
    let root = tempfile::tempdir().unwrap();
    let (subscriber, publisher) = (subscriber(root.path()), publisher(root.path()));
    let payload: Vec<u8> = (0..24).collect();
    publisher.publish(&payload).unwrap();
    let sample = subscriber.receive().unwrap();
    let address = sample.as_ptr();
    let tensor = Tensor(sample.into_dlpack(&[3, 2, 1], DLDataType::F32).unwrap());
    let DLTensor { data, device, ndim, dtype, shape, strides, byte_offset } = *tensor.get();
    assert_eq!((data.cast_const().cast(), device, byte_offset), (address, DLDevice::CPU, 0));
    assert_eq!(dtype, DLDataType { code: 2, bits: 32, lanes: 1 });
    assert_eq!((dims(shape, ndim), dims(strides, ndim)), (vec![3, 2, 1], vec![2, 1, 1]));
    assert_eq!(tensor.bytes(24), payload);
    tensor.end();
}

#[test]
fn the_newer_form_says_that_it_is_read_only() {
    let root = tempfile::tempdir().unwrap();
    let (subscriber, publisher) = (subscriber(root.path()), publisher(root.path()));
    for _ in 0..2 * HOLDS {
        publisher.publish(&[1; 6]).unwrap();
        let sample = subscriber.try_receive().unwrap().unwrap();
        let address = sample.as_ptr();
        let managed = sample.into_dlpack_versioned(&[6], DLDataType::U8).unwrap();
        // SAFETY: it wasn't ended yet.
        let DLManagedTensorVersioned { version, flags, dl_tensor, deleter, .. } = unsafe { managed.as_ref() };
        assert_eq!((version.major, *flags), (1, DLManagedTensorVersioned::READ_ONLY));
        assert_eq!((dl_tensor.data.cast_const().cast(), dims(dl_tensor.shape, 1)), (address, vec![6]));
        // SAFETY: its only end.
        unsafe { deleter.unwrap()(managed.as_ptr()) };
    }
}

#[test]
fn a_tensor_has_exactly_the_size_of_its_message() {
    let root = tempfile::tempdir().unwrap();
    let (subscriber, publisher) = (subscriber(root.path()), publisher(root.path()));
    let become_tensor = |len: usize, shape: &[i64], dtype| {
        publisher.publish(&vec![0; len]).unwrap();
        let tensor = subscriber.receive().unwrap().into_dlpack(shape, dtype)?;
        let is_null = Tensor(tensor).get().data.is_null();
        Tensor(tensor).end();
        assert_eq!(is_null, len == 0);
        Ok::<(), Error>(())
    };
    let float4 = DLDataType { code: 2, bits: 32, lanes: 4 };
    let nibbles = DLDataType { code: 1, bits: 4, lanes: 2 };
    for (len, shape, dtype) in [
        (12, &[3][..], DLDataType::F32),
        (4, &[], DLDataType::F32),
        (32, &[2], float4),
        (5, &[5], nibbles),
        (0, &[0], DLDataType::F64),
        (0, &[i64::MAX, i64::MAX, 0], DLDataType::F64),
    ] {
        become_tensor(len, shape, dtype).unwrap();
    }
    for (len, shape, dtype) in [
        (12, &[2][..], DLDataType::F32),
        (12, &[4], DLDataType::F32),
        (0, &[], DLDataType::U8),
        (1, &[0], DLDataType::U8),
        (4, &[1], float4),
    ] {
        let refused = become_tensor(len, shape, dtype);
        assert!(matches!(refused, Err(Error::WrongSize { .. })), "{shape:?}: {refused:?}");
    }
    // Its size modulo 2^64 is the message's.
    let refused = become_tensor(0, &[1 << 32, 1 << 32], DLDataType::U8);
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    for (shape, dtype) in [
        (&[-1, -12][..], DLDataType::U8),
        (&[24], DLDataType::new(1, 4)),
        (&[12], DLDataType::new(1, 0)),
        (&[12], DLDataType { code: 1, bits: 8, lanes: 0 }),
    ] {
        let refused = become_tensor(12, shape, dtype);
        assert!(matches!(refused, Err(Error::InvalidTensor { .. })), "{shape:?}: {refused:?}");
    }
    // Those that were refused aren't held any more.
    for _ in 0..HOLDS {
        publisher.publish(b"x").unwrap();
    }
    let held: Vec<_> = (0..HOLDS).map(|_| subscriber.try_receive().unwrap().unwrap()).collect();
    assert_eq!(held.len(), HOLDS as usize);
}

#[test]
fn a_tensor_holds_its_message_until_its_end() {
    let root = tempfile::tempdir().unwrap();
    let (subscriber, publisher) = (subscriber(root.path()), publisher(root.path()));
    let next = |n: u8| {
        publisher.publish(&[n; 1000]).unwrap();
        let sample = subscriber.try_receive()?.unwrap();
        Ok(Tensor(sample.into_dlpack(&[1000], DLDataType::U8)?))
    };
    let mut held: Vec<Tensor> = (0..HOLDS as u8).map(|n| next(n).unwrap()).collect();
    for round in 0..200u8 {
        let refused = next(round).map(|_| ()).unwrap_err();
        assert!(matches!(refused, Error::NoHold { limit: HOLDS }), "{refused}");
        // Each is as it was: what was released was no other's.
        let last = held.pop().unwrap();
        std::thread::spawn(move || last.end()).join().unwrap();
        assert!(held.iter().enumerate().all(|(n, tensor)| tensor.bytes(1000) == [n as u8; 1000]));
        held.push(next(round).unwrap());
        while subscriber.try_receive().is_ok_and(|sample| sample.is_some()) {}
    }
    held.into_iter().for_each(Tensor::end);
}

#[test]
fn a_tensor_outlives_its_subscriber() {
    let root = tempfile::tempdir().unwrap();
    let (subscriber, publisher) = (subscriber(root.path()), publisher(root.path()));
    publisher.publish(&[7; 1000]).unwrap();
    let tensor = Tensor(subscriber.receive().unwrap().into_dlpack(&[10, 100], DLDataType::U8).unwrap());
    drop(subscriber);
    for _ in 0..300 {
        publisher.publish(&[8; 1000]).unwrap();
    }
    drop(publisher);
    assert_eq!(tensor.bytes(1000), [7; 1000]);
    assert_eq!(root.path().read_dir().unwrap().count(), 1);
    std::thread::spawn(move || tensor.end()).join().unwrap();
    // It was the last of the topic's.
    assert_eq!(root.path().read_dir().unwrap().count(), 0);
}

#[test]
fn an_empty_tensor_holds_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (subscriber, publisher) = (subscriber(root.path()), publisher(root.path()));
    let next = || {
        publisher.publish(&[]).unwrap();
        subscriber.try_receive().unwrap().unwrap()
    };
    let make = |_| {
        let older = next().into_dlpack(&[0], DLDataType::U8).unwrap();
        (Tensor(older), next().into_dlpack_versioned(&[0], DLDataType::U8).unwrap())
    };
    let made: Vec<_> = (0..2 * HOLDS).map(make).collect();
    for (older, newer) in made {
        older.end();
        // SAFETY: its only end.
        unsafe { newer.as_ref().deleter.unwrap()(newer.as_ptr()) };
    }
}

#[test]
fn a_loan_is_filled_as_a_tensor() {
    let root = tempfile::tempdir().unwrap();
    let (subscriber, publisher) = (subscriber(root.path()), publisher(root.path()));
    let mut loan = publisher.loan(8).unwrap();
    assert!(matches!(loan.to_dlpack(&[3], DLDataType::U32), Err(Error::WrongSize { .. })));
    let view = Tensor(loan.to_dlpack(&[2], DLDataType::U32).unwrap());
    // SAFETY: the loan is there, and nobody else uses it.
    unsafe { view.get().data.cast::<[u32; 2]>().write([3, 5]) };
    view.end();
    let newer = loan.to_dlpack_versioned(&[2], DLDataType::U32).unwrap();
    // SAFETY: its only use, and end.
    let flags = unsafe {
        let flags = newer.as_ref().flags;
        newer.as_ref().deleter.unwrap()(newer.as_ptr());
        flags
    };
    assert_eq!(flags, 0);
    loan.publish().unwrap();
    assert_eq!(*subscriber.receive().unwrap().plain::<[u32; 2]>().unwrap(), [3, 5]);
}

/// Publishes `tensor` of u16 in `memory` and returns what arrives.
fn arrived(memory: &[u16], shape: &[i64], strides: Option<&[i64]>, byte_offset: u64) -> Vec<u16> {
    let root = tempfile::tempdir().unwrap();
    let (subscriber, publisher) = (subscriber(root.path()), publisher(root.path()));
    let mut tensor = tensor_of(memory, shape);
    tensor.strides = strides.map_or(ptr::null_mut(), |strides| strides.as_ptr().cast_mut());
    tensor.byte_offset = byte_offset;
    // SAFETY: the tests say what is so.
    unsafe { publisher.publish_dlpack(&tensor).unwrap() };
    let sample = subscriber.receive().unwrap();
    sample.chunks_exact(2).map(|pair| u16::from_ne_bytes(pair.try_into().unwrap())).collect()
}

fn tensor_of(memory: &[u16], shape: &[i64]) -> DLTensor {
    DLTensor {
        data: memory.as_ptr().cast_mut().cast(),
        device: DLDevice::CPU,
        ndim: shape.len() as i32,
        dtype: DLDataType::U16,
        shape: shape.as_ptr().cast_mut(),
        strides: ptr::null_mut(),
        byte_offset: 0,
    }
}

#[test]
fn tensors_arrive_in_row_major_order() {
    let memory: Vec<u16> = (0..24).collect();
    assert_eq!(arrived(&memory, &[2, 3, 4], None, 0), memory);
    assert_eq!(arrived(&memory, &[2, 3, 4], Some(&[12, 4, 1]), 0), memory);
    assert_eq!(arrived(&memory, &[2, 3], None, 4), (2..8).collect::<Vec<u16>>());
    assert_eq!(arrived(&memory[5..], &[], None, 0), [5]);
    // The first two of each four.
    assert_eq!(arrived(&memory, &[3, 2], Some(&[4, 1]), 2), [1, 2, 5, 6, 9, 10]);
    // Transposed, and the other way round.
    assert_eq!(arrived(&memory, &[3, 2], Some(&[1, 3]), 0), [0, 3, 1, 4, 2, 5]);
    assert_eq!(arrived(&memory, &[2, 2], Some(&[-12, -1]), 2 * 23), [23, 22, 11, 10]);
    // Repeated, and dimensions of one element, whose strides mean nothing.
    assert_eq!(arrived(&memory, &[2, 2], Some(&[0, 1]), 2), [1, 2, 1, 2]);
    assert_eq!(arrived(&memory, &[1, 3, 1], Some(&[i64::MIN, 1, i64::MAX]), 0), [0, 1, 2]);
    assert_eq!(arrived(&memory, &[3, 0, 2], Some(&[1, 1, 1]), 0), []);
    assert_eq!(arrived(&[], &[0], None, 0), []);
}

/// Against the formula: every order of three dimensions, some turned round, of elements of every size.
#[test]
fn strided_tensors_of_every_size_of_element_arrive() {
    let root = tempfile::tempdir().unwrap();
    let (subscriber, publisher) = (subscriber(root.path()), publisher(root.path()));
    let memory: Vec<u8> = (0..4096u32).map(|n| ((n * 97) >> 3) as u8).collect();
    for lanes in [1u16, 2, 3, 4, 5, 7, 8, 16] {
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            for turned in 0..8 {
                let lengths = [2i64, 3, 4];
                // With a gap after each.
                let steps = [24i64, 6, 1];
                let shape = order.map(|dim| lengths[dim]);
                let sign = |dim: usize| if (turned >> dim) & 1 == 1 { -1 } else { 1 };
                let strides = order.map(|dim| steps[dim] * sign(dim));
                let start = 64i64;
                let mut tensor = tensor_of(&[], &shape);
                tensor.data = memory.as_ptr().cast_mut().cast();
                tensor.dtype = DLDataType { code: 1, bits: 8, lanes };
                tensor.strides = strides.as_ptr().cast_mut();
                tensor.byte_offset = start as u64 * u64::from(lanes);
                // SAFETY: all of it lies in `memory`.
                unsafe { publisher.publish_dlpack(&tensor).unwrap() };
                let mut expected = Vec::new();
                for n in 0..24i64 {
                    let index = [n / (shape[1] * shape[2]), n / shape[2] % shape[1], n % shape[2]];
                    let at = start + (0..3).map(|dim| index[dim] * strides[dim]).sum::<i64>();
                    let at = at as usize * usize::from(lanes);
                    expected.extend_from_slice(&memory[at..at + usize::from(lanes)]);
                }
                assert_eq!(*subscriber.receive().unwrap(), *expected, "{lanes} {shape:?} {strides:?}");
            }
        }
    }
}

#[test]
fn a_tensor_that_cannot_be_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let publisher = publisher(root.path());
    let position = publisher.publish(b"before").unwrap();
    let (memory, shape) = ([0u16; 8], [8]);
    let good = tensor_of(&memory, &shape);
    // SAFETY: what it says isn't followed.
    let refused = |tensor: DLTensor| unsafe { publisher.publish_dlpack(&tensor) }.unwrap_err();
    for (bad, word) in [
        (DLTensor { data: ptr::null_mut(), ..good }, "data"),
        (DLTensor { shape: ptr::null_mut(), ..good }, "shape"),
        (DLTensor { ndim: -1, ..good }, "-1"),
        (DLTensor { dtype: DLDataType::new(1, 4), ..good }, "bits"),
    ] {
        let error = refused(bad);
        assert!(matches!(&error, Error::InvalidTensor { reason } if reason.contains(word)), "{error}");
    }
    let huge = [1 << 40, 1 << 40];
    let error = refused(DLTensor { ndim: 2, shape: huge.as_ptr().cast_mut(), ..good });
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    for (device_type, name) in [(2, "CUDA"), (13, "CUDA"), (10, "ROCm"), (14, "type 14")] {
        let error = refused(DLTensor { device: DLDevice { device_type, device_id: 0 }, ..good });
        assert!(matches!(error, Error::NoDevice { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    // Nothing was published. Pinned memory is the processor's.
    let device = DLDevice { device_type: 3, device_id: 1 };
    // SAFETY: it is as it says, but for where it is.
    assert_eq!(unsafe { publisher.publish_dlpack(&DLTensor { device, ..good }) }.unwrap(), position + 1);
}
