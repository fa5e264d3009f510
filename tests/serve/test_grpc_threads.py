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


def test_there_are_more_threads_where_all_of_them_wait():
    threads = Threads(9, "test")
    go, ran = threading.Event(), threading.Semaphore(0)
    for _ in range(8):
        threads.submit(lambda: (ran.release(), go.wait(60)))
    assert all(ran.acquire(timeout=5) for _ in range(4))
    assert not ran.acquire(timeout=0.05)  # four at the start
    threads.grow()  # as a call that waits for a batch does
    assert ran.acquire(timeout=5)
    threads.look()
    threads.look()  # nothing was taken in between
    assert all(ran.acquire(timeout=5) for _ in range(3))
    threads.grow(100)
    assert sum(thread.name.startswith("test-") for thread in threading.enumerate()) == 9
    go.set()
    threads.shutdown()
