"""Adapters to ComfyUI: memory, progress, folders, sockets, widgets, and its diffusion models."""
