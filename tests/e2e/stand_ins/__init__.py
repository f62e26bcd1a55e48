"""A node pack for the tests' ComfyUI: tiny models with random weights, in place of files that users have and tests have not."""

import sys
import zlib
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
import tiny_models

KIND = tiny_models.KINDS["sd1"]


class Text:
    """A CLIP: every text is another seed of random numbers."""

    def tokenize(self, text):
        return text

    def encode_from_tokens_scheduled(self, tokens):
        return tiny_models.build_conditioning(KIND, zlib.crc32(tokens.encode()))


class StandInCheckpoint:
    """In place of Load Checkpoint."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {}})
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    FUNCTION = "load"
    CATEGORY = "tests"

    def load(self):
        return tiny_models.build_model(KIND), Text(), tiny_models.build_vae(KIND)


class StandInControlNet(StandInCheckpoint):
    """In place of Load ControlNet Model."""

    RETURN_TYPES = ("CONTROL_NET",)

    def load(self):
        return (tiny_models.build_control(KIND, tiny_models.build_model(KIND)),)


NODE_CLASS_MAPPINGS = {kind.__name__: kind for kind in (StandInCheckpoint, StandInControlNet)}
