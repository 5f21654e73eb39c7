# SPDX-License-Identifier: MIT OR Apache-2.0
"""As much of shm's C interface as tensors need, by ctypes: copy what you use.

A sample and a loan have DLPack's `__dlpack__`, so numpy.from_dlpack, torch.from_dlpack and others take them without a copy.
Those of device topics are in a GPU's memory: torch and CuPy take them there.
SHM_LIBRARY names the library; without it, it is libshm.so.0 where the system finds it.
"""

import atexit
import collections
import ctypes
import math
import operator
import os
import sys
from ctypes import POINTER, byref, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p

# Codes and bits of elements' types; DLPack has more.
UINT8, INT32, FLOAT32, FLOAT64 = (1, 8), (0, 32), (2, 32), (2, 64)

# The same codes as NumPy and the CUDA array interface have them.
_LETTERS = {0: "i", 1: "u", 2: "f", 5: "c", 6: "b"}

# Where a device publisher's messages are: in the GPU's memory where others can map that, else in pinned memory of the host, or in one of them.
AUTO, DEVICE, HOST = 0, 1, 2

_CPU, _CUDA = (1, 0), 2
_TIMED_OUT = 2


class _TensorType(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("shape", POINTER(c_int64)), ("ndim", c_uint32),
                ("code", c_uint8), ("bits", c_uint8), ("lanes", c_uint16)]

    def __init__(self, shape, code, bits):
        super().__init__(ctypes.sizeof(_TensorType), (c_int64 * len(shape))(*shape), len(shape), code, bits, 1)


class _DeviceOptions(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("largest", c_size_t), ("device", c_uint32), ("blocks", c_uint32),
                ("placement", c_uint32), ("reserved", c_uint32)]


_library = ctypes.CDLL(os.environ.get("SHM_LIBRARY", "libshm.so.0"))


def _declare(name, result, *arguments):
    function = getattr(_library, name)
    function.restype, function.argtypes = result, arguments
    return function


_last_error = _declare("shm_last_error_message", c_char_p)
_publisher_create = _declare("shm_publisher_create", c_int32, c_char_p, c_void_p, POINTER(c_void_p))
_publisher_destroy = _declare("shm_publisher_destroy", None, c_void_p)
_publisher_loan = _declare("shm_publisher_loan", c_int32, c_void_p, c_size_t, POINTER(c_void_p))
_publish_dlpack = _declare("shm_publisher_publish_dlpack", c_int32, c_void_p, c_void_p, POINTER(c_uint64))
_loan_to_dlpack = _declare("shm_loan_to_dlpack", c_int32, c_void_p, POINTER(_TensorType), POINTER(c_void_p))
_loan_to_versioned = _declare("shm_loan_to_dlpack_versioned", c_int32, c_void_p, POINTER(_TensorType), POINTER(c_void_p))
_loan_publish = _declare("shm_loan_publish", c_int32, c_void_p, POINTER(c_uint64))
_loan_destroy = _declare("shm_loan_destroy", None, c_void_p)
_subscriber_create = _declare("shm_subscriber_create", c_int32, c_char_p, c_void_p, POINTER(c_void_p))
_subscriber_destroy = _declare("shm_subscriber_destroy", None, c_void_p)
_receive = _declare("shm_subscriber_receive_timeout", c_int32, c_void_p, c_uint64, POINTER(c_void_p))
_sample_data = _declare("shm_sample_data", c_void_p, c_void_p)
_sample_size = _declare("shm_sample_size", c_size_t, c_void_p)
_sample_to_dlpack = _declare("shm_sample_to_dlpack", c_int32, c_void_p, POINTER(_TensorType), POINTER(c_void_p))
_sample_to_versioned = _declare("shm_sample_to_dlpack_versioned", c_int32, c_void_p, POINTER(_TensorType), POINTER(c_void_p))
_sample_release = _declare("shm_sample_release", None, c_void_p)
_device_options_init = _declare("shm_device_options_init", c_int32, POINTER(_DeviceOptions))
_device_publisher_create = _declare("shm_device_publisher_create", c_int32, c_char_p, c_void_p, POINTER(_DeviceOptions),
                                    POINTER(c_void_p))
