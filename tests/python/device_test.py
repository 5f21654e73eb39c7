# SPDX-License-Identifier: MIT OR Apache-2.0
"""Messages of device topics as tensors of a GPU, with the driver made for tests (tests/cuda/fake_driver.c), which LD_LIBRARY_PATH finds.

What takes tensors here is `stand_in`: neither NumPy nor a framework is needed. SHM_LIBRARY names the library.
"""

import ctypes
import math
import operator
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import unittest

from case import EXAMPLES, HOLDS, Case, shm

TESTS = pathlib.Path(__file__).parent
sys.path.insert(0, str(TESTS / "stand_in"))

import cupy  # noqa: E402

from consumer import DRIVER, Consumer, reach  # noqa: E402

CUDA = 2
FLAGS = {b"dltensor": None, b"dltensor_versioned": 1}  # Only the newer form can say that it is read-only.

DRIVER.fake_hold.restype = None
DRIVER.fake_counter.restype, DRIVER.fake_counter.argtypes = ctypes.c_uint64, [ctypes.c_char_p]
# What is 0 in the end: what was broken of the driver's rules, and what was left.
COUNTERS = (b"calls_in_callbacks", b"calls_without_context", b"unmapped_while_registered", b"left_at_the_end", b"contexts",
            b"registrations", b"vmm_memories", b"vmm_reservations", b"vmm_mappings")


