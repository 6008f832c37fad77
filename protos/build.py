"""Builds the contract: Python code and the descriptor set of every proto under `protos/kontor`.

Usage: python protos/build.py [--out DIR]      (DIR defaults to protos/gen; what is there and the same stays)

The protos of Google's common types come from the wheels `googleapis-common-protos` and `grpcio-tools`;
`buf/validate/validate.proto` comes as a descriptor from the wheel `protovalidate`, which ships no source of it.
The result is the source tree of the distribution `kontor-protos`: packages `kontor.*`, `buf.validate`, and
`kontor/descriptors.binpb`, a FileDescriptorSet of everything with comments.
"""

from __future__ import annotations

import argparse
import filecmp
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

import grpc_tools
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc
from protovalidate._gen.buf.validate import validate_pb

HERE = Path(__file__).parent
VALIDATE = "buf/validate/validate.proto"
# Not imported by any proto of ours, but sent in the details of errors: without it in the descriptor set
# the gateway answers such an error with an empty body.
ERROR_DETAILS = "google/rpc/error_details.proto"


def build(out: Path) -> None:
    """Generate the Python code and `kontor/descriptors.binpb` below `out`.

    A file is replaced in one step, and only where it changed: what runs from there goes on.
    """
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "gen"
        _generate(made)
        new = {path.relative_to(made) for path in made.rglob("*") if path.is_file()}
        for path in sorted(new):
            _replace(made / path, out / path)
    old = {path.relative_to(out) for path in out.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    for path in old - new:
        (out / path).unlink()


def _replace(made: Path, place: Path) -> None:
    if place.is_file() and filecmp.cmp(made, place, shallow=False):
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_name(f".{place.name}.{os.getpid()}")
    shutil.copyfile(made, beside)
    beside.replace(place)


def _generate(out: Path) -> None:
    sources = sorted(str(path.relative_to(HERE)) for path in (HERE / "kontor").rglob("*.proto"))
    googleapis = Path(importlib.util.find_spec("google.api.annotations_pb2").origin).parents[2]  # type: ignore[union-attr, arg-type]
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    (out / "kontor").mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        validate = Path(scratch) / "validate.binpb"
        file = FileDescriptorProto.FromString(validate_pb._DESC.proto.to_binary())
        validate.write_bytes(FileDescriptorSet(file=[file]).SerializeToString())
        # The wheel has the source under another name than the one that it is known by everywhere, its own module included.
        operations = Path(scratch) / "google" / "longrunning" / "operations.proto"
        operations.parent.mkdir(parents=True)
        shutil.copy(googleapis / "google" / "longrunning" / "operations_proto.proto", operations)
        descriptors = out / "kontor" / "descriptors.binpb"
        _protoc(
            *(f"-I{path}" for path in (HERE, googleapis, well_known, scratch)),
            f"--descriptor_set_in={validate}",
            *(f"--{plugin}_out={out}" for plugin in ("python", "pyi", "grpc_python")),
            "--include_imports",
            "--include_source_info",
            f"--descriptor_set_out={descriptors}",
            *sources,
            ERROR_DETAILS,
        )
        shutil.rmtree(out / "google", ignore_errors=True)
        _protoc(f"--descriptor_set_in={descriptors}", f"--python_out={out}", f"--pyi_out={out}", VALIDATE)
    (out / "kontor" / "py.typed").touch()


def _protoc(*arguments: str) -> None:
    if protoc.main(["protoc", *arguments]) != 0:
        raise SystemExit("protoc failed")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "gen", help="where the code goes (default: protos/gen)")
    build(parser.parse_args().out)
