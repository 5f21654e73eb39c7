# SPDX-License-Identifier: MIT OR Apache-2.0
"""What all tests here have: `shm`, a root of their own, and nothing that is left there in the end. SHM_LIBRARY names the library."""

import gc
import os
import pathlib
import sys
import tempfile
import unittest

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples-python"
sys.path.insert(0, str(EXAMPLES))

import shm  # noqa: E402

HOLDS = 8  # What a topic has by default, and a device publisher of blocks as well.


class Case(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.TemporaryDirectory(prefix="shm-python-", dir="/dev/shm")
        os.environ["SHM_ROOT"] = self.root.name
        self.open()

    def open(self):
        self.subscriber, self.publisher = shm.Subscriber("/t"), shm.Publisher("/t")

    def close(self):
        self.publisher.close()
        if self.subscriber is not None:
            self.subscriber.close()

    def tearDown(self):
        gc.collect()
        self.close()
        left = os.listdir(self.root.name)
        self.root.cleanup()
        # A sample that is still held would keep the topic.
        self.assertEqual(left, [])

    def receive(self, shape=(4,), dtype=shm.INT32):
        sample = self.subscriber.receive(shape, dtype, timeout=0)
        self.assertIsNotNone(sample)
        return sample
