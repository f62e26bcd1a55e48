"""The toy diffusion networks without diffusers, for hosts that do not have it (weights in diffusers naming)."""
