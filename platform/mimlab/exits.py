"""What exit codes of `mimlab` mean, to a supervisor as to a shell.

69, 70 and 75 are those of BSD's sysexits.h (EX_UNAVAILABLE, EX_SOFTWARE, EX_TEMPFAIL). 1 is also
what Ray ends a process with whose cluster is gone: such a driver has not released its lease.
"""

DONE = 0
FAILED = 1
"""Something failed, or a user stopped it: the same command would go no further by itself."""
REFUSED = 2
"""The input must be changed."""
UNAVAILABLE = 69
"""Nodes or storage are away: the same command goes on once they are there, however late."""
CRASHED = 70
"""A bug."""
INTERRUPTED = 75
"""Work is left, and the same command goes on with it: SIGTERM, or a cluster that was lost."""
