"""Command line: ``portrait3d generate "PROMPT" --output DIR`` and ``portrait3d from-photo IMAGE --output DIR``;
``portrait3d convert FILE...`` and ``portrait3d inspect FILE...`` for published weight files.

Everything that a command was given is checked before its first stage begins.

Exit codes: 0 done; 1 something the user can fix (the message says how); 2 wrong arguments; 70 a bug; 128 plus the number of
the signal that stopped it: 130 for Ctrl-C, 143 for SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from . import __version__
from .errors import GuidanceError, OutputError, SettingsError
from .runtime.console import StageProgress, Stopped, guarded

if TYPE_CHECKING:  # torch takes seconds to import; until then the command could not be stopped in peace
    import torch

    from .pipeline import Networks, Outcome
    from .presets import Profile
    from .runtime.resume import RunKeeper

RESULTS = ("contact_sheet.png", "front.png", "orbit.mp4", "portrait.glb", "portrait.safetensors")
RUNS = "runs"
"""The folder of states below the output folder."""
MOST_FRAMES = 10_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""

    def command() -> None:
        args = _parser().parse_args(arguments)
        args.run(args)

    return guarded("portrait3d", command)


def _parser() -> argparse.ArgumentParser:
    from .presets import PROFILES
    from .presets.profile import Start

    parser = argparse.ArgumentParser(prog="portrait3d", description="Text or one photo to a 3D portrait.")
    parser.add_argument("--version", action="version", version=f"portrait3d {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    generate = commands.add_parser("generate", help="a sentence to a portrait")
    generate.add_argument("prompt", help='what the person looks like, e.g. "a person with long red hair"')
    generate.add_argument(
        "--start",
        choices=get_args(Start),
        help="prior: a head of the generator at once; draw: a picture that is inverted. Default: the profile's",
    )
    generate.add_argument("--prior", type=_path, metavar="FILE", help="latent prior of the generator; default: the built-in")
    generate.set_defaults(run=_generate)

    photo = commands.add_parser("from-photo", help="one photo to a portrait")
    photo.add_argument("image", type=_path, help="PNG, JPEG or WebP; an alpha channel serves as the mask")
    photo.add_argument("--mask", type=_path, help="image that is white on the person")
    photo.add_argument("--prompt", default="", help="also distil and refine under this description")
    photo.add_argument("--align", choices=("auto", "silhouette", "face", "manual", "none"), default="auto")
    photo.add_argument("--centre", type=float, nargs=2, metavar=("X", "Y"), help="of a manual crop, fractions of the photo")
    photo.add_argument("--size", type=float, help="side of a manual crop as a fraction of the photo's shorter side")
    photo.add_argument("--zoom", type=float, default=1.0, help="above 1 shows less around the head")
    photo.set_defaults(run=_from_photo)

    for command in (generate, photo):
        _add_common(command, sorted(PROFILES))

    convert = commands.add_parser("convert", help="published generators (.pkl) to .safetensors, each beside its source")
    convert.add_argument(
        "--keep-body", action="store_true", help="keep the SMPL arrays for body pose; they have their own licence"
    )
    convert.add_argument("--half", action="store_true", help="store half precision: half the size")
    convert.set_defaults(run=_convert)

    inspect = commands.add_parser("inspect", help="what is inside weight, tri-grid and portrait files")
    inspect.set_defaults(run=_inspect)

    for command in (convert, inspect):
        command.add_argument("files", type=_path, nargs="+", metavar="FILE")
    return parser


def _path(text: str) -> Path:
    """A path of the command line; ~ is the home folder, also where the shell has left it. Raises ArgumentTypeError."""
    if not text.strip() or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no path")
    try:
        return Path(text).expanduser()
    except RuntimeError as cause:
        raise argparse.ArgumentTypeError(f"{text!r}: {cause}") from cause


def _add_common(command: argparse.ArgumentParser, profiles: Sequence[str]) -> None:
    command.add_argument("--output", type=_path, required=True, help="folder for the results; created if missing")
    command.add_argument("--generator", type=_path, help="weights (.safetensors or .pkl); default: the built-in heads")
    command.add_argument(
        "--diffusion", type=_path, help="diffusers folder or single-file checkpoint; default: the built-in model"
    )
    command.add_argument("--diffusion-config", type=_path, help="folder with configs and tokenizer of a single-file checkpoint")
    command.add_argument("--profile", choices=profiles, help="default: built-in with the built-in weights, else default")
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
        type=_path,
        metavar="FILE",
        help="VGG16 weights, with or without LPIPS's, for inversion and refinement to compare pictures with",
    )
    command.add_argument("--mesh-bottom", type=float, metavar="METRES", help="cut the bust flat at this height, 0 = the neck")
    command.add_argument("--texture", type=int, metavar="PIXELS", help="bake a texture of this side; default: vertex colours")
    command.add_argument("--vae", type=_path, help="VAE file or folder, for a diffusion model without one")
    command.add_argument(
        "--text-encoder", type=_path, metavar="TEXT_ENCODER", help="the same for a text encoder: a file or folder"
    )


def _generate(args: argparse.Namespace) -> None:
    from .pipeline import text_to_portrait
    from .runtime.job import Job

    if not args.prompt.strip():
        raise SettingsError("The prompt is empty", expected="what the person looks like", fix='write for example "red hair"')
    profile, device = _checked(args)
    if args.start is not None:
        profile = replace(profile, start=args.start)
    networks = _load_networks(args, device, diffuses=profile.text_diffuses)
    networks = _with_prior(networks, args, profile)
    _check_mesh(profile, networks)
    prompt = args.prompt if args.diffusion else _built_in_prompt(args.prompt)
    _check_texts(prompt, args, profile, networks)
    with _keeper(args) as keep, StageProgress() as progress:
        job = Job(args.seed, progress.update, keep)
        outcome = text_to_portrait(prompt, networks, profile, negative=args.negative, job=job)
        _write_results(outcome, profile, args, progress)


def _from_photo(args: argparse.Namespace) -> None:
    from .pipeline import photo_to_portrait
    from .runtime.job import Job
    from .runtime.pictures import read_image, read_mask
    from .stages.align.mask import upright_mask
    from .stages.invert.invert import Photo

    profile, device = _checked(args)
    mask, remark = (None, "") if args.mask is None else upright_mask(read_mask(args.mask))
    if remark:
        print(remark)
    photo = Photo(read_image(args.image), mask)
    networks = _load_networks(args, device, diffuses=bool(args.prompt))
    _check_mesh(profile, networks)
    prompt = args.prompt if args.diffusion else _built_in_prompt(args.prompt)
    _check_texts(prompt, args, profile, networks)
    with _keeper(args) as keep, StageProgress() as progress:
        job = Job(args.seed, progress.update, keep)
        outcome = photo_to_portrait(photo, networks, profile, prompt=prompt, negative=args.negative, job=job)
        _write_results(outcome, profile, args, progress)


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


def _checked(args: argparse.Namespace) -> tuple[Profile, torch.device]:
    """The profile and the device, when seed, settings and output folder are such that the command can begin."""
    from .runtime.settings import check_seed

    check_seed(args.seed)
    profile = _profile(args)
    _prepare_output(args.output, resume=args.resume)
    return profile, _device(args.device)


def _profile(args: argparse.Namespace) -> Profile:
    """The chosen profile with the command line's changes. Texts are those of the diffusion model that will read them."""
    from .presets import PROFILES

    custom = args.generator is not None or args.diffusion is not None
    profile = PROFILES[args.profile or ("default" if custom else "built-in")]
    if args.diffusion is None:
        taught = PROFILES["built-in"]
        profile = replace(profile, view_words=taught.view_words, negative_prompt=taught.negative_prompt)
    profile = profile.with_steps(distill=args.steps, invert=args.invert_steps)
    if args.no_refine:
        profile = replace(profile, refine=None)
    if args.frames is not None:
        if not 1 <= args.frames <= MOST_FRAMES:
            raise SettingsError(f"--frames is {args.frames}", expected=f"1 to {MOST_FRAMES}")
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
    import torch

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


