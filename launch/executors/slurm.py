"""Jobs for Slurm: a script with all options in it, submitted with `sbatch`."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from launch.options import SlurmResources
from research.errors import EnvironmentFault

WARNING = 120  # seconds before the time limit at which a job is signalled; a run saves in less

# USR1 comes before the time limit: save and requeue. TERM comes from `lineage stop` or scancel: save and end.
# A command that dies otherwise (out of memory, a hang) is restarted in the same job, and continues.
SCRIPT = """\
#!/bin/bash
{directives}
{redirection}
stop= requeue=
trap 'stop=yes requeue=yes; kill -TERM "$child" 2>/dev/null' USR1
trap 'stop=yes; kill -TERM "$child" 2>/dev/null' TERM
while :; do
  {command} &
  child=$!
  while :; do
    wait "$child"; status=$?
    kill -0 "$child" 2>/dev/null || break  # otherwise a signal to this script ended the wait
  done
  if [ -n "$stop" ] || {{ [ "$status" -le 128 ] && [ "$status" -ne 75 ]; }}; then break; fi
done
[ -z "$requeue" ] || exec scontrol requeue "$SLURM_JOB_ID"
exit "$status"
"""


def workers_script(directory: Path, name: str, workers: int, slurm_resources: SlurmResources) -> str:
    """The script of a job array whose jobs are workers of the sweep in `directory`."""
    command = [sys.executable, "-m", "launch", "work", str(directory.absolute())]
    array = [f"--array=0-{workers - 1}", "--nodes=1", "--ntasks=1"]
    log = f"{directory.absolute() / 'logs'}/slurm-"
    return _script(directory, name, [*array, *slurm_resources.directives()], log, shlex.join(command))


def run_script(
    directory: Path,
    name: str,
    typed: list[str],
    nodes: int,
    tasks: int | None,
    slurm_resources: SlurmResources,
) -> str:
    """The script of a job that trains one run over `nodes` × `tasks` processes, by default one per GPU.

    Its log is beside `directory`, where only the run itself may write.
    """
    per_node = tasks or slurm_resources.gpus or 1
    size = [f"--nodes={nodes}", f"--ntasks-per-node={per_node}"]
    command = ["srun", "--kill-on-bad-exit=1", sys.executable, "-m", "launch", *typed]
    if nodes * per_node > 1:
        command.append("--distributed")
    log = f"{directory.absolute()}.slurm-"
    return _script(directory, name, [*size, *slurm_resources.directives()], log, shlex.join(command))


def _script(directory: Path, name: str, options: list[str], log: str, command: str) -> str:
    """A job script; output goes to a file whose name begins with `log` and ends with the job's number."""
    array = any(option.startswith("--array") for option in options)
    output, redirection = _output(log, "%A_%a" if array else "%j")
    common = [
        f"--job-name=lineage-{name}",
        f"--comment={_comment(directory)}",
        f"--output={output}",
        "--open-mode=append",
        "--requeue",
        f"--signal=B:USR1@{WARNING}",
    ]
    directives = "\n".join(f"#SBATCH {shlex.quote(option)}" for option in [*common, *options])
    return SCRIPT.format(directives=directives, redirection=redirection, command=command)


def _comment(directory: Path) -> str:
    """The comment by which status and stop find a job: the directory, URL-quoted, so that it is one word."""
    return quote(os.fsencode(directory.absolute()))


def _output(log: str, number: str) -> tuple[str, str]:
    """(--output, a line of the script). Slurm replaces %j and the like with the job's number.

    An #SBATCH line cannot contain a line break, and a backslash in a name disables the replacement. In these
    cases the script itself opens the file.
    """
    if not re.search(r"[\\\n\r]", log):
        return f"{log.replace('%', '%%')}{number}.log", ""
    variables = {"%A_%a": "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}", "%j": "${SLURM_JOB_ID}"}
    return "/dev/null", f'exec >>{shlex.quote(log)}"{variables[number]}.log" 2>&1\n'


def submit(script: str) -> str:
    """Submits a script; returns the job's number. Raises EnvironmentFault with the message of sbatch."""
    if shutil.which("sbatch") is None:
        raise EnvironmentFault("--executor slurm: no sbatch on this machine; --dry-run prints the script")
    return _run("sbatch", "--parsable", stdin=script).split(";")[0]


def jobs(directory: Path) -> dict[str, str]:
    """{job: state} of jobs that run or wait to run in `directory`; {} without Slurm, or without an answer."""
    return jobs_in([directory])[directory]


def jobs_in(directories: Sequence[Path]) -> dict[Path, dict[str, str]]:
    """`jobs` of each directory, by one question to Slurm."""
    found: dict[str, dict[str, str]] = {_comment(directory): {} for directory in directories}
    if shutil.which("squeue"):
        with suppress(EnvironmentFault):
            for line in _run("squeue", "--noheader", "--array", "--format=%i|%T|%k").splitlines():
                job, state, comment = line.strip().split("|", 2)
                found.get(comment, {})[job] = state
    return {directory: found[_comment(directory)] for directory in directories}


def stop(directory: Path) -> list[str]:
    """Asks running jobs of `directory` to save and end, and cancels waiting ones; returns their numbers."""
    found = jobs(directory)
    for job, state in found.items():
        if state in ("PENDING", "REQUEUED", "REQUEUE_HOLD"):
            _run("scancel", job)
        else:
            _run("scancel", "--batch", "--signal=TERM", job)
    return list(found)


def _run(*command: str, stdin: str | None = None) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, errors="surrogateescape")
    if done.returncode:
        message = " ".join((done.stderr or done.stdout).split())
        raise EnvironmentFault(f"{command[0]}: {message or f'status {done.returncode}'}")
    return done.stdout.strip()
