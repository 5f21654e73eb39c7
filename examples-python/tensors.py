# SPDX-License-Identifier: MIT OR Apache-2.0
"""Images from one process to another as NumPy arrays: received without a copy, also by torch, JAX and CuPy where they are.

Usage: tensors.py [topic] [count]
"""

import importlib
import subprocess
import sys

import numpy

import shm

try:
    import cupy
    cupy = cupy if cupy.cuda.is_available() else None
except ImportError:
    cupy = None

SHAPE = (480, 640, 3)


def publish(topic, count):
    publisher = shm.Publisher(topic)
    for n in range(count):
        if n % 2 == 0:
            # Any array is copied into a message, however it lies there: this one is turned round.
            rows = numpy.full(SHAPE, n, numpy.uint8)
            rows[0] = 255
            publisher.publish(rows[::-1])
        else:
            # Or it is made in the message's own memory.
            loan = publisher.loan(SHAPE, shm.UINT8)
            image = numpy.from_dlpack(loan)
            image[:] = n
            image[-1] = 255
            del image
            loan.publish()
    publisher.close()


def others():
    """Who else is here to take an array in the processor's memory."""
    for name, take in (("torch", "from_dlpack"), ("jax.numpy", "from_dlpack")):
        try:
            yield name, getattr(importlib.import_module(name), take)
        except ImportError:
            pass


def mean(image):
    """CuPy, where it is, copies the image to the GPU straight out of shared memory."""
    if cupy is None:
        return float(image.mean())
    return float(cupy.asarray(image).mean())


def receive(topic, count):
    subscriber = shm.Subscriber(topic)
    child = subprocess.Popen([sys.executable, __file__, topic, str(count), "publish"])
    takers = [("numpy", numpy.from_dlpack), *others()]
    for n in range(count):
        sample = subscriber.receive(SHAPE, shm.UINT8)
        if sample is None:
            sys.exit("no image came")
        address = sample.address
        who, take = takers[n % len(takers)]
        image = take(sample)
        # The array has the message's own memory, and holds it as long as it lives.
        view = image if who == "numpy" else numpy.asarray(image)
        if view.ctypes.data != address:
            sys.exit(f"{who} made a copy")
        print(f"received {n}: {who} {view.shape} {view.dtype}, last row {view[-1].mean():g}, mean {mean(view):.2f}")
    subscriber.close()
    sys.exit(child.wait())


if __name__ == "__main__":
    topic, count = (sys.argv[1:3] + ["/tensors", "20"][len(sys.argv[1:3]):])
    (publish if sys.argv[3:] == ["publish"] else receive)(topic, int(count))
