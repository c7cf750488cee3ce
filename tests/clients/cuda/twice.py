"""Runs another of these scripts twice at once."""

import os
import subprocess
import sys

script = os.path.join(os.path.dirname(os.path.abspath(__file__)), sys.argv[1])
running = [subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
results = []
for number, process in enumerate(running):
    said, _ = process.communicate()
    print(f"-- {number}\n{said}ended with {process.returncode}", flush=True)
    results.append(process.returncode)
sys.exit(any(results))