def _prepare_output(folder: Path, *, resume: bool) -> None:
    """Fail before minutes of work, not after, when one of the results or the states cannot be written."""
    from .runtime.files import atomic_write

    for name in RESULTS:
        target = folder / name
        if target.is_dir():
            raise OutputError(f"{target} is a folder", expected=f"no folder of the name of a result ({', '.join(RESULTS)})")
        if target.exists() and not os.access(target, os.W_OK):
            raise OutputError(f"{target} is write-protected", expected="results that may be replaced")
    runs = folder / RUNS
    if resume and runs.exists() and not runs.is_dir():
        raise OutputError(f"{runs} is a file", expected="a folder for states", fix="rename it, or give --no-resume")
    for place in [folder, runs] if resume and runs.is_dir() else [folder]:
        with atomic_write(place / "contact_sheet.png.check") as probe:
            probe.write_bytes(b"x")
        try:
            (place / "contact_sheet.png.check").unlink()
        except OSError as cause:
            raise OutputError(f"Cannot remove a file in {place} ({cause})", fix="choose another folder") from cause


def _check_mesh(profile: Profile, networks: Networks) -> None:
    """Fail before minutes of work when the mesh cannot be made at their end."""
    from .stages.mesh.isosurface import require_marching_cubes
    from .stages.mesh.mesh import check_bottom

    require_marching_cubes()
    check_bottom(profile.mesh.bottom_m, networks.generator.config.box_size)


