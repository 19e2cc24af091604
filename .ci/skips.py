"""Fails on a test that was skipped for a reason not accepted here by name."""

import glob
import os
import re
import shutil
import sys
from xml.etree import ElementTree

ACCEPTED = [r"needs the extra tf\b"]
if "LINEAGE_DATA" not in os.environ:
    ACCEPTED.append(r"LINEAGE_DATA is not set")
# What only root may do, or may have installed.
if os.geteuid() != 0 or not shutil.which("slurmctld"):
    ACCEPTED += [r"needs Slurm", r"needs root"]
if os.geteuid() != 0 or not shutil.which("chromium"):
    ACCEPTED.append(r"chromium is not installed")
if not shutil.which("initdb", path=os.pathsep.join(glob.glob("/usr/lib/postgresql/*/bin"))):
    ACCEPTED.append(r"needs PostgreSQL")
ACCEPTED.append(r"needs leave to mount a small disk")  # a container's, not ours to give

wrong = 0
for case in ElementTree.parse(sys.argv[1]).iter("testcase"):
    for skipped in case.findall("skipped"):
        reason = skipped.get("message", "")
        accepted = any(re.search(pattern, reason) for pattern in ACCEPTED)
        print(
            f"skipped: {case.get('classname')}.{case.get('name')}: {reason}"
            + ("" if accepted else "  ← not accepted")
        )
        wrong += not accepted
sys.exit(1 if wrong else 0)
