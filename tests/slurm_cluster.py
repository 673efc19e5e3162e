"""A real SLURM of one node for tests: munge, controller and node daemon of this machine, on loopback."""

import os
import subprocess
import time
from pathlib import Path

from postgres_fixtures import free_port

CPUS = 8
"""CPUs that the node claims to have, whatever the machine has: enough for two workers of four."""

_APART = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
"""For processes that a Ctrl-C does not reach."""

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "scancel", "sinfo", "squeue")

_CONFIGURATION = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
PlugStackConfig={folder}/plugstack.conf
MailProg=/bin/true
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=localhost NodeAddr=127.0.0.1 CPUs={cpus}
PartitionName=usual Nodes=localhost Default=YES PriorityTier=1
PartitionName=urgent Nodes=localhost PriorityTier=2
"""

_END = """cat > /dev/null
attempt=0
patient() { sleep 0.1; [ "$((attempt += 1))" -lt "$1" ]; }
scancel --user=root
while [ -n "$(squeue --noheader)" ] && patient 200; do :; done
kill $(cat "$1/daemons")
while kill -0 $(cat "$1/daemons") && patient 300; do :; done
rm -rf "$1" """
"""What a shell does when this process has ended, however it did: cancel jobs, stop the daemons, remove their folder."""


class SlurmCluster:
    """Call it with a command of SLURM's, such as ``slurm("squeue")``, for what it prints.

    Jobs in the partition ``urgent`` preempt those in ``usual``, which are requeued.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.environment = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}
        self._daemons = []
        self._caretaker = None

    def __call__(self, *command, check=True, **options):
        """Run a command of SLURM's and return what it prints; an error is an error here unless ``check`` is false."""
        options = {"env": self.environment, "capture_output": True, "text": True, "timeout": 60, **options}
        done = subprocess.run(command, check=False, **options)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout

    def job(self, name):
        """Return what SLURM knows about a job or a task of an array, by SLURM's names for it."""
        fields = self("scontrol", "--oneliner", "show", "job", name).split()
        return dict(field.split("=", 1) for field in fields if "=" in field)

    def start(self):
        """Start the daemons, and wait until the node is ready."""
        self.folder.chmod(0o711)  # munge's clients must reach its socket
        key = self.folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(128))
        (self.folder / "plugstack.conf").touch()
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        settings = {"folder": self.folder, "cpus": CPUS, "controller_port": free_port(), "node_port": free_port()}
        (self.folder / "slurm.conf").write_text(_CONFIGURATION.format(**settings))
        own = [f"--{name}-file={self.folder}/munged.{name}" for name in ("pid", "log", "seed")]
        socket = self.folder / "munge.socket"
        self._caretaker = subprocess.Popen(
            ["/bin/sh", "-c", _END, "sh", self.folder], env=self.environment, stdin=subprocess.PIPE, **_APART
        )
        self._start("munged", "--foreground", f"--key-file={key}", f"--socket={socket}", *own, "--num-threads=10")
        self._wait_for(socket.exists)
        self._start("slurmctld", "-D")
        self._start("slurmd", "-D", "-N", "localhost")
        self._wait_for(lambda: self("sinfo", "--noheader", "--format=%T", check=False).split() == ["idle"])

    def stop(self):
        """Cancel all jobs, stop the daemons and remove the folder."""
        if self._caretaker is None:
            return
        self._caretaker.stdin.close()
        for daemon in self._daemons:
            daemon.wait(60)
        self._caretaker.wait(60)

    def words(self):
        """Return what the daemons have said."""
        return "\n".join(f"{path.name}:\n{path.read_text()}" for path in sorted(self.folder.glob("*.out")))

    def _start(self, *command):
        with (self.folder / f"{command[0]}.out").open("w") as out:
            options = {**_APART, "stdout": out, "stderr": out}
            self._daemons.append(subprocess.Popen(command, env=self.environment, **options))
        with (self.folder / "daemons").open("a") as pids:
            pids.write(f"{self._daemons[-1].pid}\n")

    def _wait_for(self, condition, seconds=30):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.words()
            assert all(daemon.poll() is None for daemon in self._daemons), self.words()
            time.sleep(0.1)
