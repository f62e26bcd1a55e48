"""The pack's built-in text-to-image model as ComfyUI objects; start reading at :mod:`.loader`."""
