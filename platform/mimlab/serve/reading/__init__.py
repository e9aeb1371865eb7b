"""The read model: what submissions and trials look like, from the storage alone.

One `Reading(store)` serves all requests of a server; `heatmap`, `parallel` and `seed_means` take
what it gives. Neither Ray nor MLflow has to be there.
"""

from mimlab.serve.reading.comparing import heatmap, parallel, seed_means
from mimlab.serve.reading.reader import Reading

__all__ = ["Reading", "heatmap", "parallel", "seed_means"]
