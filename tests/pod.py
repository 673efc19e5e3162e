"""Run what a container of a Kubernetes manifest would run, as a process of this machine."""

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

_REFERENCE = re.compile(r"\$\((\w+)\)")


class Pod:
    """The one container of a Job's template.

    Args:
        job: The manifest of the Job.
        entrypoint: Of the image.
        name: The pod's name.
        secrets: Values of secrets, by their names and keys.
        mounts: Folders of this machine by name of the volume.
    """

    def __init__(self, job, entrypoint, name, secrets, mounts):
        self.spec = job["spec"]["template"]["spec"]
        (self._container,) = self.spec["containers"]
        self._fields = {"metadata.name": name}
        self._entrypoint, self._secrets, self._mounts = entrypoint, secrets, mounts

    @property
    def environment(self):
        """What the manifest sets."""
        found = {}
        for source in self._container["envFrom"]:
            found |= self._secrets[source["secretRef"]["name"]]
        for entry in self._container["env"]:
            given = entry.get("value") or self._fields[entry["valueFrom"]["fieldRef"]["fieldPath"]]
            found[entry["name"]] = given
        return found

    @property
    def command(self):
        """Entry point and arguments, with variables put in and the paths of volumes as they are here."""
        arguments = [
            _REFERENCE.sub(lambda match: self.environment[match[1]], argument) for argument in self._container["args"]
        ]
        for mount in self._container["volumeMounts"]:
            folder = f"{self._mounts[mount['name']]}/"
            arguments = [argument.replace(f"{mount['mountPath']}/", folder) for argument in arguments]
        return [*self._entrypoint, *arguments]

    @contextmanager
    def running(self):
        """Run the container in the block; it is killed at the end if it still runs.

        The image's own environment is this one's, as far as Python needs it to find what is installed.
        """
        own = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        with subprocess.Popen(self.command, env={**own, **self.environment}, **pipe) as process:
            try:
                yield process
            finally:
                process.kill()

    def stop(self, process):
        """Stop the container as Kubernetes does, and return its exit status and what it said: 137 if it had to die."""
        process.send_signal(signal.SIGTERM)
        try:
            out, _ = process.communicate(timeout=self.spec["terminationGracePeriodSeconds"])
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
        return status_of(process), out


def status_of(process):
    """Return the exit status that a container's runtime reports."""
    return 128 - process.returncode if process.returncode < 0 else process.returncode


def policy(job, status):
    """Return what the Job does about a pod that ended with this status and was not disrupted: the first rule counts."""
    for rule in job["spec"]["podFailurePolicy"]["rules"]:
        codes = rule.get("onExitCodes")
        if codes is not None and (status in codes["values"]) == (codes["operator"] == "In"):
            return rule["action"]
    return "Count"
