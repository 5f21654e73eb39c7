// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages as tensors, by [DLPack](https://dmlc.github.io/dlpack/latest/): how PyTorch, CuPy, NumPy, JAX and others take each other's memory
//! without a copy.
//!
//! A message has bytes and no shape: what they mean is the topic's promise. [`Sample::into_dlpack`] gives a sample a shape and hands it over
//! in place. Whoever has the tensor calls its deleter once, from any thread, and that releases the sample; until then it takes one of its
//! subscriber's holds, unless it is empty. A sample is read-only, in fact: a write to it ends the process with a SIGSEGV. Only the versioned form of a
//! tensor can say so.
//!
//! The other way, [`Publisher::publish_dlpack`] copies a tensor into a message, its elements in row-major order without gaps; and
//! [`Loan::to_dlpack`] lends a message out as a tensor, to be filled in place.
//!
//! The structs are DLPack's own, of its version 1, and [`DLManagedTensor`] that of the versions before. Data is aligned to 64 bytes.

use std::ffi::c_void;
use std::mem::{offset_of, size_of};
use std::ptr::{self, NonNull};

use crate::error::{Error, Result};
use crate::publisher::{Loan, Publisher};
use crate::sample::Sample;

/// Where a tensor's memory is.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DLDevice {
    /// The kind of device: 1 is the processor's memory, 2 CUDA, and so on.
    pub device_type: i32,
    /// Which one of that kind.
    pub device_id: i32,
}

impl DLDevice {
    /// The processor's own memory.
    pub const CPU: DLDevice = DLDevice { device_type: Self::MAIN, device_id: 0 };
    const MAIN: i32 = 1;
    const CUDA: i32 = 2;
    const CUDA_HOST: i32 = 3;
    const ROCM: i32 = 10;
    const ROCM_HOST: i32 = 11;
    const CUDA_MANAGED: i32 = 13;
}

/// What a tensor's elements are.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DLDataType {
    /// 0: signed integer, 1: unsigned, 2: floating point, 4: bfloat, 5: complex, 6: boolean; DLPack has more.
    pub code: u8,
    /// Bits of one lane.
    pub bits: u8,
    /// How many values make an element: 1, but for vector types.
    pub lanes: u16,
}

impl DLDataType {
    pub const I8: DLDataType = Self::new(0, 8);
    pub const I16: DLDataType = Self::new(0, 16);
    pub const I32: DLDataType = Self::new(0, 32);
    pub const I64: DLDataType = Self::new(0, 64);
    pub const U8: DLDataType = Self::new(1, 8);
    pub const U16: DLDataType = Self::new(1, 16);
    pub const U32: DLDataType = Self::new(1, 32);
    pub const U64: DLDataType = Self::new(1, 64);
    pub const F16: DLDataType = Self::new(2, 16);
    pub const F32: DLDataType = Self::new(2, 32);
    pub const F64: DLDataType = Self::new(2, 64);
    pub const BF16: DLDataType = Self::new(4, 16);
    pub const BOOL: DLDataType = Self::new(6, 8);

    /// A type of one lane.
    pub const fn new(code: u8, bits: u8) -> DLDataType {
        DLDataType { code, bits, lanes: 1 }
    }

    /// Bytes of an element.
    fn size(self) -> Result<usize> {
        let bits = usize::from(self.bits) * usize::from(self.lanes);
        if bits == 0 || bits % 8 != 0 {
            let DLDataType { bits, lanes, .. } = self;
            return Err(invalid(format!("an element of {lanes} x {bits} bits isn't one of whole bytes")));
        }
        Ok(bits / 8)
    }
}

/// A tensor in somebody's memory.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DLTensor {
    /// Its memory.
    pub data: *mut c_void,
    /// Where that is.
    pub device: DLDevice,
    /// How many dimensions it has.
    pub ndim: i32,
    /// Its elements' type.
    pub dtype: DLDataType,
    /// How long each dimension is, in elements.
    pub shape: *mut i64,
    /// How far an element is from the next one of each dimension, in elements. Null: row-major, without gaps.
    pub strides: *mut i64,
    /// Where in `data` the first element is, in bytes.
    pub byte_offset: u64,
}

