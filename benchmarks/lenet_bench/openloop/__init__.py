"""An open loop: requests come when they come, whether or not the last one was answered.

A closed loop calls, waits, and calls again. While the engine stalls, its caller sends nothing, so
that a stall is one slow sample of very many, and no percentile shows it. Here arrivals are drawn
beforehand, by a Poisson process of a fixed rate and seed, and the latency of a request runs from
the moment at which it was *meant* to start: whoever came during the stall has waited for its end.
This is MLPerf Inference's *server* scenario; one request is one image.

- `arrivals` draws when requests start, `sending` sends them on threads of this process and
  `sockets` over connections to a server, and each says how late it was itself.
- `targets` are who is asked: a session here, or a server of the Open Inference Protocol (`rest`,
  `grpc_calls`).
- `measure` lets targets take turns in windows of a second or more, at each rate; `search` finds
  the highest rate whose p99 holds, and `early_stopping` is MLPerf's rule of how surely.
- `result` has the figures, `report` the JSON and the CSV.

``lenet-deploy bench --scenario server`` is its command.
"""
