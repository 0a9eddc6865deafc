import subprocess
import sys
import time

from expertise_graph.core.processes import Stopwatch, process_started


def test_the_start_of_the_process_is_before_all_that_it_does():
    code = (
        "import time; time.sleep(0.5); from expertise_graph.core.processes import process_started; "
        "print(time.perf_counter() - process_started())"
    )
    before = time.perf_counter()
    age = float(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    )
    # The kernel counts in hundredths of a second.
    assert 0.49 <= age <= time.perf_counter() - before + 0.05
    assert abs(process_started() - process_started()) < 0.05


def test_a_busy_machine_is_told_by_work_that_takes_long():
    watch = Stopwatch()
    time.sleep(0.5)
    assert watch.slowdown is None  # nothing was worked, be the machine busy or not
    started, passed = time.process_time(), time.perf_counter()
    while time.process_time() - started < 0.4:
        pass
    least = 1 + 0.5 / (time.process_time() - started + 0.05)
    assert least <= watch.slowdown <= 1 + (time.perf_counter() - passed + 0.55) / 0.4
