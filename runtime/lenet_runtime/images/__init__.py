"""From pictures and pixels to the network's input, and from its logits to labels."""
