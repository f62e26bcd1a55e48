"""Hostile and damaged weight files, made from a seed: what a reader of untrusted pickles has to survive.

Every call that a file smuggles in would write to the canary file if anything executed it.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import random
import struct
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch

from ..builders import small_generator
from ..checkpoints.published.official_pickle import write_official_pickle

MARK, STOP, PROTO = b"(", b".", b"\x80\x04"
MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
SYSTEM = pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}, 2)
HUGE = (2**31 - 1, 2**31, 2**40, 2**63 - 1, 2**64 - 1)

Case = tuple[str, bytes]
"""(kind, content of the file)"""


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def named(module: str, name: str, *, stack: bool = False) -> bytes:
    """The instruction that puts a global on the stack."""
    return text(module) + text(name) + b"\x93" if stack else f"c{module}\n{name}\n".encode()


def attacks(canary: Path) -> list[tuple[str, str, bytes]]:
    """(module, name, pickled argument tuple) of calls that would write the canary."""
    shell, source = f"echo x >> {canary}", f"open({str(canary)!r}, 'a').write('x')"

    def args(*values: object) -> bytes:
        return pickle.dumps(tuple(values), 2)[2:-1]

    return [
        ("os", "system", args(shell)),
        ("posix", "system", args(shell)),
        ("subprocess", "Popen", args(["sh", "-c", shell])),
        ("subprocess", "getoutput", args(shell)),
        ("builtins", "eval", args(source)),
        ("builtins", "exec", args(source)),
        ("builtins", "open", args(str(canary), "a")),
        ("builtins", "__import__", args("antigravity")),
        ("__builtin__", "eval", args(source)),
        ("pathlib", "Path.touch", args(str(canary))),
        ("os", "mkdir", args(str(canary))),
        ("shutil", "copyfile", args(__file__, str(canary))),
        ("runpy", "_run_code", args(source, {})),
        ("timeit", "timeit", args("pass", source)),
        ("pickle", "loads", args(pickle.dumps((1, 2)))),
        ("torch", "load", args(str(canary))),
        ("torch.utils.cpp_extension", "load_inline", args("x", source)),
        ("torch.jit", "load", args(str(canary))),
        ("numpy", "load", args(str(canary))),
        ("numpy._core.multiarray", "fromfile", args(str(canary))),
        ("torch.storage", "_load_from_bytes", args(b"cos\nsystem\n(" + text(shell) + b"tR.")),
        ("torch.storage", "UntypedStorage.from_file", args(str(canary), True, 4096)),
        ("torch_utils.persistence", "_reconstruct_persistent_obj", args(persistent(source))),
        ("torch_utils.persistence", "import_hooks.append", args(source)),
    ]


def persistent(source: str) -> dict:
    return {"type": "class", "version": 6, "module_src": source, "class_name": "TriPlaneGenerator", "state": {}}


def call_programs(module: str, name: str, args: bytes) -> Iterator[bytes]:
    """Every way in which a pickle can call something."""
    for stack in (False, True):
        function = named(module, name, stack=stack)
        yield function + args + b"R"
        yield function + args + b"\x81"
        yield function + args + b"}\x92"
        yield MARK + function + args + b"o"
        yield function + b")R" + args + b"b"
        yield function + args + b"b"
        yield named("builtins", "object") + b")\x81}" + text("__setstate__") + function + b"sb" + args + b"b"
        yield named("functools", "partial", stack=stack) + function + args + b"\x86R)R"
        yield named("builtins", "map", stack=stack) + function + b"]" + args + b"a\x86R"
        yield named("torch._tensor", "_rebuild_from_type_v2") + MARK + function + b"N" + args + b"NtR"
        yield named("copyreg", "_reconstructor") + MARK + function + b"N" + args + b"tR"
        yield named("copyreg", "__newobj__") + MARK + function + args + b"tR"
        yield named("collections", "OrderedDict") + b")R" + function + args + b"Rb"
    yield MARK + args + f"i{module}\n{name}\n".encode()
    yield f"P{module}.{name}\n".encode()
    yield args + b"Q"


def extensions() -> Iterator[bytes]:
    """The extension registry and buffers outside the stream."""
    for program in (b"\x82\x01", b"\x83\x01\x00", b"\x84\x01\x00\x00\x00", b"\x97", b"N\x98"):
        yield program
        yield program + b")R"


def containers(program: bytes) -> Iterator[bytes]:
    """``program`` (leaves one value) in every place that a weight file executes."""
    yield PROTO + program + STOP
    yield PROTO + b"}" + text("G_ema") + program + b"s."
    yield archive(PROTO + program + STOP)
    yield MAGIC + SYSTEM + PROTO + program + STOP + pickle.dumps([], 2)
    stream = MAGIC + SYSTEM + PROTO + program + STOP + pickle.dumps([], 2)
    yield PROTO + named("torch.storage", "_load_from_bytes") + b"B" + struct.pack("<I", len(stream)) + stream + b"\x85R."


def archive(program: bytes, **records: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as writer:
        writer.writestr("archive/data.pkl", program)
        for name, data in records.items():
            writer.writestr(f"archive/data/{name}", data)
    return stream.getvalue()


def calls(canary: Path) -> Iterator[Case]:
    for module, name, args in attacks(canary):
        for program in call_programs(module, name, args):
            for content in containers(program):
                yield "call", content
    for program in extensions():
        for content in containers(program):
            yield "extension", content


def repeated(program: bytes, count: int, start: bytes = b"", end: bytes = b"") -> bytes:
    return PROTO + start + program * count + end + STOP


def bombs() -> Iterator[Case]:
    """Small files that ask for much memory, much time or a deep stack."""
    many = 1_000_000
    for opener, closer in ((b"]", b"a"), (MARK, b"t"), (MARK, b"l"), (b"N", b"\x85"), (b"}N", b"s"), (b"]N", b"\x86")):
        for depth in (200, 20_000, many // 4):
            yield "depth", PROTO + opener * depth + b"N" + closer * depth + STOP
            yield "depth", PROTO + b"N" + closer * depth + STOP
    inert = named("a", "b") + b"q\x00)\x81"
    yield "depth", repeated(b"h\x00)\x81", 50_000, inert, b"b" * 50_000)
    for flood in (
        b"]",
        b"}",
        b"\x8f",
        MARK,
        b")",
        b"N",
        b"2",
        b"]2",
        b"K\x00",
        b"G" + b"\0" * 8,
        b"cos\nsystem\n",
        b"\x94",
        b"]\x94",
    ):
        yield "flood", repeated(flood, many // len(flood), b"N")
        yield "flood", repeated(flood, 50_000, b"N", b"l")
    for shared in (b"2\x86", b"q\x00h\x00h\x00\x87", b"]q\x000h\x00"):
        yield "sharing", repeated(shared, 100, b")")
    for kind, key in ((b"]", b"e"), (b"\x8f", b"\x90")):
        yield "sharing", repeated(MARK + b"h\x00h\x00" + b"l" + b"q\x00", 60, b"]q\x00", kind + b"(h\x00" + key)
    yield "sharing", PROTO + b"}" + b"Nq\x00" + b"h\x00h\x00\x86q\x00" * 60 + b"Ns."
    yield "cycle", PROTO + b"]q\x00h\x00a."
    yield "cycle", PROTO + inert + b"q\x01h\x01b."
    for index in (2**20, 2**31, 2**32 - 1):
        yield "memory", PROTO + b"Nr" + struct.pack("<I", index) + STOP
    yield "memory", PROTO + b"Np" + b"9" * 1000 + b"\n."
    yield "memory", PROTO + b"Np-1\n."
    for size in HUGE:
        for opcode in (b"\x8e", b"\x8d", b"\x96", b"\x95"):
            yield "size", PROTO + opcode + struct.pack("<Q", size) + b"abc."
        for opcode in (b"B", b"X", b"T", b"\x8b"):
            yield "size", PROTO + opcode + struct.pack("<I", size & 0xFFFFFFFF) + b"abc."
        yield from declared(size)
    yield "number", PROTO + b"\x8b" + struct.pack("<i", many) + b"\x7f" * many + STOP
    yield "number", PROTO + b"L" + b"9" * many + b"L\n."
    yield "number", PROTO + b"F" + b"9" * many + b"\n."
    wide = ("a" * many + "\U0001f600").encode()
    yield "text", repeated(b"\x8d" + struct.pack("<Q", len(wide)) + wide, 8)
    yield "text", repeated(b"V" + b"a" * many + b"\\U0001f600\n", 8)
    yield "text", PROTO + text("a" * many) + b"q\x000" + b"0h\x00h\x00\x93" * 1000 + STOP
    encode = named("_codecs", "encode") + b"q\x00" + text("a" * many) + b"q\x01" + text("latin1") + b"q\x02"
    yield "copying", repeated(b"h\x00h\x01h\x02\x86R", 10_000, encode)
    pile = b"]q\x00(" + b"K\x01" * 20_000 + b"e" + named("builtins", "set") + b"q\x01"
    yield "copying", repeated(b"h\x01h\x00\x85R", 20_000, pile)
    pile = b"(" + b"N" * 20_000 + b"tq\x00" + named("a", "b") + b"q\x01}Nq\x02K\x01sq\x02"
    yield "copying", repeated(b"h\x01h\x00h\x02\x92", 20_000, pile)
    pile = b"(" + b"N" * 20_000 + b"tq\x00" + named("torch._utils", "_rebuild_parameter") + b"q\x01"
    yield "copying", repeated(b"h\x01h\x00R", 20_000, pile)
    keys = b"".join(b"\x8a\x0a" + ((index * (2**61 - 1)).to_bytes(10, "little")) + b"N" for index in range(40_000))
    yield "collisions", PROTO + b"}(" + keys + b"u."
    yield "collisions", PROTO + b"}" + b"".join(b"\x8a\x0a" + struct.pack("<Qh", 0, n) + b"Ns" for n in range(30_000)) + STOP
    yield "key", PROTO + b"}" + text("k" * many) + b"Ns."
    yield from crowds()


def crowds() -> Iterator[Case]:
    """Many tensors, many nested streams, many records."""
    start = storage("0", 16) + b"q\x00" + named("torch._utils", "_rebuild_tensor_v2") + b"q\x01"
    view = b"h\x01(h\x00K\x00K\x01\x85K\x01\x85\x89NtR"
    yield "crowd", archive(PROTO + start + view * 60_000 + STOP, **{"0": b"\0" * 64})
    stored = MAGIC + SYSTEM + PROTO + storage("0", 1) + STOP + pickle.dumps(["0"], 2) + struct.pack("<qf", 1, 0)
    load = named("torch.storage", "_load_from_bytes") + b"q\x00B" + struct.pack("<I", len(stored)) + stored + b"q\x01"
    yield "crowd", repeated(b"h\x00h\x01\x85R", 60_000, load)
    nested = stored
    for _ in range(50):
        blob = b"B" + struct.pack("<I", len(nested)) + nested
        nested = PROTO + named("torch.storage", "_load_from_bytes") + blob + b"\x85R."
    yield "crowd", nested
    many = archive(b"N.", **{str(index): b"" for index in range(50_000)})
    yield "crowd", many
    entry = many[many.index(b"PK\x01\x02") :][:62]
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 65535, 65534, len(entry) * 65534, 4, 0)
    yield "crowd", b"PK\x03\x04" + entry * 65534 + end
    keys = [str(index) for index in range(30_000)]
    asked = b"".join(storage(key, 0) for key in keys)
    yield "crowd", MAGIC + SYSTEM + PROTO + asked + STOP + pickle.dumps(keys, 2) + b"\0" * 8 * len(keys)


def storage(key: str, count: int, kind: str = "FloatStorage") -> bytes:
    """The persistent id of a torch storage, and the instruction that asks for it."""
    number = b"\x8a\x09" + count.to_bytes(9, "little")
    return MARK + text("storage") + named("torch", kind) + text(key) + text("cuda:0") + number + b"tQ"


def strided(source: bytes, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    numbers = b"".join(pickle.dumps(part, 2)[2:-1] for part in (offset, size, stride))
    return named("torch._utils", "_rebuild_tensor_v2") + MARK + source + numbers + b"\x89NtR"


def declared(size: int) -> Iterator[Case]:
    """Storages and tensors that claim to be larger than the file."""
    for count in (size, size // 4, -(-size // 2**20)):
        yield "declared", archive(PROTO + storage("0", count) + STOP, **{"0": b"\0" * 64})
        yield "declared", MAGIC + SYSTEM + PROTO + storage("0", count) + STOP + pickle.dumps(["0"], 2) + struct.pack("<q", 4)
        for shape, step in (((count,), (1,)), ((count,), (0,)), ((2, 2), (count, 1)), ((count, 0), (1, 1)), ((-count,), (1,))):
            view = strided(storage("0", 16), 0, shape, step)
            yield "declared", archive(PROTO + view + STOP, **{"0": b"\0" * 64})
        yield "declared", archive(PROTO + strided(storage("0", 16), count, (1,), (1,)) + STOP, **{"0": b"\0" * 64})
    array = (
        named("numpy._core.numeric", "_frombuffer")
        + MARK
        + b"C\x04abcd"
        + named("numpy", "dtype")
        + text("f4")
        + b"\x89\x88\x87R"
    )
    yield "declared", PROTO + array + pickle.dumps((size, 1), 2)[2:-1] + text("C") + b"tR."
    zipped = bytearray(archive(PROTO + b"N."))
    for field in (b"PK\x01\x02", b"PK\x05\x06", b"PK\x03\x04"):
        for offset in range(4, 46, 2):
            position = zipped.index(field) + offset
            damaged = bytearray(zipped)
            damaged[position : position + 4] = struct.pack("<I", size & 0xFFFFFFFF)[: len(damaged) - position]
            yield "declared", bytes(damaged)


def samples() -> dict[str, bytes]:
    """Sound files of every container."""
    value = {"a": torch.randn(40, 8), "b": [torch.arange(50), torch.ones(3, dtype=torch.bfloat16)], "m": torch.nn.Linear(4, 3)}
    value["view"] = value["a"].t()[2:]
    made = {}
    for name, new in (("archive", True), ("stream", False)):
        stream = io.BytesIO()
        torch.save(value, stream, _use_new_zipfile_serialization=new)
        made[name] = stream.getvalue()
    for protocol in (0, 2, 4, 5):
        made[f"pickle {protocol}"] = pickle.dumps(
            {"t": value["a"], "n": value["a"].numpy(), "i": [1, 2.5, None, "x"]}, protocol
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "official.pkl"
        write_official_pickle(path, small_generator())
        made["official"] = path.read_bytes()
    return made


def truncations(sound: dict[str, bytes]) -> Iterator[Case]:
    """Every sound file cut off after each percent."""
    for content in sound.values():
        for percent in range(100):
            yield "truncation", content[: len(content) * percent // 100]


def flipped(content: bytes, source: random.Random) -> bytes:
    """``content`` with a few bits or bytes changed, mostly where instructions are."""
    damaged = bytearray(content)
    for _ in range(source.choice((1, 1, 2, 8, 64))):
        position = source.randrange(len(damaged)) if source.random() < 0.5 else source.randrange(min(len(damaged), 2000))
        damaged[position] = damaged[position] ^ (1 << source.randrange(8)) if source.random() < 0.5 else source.randrange(256)
    return bytes(damaged)


def spliced(sound: dict[str, bytes], source: random.Random) -> bytes:
    """A piece of one file in the place of a piece of another."""
    target, donor = (source.choice(list(sound.values())) for _ in range(2))
    start, from_ = source.randrange(len(target)), source.randrange(len(donor))
    length = source.choice((1, 4, 16, 100, 1000))
    return target[:start] + donor[from_ : from_ + length] + target[start + source.choice((0, length)) :]


ARGUMENTS = {
    "uint1": lambda s: bytes([s.choice((0, 1, 2, 3, 255, s.randrange(256)))]),
    "uint2": lambda s: struct.pack("<H", s.choice((0, 1, 65535))),
    "int4": lambda s: struct.pack("<i", s.choice((0, 1, -1, 2**31 - 1, s.randrange(1000)))),
    "uint4": lambda s: struct.pack("<I", s.choice((0, 1, 3, 2**32 - 1))),
    "uint8": lambda s: struct.pack("<Q", s.choice((0, 1, 3, *HUGE))),
    "float8": lambda s: s.randbytes(8),
    "decimalnl_short": lambda s: b"%d\n" % s.choice((0, 1, 2, 10**30)),
    "decimalnl_long": lambda s: b"%dL\n" % s.randrange(10**30),
    "floatnl": lambda s: s.choice((b"1.5\n", b"nan\n", b"x\n")),
    "stringnl": lambda s: s.choice((b"'a\\x00'\n", b'"b"\n', b"'c\n")),
    "stringnl_noescape": lambda s: b"a.b\n",
    "stringnl_noescape_pair": lambda s: s.choice(NAMES),
    "unicodestringnl": lambda s: s.choice((b"a\\u0041\n", b"\\ud800\n", b"\\U0001f600\n", b"\\uZZ\n")),
}
NAMES = [
    b"os\nsystem\n",
    b"builtins\nset\n",
    b"builtins\ndict\n",
    b"builtins\nbytearray\n",
    b"builtins\ncomplex\n",
    b"_codecs\nencode\n",
    b"copy_reg\n_reconstructor\n",
    b"copyreg\n__newobj__\n",
    b"collections\nOrderedDict\n",
    b"collections\ndefaultdict\n",
    b"torch\nfloat32\n",
    b"torch\nSize\n",
    b"torch\nFloatStorage\n",
    b"torch._utils\n_rebuild_tensor_v2\n",
    b"torch._utils\n_rebuild_tensor_v3\n",
    b"torch._utils\n_rebuild_parameter\n",
    b"torch._tensor\n_rebuild_from_type_v2\n",
    b"torch.storage\n_load_from_bytes\n",
    b"torch_utils.persistence\n_reconstruct_persistent_obj\n",
    b"numpy\ndtype\n",
    b"numpy\nndarray\n",
    b"numpy.core.multiarray\n_reconstruct\n",
    b"numpy.core.multiarray\nscalar\n",
    b"numpy.core.numeric\n_frombuffer\n",
]


def random_program(source: random.Random) -> bytes:
    """A random sequence of instructions with fitting arguments."""
    program = [PROTO] if source.random() < 0.8 else []
    for _ in range(source.choice((5, 30, 200))):
        instruction = source.choice(pickletools.opcodes)
        program.append(instruction.code.encode("latin-1"))
        if instruction.arg is not None:
            program.append(argument(instruction.arg.name, source))
    program.append(STOP)
    return b"".join(program)


def argument(kind: str, source: random.Random) -> bytes:
    if kind in ARGUMENTS:
        return ARGUMENTS[kind](source)
    data = source.choice((b"", b"abc", b"latin1", b"f4", b"\xff" * 20))
    layout = {"1": "<B", "4": "<I", "8": "<Q"}[kind[-1]]  # string1, bytes4, unicodestring8, long1 ...
    return struct.pack(layout, len(data) if source.random() < 0.9 else 255) + data


def hostile_files(count: int, canary: Path, seed: int = 0) -> Iterator[Case]:
    """``count`` files: the fixed attacks first, thinned out evenly if there is no room for all, then random ones."""
    source = random.Random(seed)
    torch.manual_seed(seed)
    sound = samples()
    fixed = [*calls(canary), *bombs(), *truncations(sound)]
    room = count * 3 // 4
    yield from fixed if len(fixed) <= room else source.sample(fixed, room)
    for _ in range(count - min(len(fixed), room)):
        kind = source.randrange(4)
        if kind == 0:
            yield "program", random_program(source)
        elif kind == 1:
            yield "splice", spliced(sound, source)
        else:
            yield "flip", flipped(source.choice(list(sound.values())), source)
