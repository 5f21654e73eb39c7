# SPDX-License-Identifier: MIT OR Apache-2.0
"""Images from one process to another, as NumPy arrays or torch tensors in the processor's memory: received without a copy.

With NumPy, images are also received by torch, JAX and CuPy where they are.

Usage: tensors.py [--with numpy|torch] [topic] [count]
"""

import argparse
import importlib
import math
import re
import subprocess
import sys

import shm

SHAPE = (480, 640, 3)


def wrong(library):
    """What keeps this one from making images, if anything does."""
    if library.__name__ == "numpy":
        # Before that it takes what may be written to as read-only.
        numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", library.__version__)
        if numbers and tuple(map(int, numbers.groups())) < (2, 2, 5):
            return (f"this is NumPy {library.__version__}, and to fill a message in place takes 2.2.5 or later: "
                    "pip install 'numpy>=2.2.5', or use --with torch")
    return None


def load(name):
    try:
        library = importlib.import_module(name)
        reason = wrong(library)
    except (ImportError, OSError) as error:
        reason = f"{name} can't be imported ({error}): pip install {name}"
    if reason:
        print(reason, file=sys.stderr)
        sys.exit(2)
    return library


def publish(library, topic, count):
    publisher = shm.Publisher(topic)
    for n in range(count):
        if n % 2 == 0:
            # Any tensor is copied into a message, however it lies there: this one lies column by column.
            columns = library.full((SHAPE[1], SHAPE[0], SHAPE[2]), n, dtype=library.uint8)
            columns[:, -1] = 255
            publisher.publish(columns.swapaxes(0, 1))
        else:
            # Or it is made in the message's own memory.
            loan = publisher.loan(SHAPE, shm.UINT8)
            image = library.from_dlpack(loan)
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


def sum_by_cupy():
    """CuPy, where it is, copies an image to the GPU straight out of shared memory."""
    try:
        import cupy
        return (lambda image: cupy.asarray(image).sum()) if cupy.cuda.is_available() else None
    except ImportError:
        return None


def receive(library, topic, count):
    subscriber = shm.Subscriber(topic)
    name = library.__name__
    child = subprocess.Popen([sys.executable, __file__, "--with", name, "--publish", topic, str(count)])
    takers, total = [(name, library.from_dlpack)], None
    if name == "numpy":
        takers, total = [*takers, *others()], sum_by_cupy()
    for n in range(count):
        sample = subscriber.receive(SHAPE, shm.UINT8)
        if sample is None:
            sys.exit("no image came")
        address = sample.address
        who, take = takers[n % len(takers)]
        image = take(sample)
        # The array has the message's own memory, and holds it as long as it lives.
        view = image if who == name else library.asarray(image)
        if (view.data_ptr() if name == "torch" else view.ctypes.data) != address:
            sys.exit(f"{who} made a copy")
        mean = int(total(view) if total else view.sum()) / math.prod(SHAPE)
        dtype = str(view.dtype).removeprefix("torch.")
        print(f"received {n}: {who} {tuple(view.shape)} {dtype}, last row {int(view[-1].min())}, mean {mean:.2f}")
    subscriber.close()
    sys.exit(child.wait())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--with", dest="library", choices=("numpy", "torch"), default="numpy")
    parser.add_argument("--publish", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("topic", nargs="?", default="/tensors")
    parser.add_argument("count", nargs="?", default=20, type=int)
    given = parser.parse_args()
    (publish if given.publish else receive)(load(given.library), given.topic, given.count)