_device_publisher_destroy = _declare("shm_device_publisher_destroy", None, c_void_p)
_device_publisher_loan = _declare("shm_device_publisher_loan", c_int32, c_void_p, c_size_t, POINTER(c_void_p))
_device_publisher_wait = _declare("shm_device_publisher_wait", c_int32, c_void_p, c_uint64)
_device_loan_data = _declare("shm_device_loan_data", c_void_p, c_void_p)
_device_loan_placement = _declare("shm_device_loan_placement", c_uint32, c_void_p)
_device_loan_publish = _declare("shm_device_loan_publish", c_int32, c_void_p, POINTER(c_uint64))
_device_loan_publish_on_stream = _declare("shm_device_loan_publish_on_stream", c_int32, c_void_p, c_void_p)
_device_loan_destroy = _declare("shm_device_loan_destroy", None, c_void_p)
_device_subscriber_create = _declare("shm_device_subscriber_create", c_int32, c_char_p, c_void_p, c_uint32, POINTER(c_void_p))
_device_subscriber_destroy = _declare("shm_device_subscriber_destroy", None, c_void_p)
_device_receive = _declare("shm_device_subscriber_receive_timeout", c_int32, c_void_p, c_uint64, POINTER(c_void_p))
_device_sample_data = _declare("shm_device_sample_data", c_void_p, c_void_p)
_device_sample_size = _declare("shm_device_sample_size", c_size_t, c_void_p)
_device_sample_placement = _declare("shm_device_sample_placement", c_uint32, c_void_p)
_device_sample_to_dlpack = _declare("shm_device_sample_to_dlpack", c_int32, c_void_p, POINTER(_TensorType), POINTER(c_void_p))
_device_sample_to_versioned = _declare("shm_device_sample_to_dlpack_versioned", c_int32, c_void_p, POINTER(_TensorType),
                                       POINTER(c_void_p))
_device_sample_release = _declare("shm_device_sample_release", None, c_void_p)

# The names of capsules, of which Python keeps the address; and how a tensor is ended that nobody took out of one.
_OLDER, _VERSIONED = b"dltensor", b"dltensor_versioned"
_DESTROY = {_OLDER: _declare("shm_dlpack_destroy", None, c_void_p),
            _VERSIONED: _declare("shm_dlpack_destroy_versioned", None, c_void_p)}
# Where the DLTensor is, in bytes.
_OFFSET = {_OLDER: 0, _VERSIONED: 32}

_capsule_new = ctypes.PYFUNCTYPE(ctypes.py_object, c_void_p, c_char_p, c_void_p)(("PyCapsule_New", ctypes.pythonapi))
# By address, whatever has the capsule.
_capsule_is = ctypes.PYFUNCTYPE(c_int, c_void_p, c_char_p)(("PyCapsule_IsValid", ctypes.pythonapi))
_capsule_pointer = ctypes.PYFUNCTYPE(c_void_p, c_void_p, c_char_p)(("PyCapsule_GetPointer", ctypes.pythonapi))


class Error(Exception):
    """What the library said."""


def _check(status):
    if status < 0:
        raise Error(_last_error().decode())
    return status


def _size(shape, dtype):
    return math.prod(shape) * dtype[1] // 8


def _name_of(capsule):
    """The name of a capsule, by its address, that has a tensor. Who takes a tensor gives its capsule another name."""
    return next((name for name in (_OLDER, _VERSIONED) if _capsule_is(capsule, name)), None)


# Capsules that were given out and maybe not taken. They have no destructor: one in Python can't run while the error of a consumer that
# refuses its tensor is on its way.
_lent = collections.deque()


def _oldest():
    """The capsule that was given out first, and how many refer to it."""
    capsule = _lent.popleft()
    return capsule, sys.getrefcount(capsule)


_lent.append(object())
_ALONE = _oldest()[1]


@atexit.register
def _end_dropped():
    """Ends the tensors of capsules that are gone but for this."""
    for _ in range(len(_lent)):
        try:
            capsule, references = _oldest()
        except IndexError:
            return  # Another thread was at it.
        name = _name_of(id(capsule))
        if name is None:
            continue
        if references > _ALONE:
            _lent.append(capsule)
        else:
            _DESTROY[name](_capsule_pointer(id(capsule), name))


