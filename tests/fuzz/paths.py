"""Names that try to leave a folder: what a shared workflow could hold where a file name or a prefix is expected."""

_CLIMBING = [
    "../x", "../../x", "a/../../x", "./../x", "a/b/../../../x", "..", "../", "a/..", "a/../..", "..//..//x", "....//x",
    "..././x", "../" * 40 + "etc/passwd", "%2e%2e/x", "%2e%2e%2fx", "..%2fx", "..%252fx", "..%c0%afx", "..;/x",
]  # fmt: skip
_BACKSLASHES = [
    "..\\x",
    "..\\..\\x",
    "a\\..\\..\\x",
    "a/..\\..\\x",
    "\\x",
    "\\\\server\\share\\x",
    "\\\\?\\C:\\x",
    "\\\\.\\C:\\x",
]
_ABSOLUTE = [
    "/x",
    "//x",
    "/etc/passwd",
    "/tmp/portrait3d_escaped",
    "//server/share/x",
    "file:///etc/passwd",
    "C:\\x",
    "C:/x",
    "C:x",
]
_DOTS_AND_SPACES = [".. /x", ".. ./x", "... /x", ".../x", " ../x", "../ x", "a./x", "a /x", "a/. ./x", ". ./. ./x"]
_UNSEEN = ["\0", "a\0b", "../x\0.glb", "a\n../x", "a\r\nb/x", "\x1b[2Jx/x", "\u202e../x", "a\u200b/x", "\ufeff../x"]
_UNICODE = ["\uff0e\uff0e/x", "\u2025/x", "\u2024\u2024/x", "..\uff0fx", "..\u2215x", "..\u2044x", "\u3002\u3002/x"]
_DEVICES = ["CON/x", "nul/x", "AUX.txt/x", "COM1/x", "lpt9.glb/x", "a/PRN/x", "CON ./x"]
_VARIABLES = [
    "%HOME%/x",
    "%USERPROFILE%\\x",
    "$HOME/x",
    "${HOME}/x",
    "~/x",
    "~root/x",
    "%date:yyyy%/../../x",
    "%width%/../../x",
]
_LONG = ["x" * 5000, "x/" * 3000 + "x", "../" + "x" * 5000]
_LINKS = ["door/x", "door/new/x", "door/../x", "key"]
"""A test lays these links: ``door`` to a folder outside, ``key`` to a file outside."""

PAYLOADS = _CLIMBING + _BACKSLASHES + _ABSOLUTE + _DOTS_AND_SPACES + _UNSEEN + _UNICODE + _DEVICES + _VARIABLES + _LONG + _LINKS
