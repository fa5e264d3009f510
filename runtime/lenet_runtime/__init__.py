"""The runtime layer: an artifact answers images with logits; needs numpy alone at import."""
