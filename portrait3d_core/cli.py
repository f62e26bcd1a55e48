"""Command line: ``portrait3d generate "PROMPT" --output DIR`` and ``portrait3d from-photo IMAGE --output DIR``;
``portrait3d convert FILE...`` and ``portrait3d inspect FILE...`` for published weight files.

Exit codes: 0 done; 1 something the user can fix (the message says how); 2 wrong arguments; 130 stopped with Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from . import __version__
from .errors import OutputError, Portrait3DError, SettingsError
from .optimisation.perceptual import VggLoss
from .presets import PROFILES, Profile
from .runtime.job import Job
from .runtime.progress import StepInfo

if TYPE_CHECKING:
    from .pipeline import Networks, Outcome
    from .runtime.resume import RunKeeper


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    args = _parser().parse_args(arguments)
    try:
        args.run(args)
    except Portrait3DError as error:
        print(f"portrait3d: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        again = "; the same command goes on from here" if getattr(args, "resume", False) else ""
        print(f"\nportrait3d: stopped{again}", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="portrait3d", description="Text or one photo to a 3D portrait.")
    parser.add_argument("--version", action="version", version=f"portrait3d {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    generate = commands.add_parser("generate", help="a sentence to a portrait")
    generate.add_argument("prompt", help='what the person looks like, e.g. "a person with long red hair"')
    generate.set_defaults(run=_generate)

    photo = commands.add_parser("from-photo", help="one photo to a portrait")
    photo.add_argument("image", type=Path, help="PNG, JPEG or WebP; an alpha channel serves as the mask")
    photo.add_argument("--mask", type=Path, help="image that is white on the person")
    photo.add_argument("--prompt", default="", help="also distil and refine under this description")
    photo.add_argument("--align", choices=("auto", "silhouette", "face", "manual", "none"), default="auto")
    photo.add_argument("--centre", type=float, nargs=2, metavar=("X", "Y"), help="of a manual crop, fractions of the photo")
    photo.add_argument("--size", type=float, help="side of a manual crop as a fraction of the photo's shorter side")
    photo.add_argument("--zoom", type=float, default=1.0, help="above 1 shows less around the head")
    photo.set_defaults(run=_from_photo)

    for command in (generate, photo):
        _add_common(command)

    convert = commands.add_parser("convert", help="published generators (.pkl) to .safetensors, each beside its source")
    convert.add_argument(
        "--keep-body", action="store_true", help="keep the SMPL arrays for body pose; they have their own licence"
    )
    convert.add_argument("--half", action="store_true", help="store half precision: half the size")
    convert.set_defaults(run=_convert)

    inspect = commands.add_parser("inspect", help="what is inside weight, tri-grid and portrait files")
    inspect.set_defaults(run=_inspect)

    for command in (convert, inspect):
        command.add_argument("files", type=Path, nargs="+", metavar="FILE")
    return parser


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--output", type=Path, required=True, help="folder for the results; created if missing")
    command.add_argument("--generator", type=Path, help="weights (.safetensors or .pkl); default: the built-in heads")
    command.add_argument(
        "--diffusion", type=Path, help="diffusers folder or single-file checkpoint; default: the built-in model"
    )
    command.add_argument("--diffusion-config", type=Path, help="folder with configs and tokenizer of a single-file checkpoint")
    command.add_argument(
        "--profile", choices=sorted(PROFILES), help="default: built-in with the built-in weights, else default"
    )
    command.add_argument("--negative", help="what to avoid; default: the profile's")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--steps", type=int, help="distillation steps")
    command.add_argument("--invert-steps", type=int, help="latent optimisation steps")
    command.add_argument("--no-refine", action="store_true", help="skip the view refinement")
    command.add_argument("--frames", type=int, help="frames of the orbit video")
    command.add_argument("--resolution", type=int, help="pixels per side of the orbit video")
    command.add_argument("--mesh-resolution", type=int, help="voxels along the box")
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps, ...")
    command.add_argument("--half", action="store_true", help="store the portrait in half precision; diffusion in half on a GPU")
    command.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep the state below the output folder until all is done; the same command then goes on after a stop",
    )
    command.add_argument(
        "--perceptual",
        type=Path,
        metavar="FILE",
        help="VGG16 weights, with or without LPIPS's, for inversion and refinement to compare pictures with",
    )
    command.add_argument("--mesh-bottom", type=float, metavar="METRES", help="cut the bust flat at this height, 0 = the neck")
    command.add_argument("--texture", type=int, metavar="PIXELS", help="bake a texture of this side; default: vertex colours")


def _generate(args: argparse.Namespace) -> None:
    from .pipeline import text_to_portrait

    profile, device = _profile(args), _device(args.device)
    _prepare_output(args.output)
    networks = _load_networks(args, device)
    prompt = args.prompt if args.diffusion else _built_in_prompt(args.prompt)
    keep = _keeper(args)
    with ProgressBars() as bars:
        job = Job(args.seed, bars.update, keep)
        outcome = text_to_portrait(prompt, networks, profile, negative=args.negative, job=job)
        _write_results(outcome, profile, args, bars)
    keep.finish()


def _from_photo(args: argparse.Namespace) -> None:
    from .pipeline import photo_to_portrait
    from .runtime.pictures import read_image, read_mask
    from .stages.align.mask import upright_mask
    from .stages.invert.invert import Photo

    profile, device = _profile(args), _device(args.device)
    _prepare_output(args.output)
    mask, remark = (None, "") if args.mask is None else upright_mask(read_mask(args.mask))
    if remark:
        print(remark)
    photo = Photo(read_image(args.image), mask)
    networks = _load_networks(args, device)
    prompt = args.prompt if args.diffusion else _built_in_prompt(args.prompt)
    keep = _keeper(args)
    with ProgressBars() as bars:
        job = Job(args.seed, bars.update, keep)
        outcome = photo_to_portrait(photo, networks, profile, prompt=prompt, negative=args.negative, job=job)
        _write_results(outcome, profile, args, bars)
    keep.finish()


def _convert(args: argparse.Namespace) -> None:
    from .checkpoints.published.convert import BODY_LICENCE, LICENCE, convert

    for source in args.files:
        print(f"{source} -> {convert(source, keep_body=args.keep_body, half=args.half)}")
    print(LICENCE)
    print(BODY_LICENCE if args.keep_body else "The arrays of the SMPL body model were left out; --keep-body keeps them.")


def _inspect(args: argparse.Namespace) -> None:
    from .checkpoints.inspect import describe

    for path in args.files:
        print(path)
        for what, text in describe(path).items():
            print(f"  {what:<14} {text}")


def _profile(args: argparse.Namespace) -> Profile:
    """The chosen profile with the command line's changes."""
    custom = args.generator is not None or args.diffusion is not None
    profile = PROFILES[args.profile or ("default" if custom else "built-in")]
    profile = profile.with_steps(distill=args.steps, invert=args.invert_steps)
    if args.no_refine:
        profile = replace(profile, refine=None)
    if args.frames is not None:
        if args.frames < 1:
            raise SettingsError(f"--frames is {args.frames}", expected="at least 1")
        profile = replace(profile, frames=args.frames)
    if args.resolution is not None:
        render = replace(profile.orbit.render, resolution=args.resolution)
        profile = replace(profile, orbit=replace(profile.orbit, render=render))
    if args.mesh_resolution is not None:
        profile = replace(profile, mesh=replace(profile.mesh, resolution=args.mesh_resolution))
    if args.mesh_bottom is not None:
        profile = replace(profile, mesh=replace(profile.mesh, bottom_m=args.mesh_bottom))
    if args.texture is not None:
        profile = replace(profile, mesh=replace(profile.mesh, texture_size=args.texture))
    if getattr(args, "image", None) is not None:
        manual: dict[str, Any] = {"method": args.align, "zoom": args.zoom}
        if args.centre is not None:
            manual |= {"method": "manual", "centre": tuple(args.centre)}
        if args.size is not None:
            manual |= {"method": "manual", "size": args.size}
        align = replace(profile.invert_photo.align, **manual)
        profile = replace(profile, invert_photo=replace(profile.invert_photo, align=align))
    return profile


