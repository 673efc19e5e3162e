"""Workers: any number of processes that train one study together."""

from sfgsearch.workers._devices import share_devices, share_of_gpu
from sfgsearch.workers._listener import WorkerListener
from sfgsearch.workers._local import LocalWorkers
from sfgsearch.workers._order import WorkerOrder, work
from sfgsearch.workers._ray import RayCluster, RayWorkers, ray_cluster
from sfgsearch.workers._stop import StopRequest
from sfgsearch.workers._worker import Worker

__all__ = [
    "LocalWorkers",
    "RayCluster",
    "RayWorkers",
    "StopRequest",
    "Worker",
    "WorkerListener",
    "WorkerOrder",
    "ray_cluster",
    "share_devices",
    "share_of_gpu",
    "work",
]
