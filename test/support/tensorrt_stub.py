"""Test tools, and nothing else: a shared library to load TensorRT's Python bindings over, where TensorRT is not.

The library exports the functions that an extension module of TensorRT imports, and nothing else of TensorRT. Each of
them, and each virtual function of the objects that they return, returns `stub_answer`, which the test sets before the
call. So the real bindings convert real arguments and call real slots, and what comes back is what the test wants. The
last object is an IHostMemory that holds CONTENT.

Only for x86-64, whose calling convention it relies on: a function that returns a struct is given its address.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

SLOTS = 400  # virtual functions of an object; more than any interface of TensorRT has

CONTENT = b"an engine"

SOURCE = """
#include <typeinfo>

struct Dims10 { int nbDims; long d[8]; };  // of TensorRT 10 and later
struct Dims8 { int nbDims; int d[8]; };    // of TensorRT 8
struct Object { void** table; Object* implementation; };
struct Unknown { virtual ~Unknown() {} };

static long first_object, last_object;

extern "C" {
long stub_answer;
int stub_shape[9];  // rank, then dimensions
int stub_has_long_shapes;

long stub_call(long self_or_result, long self)
{
    if (self_or_result >= first_object && self_or_result <= last_object) return stub_answer;
    if (self < first_object || self > last_object) return stub_answer;
    // A function that returns a struct, which for TensorRT's interfaces is a Dims.
    for (int i = 0; i < 8; ++i) {
        if (stub_has_long_shapes) ((Dims10*)self_or_result)->d[i] = stub_shape[i + 1];
        else ((Dims8*)self_or_result)->d[i] = stub_shape[i + 1];
    }
    *(int*)self_or_result = stub_shape[0];
    return self_or_result;
}

static long memory_data(void*) { return (long)"%(content)s"; }
static long memory_size(void*) { return sizeof("%(content)s") - 1; }
static long memory_type(void*) { return 2; }  // DataType::kINT8

static void* table[%(slots)d + 2];
static void* memory_table[%(slots)d + 2];

// Makes objects of 256 bytes each, and accepts those at [first, last] as such.
void stub_make_objects(long first, long last)
{
    first_object = first; last_object = last;
    table[0] = 0;                        // offset to the whole object
    table[1] = (void*)&typeid(Unknown);  // a type that the bindings do not know, so that they take the declared one
    for (int i = 2; i < %(slots)d + 2; ++i) table[i] = (void*)stub_call;
    for (int i = 0; i < %(slots)d + 2; ++i) memory_table[i] = table[i];
    memory_table[4] = (void*)memory_data;  // after two destructors
    memory_table[5] = (void*)memory_size;
    memory_table[6] = (void*)memory_type;
    for (long address = first; address <= last; address += 256) {
        ((Object*)address)->table = (address == last ? memory_table : table) + 2;
        ((Object*)address)->implementation = (Object*)address;
    }
}
%(functions)s
}
"""


def compile_stub(extension: Path, folder: Path) -> Path:
    """Compile the library for `extension`, with a link for each library that it needs; return its path."""
    compiler = shutil.which("g++")
    assert compiler, "there is no g++: apt install g++"
    folder.mkdir(parents=True)
    functions = "\n".join(f"long {name}() {{ return stub_answer; }}" for name in imported(extension))
    source, library = folder / "stub.cpp", folder / "stub.so"
    source.write_text(SOURCE % {"slots": SLOTS, "content": CONTENT.decode(), "functions": functions})
    command = [compiler, "-shared", "-fPIC", "-O1", "-w", "-o", str(library), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in needed(extension):
        (folder / name).symlink_to(library.name)
    return library


def imported(extension: Path) -> list[str]:
    """Return the names of the functions that `extension` imports from libraries which this process does not have."""
    lines = [line.split() for line in _binutils("nm", "-D", "--undefined-only", str(extension))]
    process = ctypes.CDLL(None)
    # Those of the C++ runtime have a version: name@GLIBCXX_3.4.
    return [name for kind, name in lines if kind == "U" and "@" not in name and not hasattr(process, name)]


def needed(extension: Path) -> list[str]:
    """Return the names of the libraries of TensorRT that `extension` is linked to."""
    lines = [line for line in _binutils("readelf", "-d", str(extension)) if "(NEEDED)" in line]
    names = [line.partition("[")[2].rstrip("]") for line in lines]
    return [name for name in names if name.startswith(("libnv", "libtensorrt"))]


def _binutils(program: str, *arguments: str) -> list[str]:
    assert shutil.which(program), f"there is no {program}: apt install binutils"
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=True).stdout.splitlines()
