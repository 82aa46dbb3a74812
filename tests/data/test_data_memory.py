"""A large file goes through in constant memory. STEPCREDIT_ROWS=1000000 runs the full size."""

import os
import subprocess
import sys

import pytest

ROWS = int(os.environ.get("STEPCREDIT_ROWS", "50000"))
SCRIPT = """
import resource, sys, time
from stepcredit.data import read, write
source, target, num = sys.argv[1], sys.argv[2], int(sys.argv[3])
row = '{"problem": "problem %d: 1+2*3-4?", "attempt": "1+2=3\\\\n3*3=9\\\\n9-4=5\\\\n#### 5", "correct": %s, "note": "%s"}\\n'
with open(source, "w") as out:
    for n in range(num):
        out.write(row % (n // 8, "true" if n % 3 else "false", "x" * 100))
start = time.perf_counter()
written = write(target, read(source))
middle = time.perf_counter()
found = sum(1 for record in read(target))
end = time.perf_counter()
assert written == found == num, (written, found)
try:  # ru_maxrss would count the process that started this one, which exec inherits
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    peak = int(status["VmHWM"].split()[0]) * 1024
except OSError:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(peak, f"{middle - start:.1f} s plain to native, {end - middle:.1f} s native")
"""


@pytest.mark.slow
@pytest.mark.parametrize("target", ["b.jsonl.gz", "b.parquet"])
def test_many_rows_pass_through_in_constant_memory(tmp_path, target):
    given = [sys.executable, "-c", SCRIPT, str(tmp_path / "a.jsonl"), str(tmp_path / target), str(ROWS)]
    done = subprocess.run(given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    peak = int(done.stdout.split()[0])
    print(f"\n{ROWS} rows, {target}: peak {peak / 2**20:.0f} MiB, {done.stdout.split(maxsplit=1)[1]}")
    assert peak < (1.5 * 2**30 if ROWS > 100_000 else 2**29)
