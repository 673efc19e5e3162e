"""A Ray cluster of several nodes on this machine, from Ray's own command."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_health_check_period_ms": "500",
}
"""What nodes and drivers need; recent versions of Ray let nobody in without a token."""

_QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


class RayNodes:
    """Starts and kills nodes; a node is a process group.

    Args:
        folder: For Ray's files; short, since sockets are in it.
    """

    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self._folder, self._nodes = Path(folder), []

    def start(self, cpus):
        """Start a node, the first one as the head, and return its process."""
        where = [f"--address={self.address}"]
        if not self._nodes:
            port = self.address.partition(":")[2]
            where = ["--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={self._folder}"]
        limits = [f"--num-cpus={cpus}", "--object-store-memory=80000000", "--node-ip-address=127.0.0.1"]
        command = [Path(sys.executable).with_name("ray"), "start", *where, *limits, "--block"]
        environment = {**os.environ, **ENVIRONMENT}
        node = subprocess.Popen(command, env=environment, start_new_session=True, **_QUIET)
        self._nodes.append(node)
        self._await_head()
        return node

    def _await_head(self):
        """Wait until the head answers: what joins the cluster before is told that there is none."""
        host, _, port = self.address.partition(":")
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                socket.create_connection((host, int(port)), timeout=1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return

    def kill(self, node):
        """Kill a node with everything on it, as a power cut would."""
        os.killpg(node.pid, signal.SIGKILL)
        node.wait()

    def stop(self):
        for node in self._nodes:
            if node.poll() is None:
                node.terminate()
        deadline = time.monotonic() + 10
        for node in self._nodes:
            while node.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
            if node.poll() is None:
                self.kill(node)


@contextmanager
def ray_nodes():
    """Provide a cluster without nodes, which ends with the block."""
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        nodes = RayNodes(folder)
        try:
            yield nodes
        finally:
            nodes.stop()
