#!/usr/bin/env python3
"""A whole worker in twenty lines: it measures how long a sum takes (docs/PROTOCOL.md)."""
import json, os, sys, time

def say(**event):
    print(json.dumps(event), flush=True)

say(event="hello", protocol=1, pid=os.getpid(), torch="", build="python-worker-1")
for line in sys.stdin:
    request = json.loads(line)
    nonce, cell = request["nonce"], request["cell"]
    say(event="phase", nonce=nonce, phase="measure")
    times = []
    for _ in range(cell["warmup_steps"] + cell["measure_steps"]):
        start = time.perf_counter()
        total = sum(i ** cell["power"] for i in range(cell["terms"]))
        times.append((time.perf_counter() - start) * 1e3)
    say(event="result", nonce=nonce, status="ok", measurement={
        "warmup_ms": times[:cell["warmup_steps"]], "samples_ms": times[cell["warmup_steps"]:],
        "total": str(total)})