def _check_texts(prompt: str, args: argparse.Namespace, profile: Profile, networks: Networks) -> None:
    """Fail before minutes of work for a text that the diffusion model cannot read. Raises GuidanceError.

    The message tells the profile's own text from the user's.
    """
    diffusion = networks.diffusion
    if diffusion is None or not prompt:
        return
    if args.negative is None:
        try:
            diffusion.prompt(profile.negative_prompt, view_words=None)
        except GuidanceError as error:
            raise GuidanceError(
                f"The profile's own negative prompt does not suit this model. {error.found}",
                expected=error.expected,
                fix='give another with --negative, for example --negative "", or choose another profile',
            ) from error
    diffusion.prompt(prompt, profile.negative_prompt if args.negative is None else args.negative, view_words=profile.view_words)


def _load_networks(args: argparse.Namespace, device: torch.device, *, diffuses: bool) -> Networks:
    """The networks that the arguments name, or the built-in ones; a diffusion model only where something ``diffuses``."""
    import torch

    from .bundle.files import diffusion_path, generator_path
    from .checkpoints.generator_loading import read_generator_file
    from .checkpoints.vgg_file import read_vgg16
    from .diffusion.diffusers_model import load_diffusion_model
    from .optimisation.perceptual import VggLoss
    from .pipeline import Networks

    perceptual = None if args.perceptual is None else VggLoss(*read_vgg16(args.perceptual)).to(device)
    generator, discriminator = read_generator_file(generator_path() if args.generator is None else args.generator)
    diffusion = None
    if diffuses:
        path = diffusion_path() if args.diffusion is None else args.diffusion
        dtype = torch.float16 if args.half and device.type != "cpu" else torch.float32
        parts = {"config": args.diffusion_config, "vae": args.vae, "text_encoder": args.text_encoder}
        diffusion = load_diffusion_model(path, device=device, dtype=dtype, **parts)
    discriminator = None if discriminator is None else discriminator.to(device)
    return Networks(generator.to(device), diffusion, perceptual, discriminator)


