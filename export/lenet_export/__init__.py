"""The export layer: a torch module becomes a verified artifact on disk."""
