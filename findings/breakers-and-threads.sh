#!/usr/bin/env bash
# Two circuit breakers for Python and calls of several threads. pybreaker 1.4.1 holds its lock while the protected function runs: through
# one breaker goes one call at a time, also while it is closed, so five calls take as long as one after the other. circuitbreaker 2.1.3
# lets all calls through while it is half-open: a service that has just come back gets the whole load at once, in place of a probe.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
python_packages pybreaker==1.4.1 circuitbreaker==2.1.3

cat >"$WORK/threads.py" <<'PYTHON'
import threading, time
import circuitbreaker, pybreaker

THREADS = 5


class Service:
    """Counts how many calls are inside at once. Each stays until all have come, or for a moment."""

    def __init__(self):
        self.lock, self.inside, self.most, self.all = threading.Lock(), 0, 0, threading.Event()

    def call(self):
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
            if self.inside == THREADS:
                self.all.set()
        self.all.wait(0.2)
        with self.lock:
            self.inside -= 1


def fails():
    raise OSError("refused")


def open_it(call):
    for _ in range(2):
        try:
            call(fails)
        except Exception:
            pass
    time.sleep(0.4)


def most_at_once(call):
    service = Service()
    threads = [threading.Thread(target=call, args=[service.call]) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return service.most


def pybreaker_call():
    breaker = pybreaker.CircuitBreaker(fail_max=2, reset_timeout=0.3)
    return lambda function: breaker.call(function)


def circuitbreaker_call():
    breaker = circuitbreaker.CircuitBreaker(failure_threshold=2, recovery_timeout=0.3)
    return lambda function: breaker.call(function)


for name, make in (("no breaker", lambda: lambda function: function()), ("pybreaker", pybreaker_call), ("circuitbreaker", circuitbreaker_call)):
    closed = most_at_once(make())
    call = make()
    open_it(call)
    print(f"{name}: at once {closed} while closed, {most_at_once(call)} while half-open")
PYTHON

seen=$("$PYTHON" "$WORK/threads.py")
echo "$seen"
[[ $seen == "no breaker: at once 5 while closed, 5 while half-open
pybreaker: at once 1 while closed, 1 while half-open
circuitbreaker: at once 5 while closed, 5 while half-open" ]] || fail "they do otherwise"
echo "As described: one takes the threads away, the other does not probe."
