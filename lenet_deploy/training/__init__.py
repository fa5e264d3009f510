"""The network, its data and its training."""
