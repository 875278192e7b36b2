"""Runs a command with an empty folder as TMPDIR; fails if the command does, or leaves anything there.
Usage: leaves_nothing.py COMMAND..."""
import os
import subprocess
import sys
import tempfile

with tempfile.TemporaryDirectory(prefix="leaves-nothing-") as folder:
    status = subprocess.run(sys.argv[1:], env=os.environ | {"TMPDIR": folder}).returncode
    left = sorted(os.listdir(folder))
if left:
    print(f"left in the folder for temporary files: {', '.join(left)}", file=sys.stderr)
sys.exit(status or bool(left))
