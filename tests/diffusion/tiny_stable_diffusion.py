"""A Stable Diffusion model of tiny sizes and random weights, as a pipeline folder and as a single file."""

import json
import shutil

import torch

WORDS = ["front", "side", "back", "view", "a", "man", "red", "hair", ","]
TOKENS = 12


def write_tokenizer(folder):
    """Single letters plus the whole words above, as byte-pair merges."""
    letters = sorted({letter for word in WORDS for letter in word})
    vocabulary = [*letters, *(letter + "</w>" for letter in letters)]
    merges = []
    for word in WORDS:
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            merges.append(f"{pieces[-2]} {pieces[-1]}")
            pieces[-2:] = [pieces[-2] + pieces[-1]]
            vocabulary.append(pieces[-1])
    tokens = [*dict.fromkeys(vocabulary), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}), encoding="utf-8")
    merges = list(dict.fromkeys(merges))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": TOKENS,
        "unk_token": "<|endoftext|>",
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return len(tokens)


def build_folder(folder, *, unet_channels=4, **scheduler):
    """A StableDiffusionPipeline folder: 16 px images, 4-channel latents of 8 x 8, random weights."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    size = write_tokenizer(folder / "tokenizer")
    text = CLIPTextConfig(
        vocab_size=size,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        eos_token_id=size - 1,
        bos_token_id=size - 2,
        pad_token_id=size - 1,
    )
    CLIPTextModel(text).save_pretrained(folder / "text_encoder")
    UNet2DConditionModel(
        sample_size=8,
        in_channels=unet_channels,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=4,
    ).save_pretrained(folder / "unet")
    AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
        scaling_factor=0.5,
        shift_factor=0.1,
    ).save_pretrained(folder / "vae")
    values = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012} | scheduler
    DDIMScheduler(**values).save_pretrained(folder / "scheduler")
    return folder


LDM_UNET = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "down_blocks.0.resnets.0": "input_blocks.1.0",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.2.0.op",
    "down_blocks.1.resnets.0": "input_blocks.3.0",
    "down_blocks.1.attentions.0": "input_blocks.3.1",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
    "up_blocks.0.resnets.0": "output_blocks.0.0",
    "up_blocks.0.attentions.0": "output_blocks.0.1",
    "up_blocks.0.resnets.1": "output_blocks.1.0",
    "up_blocks.0.attentions.1": "output_blocks.1.1",
    "up_blocks.0.upsamplers.0.conv": "output_blocks.1.2.conv",
    "up_blocks.1.resnets.0": "output_blocks.2.0",
    "up_blocks.1.resnets.1": "output_blocks.3.0",
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
LDM_VAE = {
    "conv_norm_out": "norm_out",
    "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2",
    "mid_block.attentions.0": "mid.attn_1",
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
    "downsamplers.0.conv": "downsample.conv",
    "upsamplers.0.conv": "upsample.conv",
    "down_blocks": "down",
    "up_blocks.0": "up.1",
    "up_blocks.1": "up.0",
    "resnets": "block",
    "conv_shortcut": "nin_shortcut",
}


def renamed(key, table):
    """A weight's name with every entry of the table replaced; transformer blocks have the same names in both worlds."""
    head, separator, tail = key.partition(".transformer_blocks")
    for old, new in table.items():
        parts, pattern = f".{head}.", f".{old}."
        head = parts.replace(pattern, f".{new}.").strip(".")
    return head + separator + tail


def write_single_file(folder, path):
    """The folder's weights as one checkpoint in the original Stable Diffusion naming."""
    from safetensors.torch import load_file, save_file

    unet = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    vae = load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    text = load_file(folder / "text_encoder" / "model.safetensors")
    prefix = "cond_stage_model.transformer."
    tensors = {"model.diffusion_model." + renamed(key, LDM_UNET): value for key, value in unet.items()}
    tensors |= {"first_stage_model." + renamed(key, LDM_VAE): value for key, value in vae.items()}
    tensors |= {prefix + ("" if "text_model." in key else "text_model.") + key: v for key, v in text.items()}
    save_file({key: value.clone() for key, value in tensors.items()}, path)


def write_config_folder(folder, target):
    """The folder without its weights, as it is needed beside a single file."""
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("*.safetensors"))
    classes = {
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "safety_checker": [None, None],
        "feature_extractor": [None, None],
    }
    index = {"_class_name": "StableDiffusionPipeline", **classes}
    (target / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    return target
