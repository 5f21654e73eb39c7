# SPDX-License-Identifier: MIT OR Apache-2.0
"""A consumer of DLPack's tensors by the book, in ctypes; and the memory of the GPUs of the driver made for tests."""

import ctypes
from ctypes import POINTER, c_int32, c_int64, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p

DRIVER = ctypes.CDLL("libcuda.so.1")
DRIVER.fake_behind.restype, DRIVER.fake_behind.argtypes = c_void_p, [c_uint64]
DELETER = ctypes.PYFUNCTYPE(None, c_void_p)


def reach(address):
    """Where the processor finds what a GPU has at this address."""
    return DRIVER.fake_behind(address) or address


class Tensor(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("device_type", c_int32), ("device_id", c_int32), ("ndim", c_int32), ("code", c_uint8),
                ("bits", c_uint8), ("lanes", c_uint16), ("shape", POINTER(c_int64)), ("strides", POINTER(c_int64)),
                ("byte_offset", c_uint64)]


class Older(ctypes.Structure):
    _fields_ = [("tensor", Tensor), ("context", c_void_p), ("deleter", c_void_p)]


class Versioned(ctypes.Structure):
    _fields_ = [("major", c_uint32), ("minor", c_uint32), ("context", c_void_p), ("deleter", c_void_p), ("flags", c_uint64),
                ("tensor", Tensor)]


def of_capsules(name, result, *arguments):
    return ctypes.PYFUNCTYPE(result, ctypes.py_object, *arguments)((name, ctypes.pythonapi))


is_valid = of_capsules("PyCapsule_IsValid", ctypes.c_int, ctypes.c_char_p)
pointer_of = of_capsules("PyCapsule_GetPointer", c_void_p, ctypes.c_char_p)
rename = of_capsules("PyCapsule_SetName", ctypes.c_int, c_void_p)  # It keeps the address.
USED = ctypes.create_string_buffer(b"used_dltensor")


class Consumer:
    """What a framework does with a capsule. The calls of its tensor's deleter are counted."""

    def __init__(self, capsule):
        self.capsule, self.ends = capsule, 0
        self.form, self.name = ((Versioned, b"dltensor_versioned") if is_valid(capsule, b"dltensor_versioned")
                                else (Older, b"dltensor"))
        self.address = pointer_of(capsule, self.name)
        self.managed = self.form.from_address(self.address)
        self.real = DELETER(self.managed.deleter)
        self.counted = DELETER(self.count)
        self.managed.deleter = ctypes.cast(self.counted, c_void_p).value

    def count(self, managed):
        self.ends += 1
        self.real(managed)

    def drop(self):
        """The capsule goes, and nobody has taken the tensor."""
        self.capsule = None

    def take(self):
        rename(self.capsule, ctypes.addressof(USED))
        self.drop()

    def end(self):
        DELETER(self.managed.deleter)(self.address)
