"""One call of ATC as data, and the same call as words, as text and as a script."""

import dataclasses
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graphopt.compile.atc.options import OPTIONS, Form, check_value, find_option
from graphopt.compile.atc.shapes import InputShape, parse_input_shape, parse_profiles, write_profiles
from graphopt.core.errors import UsageError

_TYPED = (
    "input_format",
    "input_shape",
    "log",
    "out_nodes",
    "dynamic_batch_size",
    "dynamic_image_size",
    "dynamic_dims",
    "insert_op_conf",
    "precision_mode",
    "precision_mode_v2",
)


@dataclass(frozen=True, kw_only=True)
class AtcInvocation:
    """One call of ATC for an ONNX model.

    Attributes:
        model: ONNX file.
        output: path of the result without its suffix ``.om``.
        soc_version: chip, as ``normalise_soc`` returns it.
        input_format: ``NCHW``, ``NCDHW`` or ``ND``.
        input_shape: per input; empty only for a static graph.
        log: level of ATC's own log.
        out_nodes: ``node:index`` each, or output tensor names; empty: the graph's outputs.
        dynamic_batch_size: sizes of the batch to compile for.
        dynamic_image_size: (height, width) pairs to compile for.
        dynamic_dims: values for all -1, per profile.
        insert_op_conf: AIPP file, which takes the preprocessing onto the chip.
        precision_mode: empty: ATC's default, force_fp16.
        precision_mode_v2: the newer spelling of the same choice.
        extra: the other options of ``options.OPTIONS``, checked against that table.
    """

    model: Path
    output: Path
    soc_version: str
    input_format: str = "NCHW"
    input_shape: tuple[InputShape, ...] = ()
    log: str = "error"
    out_nodes: tuple[str, ...] = ()
    dynamic_batch_size: tuple[int, ...] = ()
    dynamic_image_size: tuple[tuple[int, ...], ...] = ()
    dynamic_dims: tuple[tuple[int, ...], ...] = ()
    insert_op_conf: Path | None = None
    precision_mode: str = ""
    precision_mode_v2: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in self.extra.items():
            if name in _TYPED:
                raise UsageError(f"the ATC option {name} has a field of its own in AtcInvocation")
            check_value(find_option(name), value)

    @classmethod
    def from_options(
        cls, model: Path, output: Path, *, soc_version: str, options: Mapping[str, str]
    ) -> "AtcInvocation":
        """Build a call from option texts as they are written for ATC.

        Args:
            model: ONNX file.
            output: without suffix.
            soc_version: normalised chip.
            options: name -> value; names with or without dashes.

        Raises:
            UsageError: an unknown option, one that graphopt sets itself, or a bad value.
        """
        values: dict[str, str] = {}
        for given, value in options.items():
            option = find_option(given)
            check_value(option, value)
            if option.name in values:
                raise UsageError(f"the ATC option {option.name} is given twice")
            values[option.name] = value
        fields: dict[str, Any] = {name: values.pop(name) for name in _TYPED if name in values}
        if "input_shape" in fields:
            fields["input_shape"] = parse_input_shape(fields["input_shape"])
        if "out_nodes" in fields:
            fields["out_nodes"] = tuple(item.strip() for item in fields["out_nodes"].split(";"))
        if "insert_op_conf" in fields:
            fields["insert_op_conf"] = Path(fields["insert_op_conf"])
        for name in ("dynamic_image_size", "dynamic_dims"):
            if name in fields:
                fields[name] = parse_profiles(fields[name], option=name)
        if "dynamic_batch_size" in fields:
            fields["dynamic_batch_size"] = _batches(fields["dynamic_batch_size"])
        return cls(model=model, output=output, soc_version=soc_version, extra=values, **fields)

    @property
    def profile_option(self) -> str:
        """Name of the profile option in use; empty when there is none."""
        for name in ("dynamic_batch_size", "dynamic_image_size", "dynamic_dims"):
            if getattr(self, name):
                return name
        return ""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files besides the model that the call reads."""
        named = {name: Path(value) for name, value in self.extra.items()}
        extra = [path for name, path in named.items() if find_option(name).form is Form.FILE]
        return (*((self.insert_op_conf,) if self.insert_op_conf else ()), *extra)

    def seen_from(self, folder: Path) -> "AtcInvocation":
        """Return the same call with all paths relative to ``folder``."""

        def relative(path: str | Path) -> Path:
            # Folders are resolved, because ".." leads out of where a link points, not of the link.
            place = Path(path)
            return Path(os.path.relpath(place.parent.resolve() / place.name, folder.resolve()))

        paths = (Form.FILE, Form.FOLDER)
        extra = {
            name: relative(value).as_posix() if find_option(name).form in paths else value
            for name, value in self.extra.items()
        }
        return dataclasses.replace(
            self,
            model=relative(self.model),
            output=relative(self.output),
            insert_op_conf=relative(self.insert_op_conf) if self.insert_op_conf else None,
            extra=extra,
        )

    def argv(self) -> tuple[str, ...]:
        """Return program and arguments."""
        values = {
            **self.extra,
            "model": self.model.as_posix(),
            "framework": "5",
            "output": self.output.as_posix(),
            "input_format": self.input_format,
            "input_shape": ";".join(str(shape) for shape in self.input_shape),
            "log": self.log,
            "soc_version": self.soc_version,
            "out_nodes": ";".join(self.out_nodes),
            "dynamic_batch_size": ",".join(str(size) for size in self.dynamic_batch_size),
            "dynamic_image_size": write_profiles(self.dynamic_image_size),
            "dynamic_dims": write_profiles(self.dynamic_dims),
            "insert_op_conf": self.insert_op_conf.as_posix() if self.insert_op_conf else "",
            "precision_mode": self.precision_mode,
            "precision_mode_v2": self.precision_mode_v2,
        }
        return (
            "atc",
            *(f"--{option.name}={values[option.name]}" for option in OPTIONS if values.get(option.name)),
        )

    def command_line(self) -> str:
        """Return the call as one line of shell, values quoted where the guides quote them."""
        program, *words = self.argv()
        return " ".join([program, *(_quoted(word) for word in words)])

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        argv = self.argv()
        options = dict(word.removeprefix("--").split("=", 1) for word in argv[1:])
        return {"argv": list(argv), "command": self.command_line(), "options": options}


def _quoted(word: str) -> str:
    name, _, value = word.partition("=")
    if re.fullmatch(r"[\w./-]+", value):
        return word
    if re.search(r'["$`\\!]', value):
        return f"{name}={shlex.quote(value)}"
    return f'{name}="{value}"'


def _batches(text: str) -> tuple[int, ...]:
    profiles = parse_profiles(text, option="dynamic_batch_size")
    if len(profiles) != 1:
        raise UsageError(f"E10001: dynamic_batch_size {text!r} is not a list such as 1,2,4,8")
    return profiles[0]