def _device(name: str) -> torch.device:
    """The named device; "auto" is the first accelerator torch has, else the CPU."""
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
        float(torch.ones(1, device=device).sum())  # "meta" makes tensors, but no numbers
    except Exception as cause:  # every backend of torch has its own kinds
        reason = str(cause).partition("\n")[0] or type(cause).__name__
        raise SettingsError(
            f"The device {name!r} cannot be used ({reason})", expected="a device this torch supports", fix="use --device cpu"
        ) from cause
    return device


def _prepare_output(folder: Path) -> None:
    """Fail before minutes of work, not after, when the results cannot be written."""
    from .runtime.files import atomic_write

    with atomic_write(folder / "contact_sheet.png.check") as probe:
        probe.write_bytes(b"x")
    try:
        (folder / "contact_sheet.png.check").unlink()
    except OSError as cause:
        raise OutputError(f"Cannot remove a file in {folder} ({cause})", fix="choose another folder") from cause


def _load_networks(args: argparse.Namespace, device: torch.device) -> Networks:
    """The networks that the arguments name, or the built-in ones; no diffusion model where there is no prompt."""
    from .bundle.files import diffusion_path, generator_path
    from .checkpoints.generator_loading import read_generator_file
    from .checkpoints.vgg_file import read_vgg16
    from .diffusion.diffusers_model import load_diffusion_model
    from .pipeline import Networks

    perceptual = None if args.perceptual is None else VggLoss(*read_vgg16(args.perceptual)).to(device)
    generator, discriminator = read_generator_file(generator_path() if args.generator is None else args.generator)
    diffusion = None
    if args.prompt:
        path = diffusion_path() if args.diffusion is None else args.diffusion
        dtype = torch.float16 if args.half and device.type != "cpu" else torch.float32
        diffusion = load_diffusion_model(path, device=device, dtype=dtype, config=args.diffusion_config)
    discriminator = None if discriminator is None else discriminator.to(device)
    return Networks(generator.to(device), diffusion, perceptual, discriminator)