class _Lent:
    """What C has lent, and `_release` gives back, unless it was handed over. An interrupt in between may leave it with nobody, but it
    is never given back twice."""

    def __init__(self, handle):
        # One thread gets it out.
        self._handles = [handle]

    def _handle(self):
        if not self._handles:
            raise BufferError("it was given away already")
        return self._handles[0]

    def _hand_over(self, function, *arguments):
        try:
            handle = self._handles.pop()
        except IndexError:
            raise BufferError("it was given away already") from None
        try:
            _check(function(handle, *arguments))
        except Error:
            self._handles.append(handle)
            raise

    def __del__(self):
        while self._handles:
            self._release(self._handles.pop())
        _end_dropped()


class _Exporter(_Lent):
    """What has a tensor in the processor's memory, or where a subclass says. That also says by what functions of C."""

    _device = _CPU

    def __dlpack_device__(self):
        return self._device

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        self._handle()
        if copy or dl_device not in (None, self._device):
            raise BufferError("a message is given out where it is; copy it then")
        self._check_stream(stream)
        is_versioned = max_version is not None and max_version[0] >= 1
        name, convert = (_VERSIONED, self._to_versioned) if is_versioned else (_OLDER, self._to_older)
        tensor = c_void_p()
        self._convert(convert, byref(self._type), byref(tensor))
        capsule = _capsule_new(tensor, name, None)
        _lent.append(capsule)
        return capsule

    # The tensor takes the message over.
    _convert = _Lent._hand_over

    def _check_stream(self, stream):
        pass


class Sample(_Exporter):
    """A message as a tensor, in place and read-only. Whoever takes it by DLPack holds it from then on, and once; before that it
    is released with this object. torch doesn't know that a tensor is read-only: a write ends the process with a SIGSEGV."""

    _to_older, _to_versioned, _release = _sample_to_dlpack, _sample_to_versioned, _sample_release

    def __init__(self, handle, shape, dtype):
        super().__init__(handle)
        self._type = _TensorType(shape, *dtype)
        self.address, self.size = _sample_data(handle), _sample_size(handle)


class Loan(_Exporter):
    """Shared memory to write a message into: NumPy does from 2.2.5 on. What was made of it by DLPack mustn't be used after `publish`."""

    _to_older, _to_versioned, _release = _loan_to_dlpack, _loan_to_versioned, _loan_destroy

    def __init__(self, handle, shape, dtype):
        super().__init__(handle)
        self._type = _TensorType(shape, *dtype)

    def _convert(self, convert, *arguments):
        _check(convert(self._handle(), *arguments))

    def publish(self):
        self._hand_over(_loan_publish, None)


class Publisher:
    """Publishes tensors. One thread at a time uses it and its loans, which don't outlive it."""

    def __init__(self, topic):
        self._handle = c_void_p()
        _check(_publisher_create(topic.encode(), None, byref(self._handle)))

    def publish(self, tensor):
        """Publishes a copy of whatever has `__dlpack__` and is in the processor's memory."""
        try:
            capsule = tensor.__dlpack__(max_version=(1, 0))
        except TypeError:
            capsule = tensor.__dlpack__()
        # It is only looked into, so it stays the capsule's to end.
        name = _name_of(id(capsule))
        pointer = _capsule_pointer(id(capsule), name) + _OFFSET[name]
        _check(_publish_dlpack(self._handle, pointer, None))

    def loan(self, shape, dtype):
        """Lends memory for a tensor of this shape, to be filled in place."""
        loan = c_void_p()
        _check(_publisher_loan(self._handle, _size(shape, dtype), byref(loan)))
        return Loan(loan, shape, dtype)

    def close(self):
        _publisher_destroy(self._handle)
        self._handle = None


class Subscriber:
    """Receives messages as tensors. One thread at a time uses it; what it gave out may be used and dropped by any, also later."""

    def __init__(self, topic):
        self._handle = c_void_p()
        _check(_subscriber_create(topic.encode(), None, byref(self._handle)))

    def receive(self, shape, dtype, timeout=10.0):
        """The next message, as a tensor of this shape. None when there is none in `timeout` seconds."""
        _end_dropped()
        sample = c_void_p()
        if _check(_receive(self._handle, int(timeout * 1e9), byref(sample))) == _TIMED_OUT:
            return None
        return Sample(sample, shape, dtype)

    def close(self):
        _subscriber_destroy(self._handle)
        self._handle = None


