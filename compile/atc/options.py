"""The options of ATC for ONNX models, in the order they are written, with their allowed values."""

import enum
import re
from dataclasses import dataclass

from graphopt.core.discovery import did_you_mean
from graphopt.core.errors import UsageError


class Form(enum.Enum):
    """What a value is."""

    WORDS = "one of a few words"
    TEXT = "text"
    FILE = "a file"
    FOLDER = "a folder"


@dataclass(frozen=True, kw_only=True)
class AtcOption:
    """One option.

    Attributes:
        name: without dashes.
        form: what its value is.
        words: allowed values for ``Form.WORDS``.
        pattern: what ``Form.TEXT`` must match as a whole.
        example: a good value, for the message.
    """

    name: str
    form: Form
    words: tuple[str, ...] = ()
    pattern: str = ".+"
    example: str = ""


def _words(name: str, *words: str) -> AtcOption:
    return AtcOption(name=name, form=Form.WORDS, words=words)


def _text(name: str, pattern: str = ".+", example: str = "") -> AtcOption:
    return AtcOption(name=name, form=Form.TEXT, pattern=pattern, example=example)


def _file(name: str) -> AtcOption:
    return AtcOption(name=name, form=Form.FILE)


def _folder(name: str) -> AtcOption:
    return AtcOption(name=name, form=Form.FOLDER)


_LIST = r"[^;]+(;[^;]+)*"
_BOOLEANS = r"(true|false)(,(true|false))*"

OPTIONS: tuple[AtcOption, ...] = (
    # The published calls write these first, in this order.
    _file("model"),
    _words("framework", "5"),
    _text("output"),
    _words("input_format", "NCHW", "ND", "NCDHW"),
    _text("input_shape", example="image:1,3,224,224"),
    _words("log", "error", "warning", "info", "debug", "null"),
    _text("soc_version"),
    _text("out_nodes", _LIST, "Concat_1487:0;Reshape_1489:0"),
    # Inputs, outputs, shapes.
    _text("input_shape_range"),
    _text("dynamic_batch_size"),
    _text("dynamic_image_size"),
    _text("dynamic_dims"),
    _text("output_type", _LIST, "FP16"),
    _text("input_fp16_nodes", _LIST, "image"),
    _text("is_input_adjust_hw_layout", _BOOLEANS, "true,false"),
    _text("is_output_adjust_hw_layout", _BOOLEANS, "true,false"),
    _file("insert_op_conf"),
    # Precision.
    _words(
        "precision_mode",
        "force_fp16",
        "force_fp32",
        "cube_fp16in_fp32out",
        "allow_mix_precision",
        "allow_fp32_to_fp16",
        "must_keep_origin_dtype",
        "allow_mix_precision_fp16",
        "allow_mix_precision_bf16",
        "allow_fp32_to_bf16",
    ),
    _words(
        "precision_mode_v2",
        "fp16",
        "origin",
        "cube_fp16in_fp32out",
        "mixed_float16",
        "mixed_bfloat16",
        "cube_hif8",
        "mixed_hif8",
    ),
    _file("op_precision_mode"),
    _words(
        "op_select_implmode",
        "high_performance",
        "high_precision",
        "high_precision_for_all",
        "high_performance_for_all",
    ),
    _text("optypelist_for_implmode", r"\w+(,\w+)*", "Sigmoid,Gelu"),
    _file("keep_dtype"),
    _file("customize_dtypes"),
    _file("modify_mixlist"),
    _words("is_weight_clip", "0", "1"),
    _words("deterministic", "0", "1"),
    _words("deterministic_level", "0", "1", "2", "3"),
    # Tuning.
    _file("fusion_switch_file"),
    _words("buffer_optimize", "l2_optimize", "l1_optimize", "off_optimize"),
    _words("enable_small_channel", "0", "1"),
    _file("compression_optimize_conf"),
    _words("enable_compress_weight", "true", "false"),
    _file("compress_weight_conf"),
    _words("sparsity", "0", "1"),
    _text("auto_tune_mode"),
    _folder("op_bank_path"),
    _folder("mdl_bank_path"),
    _text("aicore_num", r"\d+\|?\d*", "24|48"),
    _words("core_type", "AiCore", "VectorCore"),
    _words("virtual_type", "0", "1"),
    _words("disable_reuse_memory", "0", "1"),
    _words("enable_single_stream", "true", "false"),
    _words("external_weight", "0", "1", "2"),
    _words("jit_compile", "0", "1", "2"),
    _words("oo_level", "O1", "O3"),
    _text("optimization_switch", r"[^:;]+:(on|off)(;[^:;]+:(on|off))*", "P:on;Q:off"),
    _words("ac_parallel_enable", "0", "1"),
    _words("status_check", "0", "1"),
    _words("atomic_clean_policy", "0", "1"),
    _text("shape_generalized_build_mode"),
    # Debugging and cross builds.
    _file("op_debug_config"),
    _words("op_debug_level", "0", "1", "2", "3", "4"),
    _folder("debug_dir"),
    _words("op_compiler_cache_mode", "disable", "enable", "force"),
    _folder("op_compiler_cache_dir"),
    _words("display_model_info", "0", "1"),
    _words("host_env_os", "linux"),
    _words("host_env_cpu", "x86_64", "aarch64"),
    _words("save_original_model", "true", "false"),
)

_OURS = ("model", "framework", "output", "soc_version")
_ELSEWHERE = {
    "mode": "only mode 0, making an .om, is run here",
    "weight": "it belongs to Caffe models",
    "op_name_map": "it belongs to Caffe models",
    "enable_scope_fusion_passes": "it belongs to TensorFlow models",
    "singleop": "it compiles operators without a model",
    "om": "it belongs to mode 1, which turns an .om into JSON",
    "json": "it belongs to mode 1, which turns an .om into JSON",
    "dump_mode": "it belongs to mode 1, which turns an .om into JSON",
    "check_report": "it belongs to mode 3, which only checks",
}


def find_option(name: str) -> AtcOption:
    """Return the option called ``name``; leading dashes and ``-`` for ``_`` are allowed, as in ATC.

    Raises:
        UsageError: ATC does not know it, or graphopt sets it itself.
    """
    plain = name.lstrip("-").replace("-", "_")
    if plain in _OURS:
        raise UsageError(f"the ATC option {plain} is set by graphopt (model, -o, --soc); leave it out")
    if plain in _ELSEWHERE:
        raise UsageError(f"the ATC option {plain} has no place here: {_ELSEWHERE[plain]}; leave it out")
    for option in OPTIONS:
        if option.name == plain:
            return option
    names = [option.name for option in OPTIONS if option.name not in _OURS]
    raise UsageError(f"unknown ATC option {name!r}; {did_you_mean(plain, names)}")


def check_value(option: AtcOption, value: str) -> None:
    """Raise ``UsageError`` unless ``value`` is one that ATC takes for ``option``."""
    if not value:
        raise UsageError(f"E10004: the ATC option {option.name} is empty; give a value or leave it out")
    if option.form is Form.WORDS and value not in option.words:
        code = "E10010" if option.name == "log" else "E10001"
        raise UsageError(
            f"{code}: {value!r} is no value of the ATC option {option.name}; "
            f"{did_you_mean(value, option.words)}"
        )
    if option.form is Form.TEXT and not re.fullmatch(option.pattern, value):
        example = f"; e.g. {option.example}" if option.example else ""
        raise UsageError(f"E10001: {value!r} is no value of the ATC option {option.name}{example}")
