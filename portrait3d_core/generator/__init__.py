"""The 3DPortraitGAN-pyramid generator: latent code to :class:`~portrait3d_core.portrait.portrait.Portrait`."""
