"""Compares the server with its peers, by what an answered request costs: see README.md here."""