@contextmanager
def _keeper(args: argparse.Namespace) -> Iterator[RunKeeper]:
    """Keeps runs with the chosen diffusion model below the output folder, unless told not to, until all is done.

    Says how a stopped command goes on, if something of it was kept, and which states nobody will ask for again.
    """
    from .runtime.files import file_stamps
    from .runtime.resume import NO_KEEPER, RunKeeper
    from .runtime.run_state import RunStore

    keep = NO_KEEPER
    if args.resume:
        files = [path for path in (args.diffusion, args.diffusion_config, args.vae, args.text_encoder) if path is not None]
        store = RunStore(args.output / RUNS, title=_title(args))
        keep = RunKeeper(store).about(args.half, [file_stamps(path) for path in files])
    try:
        yield keep
    except KeyboardInterrupt as stop:
        _name_abandoned(keep)
        if keep.holds_state():
            raise Stopped("the same command goes on from here") from stop
        raise
    keep.finish()
    _name_abandoned(keep)


def _title(args: argparse.Namespace) -> str:
    """What a command is about, for whoever finds its state later."""
    subject = [str(args.image)] if hasattr(args, "image") else []
    return shlex.join([*subject, *([args.prompt] if args.prompt else []), "--seed", str(args.seed)])


def _name_abandoned(keep: RunKeeper) -> None:
    """List the states of other commands that were stopped and not finished."""
    others = keep.others()
    if others and keep.store is not None:
        print(f"In {keep.store.folder.resolve()} lie states of other commands that were stopped; they would go on from there.")
        print("Delete those that you will not finish:")
        for run in others:
            print(f"  {run}")


def _with_prior(networks: Networks, args: argparse.Namespace, profile: Profile) -> Networks:
    """The networks and the prior that the arguments name, where the profile starts with one."""
    from .bundle.files import prior_path
    from .checkpoints.prior_file import load_prior

    if profile.start != "prior" or (args.prior is None and args.generator is not None):
        return networks
    path = prior_path() if args.prior is None else args.prior
    return replace(networks, prior=load_prior(path, networks.generator))


def _built_in_prompt(prompt: str) -> str:
    """A free sentence in the words the built-in models were taught; says what was read otherwise or left out."""
    from .bundle.files import prior_path
    from .checkpoints.prior_file import known_words
    from .diffusion.text_reader import in_known_words

    if not prompt:
        return prompt
    read = in_known_words(prompt, known_words(prior_path()))
    if not read.words:
        raise SettingsError(
            f"The built-in models know none of the words of {prompt!r}",
            expected="a sentence such as 'a young woman with long red hair and a blue hoodie'",
            fix="describe hair, eyes, skin, beard, glasses, clothes, hat, age or face, or load a model with --diffusion",
        )
    for written, known in read.corrected:
        print(f"Read {written!r} as {known!r}")
    if read.unknown:
        print(f"The built-in models do not know {', '.join(map(repr, read.unknown))}; that is left out")
    return read.text


def _write_results(outcome: Outcome, profile: Profile, args: argparse.Namespace, progress: StageProgress) -> None:
    """Portrait, orbit video, mesh and contact sheet; prints where they are."""
    import torch

    from .cameras.paths import turntable
    from .checkpoints.portrait_file import save_portrait
    from .runtime.images import contact_sheet, write_png, write_video
    from .runtime.job import Job
    from .stages.mesh.mesh import extract_mesh, save_mesh
    from .stages.orbit import orbit

    folder, job = args.output, Job(on_step=progress.update)
    save_portrait(outcome.portrait, folder / "portrait.safetensors", half=args.half)
    write_png(outcome.front, folder / "front.png")
    views = orbit(outcome.portrait, turntable(profile.frames), profile.orbit, job)
    video = write_video(views.rgb, folder / "orbit.mp4", fps=profile.fps)
    save_mesh(extract_mesh(outcome.portrait, profile.mesh, job), folder / "portrait.glb")
    picked = torch.linspace(0, len(views), min(8, len(views)) + 1)[:-1].long()
    write_png(contact_sheet(views.rgb[picked], columns=4), folder / "contact_sheet.png")
    progress.close()
    print(f"Done in {progress.seconds:.0f} s. Results in {folder.resolve()}:")
    for name in (*RESULTS[:2], video.name, *RESULTS[3:]):
        print(f"  {name}")


if __name__ == "__main__":
    sys.exit(main())
