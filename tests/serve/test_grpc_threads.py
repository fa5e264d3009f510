"""The pool of threads that grpcio's server is given."""

import threading

from lenet_serve.grpc.threads import Threads


def test_functions_run_beside_each_other_and_tell_of_their_end():
    threads = Threads(2, "test")
    both = threading.Barrier(2)
    ended = threading.Semaphore(0)
    for _ in range(2):
        done = threads.submit(both.wait, 10)  # ends only where both run
        done.add_done_callback(lambda done: ended.release())
    assert all(ended.acquire(timeout=10) for _ in range(2))
    told = []
    done.add_done_callback(told.append)  # after the end
    assert told == [done]
    threads.shutdown()


def test_what_was_submitted_runs_before_the_end():
    threads = Threads(1, "test")
    go, ran = threading.Event(), []
    threads.submit(go.wait, 10)
    threads.submit(ran.append, 1)
    threads.shutdown(wait=False)
    go.set()
    threads.shutdown()
    assert ran == [1]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("test-")]