class DeviceSamples(Case):
    def open(self, device=0, placement=shm.DEVICE):
        self.subscriber = shm.DeviceSubscriber("/t", device=device)
        self.publisher = shm.DevicePublisher("/t", largest=4096, device=device, placement=placement)

    def tearDown(self):
        super().tearDown()
        self.assertEqual([name for name in COUNTERS if DRIVER.fake_counter(name)], [])

    def bytes_at(self, address, size):
        """What the GPU would read there."""
        return ctypes.string_at(reach(address), size)

    def loan(self, byte, shape=(2, 3), dtype=shm.FLOAT32):
        loan = self.publisher.loan(shape, dtype)
        ctypes.memset(reach(loan.address), byte, math.prod(shape) * dtype[1] // 8)
        return loan

    def sample(self, byte, shape=(2, 3), dtype=shm.FLOAT32):
        self.loan(byte, shape, dtype).publish()
        return self.receive(shape, dtype)

    def all_holds_are_free(self):
        held = [self.sample(n) for n in range(HOLDS)]
        with self.assertRaisesRegex(shm.Error, "taken by loans"):
            self.loan(0)
        self.assertEqual([self.bytes_at(sample.address, 1) for sample in held], [bytes([n]) for n in range(HOLDS)])

    def check(self, consumer, sample, byte, device=0):
        tensor = consumer.managed.tensor
        self.assertEqual((tensor.device_type, tensor.device_id), (CUDA, device))
        self.assertEqual(sample.__dlpack_device__(), (CUDA, device))
        self.assertEqual((tensor.data, tensor.byte_offset), (sample.address, 0))
        self.assertEqual((tensor.code, tensor.bits, tensor.lanes), (*shm.FLOAT32, 1))
        self.assertEqual((tensor.shape[:tensor.ndim], tensor.strides[:tensor.ndim]), ([2, 3], [3, 1]))
        self.assertEqual(getattr(consumer.managed, "flags", None), FLAGS[consumer.name])
        self.assertEqual(self.bytes_at(tensor.data, 24), bytes([byte] * 24))

    def test_a_sample_is_a_tensor_of_its_gpu(self):
        for version, name in ((None, b"dltensor"), ((0, 8), b"dltensor"), ((1, 0), b"dltensor_versioned"),
                              ((2, 1), b"dltensor_versioned")):
            for n in range(2 * HOLDS):
                sample = self.sample(n)
                self.assertEqual(sample.placement, shm.DEVICE)
                consumer = Consumer(sample.__dlpack__(max_version=version))
                self.assertEqual(consumer.name, name)
                consumer.take()
                self.check(consumer, sample, n)
                del sample
                self.assertEqual(consumer.ends, 0)
                consumer.end()
                self.assertEqual(consumer.ends, 1)
        self.all_holds_are_free()

    def test_another_gpu(self):
        self.close()
        self.open(device=1)
        sample = self.sample(5)
        consumer = Consumer(sample.__dlpack__(dl_device=(CUDA, 1)))
        consumer.take()
        self.check(consumer, sample, 5, device=1)
        consumer.end()

    def test_pinned_memory_of_the_host(self):
        self.close()
        self.open(placement=shm.HOST)
        sample = self.sample(6)
        self.assertEqual(sample.placement, shm.HOST)
        consumer = Consumer(sample.__dlpack__(max_version=(1, 0)))
        consumer.take()
        self.check(consumer, sample, 6)
        consumer.end()

    def test_a_capsule_that_nobody_takes_ends_its_tensor_once(self):
        for n in range(5 * HOLDS):
            consumer = Consumer(self.sample(n).__dlpack__(max_version=(1, 0) if n % 2 else None))
            self.assertEqual(consumer.ends, 0)
            consumer.drop()
            self.sample(n)
            self.assertEqual(consumer.ends, 1)
        self.all_holds_are_free()

    def test_a_consumer_that_refuses_a_tensor_leaves_it_nobodys(self):
        for n in range(2 * HOLDS):
            with self.assertRaises(TypeError):
                # An error by C, with the capsule in nobody's hands but its caller's.
                operator.index(self.sample(n).__dlpack__())
        self.all_holds_are_free()

    def test_a_shape_that_is_none_loses_no_hold(self):
        for n in range(2 * HOLDS):
            self.loan(n).publish()
            with self.assertRaises(TypeError):
                self.subscriber.receive(4, shm.FLOAT32, timeout=0)
        self.all_holds_are_free()

    def test_an_interrupt_gives_nothing_back_twice(self):
        def interrupted(status):
            raise KeyboardInterrupt

        loan = self.loan(2)
        check, shm._check = shm._check, interrupted
        try:
            self.assertRaises(KeyboardInterrupt, loan.publish)
        finally:
            shm._check = check
        del loan
        sample = self.subscriber.receive((2, 3), shm.FLOAT32, timeout=0)
        self.assertEqual(self.bytes_at(sample.address, 1), b"\2")
        del sample
        self.all_holds_are_free()

    def test_what_fails_is_kept(self):
        sample = self.sample(3, (24,), shm.UINT8)
        # More than there is.
        shape, sample._type = sample._type, shm._TensorType((25,), *shm.UINT8)
        self.assertRaises(shm.Error, sample.__dlpack__)
        sample._type = shape
        consumer = Consumer(sample.__dlpack__())
        consumer.take()
        consumer.end()

    def test_of_many_threads_one_gets_the_tensor(self):
        for n in range(50):
            sample, got = self.sample(n), []
            start = threading.Barrier(4)

            def ask():
                start.wait()
                try:
                    got.append(sample.__dlpack__())
                except BufferError:
                    pass

            threads = [threading.Thread(target=ask) for _ in range(4)]
            [thread.start() for thread in threads]
            [thread.join() for thread in threads]
            self.assertEqual(len(got), 1)
        got.clear()
        self.all_holds_are_free()

    def test_a_sample_that_nobody_asks_is_released(self):
        for n in range(3 * HOLDS):
            self.sample(n)
        self.all_holds_are_free()

    def test_a_sample_is_given_away_once(self):
        sample = self.sample(1)
        consumer = Consumer(sample.__dlpack__())
        for again in ({}, {"max_version": (1, 0)}, {"stream": 1}):
            with self.assertRaises(BufferError):
                sample.__dlpack__(**again)
        consumer.take()
        self.check(consumer, sample, 1)
        consumer.end()
        del sample
        self.assertEqual(consumer.ends, 1)

    def test_what_would_be_a_copy_is_refused_and_the_sample_kept(self):
        sample = self.sample(2)
        for asked in ({"copy": True}, {"dl_device": (1, 0)}, {"dl_device": (CUDA, 1)}, {"dl_device": (3, 0)}):
            with self.assertRaises(BufferError):
                sample.__dlpack__(**asked)
        consumer = Consumer(sample.__dlpack__(copy=False, dl_device=(CUDA, 0), max_version=(1, 0), stream=1))
        self.check(consumer, sample, 2)
        consumer.drop()

    def test_streams(self):
        for stream in (None, -1, 1, 2, 0x7f0000001000):
            sample = self.sample(3)
            consumer = Consumer(sample.__dlpack__(stream=stream))
            self.check(consumer, sample, 3)
            consumer.drop()
        for stream, error in ((0, ValueError), (-2, ValueError), ("1", TypeError), (1.0, TypeError)):
            sample = self.sample(4)
            with self.assertRaises(error):
                sample.__dlpack__(stream=stream)
            Consumer(sample.__dlpack__()).drop()

    def test_tensors_are_ended_by_other_threads_and_after_the_subscriber(self):
        consumers = [Consumer(self.sample(n).__dlpack__()) for n in range(3)]
        self.subscriber.close()
        for n, consumer in enumerate(consumers):
            consumer.take()
            self.assertEqual(self.bytes_at(consumer.managed.tensor.data, 24), bytes([n] * 24))
            ending = threading.Thread(target=consumer.end)
            ending.start()
            ending.join()
        self.assertEqual([consumer.ends for consumer in consumers], [1] * 3)
        self.subscriber = shm.DeviceSubscriber("/t")

    def test_a_wrong_shape_is_refused_and_the_sample_released(self):
        for n in range(2 * HOLDS):
            self.loan(n).publish()
            sample = self.subscriber.receive((7,), shm.FLOAT32)
            self.assertEqual(sample.size, 24)
            with self.assertRaisesRegex(shm.Error, "28 bytes.*24"):
                sample.__dlpack__()
        del sample
        self.all_holds_are_free()

    def test_a_loan_is_what_the_cuda_array_interface_says(self):
        for dtype, letters in ((shm.UINT8, "u1"), (shm.INT32, "i4"), (shm.FLOAT64, "f8"), ((6, 8), "b1"), ((5, 64), "c8")):
            loan = self.publisher.loan((3, 2), dtype)
            said = loan.__cuda_array_interface__
            self.assertEqual((said["version"], said["shape"], said["typestr"][1:]), (3, (3, 2), letters))
            self.assertEqual((said["data"], said["strides"], said["stream"]), ((loan.address, False), None, None))
            self.assertEqual(loan.placement, shm.DEVICE)
        self.assertEqual(self.publisher.loan((0, 3), shm.INT32).__cuda_array_interface__["data"], (0, False))
        loan.publish()
        with self.assertRaises(BufferError):
            loan.__cuda_array_interface__
        self.assertEqual(self.subscriber.receive((3, 2), (5, 64)).size, 48)
        # The others were discarded.
        self.assertIsNone(self.subscriber.receive((3, 2), shm.INT32, timeout=0))

    def test_a_message_is_published_when_its_stream_has_come_to_it(self):
        DRIVER.fake_hold(1)
        self.loan(8).publish_on_stream(0)
        self.assertFalse(self.publisher.wait(timeout=0.01))
        self.assertIsNone(self.subscriber.receive((2, 3), shm.FLOAT32, timeout=0))
        DRIVER.fake_hold(0)
        self.assertTrue(self.publisher.wait())
        sample = self.subscriber.receive((2, 3), shm.FLOAT32, timeout=0)
        self.assertEqual(self.bytes_at(sample.address, sample.size), bytes([8] * 24))

    def test_a_gpu_that_is_not_there(self):
        with self.assertRaisesRegex(shm.Error, "device"):
            shm.DeviceSubscriber("/t", device=7)
        with self.assertRaisesRegex(shm.Error, "device"):
            shm.DevicePublisher("/t", largest=1, device=7)

    def example(self, *arguments, **environment):
        command = [sys.executable, EXAMPLES / "gpu_tensors.py", *arguments]
        ended = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60)
        return ended.returncode, ended.stdout.splitlines(), ended.stderr.splitlines()

    def with_modules(self, **modules):
        """A PYTHONPATH where these are what is imported."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        for name, text in modules.items():
            (pathlib.Path(folder.name) / f"{name}.py").write_text(text)
        return folder.name

    def test_the_example(self):
        for exports, where in (("1", "the GPU's memory"), ("0", "pinned memory")):
            status, lines, errors = self.example("--with", "cupy", "/example", "5", FAKE_CUDA_EXPORTS=exports,
                                                 PYTHONPATH=str(TESTS / "stand_in"))
            self.assertEqual((status, errors), (0, []))
            self.assertEqual(lines, [f"received {n}: (480, 640, 3) in {where}, in place, as it was published" for n in range(5)])

    def test_the_program_of_the_readme(self):
        programs = re.findall(r"```python\n(.*?)```", (TESTS.parents[1] / "README.md").read_text(), re.DOTALL)
        program = next(text for text in programs if "cupy" in text)
        self.close()
        self.subscriber, self.publisher = shm.DeviceSubscriber("/frames"), shm.DevicePublisher("/frames", largest=1 << 21)
        image = cupy.arange(0, 480 * 640, cupy.float32).reshape((480, 640))
        names = {"shm": shm, "cupy": cupy, "publisher": self.publisher, "subscriber": self.subscriber, "image": image}
        exec(program, names)
        self.assertTrue((names["frame"] == image).all())

    def test_the_example_says_what_is_missing(self):
        missing = "raise ImportError('not here')"
        blind = "__version__ = '9.8'\nclass cuda:\n is_available = lambda: False"
        seeing = blind.replace("False", "True")
        torch, cupy = "torch can't be imported (not here): pip install torch", "cupy can't be imported (not here): pip install cupy"
        no_gpu = "torch 9.8 finds no GPU: it needs one of NVIDIA's"
        for modules, arguments, expected in (
                ({"torch": missing, "cupy": missing}, (), (torch, cupy)),
                ({"torch": missing}, ("--with", "torch"), (torch,)),
                ({"cupy": missing}, ("--with", "cupy"), (cupy,)),
                ({"torch": blind, "cupy": missing}, (), (no_gpu, cupy)),
                # shm is asked last.
                ({"torch": seeing}, ("--with", "torch"), ("no CUDA device can be used",))):
            status, lines, errors = self.example(*arguments, FAKE_CUDA_INIT="100", PYTHONPATH=self.with_modules(**modules))
            self.assertEqual((status, lines, len(errors)), (2, [], len(expected)), errors)
            for error, start in zip(errors, expected):
                self.assertEqual(error[:len(start)], start)


if __name__ == "__main__":
    unittest.main()
