# SPDX-License-Identifier: MIT OR Apache-2.0
"""As much of CuPy's interface as examples-python/gpu_tensors.py uses, with the driver made for tests: so that the example runs without a
GPU. It shows nothing about CuPy itself."""

import array
import ctypes
import math
from types import SimpleNamespace

import consumer

__version__ = "made for tests"
float32 = "f4"


class ndarray:
    def __init__(self, address, shape, keep):
        self.data, self.shape, self._keep = SimpleNamespace(ptr=address), shape, keep

    def _place(self):
        return consumer.reach(self.data.ptr), math.prod(self.shape) * 4

    def __setitem__(self, index, other):
        assert index is ... and self.shape == other.shape
        (to, size), (start, _) = self._place(), other._place()
        ctypes.memmove(to, start, size)

    def __eq__(self, other):
        same = self.shape == other.shape and ctypes.string_at(*self._place()) == ctypes.string_at(*other._place())
        return SimpleNamespace(all=lambda: same)

    def reshape(self, shape):
        assert math.prod(shape) == math.prod(self.shape)
        return ndarray(self.data.ptr, shape, self._keep)


class _Taken:
    """A tensor that is ended with the last array on it."""

    def __init__(self, capsule):
        self.consumer = consumer.Consumer(capsule)
        self.consumer.take()

    def __del__(self):
        self.consumer.end()


def arange(start, stop, dtype):
    assert dtype == float32
    memory = array.array("f", range(start, stop))
    return ndarray(memory.buffer_info()[0], (stop - start,), memory)


def asarray(given):
    said = given.__cuda_array_interface__
    assert said["typestr"][1:] == float32 and said["strides"] is None and not said["data"][1]
    return ndarray(said["data"][0], said["shape"], given)


def from_dlpack(given):
    assert given.__dlpack_device__() == (2, 0)
    taken = _Taken(given.__dlpack__(stream=1, max_version=(1, 0), dl_device=None, copy=None))
    tensor = taken.consumer.managed.tensor
    assert (tensor.code, tensor.bits) == (2, 32)
    return ndarray(tensor.data, tuple(tensor.shape[:tensor.ndim]), taken)


cuda = SimpleNamespace(is_available=lambda: True, get_current_stream=lambda: SimpleNamespace(ptr=0),
                       Device=lambda: SimpleNamespace(synchronize=lambda: None))