def _keeper(args: argparse.Namespace) -> RunKeeper:
    """Keeps runs with the chosen diffusion model below the output folder, unless told not to."""
    from .runtime.files import file_stamps
    from .runtime.resume import NO_KEEPER, RunKeeper
    from .runtime.run_state import RunStore

    if not args.resume:
        return NO_KEEPER
    files = [path for path in (args.diffusion, args.diffusion_config) if path is not None]
    return RunKeeper(RunStore(args.output / "runs")).about(args.half, [file_stamps(path) for path in files])


def _built_in_prompt(prompt: str) -> str:
    """A free sentence in the few words the built-in model was taught; says what it understood."""
    from .data.figurines.captions import in_known_words

    if not prompt:
        return prompt
    worded = in_known_words(prompt)
    print(f'The built-in model reads this as: "{worded}"')
    return worded


def _write_results(outcome: Outcome, profile: Profile, args: argparse.Namespace, bars: ProgressBars) -> None:
    """Portrait, orbit video, mesh and contact sheet; prints where they are."""
    from .cameras.paths import turntable
    from .checkpoints.portrait_file import save_portrait
    from .runtime.images import contact_sheet, write_png, write_video
    from .stages.mesh.mesh import extract_mesh, save_mesh
    from .stages.orbit import orbit

    folder, job = args.output, Job(on_step=bars.update)
    save_portrait(outcome.portrait, folder / "portrait.safetensors", half=args.half)
    write_png(outcome.front, folder / "front.png")
    views = orbit(outcome.portrait, turntable(profile.frames), profile.orbit, job)
    video = write_video(views.rgb, folder / "orbit.mp4", fps=profile.fps)
    save_mesh(extract_mesh(outcome.portrait, profile.mesh, job), folder / "portrait.glb")
    picked = torch.linspace(0, len(views), min(8, len(views)) + 1)[:-1].long()
    write_png(contact_sheet(views.rgb[picked], columns=4), folder / "contact_sheet.png")
    bars.close()
    print(f"Done in {bars.seconds:.0f} s. Results in {folder.resolve()}:")
    for path in (folder / "contact_sheet.png", video, folder / "portrait.glb", folder / "portrait.safetensors"):
        print(f"  {path.name}")


@dataclass
class ProgressBars:
    """One terminal bar per stage, fed by ``on_step``."""

    _stage: str = ""
    _bar: Any = None
    _started: float = field(default_factory=time.monotonic)

    def __enter__(self) -> ProgressBars:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def seconds(self) -> float:
        """Seconds since the bars were made."""
        return time.monotonic() - self._started

    def update(self, info: StepInfo) -> None:
        """The ``on_step`` callback."""
        from tqdm import tqdm

        if info.stage != self._stage or info.step == 1:
            self.close()
            self._stage = info.stage
            self._bar = tqdm(total=info.total, desc=f"{info.stage:<22}", dynamic_ncols=True)
        if info.loss is not None:
            self._bar.set_postfix(loss=f"{info.loss:.3g}", refresh=False)
        self._bar.update(info.step - self._bar.n)

    def close(self) -> None:
        """Finish the bar that is open, if any."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


if __name__ == "__main__":
    sys.exit(main())
