"""How many threads compute: on another number sums come out in another order, and a last digit differs.

So what decides a label is computed on one thread each, whatever the machine, and many of them run beside each other:
recordings in lanes, trials in workers.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import threadpoolctl


def one_blas_thread() -> None:
    """Have NumPy and SciPy multiply matrices on one thread in this process from now on.

    For processes whose labels are to be the same anywhere; call it when both are imported.
    """
    threadpoolctl.threadpool_limits(1, user_api="blas")


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Inside, torch computes on one thread: what is trained comes out the same to the last bit."""
    import torch  # late: what runs an exported point does without

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
