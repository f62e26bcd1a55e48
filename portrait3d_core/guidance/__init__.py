"""Diffusion models, distillation losses, schedules and prompts."""
