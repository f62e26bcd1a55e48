"""What denoises: the contract of a diffusion model, and the models that fulfil it."""
