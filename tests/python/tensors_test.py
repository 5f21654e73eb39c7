# SPDX-License-Identifier: MIT OR Apache-2.0
"""Messages and NumPy arrays: no copy, no write, and each sample released exactly once. SHM_LIBRARY names the library."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import unittest

import numpy

from case import EXAMPLES, HOLDS, Case, shm


class Tensors(Case):
    def take(self, n):
        """Publishes an array of n and takes it."""
        self.publisher.publish(numpy.full(4, n, numpy.int32))
        return numpy.from_dlpack(self.receive())

    def all_holds_are_free(self):
        held = [self.take(n) for n in range(HOLDS)]
        self.publisher.publish(numpy.zeros(4, numpy.int32))
        with self.assertRaisesRegex(shm.Error, "all 8 that may be held"):
            self.receive()
        self.assertEqual([array[3] for array in held], list(range(HOLDS)))
        del held
        self.receive()

    def test_an_array_is_the_message_and_read_only(self):
        self.publisher.publish(numpy.arange(6, dtype=numpy.float64))
        sample = self.receive((2, 3), shm.FLOAT64)
        address = sample.address
        array = numpy.from_dlpack(sample)
        self.assertEqual(array.ctypes.data, address)
        self.assertEqual((array.shape, array.dtype, array.flags.c_contiguous), ((2, 3), numpy.float64, True))
        self.assertEqual(array.tolist(), [[0, 1, 2], [3, 4, 5]])
        self.assertFalse(array.flags.writeable)
        with self.assertRaises(ValueError):
            array[0, 0] = 7

    def test_a_sample_is_held_as_long_as_its_array_and_its_views(self):
        views = []
        for n in range(HOLDS):
            array = self.take(n)
            views.append(array[::2])
            del array
        self.publisher.publish(numpy.zeros(4, numpy.int32))
        with self.assertRaisesRegex(shm.Error, "all 8 that may be held"):
            self.receive()
        self.assertEqual([view.tolist() for view in views], [[n, n] for n in range(HOLDS)])
        views.pop()
        self.receive()

    def test_many_more_messages_than_holds(self):
        for n in range(20 * HOLDS):
            self.assertEqual(self.take(n).tolist(), [n] * 4)
        self.all_holds_are_free()

    def test_a_capsule_that_nobody_takes_releases_its_sample(self):
        for n in range(5 * HOLDS):
            self.publisher.publish(numpy.full(4, n, numpy.int32))
            self.receive().__dlpack__(max_version=(1, 0) if n % 2 else None)
        self.all_holds_are_free()

    def test_the_older_form(self):
        class Older:
            """What only knows DLPack from before 1.0."""

            def __init__(self, sample):
                self.sample = sample

            def __dlpack_device__(self):
                return self.sample.__dlpack_device__()

            def __dlpack__(self, stream=None):
                return self.sample.__dlpack__(stream=stream)

        for n in range(3 * HOLDS):
            self.publisher.publish(numpy.full(4, n, numpy.int32))
            sample = self.receive()
            address = sample.address
            array = numpy.from_dlpack(Older(sample))
            self.assertEqual((array.ctypes.data, array[0]), (address, n))
            del sample, array
        self.all_holds_are_free()

    def test_a_sample_is_given_away_once(self):
        self.publisher.publish(numpy.zeros(4, numpy.int32))
        sample = self.receive()
        with self.assertRaises(BufferError):
            sample.__dlpack__(copy=True)
        with self.assertRaises(BufferError):
            sample.__dlpack__(dl_device=(2, 0))
        array = numpy.from_dlpack(sample)
        with self.assertRaises(BufferError):
            numpy.from_dlpack(sample)
        del sample, array
        self.all_holds_are_free()

    def test_a_wrong_shape_is_refused_and_the_sample_released(self):
        for n in range(2 * HOLDS):
            self.publisher.publish(numpy.zeros(4, numpy.int32))
            sample = self.receive((5,))
            self.assertEqual(sample.size, 16)
            with self.assertRaisesRegex(shm.Error, "20 bytes.*16"):
                numpy.from_dlpack(sample)
        del sample
        self.all_holds_are_free()

    def test_arrays_are_dropped_by_other_threads_and_after_the_subscriber(self):
        arrays = [self.take(n) for n in range(HOLDS)]
        self.subscriber.close()
        self.subscriber = None
        for n in range(200):
            self.publisher.publish(numpy.full(4, 99, numpy.int32))
        self.assertEqual([array[0] for array in arrays], list(range(HOLDS)))
        threads = [threading.Thread(target=arrays.pop) for _ in range(HOLDS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def test_a_loan_is_filled_in_place(self):
        loan = self.publisher.loan((2, 2), shm.INT32)
        array = numpy.from_dlpack(loan)
        self.assertTrue(array.flags.writeable)
        array[:] = [[1, 2], [3, 4]]
        del array
        loan.publish()
        self.publisher.loan((2, 2), shm.INT32)  # discarded
        self.assertEqual(numpy.from_dlpack(self.receive()).tolist(), [1, 2, 3, 4])
        self.assertIsNone(self.subscriber.receive((4,), shm.INT32, timeout=0))

    def test_arrays_arrive_however_they_lie(self):
        whole = numpy.arange(2 * 5 * 7).reshape(2, 5, 7)
        for dtype in ("uint8", "int16", "float32", "float64", "complex128", "bool"):
            array = whole.astype(dtype)
            for lying in (array, array.T, array[::-1], array[:, 1:4, ::2], array[:, ::-2, 3], array.swapaxes(1, 2),
                          numpy.broadcast_to(array[0], (3, 5, 7)), array[1, 2, 3, ...], array[:0]):
                self.publisher.publish(lying)
                taken = numpy.from_dlpack(self.receive((lying.nbytes,), shm.UINT8))
                self.assertEqual(taken.tobytes(), numpy.ascontiguousarray(lying).tobytes())

    def test_the_program_of_the_readme(self):
        programs = re.findall(r"```python\n(.*?)```", (EXAMPLES.parent / "README.md").read_text(), re.DOTALL)
        sent = numpy.arange(480 * 640 * 3).reshape(480, 640, 3).astype(numpy.uint8)
        self.publisher.publish(sent)
        names = {"shm": shm, "numpy": numpy, "subscriber": self.subscriber}
        exec(next(text for text in programs if "numpy" in text), names)
        self.assertTrue((names["image"] == sent).all())

    def test_the_example(self):
        example = subprocess.run([sys.executable, EXAMPLES / "tensors.py", "/example", "20"],
                                 capture_output=True, text=True, timeout=120)
        self.assertEqual((example.returncode, example.stderr), (0, ""))
        lines = example.stdout.splitlines()
        self.assertEqual(len(lines), 20)
        for n, line in enumerate(lines):
            mean = n + (255 - n) / 480
            self.assertRegex(line, rf"^received {n}: \S+ \(480, 640, 3\) uint8, last row 255, mean {mean:.2f}$")

    def test_the_example_says_what_is_missing(self):
        lacking = "numpy can't be imported (not here): pip install numpy"
        for module, expected in (("raise ImportError('not here')", lacking),
                                 ("__version__ = '1.24.2'", "this is NumPy 1.24.2, and to fill a message in place takes 2.2.5"),
                                 ("__version__ = '2.2.4rc1'", "this is NumPy 2.2.4rc1, and")):
            with tempfile.TemporaryDirectory() as folder:
                pathlib.Path(folder, "numpy.py").write_text(module)
                example = subprocess.run([sys.executable, EXAMPLES / "tensors.py", "/example", "2"],
                                         env={**os.environ, "PYTHONPATH": folder}, capture_output=True, text=True, timeout=120)
            self.assertEqual((example.returncode, example.stdout, example.stderr.count("\n")), (2, "", 1))
            self.assertEqual(example.stderr[:len(expected)], expected)


if __name__ == "__main__":
    unittest.main()
