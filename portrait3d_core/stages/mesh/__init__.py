"""The surface of a portrait as a mesh, a texture and files."""
