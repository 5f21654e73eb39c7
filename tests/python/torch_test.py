# SPDX-License-Identifier: MIT OR Apache-2.0
"""Messages and torch tensors in the processor's memory: no copy, and each sample released exactly once. SHM_LIBRARY names the library."""

import os
import subprocess
import sys
import unittest

import torch

from case import EXAMPLES, HOLDS, Case, shm


class Tensors(Case):
    def test_a_tensor_is_the_message(self):
        self.publisher.publish(torch.arange(6, dtype=torch.float64))
        sample = self.receive((2, 3), shm.FLOAT64)
        address = sample.address
        tensor = torch.from_dlpack(sample)
        self.assertEqual((tensor.data_ptr(), tensor.dtype, tensor.device.type), (address, torch.float64, "cpu"))
        self.assertEqual(tensor.tolist(), [[0, 1, 2], [3, 4, 5]])

    def test_a_sample_is_held_as_long_as_its_tensor_and_its_views(self):
        for _ in range(3):
            views = []
            for n in range(HOLDS):
                self.publisher.publish(torch.full((4,), n, dtype=torch.int32))
                views.append(torch.from_dlpack(self.receive())[::2])
            self.publisher.publish(torch.zeros(4, dtype=torch.int32))
            with self.assertRaisesRegex(shm.Error, "all 8 that may be held"):
                self.receive()
            self.assertEqual([view.tolist() for view in views], [[n, n] for n in range(HOLDS)])
            views.pop()
            self.receive()

    def test_a_sample_is_given_away_once(self):
        self.publisher.publish(torch.zeros(4, dtype=torch.int32))
        sample = self.receive()
        tensor = torch.from_dlpack(sample)
        with self.assertRaises(BufferError):
            torch.from_dlpack(sample)
        self.assertEqual(tensor.sum(), 0)

    def test_a_loan_is_filled_in_place(self):
        loan = self.publisher.loan((2, 2), shm.INT32)
        tensor = torch.from_dlpack(loan)
        tensor[:] = torch.tensor([[1, 2], [3, 4]])
        del tensor
        loan.publish()
        self.assertEqual(torch.from_dlpack(self.receive()).tolist(), [1, 2, 3, 4])

    def test_tensors_arrive_however_they_lie(self):
        whole = torch.arange(2 * 5 * 7).reshape(2, 5, 7)
        for dtype in (torch.uint8, torch.int16, torch.float16, torch.bfloat16, torch.float64, torch.complex64):
            tensor = whole.to(dtype)
            for lying in (tensor, tensor.permute(2, 0, 1), tensor[:, 1:4, ::2], tensor[0].expand(3, 5, 7), tensor[1, 2, 3], tensor[:0]):
                self.publisher.publish(lying)
                size = lying.numel() * lying.element_size()
                taken = torch.from_dlpack(self.receive((size,), shm.UINT8))
                self.assertTrue(torch.equal(taken, lying.contiguous().flatten().view(torch.uint8)), (dtype, lying.stride()))

    def test_the_example(self):
        example = subprocess.run([sys.executable, EXAMPLES / "tensors.py", "--with", "torch", "/example", "6"],
                                 capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONWARNINGS": "ignore"})
        self.assertEqual((example.returncode, example.stderr), (0, ""))
        expected = [f"received {n}: torch (480, 640, 3) uint8, last row 255, mean {n + (255 - n) / 480:.2f}" for n in range(6)]
        self.assertEqual(example.stdout.splitlines(), expected)


if __name__ == "__main__":
    unittest.main()
