"""Jobs for Slurm: a script that says everything, handed to `sbatch`."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from research.errors import EnvironmentFault, UsageError

WARNING = 120  # seconds before its time is up at which a job is told; a run saves in less

# USR1 says that the time is nearly up: save, and queue again. TERM, of `lineage stop` or scancel, says to
# save and end. A command that dies unasked (no memory, a hang) is begun again where it is, and continues.
SCRIPT = """\
#!/bin/bash
{directives}
{redirection}
asked= requeue=
trap 'asked=yes requeue=yes; kill -TERM "$child" 2>/dev/null' USR1
trap 'asked=yes; kill -TERM "$child" 2>/dev/null' TERM
while :; do
  {command} &
  child=$!
  while :; do
    wait "$child"; status=$?
    kill -0 "$child" 2>/dev/null || break  # else a signal to us ended the wait
  done
  if [ -n "$asked" ] || {{ [ "$status" -le 128 ] && [ "$status" -ne 75 ]; }}; then break; fi
done
[ -z "$requeue" ] || exec scontrol requeue "$SLURM_JOB_ID"
exit "$status"
"""


class Wanted(NamedTuple):
    """What of a cluster a job asks for; None is left to the cluster."""

    partition: str | None = None
    time: str | None = None
    gpus: int | None = None  # of a worker, or of a node of a run
    cpus: int | None = None  # of a task
    more: tuple[str, ...] = ()  # options of sbatch as they are, such as --account=lm

    def directives(self) -> list[str]:
        given = {
            "--partition": self.partition,
            "--time": self.time,
            "--gpus-per-node": self.gpus,
            "--cpus-per-task": self.cpus,
        }
        for option in self.more:
            if not option.startswith("-"):
                raise UsageError(f"--sbatch {option}: expected an option of sbatch's, such as --account=lm")
        return [f"{name}={value}" for name, value in given.items() if value is not None] + list(self.more)


def workers_script(directory: Path, name: str, workers: int, wanted: Wanted) -> str:
    """A job array, each job of which is a worker on the sweep in `directory`."""
    command = [sys.executable, "-m", "launch", "work", str(directory.absolute())]
    array = [f"--array=0-{workers - 1}", "--nodes=1", "--ntasks=1"]
    logs = directory.absolute() / "logs"
    return _script(directory, name, [*array, *wanted.directives()], f"{logs}/slurm-", shlex.join(command))


def run_script(
    directory: Path, name: str, typed: list[str], nodes: int, tasks: int | None, wanted: Wanted
) -> str:
    """A job that trains as one run over `nodes` × `tasks` processes, by default a process for each GPU.

    Its log lies beside `directory`, which is the run's alone.
    """
    a_node = tasks or wanted.gpus or 1
    size = [f"--nodes={nodes}", f"--ntasks-per-node={a_node}"]
    command = ["srun", "--kill-on-bad-exit=1", sys.executable, "-m", "launch", *typed]
    if nodes * a_node > 1:
        command.append("--distributed")
    log = f"{directory.absolute()}.slurm-"
    return _script(directory, name, [*size, *wanted.directives()], log, shlex.join(command))


def _script(directory: Path, name: str, options: list[str], log: str, command: str) -> str:
    """With what is said going to a file whose name begins with `log`, and ends with the job's number."""
    array = any(option.startswith("--array") for option in options)
    output, redirection = _output(log, "%A_%a" if array else "%j")
    always = [
        f"--job-name=lineage-{name}",
        f"--comment={_comment(directory)}",
        f"--output={output}",
        "--open-mode=append",
        "--requeue",
        f"--signal=B:USR1@{WARNING}",
    ]
    directives = "\n".join(f"#SBATCH {shlex.quote(option)}" for option in [*always, *options])
    return SCRIPT.format(directives=directives, redirection=redirection, command=command)


def _comment(directory: Path) -> str:
    """By which status and stop find a job: the directory, as in an URL, so that it is one word in a list."""
    return quote(os.fsencode(directory.absolute()))


def _output(log: str, number: str) -> tuple[str, str]:
    """(--output, what the script does about it). In %j and the like Slurm puts the job's number.

    A line of #SBATCH has no way to say a line's end, and a name with a backslash means no numbers. There the
    script itself opens the file.
    """
    if not re.search(r"[\\\n\r]", log):
        return f"{log.replace('%', '%%')}{number}.log", ""
    variables = {"%A_%a": "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}", "%j": "${SLURM_JOB_ID}"}
    return "/dev/null", f'exec >>{shlex.quote(log)}"{variables[number]}.log" 2>&1\n'


def submit(script: str) -> str:
    """The job's number. Raises EnvironmentFault with what sbatch says against it."""
    if shutil.which("sbatch") is None:
        raise EnvironmentFault("--executor slurm: no sbatch on this machine; --dry-run prints the script")
    return _ask("sbatch", "--parsable", given=script).split(";")[0]


def jobs(directory: Path) -> dict[str, str]:
    """{job: state} of those that work in `directory` or wait to; {} where there is no Slurm, or no answer."""
    if shutil.which("squeue") is None:
        return {}
    try:
        listed = _ask("squeue", "--noheader", "--array", "--format=%i|%T|%k")
    except EnvironmentFault:
        return {}
    rows = (line.strip().split("|", 2) for line in listed.splitlines())
    return {job: state for job, state, comment in rows if comment == _comment(directory)}


def stop(directory: Path) -> list[str]:
    """Stops the jobs of `directory`: running ones politely, waiting ones altogether. Returns which."""
    found = jobs(directory)
    for job, state in found.items():
        if state in ("PENDING", "REQUEUED", "REQUEUE_HOLD"):
            _ask("scancel", job)
        else:
            _ask("scancel", "--batch", "--signal=TERM", job)
    return list(found)


def _ask(*command: str, given: str | None = None) -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, errors="surrogateescape")
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise EnvironmentFault(f"{command[0]}: {said or f'status {done.returncode}'}")
    return done.stdout.strip()
