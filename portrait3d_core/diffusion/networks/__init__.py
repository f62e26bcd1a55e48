"""The layers of the small diffusion model."""
