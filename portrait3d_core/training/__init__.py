"""How the networks are taught."""
