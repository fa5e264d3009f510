"""The Open Inference Protocol, bytes in and bytes out: no network, no sessions."""