class DeviceSample(_Exporter):
    """A message of a device topic as a tensor of its GPU, in place and for reading. Whoever takes it by DLPack holds it from then on,
    and once; before that it is released with this object.

    The end of the tensor gives the memory back to its publisher, which writes to it again: what the GPU does with it must have ended
    by then, so synchronize first. torch doesn't know that a tensor is read-only: a write harms its other readers, or the CUDA context.
    """

    _to_older, _to_versioned = _device_sample_to_dlpack, _device_sample_to_versioned
    _release = _device_sample_release

    def __init__(self, handle, device, shape, dtype):
        super().__init__(handle)
        # In pinned memory of the host, too, it is CUDA's that the tensor says: what it has is an address for the GPU.
        self._device, self._type = (_CUDA, device), _TensorType(shape, *dtype)
        self.address, self.size = _device_sample_data(handle), _device_sample_size(handle)
        self.placement = _device_sample_placement(handle)

    def _check_stream(self, stream):
        """Any stream will do, and none has to wait: a message is published when the work that wrote it has ended."""
        if stream is not None and (operator.index(stream) == 0 or stream < -1):
            raise ValueError(f"{stream} is no stream: None, -1, 1 and 2 are CUDA's by their numbers, others by their addresses")


class DeviceLoan(_Lent):
    """Memory of a GPU to write a message into: torch.as_tensor and cupy.asarray take it without a copy, by the CUDA array interface.
    What was made of it mustn't be used after it was published. Dropping it discards it: the GPU's work on it must have ended by then."""

    _release = _device_loan_destroy

    def __init__(self, handle, shape, dtype):
        super().__init__(handle)
        self._shape, self._dtype = tuple(shape), dtype
        self.address, self.placement = _device_loan_data(handle), _device_loan_placement(handle)

    @property
    def __cuda_array_interface__(self):
        self._handle()
        code, bits = self._dtype
        order = "<" if sys.byteorder == "little" else ">"
        # The interface wants no address of an empty one.
        address = self.address if math.prod(self._shape) else 0
        # `stream`: nothing is at work on this memory that anybody has to wait for, if those who had it before kept to what is said here.
        return {"version": 3, "shape": self._shape, "typestr": f"{order}{_LETTERS[code]}{bits // 8}",
                "data": (address, False), "strides": None, "stream": None}

    def publish(self):
        """Publishes it; all work on it has ended."""
        self._hand_over(_device_loan_publish, None)

    def publish_on_stream(self, stream):
        """Has it published when this stream, an address as torch and CuPy give it, has done what is on it now. Doesn't wait: that does
        the publisher's `wait`, and says how it ended."""
        self._hand_over(_device_loan_publish_on_stream, stream)


class DevicePublisher:
    """Publishes tensors in the memory of the GPU that CUDA counts as `device`, of up to `largest` bytes. What it published, and
    subscribers have yet to receive, goes with it. One thread at a time uses it and its loans, which don't outlive it."""

    def __init__(self, topic, largest, device=0, placement=AUTO):
        options = _DeviceOptions()
        _check(_device_options_init(byref(options)))
        options.largest, options.device, options.placement = largest, device, placement
        self._handle = c_void_p()
        _check(_device_publisher_create(topic.encode(), None, byref(options), byref(self._handle)))

    def loan(self, shape, dtype):
        """Lends memory for a tensor of this shape, to be filled in place."""
        loan = c_void_p()
        _check(_device_publisher_loan(self._handle, _size(shape, dtype), byref(loan)))
        return DeviceLoan(loan, shape, dtype)

    def wait(self, timeout=10.0):
        """Waits until all that was to be published on streams is. False when it isn't in `timeout` seconds."""
        return _check(_device_publisher_wait(self._handle, int(timeout * 1e9))) != _TIMED_OUT

    def close(self):
        _device_publisher_destroy(self._handle)
        self._handle = None


class DeviceSubscriber:
    """Receives the messages of a device topic as tensors of the GPU that CUDA counts as `device`. One thread at a time uses it; what
    it gave out may be used and dropped by any, also later."""

    def __init__(self, topic, device=0):
        self._handle, self._device = c_void_p(), device
        _check(_device_subscriber_create(topic.encode(), None, device, byref(self._handle)))

    def receive(self, shape, dtype, timeout=10.0):
        """The next message, as a tensor of this shape. None when there is none in `timeout` seconds."""
        _end_dropped()
        sample = c_void_p()
        if _check(_device_receive(self._handle, int(timeout * 1e9), byref(sample))) == _TIMED_OUT:
            return None
        return DeviceSample(sample, self._device, shape, dtype)

    def close(self):
        _device_subscriber_destroy(self._handle)
        self._handle = None