/// A tensor that is given back by its deleter, in DLPack's older form.
#[repr(C)]
#[derive(Debug)]
pub struct DLManagedTensor {
    /// The tensor.
    pub dl_tensor: DLTensor,
    /// The deleter's.
    pub manager_ctx: *mut c_void,
    /// To be called once, when the tensor isn't used any more. It frees this struct as well.
    pub deleter: Option<unsafe extern "C" fn(*mut DLManagedTensor)>,
}

/// The version of DLPack that a tensor follows.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DLPackVersion {
    /// Another one means another layout.
    pub major: u32,
    /// Another one means more devices or types.
    pub minor: u32,
}

/// A tensor that is given back by its deleter, in the form since DLPack 1.0, which can say that it is read-only.
#[repr(C)]
#[derive(Debug)]
pub struct DLManagedTensorVersioned {
    /// DLPack's version.
    pub version: DLPackVersion,
    /// The deleter's.
    pub manager_ctx: *mut c_void,
    /// To be called once, when the tensor isn't used any more. It frees this struct as well.
    pub deleter: Option<unsafe extern "C" fn(*mut DLManagedTensorVersioned)>,
    /// [`READ_ONLY`](Self::READ_ONLY) or 0.
    pub flags: u64,
    /// The tensor.
    pub dl_tensor: DLTensor,
}

impl DLManagedTensorVersioned {
    /// The flag of a tensor that mustn't be written to.
    pub const READ_ONLY: u64 = 1;
}

// The ABI.
const _: () = {
    assert!(size_of::<DLTensor>() == 48 && size_of::<DLManagedTensor>() == 64);
    assert!(size_of::<DLManagedTensorVersioned>() == 80);
    assert!(offset_of!(DLTensor, dtype) == 20 && offset_of!(DLTensor, byte_offset) == 40);
    assert!(offset_of!(DLManagedTensorVersioned, dl_tensor) == 32);
};

impl Sample<'_> {
    /// Hands the sample over as a tensor of this shape, in place. It is [kept](Self::keep), so that the tensor may outlive the
    /// `Subscriber`; the tensor's deleter releases it, and without a call of that it stays held.
    ///
    /// The tensor mustn't be written to, which this form can't say: [`into_dlpack_versioned`](Self::into_dlpack_versioned) does.
    ///
    /// ```
    /// # let root = tempfile::tempdir()?; std::env::set_var("SHM_ROOT", root.path());
    /// use shm::dlpack::DLDataType;
    /// let (subscriber, publisher) = (shm::Subscriber::new("/images")?, shm::Publisher::new("/images")?);
    /// publisher.publish(&[7; 640 * 480 * 3])?;
    /// let tensor = subscriber.receive()?.into_dlpack(&[480, 640, 3], DLDataType::U8)?;
    /// // A library that takes it, or we:
    /// unsafe {
    ///     assert_eq!(*tensor.as_ref().dl_tensor.data.cast::<u8>(), 7);
    ///     tensor.as_ref().deleter.expect("ours has one")(tensor.as_ptr());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::WrongSize`] when a tensor of this shape hasn't exactly as many bytes; [`Error::InvalidTensor`], [`Error::TooLarge`] for a
    /// shape or a type that none can have. The sample is released then.
    pub fn into_dlpack(self, shape: &[i64], dtype: DLDataType) -> Result<NonNull<DLManagedTensor>> {
        Ok(View::new(&self, shape, dtype)?.managed(self.keep()))
    }

    /// As [`into_dlpack`](Self::into_dlpack), in the form since DLPack 1.0, marked as read-only.
    ///
    /// # Errors
    /// Those of [`into_dlpack`](Self::into_dlpack).
    pub fn into_dlpack_versioned(
        self,
        shape: &[i64],
        dtype: DLDataType,
    ) -> Result<NonNull<DLManagedTensorVersioned>> {
        let view = View::new(&self, shape, dtype)?;
        Ok(view.versioned(DLManagedTensorVersioned::READ_ONLY, self.keep()))
    }
}

impl Loan<'_> {
    /// The loan's memory as a tensor, to be filled in place. The tensor is only a view: its deleter, which any thread may call at any
    /// time, doesn't end the loan, and it mustn't be used after the loan was published, resized or dropped.
    ///
    /// # Errors
    /// Those of [`Sample::into_dlpack`]; the loan is as it was.
    pub fn to_dlpack(&mut self, shape: &[i64], dtype: DLDataType) -> Result<NonNull<DLManagedTensor>> {
        Ok(View::new_mut(self, shape, dtype)?.managed(()))
    }

    /// As [`to_dlpack`](Self::to_dlpack), in the form since DLPack 1.0.
    ///
    /// # Errors
    /// Those of [`Sample::into_dlpack`]; the loan is as it was.
    pub fn to_dlpack_versioned(
        &mut self,
        shape: &[i64],
        dtype: DLDataType,
    ) -> Result<NonNull<DLManagedTensorVersioned>> {
        Ok(View::new_mut(self, shape, dtype)?.versioned(0, ()))
    }
}

