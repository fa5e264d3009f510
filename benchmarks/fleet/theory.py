"""What queueing theory says, for those few fleets of which it says it; seconds and rates."""

import math


def mm1_percentile(rate: float, mean: float, percent: float) -> float:
    """The percentile of the time in an M/M/1 queue, which is exponential."""
    return mean / (1 - rate * mean) * -math.log(1 - percent / 100)


def md1_mean(rate: float, service: float) -> float:
    """The mean time in an M/D/1 queue (Pollaczek and Khinchine)."""
    load = rate * service
    return service * (1 + load / (2 * (1 - load)))


def mg1_mean(rate: float, mean: float, second_moment: float) -> float:
    """The mean time in an M/G/1 queue (Pollaczek and Khinchine)."""
    return mean + rate * second_moment / (2 * (1 - rate * mean))


def erlang_c(servers: int, load: float) -> float:
    """The share of requests that wait in an M/M/c queue, `load` being rate times mean service."""
    terms = [load**k / math.factorial(k) for k in range(servers)]
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    return last / (sum(terms) + last)


def mmc_mean(servers: int, rate: float, mean: float) -> float:
    """The mean time in an M/M/c queue: one line before all servers."""
    return mean + erlang_c(servers, rate * mean) * mean / (servers - rate * mean)
