"""The pickle interpreter: everything that is data comes back, nothing that is a program runs."""

import collections
import decimal
import pickle
import struct

import numpy as np
import pytest
import torch

from portrait3d_core.checkpoints.published.pickles import GlobalName, Inert
from portrait3d_core.checkpoints.published.torch_files import module_state, read_pickle_file
from portrait3d_core.errors import ModelFormatError

PLAIN = {
    "none": None,
    "numbers": [0, 1, -1, 255, 256, 65536, 2**31, -(2**63), 10**40, True, False, 1.5, float("inf"), 2j],
    "text": ["", "plain", "größer", "\u6f22\U0001f600", "quote ' and \\ and\nline", "\ud800"],
    "bytes": [b"", b"abc", bytes(range(256)) * 3, bytearray(b"xyz")],
    "nested": {"tuple": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)), "set": {"a", "b"}, 3: frozenset(["x"]), (1, "k"): []},
    "ordered": collections.OrderedDict(b=1, a=2),
    "counted": collections.defaultdict(list, x=[1]),
}


class Thing:
    """A class of which the reader knows nothing."""

    def __init__(self):
        self.width, self.child = 3, {"deep": [1, 2]}


class Listing(list):
    pass


class Table(dict):
    pass


def read(content, tmp_path):
    path = tmp_path / "file.pkl"
    path.write_bytes(content)
    return read_pickle_file(path)


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_come_back(protocol, tmp_path):
    value = read(pickle.dumps(PLAIN, protocol), tmp_path)
    assert value == PLAIN
    assert list(value["ordered"]) == ["b", "a"]
    assert [type(item) for item in value["bytes"]] == [bytes, bytes, bytes, bytearray]


def test_text_and_numbers_of_python_2(tmp_path):
    content = b"(dp0\nS'a\\x00b'\np1\nI01\nsS\"q\"\nL12L\nsU\x02hiT\x03\x00\x00\x00yous."
    assert read(content, tmp_path) == {"a\0b": True, "q": 12, "hi": "you"}


@pytest.mark.parametrize("protocol", range(6))
def test_unknown_objects_stay_inert_with_their_attributes(protocol, tmp_path):
    thing, listing, table, number = Thing(), Listing([1, 2]), Table(a=1), decimal.Decimal("1.5")
    value = read(pickle.dumps([thing, thing, listing, table, number, Thing], protocol), tmp_path)
    assert isinstance(value[0], Inert) and value[0].name == f"{__name__}.Thing"
    assert value[0].state == {"width": 3, "child": {"deep": [1, 2]}}
    assert value[0] is value[1]  # shared objects are shared
    assert isinstance(value[2], Inert) and value[2].items == [1, 2]
    assert value[3].items == {"a": 1}
    assert value[4].name == "decimal.Decimal" and value[4].args == ("1.5",)
    assert value[5] == GlobalName(f"{__name__}.Thing")


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", "? u1 u2 u4 u8 i1 i2 i4 i8 f2 f4 f8 c8 c16 >i4 >f8 >c8".split())
def test_numpy_arrays_become_tensors(dtype, protocol, tmp_path):
    flat = np.arange(24) % 5 if dtype == "?" else np.arange(24)
    array = flat.astype(dtype).reshape(2, 3, 4)
    layouts = [array, array.T, array.transpose(1, 0, 2), np.asfortranarray(array), array[:, ::2], array[:0], array[0, 0, 0]]
    for tensor, original in zip(read(pickle.dumps(layouts, protocol), tmp_path), layouts):
        if original.ndim == 0:
            assert tensor == original.item() and type(tensor) is type(original.item())
        else:
            native = original.astype(original.dtype.newbyteorder("="))
            assert tensor.shape == original.shape and np.array_equal(tensor.numpy(), native)
            assert tensor.numpy().dtype == native.dtype


def test_arrays_are_found_through_shared_references(tmp_path):
    array = np.ones(3, np.float32)
    first, second = read(pickle.dumps([array, array]), tmp_path)
    assert first is second and torch.equal(first, torch.ones(3))


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([None]), np.zeros(2, "f4,i4"), np.zeros(1, "M8[s]")])
def test_arrays_of_other_things_are_refused(array, tmp_path):
    with pytest.raises(ModelFormatError, match="numpy array of"):
        read(pickle.dumps(array), tmp_path)


def test_torch_dtypes_and_sizes(tmp_path):
    value = read(pickle.dumps([torch.float16, torch.Size([2, 3]), torch.device("cuda", 1), torch.strided]), tmp_path)
    assert value[0] is torch.float16 and value[1] == (2, 3)
    assert isinstance(value[2], Inert) and value[2].args == ("cuda", 1)
    assert isinstance(value[3], (Inert, GlobalName))


def test_embedded_source_is_neither_run_nor_kept(tmp_path):
    meta = {"type": "class", "version": 6, "module_src": "raise SystemExit", "class_name": "Net", "state": {"a": 1}}
    content = b"\x80\x04ctorch_utils.persistence\n_reconstruct_persistent_obj\n" + pickle.dumps(meta, 4)[2:-1] + b"\x85R."
    value = read(content, tmp_path)
    assert (value.name, value.args, value.state) == ("Net", (), {"a": 1})


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "an empty file"),
        (b"%PDF-1.4", "a PDF document"),
        (b"\x80\x06N.", "protocol 6"),
        (b"\x80\x04N", "more bytes"),
        (b"\x80\x04.", "damaged"),
        (b"\x80\x04\x82\x01.", "no instruction"),
        (b"\x80\x05\x97.", "no instruction"),
        (b"\x80\x04K\x01Q.", "outside itself"),
        (b"\x80\x04K\x01)R.", "calls a value of type int"),
        (b"\x80\x04]q\x00h\x00a.", "contains itself"),
        (b"\x80\x04" + b"]" * 150 + b"a" * 149 + b".", "nests"),
        (b"\x80\x04)" + b"q\x00h\x00h\x00\x87" * 30 + b".", "nests"),
        (b"\x80\x04Nr" + struct.pack("<I", 2**31) + b".", "remembers"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b".", "1099511627776 more bytes"),
        (b"\x80\x04\x8b" + struct.pack("<i", 2000) + b"x" * 2000 + b".", "2000 bytes"),
        (b"\x80\x04" + b"]" * 400_000 + b".", "far more"),
        (b"\x80\x04" + b"N0" * 300_000 + b".", "far more pickle instructions"),
        (b"\x80\x04}]Ns.", "damaged"),
        (b"\x80\x04}" + b"N" * 7 + b"\x87\x87\x87Ns.", "nested tuples"),
    ],
)
def test_hostile_pickles_are_refused(content, message, tmp_path):
    with pytest.raises(ModelFormatError, match=message) as caught:
        read(content, tmp_path)
    assert caught.value.found.startswith("file.pkl") and caught.value.expected and caught.value.fix


def test_missing_files_and_folders_are_refused(tmp_path):
    for path in (tmp_path / "none.pkl", tmp_path):
        with pytest.raises(ModelFormatError, match="no file|is a folder"):
            read_pickle_file(path)


def test_things_that_are_no_modules_have_no_state():
    empty = {"_parameters": {}, "_buffers": {}, "_modules": {}}
    assert module_state(Inert("Net", state=empty)) == {}
    for state in (None, {}, {**empty, "_buffers": {"a": 1}}, {**empty, "_modules": {"b": 2}}, {**empty, "_modules": {1: None}}):
        with pytest.raises(ModelFormatError, match="network"):
            module_state(Inert("Net", state=state))
