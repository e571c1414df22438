"""Training across processes that `torch.distributed` has joined. Each test starts two of them, which run this file again."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import numpy

import injerto
import injerto.collective

EXPERIMENT = {
    "name": "together",
    "data": {
        "generated": "flowers",
        "train_per_class": 4,
        "validation_per_class": 2,
        "image_size": [32, 32],
        "batch_size": 8,
    },
    "backbone": {"plugin": "small_cnn", "weights": "none", "parameters": {"filters": [4, 8]}},
    "phases": [{"name": "all", "epochs": 2, "unfreeze": "all"}],
}


def weights(run):
    """The arrays of a checkpoint, by their names."""
    with open(os.path.join(run, "best.safetensors"), "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        content = file.read()
    header.pop("__metadata__", None)
    floats = {name: array["data_offsets"] for name, array in header.items() if array["dtype"] == "F32"}
    return {name: numpy.frombuffer(content[begin:end], "<f4") for name, (begin, end) in floats.items()}


def one_of_two(run, lost_after):
    """What each of the processes does: process 1 ends without a word after this epoch."""
    collective = injerto.collective.torch(timeout=120)

    def progress(epoch):
        if collective.rank == 1 and epoch["epoch"] == lost_after:
            os._exit(9)

    epochs = {"phases.0.epochs": 10000} if lost_after else {}
    summary = injerto.train(EXPERIMENT, progress, set=epochs, run_dir=run, collective=collective)
    print(json.dumps([summary["run"], summary["best"]["epoch"], summary["best"]["value"]]))


def start_two(run, lost_after=0):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    joined = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "one of two", run, str(lost_after)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return [subprocess.Popen(command, env={**joined, "RANK": str(rank)}, **pipes) for rank in range(2)]


class TwoProcesses(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.run_dir = os.path.join(folder.name, "together")
        self.alone = os.path.join(folder.name, "alone")

    def test_two_processes_train_the_network_that_one_trains(self):
        processes = start_two(self.run_dir)
        said = []
        for process in processes:
            out, error = process.communicate(timeout=300)
            self.assertEqual(process.returncode, 0, error)
            said.append(json.loads(out.splitlines()[-1]))
        alone = injerto.train(EXPERIMENT, run_dir=self.alone)
        best = [alone["best"]["epoch"], alone["best"]["value"]]
        # Process 0 writes the folder, and all know the same of the training.
        self.assertEqual(said, [[self.run_dir, *best], [None, *best]])
        ours, theirs = weights(self.alone), weights(self.run_dir)
        self.assertEqual(ours.keys(), theirs.keys())
        self.assertGreater(len(ours), 4)
        for name, expected in ours.items():
            numpy.testing.assert_allclose(theirs[name], expected, rtol=0, atol=1e-5, err_msg=name)

    def test_a_lost_process_ends_the_others_with_an_exception_and_finished_epochs_stay(self):
        first, second = start_two(self.run_dir, lost_after=2)
        began = time.monotonic()
        _, error = first.communicate(timeout=300)
        self.assertEqual(second.wait(timeout=60), 9)
        second.communicate()
        self.assertEqual(first.returncode, 1, error)
        self.assertIn("injerto.Error: ", error.splitlines()[-1])
        # What torch has said is the cause.
        self.assertIn("The above exception was the direct cause", error)
        self.assertLess(time.monotonic() - began, 120)
        self.assertTrue(os.path.exists(os.path.join(self.run_dir, "last.safetensors")))


if __name__ == "__main__":
    if sys.argv[1:2] == ["one of two"]:
        one_of_two(sys.argv[2], int(sys.argv[3]))
    else:
        unittest.main()
