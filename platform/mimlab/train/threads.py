"""Threads beside the one that trains."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch


def single_threaded(name: str) -> ThreadPoolExecutor:
    """One thread, in which torch does not split its work among others.

    OpenMP gives every thread that splits its work a team of its own, and with more threads in teams
    than cores it puts all of them to sleep at each barrier, those of the training thread included.
    """
    return ThreadPoolExecutor(
        1, thread_name_prefix=name, initializer=torch.set_num_threads, initargs=(1,)
    )
