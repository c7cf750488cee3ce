"""Runs piglit's tests of some groups and writes the result of each.

    piglit_tests.py GROUP...
"""

import bz2
import glob
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter

import picture

with tempfile.TemporaryDirectory() as results:
    command = ["piglit", "run", "-l", "quiet", "-p", "surfaceless_egl", "--process-isolation", "false", "--timeout", "1800"]
    for group in sys.argv[1:]:
        command += ["-t", "^" + re.escape(group.lower()) + "@"]
    # It has no wflinfo to ask for the version of OpenGL, and would skip nearly all without.
    environment = {**os.environ, "PIGLIT_NO_FAST_SKIP": "1"}
    subprocess.run([*command, "quick", results + "/all"], env=environment, check=True, stdout=subprocess.DEVNULL)
    (path,) = glob.glob(results + "/all/results.json*")
    with bz2.open(path) if path.endswith(".bz2") else open(path, "rb") as file:
        tests = json.load(file)["tests"]

picture.write_numbers("results", sorted(f"{name}: {test['result']}" for name, test in tests.items()))
for result, count in sorted(Counter(test["result"] for test in tests.values()).items()):
    print(result + ":", count)
