"""Worlds with exact truth, and photographs: what the networks are taught with."""