impl Publisher {
    /// Publishes a copy of `tensor`, its elements in row-major order without gaps, however they lie there, and returns the message's
    /// position. The tensor is in memory that the processor reads. Otherwise as [`publish`](Self::publish).
    ///
    /// # Errors
    /// Those of [`publish`](Self::publish); [`Error::InvalidTensor`] for one that can't be; [`Error::NoDevice`] for one in a device's memory:
    /// [`publish_from`](Self::publish_from) with a copier of that device takes it.
    ///
    /// # Safety
    /// `tensor` is what it says: its shape, its strides and all of its elements can be read, and nobody writes to them.
    pub unsafe fn publish_dlpack(&self, tensor: &DLTensor) -> Result<u64> {
        // SAFETY: the caller's.
        let source = unsafe { Source::new(tensor)? };
        let mut loan = self.loan(source.len)?;
        // SAFETY: the caller's, and the loan has the length of the source.
        unsafe { source.copy_to(&mut loan) };
        loan.publish()
    }
}

/// A message seen as a tensor.
pub(crate) struct View {
    tensor: DLTensor,
    /// Shape and strides. A `Vec`, as the tensor points into it: that of a `Box` mustn't be used after a move.
    dims: Vec<i64>,
}

/// What a deleter frees.
struct Held<M, T> {
    managed: M,
    _dims: Vec<i64>,
    _keep: T,
}

impl View {
    /// For reading.
    pub(crate) fn new(message: &[u8], shape: &[i64], dtype: DLDataType) -> Result<View> {
        Self::at(DLDevice::CPU, message.as_ptr().cast_mut(), message.len(), shape, dtype)
    }

    /// Of `len` bytes for reading in a GPU's memory.
    pub(crate) fn of_cuda(
        ordinal: i32,
        (start, len): (*const u8, usize),
        shape: &[i64],
        dtype: DLDataType,
    ) -> Result<View> {
        let device = DLDevice { device_type: DLDevice::CUDA, device_id: ordinal };
        Self::at(device, start.cast_mut(), len, shape, dtype)
    }

    /// For reading and writing.
    pub(crate) fn new_mut(message: &mut [u8], shape: &[i64], dtype: DLDataType) -> Result<View> {
        Self::at(DLDevice::CPU, message.as_mut_ptr(), message.len(), shape, dtype)
    }

    fn at(device: DLDevice, data: *mut u8, len: usize, shape: &[i64], dtype: DLDataType) -> Result<View> {
        let wanted = size(shape, dtype)?;
        if wanted != len {
            return Err(Error::WrongSize { type_name: "tensor of this shape", wanted, found: len });
        }
        let ndim = i32::try_from(shape.len()).map_err(|_| invalid("too many dimensions".into()))?;
        let mut dims = shape.to_vec();
        dims.extend(row_major(shape));
        let (shape, strides) = dims.split_at_mut(shape.len());
        let tensor = DLTensor {
            // DLPack wants it so for empty ones.
            data: if len == 0 { ptr::null_mut() } else { data.cast() },
            device,
            ndim,
            dtype,
            shape: shape.as_mut_ptr(),
            strides: strides.as_mut_ptr(),
            byte_offset: 0,
        };
        Ok(View { tensor, dims })
    }

    /// What has to be kept for it: nothing when it is empty. There are frameworks (torch 1.13) that never end a tensor without data.
    fn needs<T>(&self, keep: T) -> Option<T> {
        (!self.tensor.data.is_null()).then_some(keep)
    }

