# SPDX-License-Identifier: MIT OR Apache-2.0
"""Tensors from one process to another in the memory of a GPU: made by torch or CuPy there, and received as theirs without a copy.

Usage: gpu_tensors.py [--with torch|cupy] [topic] [count]
"""

import argparse
import importlib
import math
import subprocess
import sys

import shm

SHAPE = (480, 640, 3)
BYTES = math.prod(SHAPE) * 4


class Torch:
    install = "pip install torch"

    def __init__(self, torch):
        self.torch = torch
        self.has_gpu = torch.cuda.is_available()

    def make(self, n):
        return self.torch.arange(n, n + math.prod(SHAPE), dtype=self.torch.float32, device="cuda:0").reshape(SHAPE)

    def view(self, loan):
        return self.torch.as_tensor(loan, device="cuda:0")

    def take(self, sample):
        return self.torch.from_dlpack(sample)

    def address(self, tensor):
        return tensor.data_ptr()

    def stream(self):
        return self.torch.cuda.current_stream().cuda_stream

    def synchronize(self):
        self.torch.cuda.synchronize()


class Cupy:
    install = "pip install cupy-cuda12x (https://docs.cupy.dev/en/stable/install.html)"

    def __init__(self, cupy):
        self.cupy = cupy
        self.has_gpu = cupy.cuda.is_available()

    def make(self, n):
        return self.cupy.arange(n, n + math.prod(SHAPE), dtype=self.cupy.float32).reshape(SHAPE)

    def view(self, loan):
        return self.cupy.asarray(loan)

    def take(self, sample):
        return self.cupy.from_dlpack(sample)

    def address(self, array):
        return array.data.ptr

    def stream(self):
        return self.cupy.cuda.get_current_stream().ptr

    def synchronize(self):
        self.cupy.cuda.Device().synchronize()


FRAMEWORKS = {"torch": Torch, "cupy": Cupy}


def find(names):
    """The first of these that is here and finds a GPU. Without one it says what each lacks, and ends the program."""
    reasons = []
    for name in names:
        try:
            library = importlib.import_module(name)
            framework = FRAMEWORKS[name](library)
            if framework.has_gpu:
                return name, framework
            reasons.append(f"{name} {library.__version__} finds no GPU: it needs one of NVIDIA's, the driver of that, and a {name} built for CUDA")
        except (ImportError, OSError) as error:
            reasons.append(f"{name} can't be imported ({error}): {FRAMEWORKS[name].install}")
    give_up("\n".join(reasons))


def give_up(reason):
    print(reason, file=sys.stderr)
    sys.exit(2)


def publish(framework, publisher):
    """Publishes a tensor for each line, until there are no more: what subscribers have yet to receive goes with the publisher."""
    for line in sys.stdin:
        loan = publisher.loan(SHAPE, shm.FLOAT32)
        # The framework has its own memory; this copy within the GPU is the only one. Or compute into the view at once.
        framework.view(loan)[...] = framework.make(int(line))
        # Nobody waits here: it is published when the copy has been made.
        loan.publish_on_stream(framework.stream())
    publisher.wait()


def receive(framework, subscriber, child, count):
    for n in range(count):
        child.stdin.write(b"%d\n" % n)
        sample = subscriber.receive(SHAPE, shm.FLOAT32)
        if sample is None:
            sys.exit("no tensor came")
        address, where = sample.address, "the GPU's memory" if sample.placement == shm.DEVICE else "pinned memory"
        # The tensor has the message's own memory, and holds it as long as it lives.
        tensor = framework.take(sample)
        if framework.address(tensor) != address:
            sys.exit("it is a copy")
        if not bool((tensor == framework.make(n)).all()):
            sys.exit("it isn't what was published")
        # Its end gives the memory back, so the GPU mustn't be at work on it any more.
        framework.synchronize()
        del tensor
        print(f"received {n}: {SHAPE} in {where}, in place, as it was published")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--with", dest="name", choices=FRAMEWORKS)
    parser.add_argument("--publish", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("topic", nargs="?", default="/gpu_tensors")
    parser.add_argument("count", nargs="?", default=10, type=int)
    given = parser.parse_args()
    name, framework = find([given.name] if given.name else FRAMEWORKS)
    try:
        if given.publish:
            publisher = shm.DevicePublisher(given.topic, largest=BYTES)
            publish(framework, publisher)
            return publisher.close()
        subscriber = shm.DeviceSubscriber(given.topic)
    except shm.Error as error:
        give_up(str(error))
    command = [sys.executable, __file__, "--with", name, "--publish", given.topic]
    with subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0) as child:
        try:
            receive(framework, subscriber, child, given.count)
        except BrokenPipeError:
            pass  # It has said why it ended.
    subscriber.close()
    sys.exit(child.returncode)


if __name__ == "__main__":
    main()
