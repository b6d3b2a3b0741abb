"""A Ray cluster of processes on this machine, as long as stdin is open.

``python ray_machines.py`` prints its address; the first machine has two cores. On stdin, ``add NAME CORES``
brings another one, ``lose NAME`` takes it away as a power cut would; each is answered by ``ok``.
"""

from __future__ import annotations

import sys
from typing import Any

from ray.cluster_utils import Cluster

EACH: dict[str, Any] = {"object_store_memory": 80 * 2**20}


def main() -> None:
    """Serve."""
    first = EACH | {"num_cpus": 2, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=first)
    machines = {}
    print(cluster.address, flush=True)
    for line in sys.stdin:
        match line.split():
            case "add", name, cores:
                machines[name] = cluster.add_node(**EACH, num_cpus=int(cores))
            case "lose", name:
                cluster.remove_node(machines.pop(name), allow_graceful=False)
        print("ok", flush=True)
    cluster.shutdown()  # type: ignore[no-untyped-call]


main()