    /// Gives it out. Its deleter drops `keep`, in whatever thread.
    pub(crate) fn managed<T: Send + 'static>(self, keep: T) -> NonNull<DLManagedTensor> {
        unsafe extern "C" fn delete<T>(managed: *mut DLManagedTensor) {
            // SAFETY: the end of a tensor that was made below, says the caller.
            drop(unsafe { Box::from_raw((*managed).manager_ctx.cast::<Held<DLManagedTensor, T>>()) });
        }
        let keep = self.needs(keep);
        let managed = DLManagedTensor {
            dl_tensor: self.tensor,
            manager_ctx: ptr::null_mut(),
            deleter: Some(delete::<Option<T>>),
        };
        let (managed, held) = hold(managed, self.dims, keep);
        // SAFETY: it was just made, and is nobody else's.
        unsafe { (*managed.as_ptr()).manager_ctx = held };
        managed
    }

    /// The same in the newer form.
    pub(crate) fn versioned<T: Send + 'static>(
        self,
        flags: u64,
        keep: T,
    ) -> NonNull<DLManagedTensorVersioned> {
        unsafe extern "C" fn delete<T>(managed: *mut DLManagedTensorVersioned) {
            // SAFETY: the end of a tensor that was made below, says the caller.
            drop(unsafe {
                Box::from_raw((*managed).manager_ctx.cast::<Held<DLManagedTensorVersioned, T>>())
            });
        }
        let keep = self.needs(keep);
        let managed = DLManagedTensorVersioned {
            version: DLPackVersion { major: 1, minor: 0 },
            manager_ctx: ptr::null_mut(),
            deleter: Some(delete::<Option<T>>),
            flags,
            dl_tensor: self.tensor,
        };
        let (managed, held) = hold(managed, self.dims, keep);
        // SAFETY: it was just made, and is nobody else's.
        unsafe { (*managed.as_ptr()).manager_ctx = held };
        managed
    }
}

/// What a deleter gets, and the box that it frees.
fn hold<M, T>(managed: M, dims: Vec<i64>, keep: T) -> (NonNull<M>, *mut c_void) {
    let held = NonNull::from(Box::leak(Box::new(Held { managed, _dims: dims, _keep: keep })));
    // SAFETY: a member of what was just made.
    let managed = unsafe { NonNull::new_unchecked(&raw mut (*held.as_ptr()).managed) };
    (managed, held.as_ptr().cast())
}

/// A tensor to be copied.
struct Source<'a> {
    start: *const u8,
    shape: &'a [i64],
    /// None: row-major, without gaps.
    strides: Option<&'a [i64]>,
    item: usize,
    len: usize,
}

impl<'a> Source<'a> {
    /// # Safety
    /// `tensor` is what it says, as long as the source lives.
    unsafe fn new(tensor: &'a DLTensor) -> Result<Source<'a>> {
        readable(tensor.device)?;
        let ndim = usize::try_from(tensor.ndim)
            .map_err(|_| invalid(format!("it has {} dimensions", tensor.ndim)))?;
        // SAFETY: the caller's.
        let shape = unsafe { dimensions(tensor.shape, ndim) };
        let shape = shape.ok_or_else(|| invalid("its shape is NULL".into()))?;
        let len = size(shape, tensor.dtype)?;
        if tensor.data.is_null() && len > 0 {
            return Err(invalid("its data is NULL".into()));
        }
        Ok(Source {
            start: tensor.data.cast_const().cast::<u8>().wrapping_add(tensor.byte_offset as usize),
            shape,
            // SAFETY: the caller's.
            strides: unsafe { dimensions(tensor.strides, ndim) },
            item: tensor.dtype.size()?,
            len,
        })
    }

    /// Copies all elements to `to`, in row-major order.
    ///
    /// # Safety
    /// What the tensor says is so; and `to` has `self.len` bytes.
    unsafe fn copy_to(&self, to: &mut [u8]) {
        if to.is_empty() {
            return;
        }
        let Some(strides) = self.strides else {
            // SAFETY: the caller's.
            return unsafe { copy(self.start, to) };
        };
        // How far apart elements are, in bytes. What a dimension of one element says is never used.
        let step = |&stride: &i64| (stride as isize).wrapping_mul(self.item as isize);
        let steps: Vec<isize> = strides.iter().map(step).collect();
        let (mut run, mut outer) = (self.item, steps.len());
        // The last dimensions, as far as they lie without gaps.
        while outer > 0 && (self.shape[outer - 1] == 1 || steps[outer - 1] == run as isize) {
            run *= self.shape[outer - 1] as usize;
            outer -= 1;
        }
        let Some(inner) = outer.checked_sub(1) else {
            // SAFETY: the caller's.
            return unsafe { copy(self.start, to) };
        };
        let (mut index, mut at) = (vec![0; inner], self.start);
        for row in to.chunks_exact_mut(run * self.shape[inner] as usize) {
            // SAFETY: the caller's: there is an element at each index.
            unsafe { copy_row(at, steps[inner], run, row) };
            for dim in (0..inner).rev() {
                index[dim] += 1;
                at = at.wrapping_offset(steps[dim]);
                if index[dim] < self.shape[dim] {
                    break;
                }
                at = at.wrapping_offset(steps[dim].wrapping_mul(index[dim] as isize).wrapping_neg());
                index[dim] = 0;
            }
        }
    }
}

/// Refuses memory that the processor doesn't read by itself. Here a copier of such a device would come in: it takes what lies without
/// gaps, as [`Publisher::publish_from`] does.
fn readable(device: DLDevice) -> Result<()> {
    let kind = match device.device_type {
        DLDevice::MAIN | DLDevice::CUDA_HOST | DLDevice::ROCM_HOST => return Ok(()),
        DLDevice::CUDA | DLDevice::CUDA_MANAGED => "CUDA",
        DLDevice::ROCM => "ROCm",
        _ => "DLPack",
    };
    Err(Error::NoDevice {
        kind,
        reason: format!(
            "the tensor is in memory of DLPack's device type {}, which only a copier of that device reads; publish it with one, or copy it to the processor's memory first",
            device.device_type
        ),
    })
}

/// Shape or strides. None for null, unless there is nothing to be read.
///
/// # Safety
/// Null, or `ndim` numbers are at `start`.
unsafe fn dimensions<'a>(start: *const i64, ndim: usize) -> Option<&'a [i64]> {
    if ndim == 0 {
        return Some(&[]);
    }
    // SAFETY: the caller's.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start, ndim) })
}

/// # Safety
/// As many bytes as `to` has are at `from`, elsewhere.
unsafe fn copy(from: *const u8, to: &mut [u8]) {
    // SAFETY: the caller's.
    unsafe { ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) }
}

