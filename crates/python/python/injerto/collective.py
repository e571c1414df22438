"""Collectives for `injerto.train(…, collective=…)`: how the processes of one training add up their gradients.

    import injerto, injerto.collective                # started by: torchrun --nproc-per-node 2 train.py

    injerto.train("my.toml", collective=injerto.collective.torch())

A collective is any object with `rank`, `size` and `all_reduce(values)`, which replaces each value of a NumPy array of float32 by its sum
over all processes.
"""

from datetime import timedelta


class torch:
    """The processes of `torch.distributed`, joined by gloo.

    Processes that are not joined yet are joined by the variables that `torchrun` sets. It is made in all of them.

    Args:
        timeout: Seconds that a process waits for the others, above all for the slowest of them to read its images.
    """

    def __init__(self, timeout=600):
        from torch import distributed, from_numpy

        patience = timedelta(seconds=timeout)
        if distributed.is_initialized():
            # A group of its own, because another group may use NCCL, which takes no arrays on the CPU.
            self._group = distributed.new_group(backend="gloo", timeout=patience)
        else:
            distributed.init_process_group("gloo", timeout=patience)
            self._group = distributed.group.WORLD
        self.rank, self.size = distributed.get_rank(self._group), distributed.get_world_size(self._group)
        self._tensor, self._sum = from_numpy, distributed.all_reduce

    def all_reduce(self, values):
        self._sum(self._tensor(values), group=self._group)