/// Copies runs of `run` bytes, which lie `step` bytes apart, next to each other.
///
/// # Safety
/// There are as many as `to` has room for, elsewhere.
unsafe fn copy_row(from: *const u8, step: isize, run: usize, to: &mut [u8]) {
    // SAFETY: the caller's, in all of them. Where the length is known, each is one instruction and no call.
    unsafe {
        match run {
            1 => copy_items::<1>(from, step, to),
            2 => copy_items::<2>(from, step, to),
            3 => copy_items::<3>(from, step, to),
            4 => copy_items::<4>(from, step, to),
            8 => copy_items::<8>(from, step, to),
            16 => copy_items::<16>(from, step, to),
            _ => {
                for (n, to) in to.chunks_exact_mut(run).enumerate() {
                    copy(from.wrapping_offset(step.wrapping_mul(n as isize)), to);
                }
            }
        }
    }
}

/// # Safety
/// As for [`copy_row`].
unsafe fn copy_items<const N: usize>(from: *const u8, step: isize, to: &mut [u8]) {
    for (n, to) in to.chunks_exact_mut(N).enumerate() {
        let from = from.wrapping_offset(step.wrapping_mul(n as isize));
        // SAFETY: the caller's.
        to.copy_from_slice(&unsafe { from.cast::<[u8; N]>().read() });
    }
}

/// Bytes of a tensor without gaps.
fn size(shape: &[i64], dtype: DLDataType) -> Result<usize> {
    let item = dtype.size()?;
    if let Some(negative) = shape.iter().find(|&&dim| dim < 0) {
        return Err(invalid(format!("a dimension is {negative}")));
    }
    if shape.contains(&0) {
        return Ok(0);
    }
    let size = shape.iter().try_fold(item, |size, &dim| size.checked_mul(dim as usize));
    let limit = isize::MAX as usize;
    let too_large = Error::TooLarge { wanted: size.unwrap_or(usize::MAX) as u64, limit: limit as u64 };
    size.filter(|&size| size <= limit).ok_or(too_large)
}

/// The strides of a tensor without gaps.
fn row_major(shape: &[i64]) -> Vec<i64> {
    let mut strides = vec![1i64; shape.len()];
    for dim in (1..shape.len()).rev() {
        // An empty tensor's other dimensions may be of any length, and its strides are never used.
        strides[dim - 1] = strides[dim].wrapping_mul(shape[dim]);
    }
    strides
}

fn invalid(reason: String) -> Error {
    Error::InvalidTensor { reason }
}
