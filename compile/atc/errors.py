"""What the error codes of ATC mean and what to do about them: all data per code, in one place."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """One error of ATC.

    Attributes:
        meaning: a clause.
        remedy: an imperative clause.
        aspects: what is wrong with the model, in the words of ``recipes.mending.BY_ASPECT``.
        rewrites: whether another operator in the place of the one that is named would help.
        vague: whether it only says that something failed: whatever is more definite is the cause.
    """

    meaning: str
    remedy: str
    aspects: tuple[str, ...] = ()
    rewrites: bool = False
    vague: bool = False


def _e(meaning: str, remedy: str, *aspects: str, rewrites: bool = False, vague: bool = False) -> Explanation:
    return Explanation(meaning=meaning, remedy=remedy, aspects=aspects, rewrites=rewrites, vague=vague)


_UNREGISTERED = _e(
    "an operator, or its version at the model's opset, is not known to this CANN",
    "rewrite the operator with a pass, lower the opset, or install a custom operator package",
    "opset",
    rewrites=True,
)
_NO_KERNEL = _e(
    "the operator is known, but not with this data type, format or shape on this chip",
    "change the data type (int64 to int32), the shape or the operator with a pass",
    rewrites=True,
)
_NO_PROTOTYPE = _e(
    "the operator has no prototype in this CANN: its operator package is missing",
    "source CANN's set_env.sh (ASCEND_OPP_PATH) and install the ops package of this chip, or rewrite "
    "the operator with a pass",
    rewrites=True,
)
_BAD_FILE = _e("a file cannot be opened, read, written or parsed", "check the path and the file")
_INNER = _e(
    "an inner error, which names no cause of its own",
    "read the lines below it, then the first [ERROR] in $HOME/ascend/log/debug/plog",
    vague=True,
)
_PYTHON = _e(
    "the operator compiler (TBE) cannot be started from Python",
    "check the Python that CANN uses: its version, numpy below 2, decorator, sympy, scipy, attrs, psutil",
)
_KERNEL_FAILED = _e(
    "compiling a kernel failed",
    "read the exception that it ends with; change the data type, shape or operator of the node with a pass",
    rewrites=True,
)
_PROFILES = _e("the profiles of a dynamic_* option are wrong", "see their number, lengths and values")
_EXCLUDE = _e("options exclude each other", "keep one of them")
_OPERATOR = _e(
    "an operator has an attribute, data type, format or shape that its kernel does not take",
    "read the reason that ATC gives, then change that node with a pass",
    rewrites=True,
)

EXPLANATIONS = MappingProxyType(
    {
        "E10001": _e("an option has an invalid value", "read the reason that ATC gives"),
        "E10002": _e("input_shape cannot be parsed", 'write "name:1,3,224,224", in quotes'),
        "E10004": _e("an option is empty", "give a value or leave it out"),
        "E10005": _e("an option must be true or false", "correct it"),
        "E10006": _e("an option must be 1 or 0", "correct it"),
        "E10007": _e("framework is missing", "add --framework=5"),
        "E10008": _e("framework 0 (Caffe) was asked for", "use --framework=5 for ONNX"),
        "E10009": _e("the dynamic_* options and input_shape_range exclude each other", "keep one"),
        "E10010": _e("the log level is unknown", "use error, warning, info, debug or null"),
        "E10011": _e("a size in input_shape is not positive", "fix it, or add profiles", "dynamic"),
        "E10012": _e("dynamic_batch_size needs an input with axes", "drop it or change the input"),
        "E10013": _e("a size in input_shape is out of range", "correct it"),
        "E10014": _e("a size in input_shape is no number", "correct it"),
        "E10016": _e("a name in an option is not in the model", "list its names with graphopt inspect"),
        "E10017": _e("a name in input_shape is inside the graph", "name an input"),
        "E10018": _e("only the batch size may be -1", "fix the others, or use dynamic_dims"),
        "E10019": _e("only height and width may be -1", "fix the others, or use dynamic_dims"),
        "E10020": _e("dynamic_image_size cannot be parsed", 'write "224,224;448,448"'),
        "E10021": _e("a path is too long", "work in a shorter folder"),
        "E10022": _e("a path has no file name", "give a file"),
        "E10031": _e("no input has -1 as its first size", "write -1 for the batch"),
        "E10032": _e("a JSON file cannot be parsed", "check the file, e.g. modify_mixlist without comments"),
        "E10034": _e("an input with AIPP is fp16", "leave out input_fp16_nodes"),
        "E10035": _PROFILES,
        "E10036": _PROFILES,
        "E10037": _PROFILES,
        "E10038": _PROFILES,
        "E10039": _PROFILES,
        "E10040": _e("with profiles, sizes must be -1 and not ranges", "write -1"),
        "E10041": _e("a model file is damaged, or its weights are not beside it", "make it again"),
        "E10045": _e("the number of -1 differs from the values per profile", "give one value per -1"),
        "E10046": _e("the number of -1 differs from the values per profile", "give one value per -1"),
        "E10047": _EXCLUDE,
        "E10048": _e("input_shape_range cannot be parsed", "use input_shape, which takes ranges too"),
        "E10049": _e("input_shape has another rank than the input", "give one size per axis"),
        "E10052": _e("the AIPP file is invalid", "check insert_op_conf"),
        "E10054": _e("a required option is empty", "quote values with ';'"),
        "E10055": _e("the operation is not supported on this chip or in this release", "read ATC's reason"),
        "E10056": _EXCLUDE,
        "E10058": _e("an option is missing or empty", "give it"),
        "E10061": _e("an option has an invalid value", "use one that ATC expects"),
        "E10410": _e("a file that an option names does not exist", "check keep_dtype and the like"),
        **{f"E1300{digit}": _BAD_FILE for digit in range(7)},
        "E13018": _BAD_FILE,
        "E13026": _BAD_FILE,
        "E13009": _e("two nodes have one name, or a node has an input's", "rename them"),
        "E13010": _UNREGISTERED,
        "EZ9010": _UNREGISTERED,
        "E19010": _UNREGISTERED,
        "E16002": _UNREGISTERED,
        "E76002": _UNREGISTERED,
        "E13014": _OPERATOR,
        "E13015": _e("a file is too large", "put the weights outside: external_weight=1"),
        "E13023": _e("the om is too large", "put the weights outside: external_weight=1"),
        "E13024": _e("an environment variable has an invalid value", "source CANN's set_env.sh again"),
        "E14001": _OPERATOR,
        "E14002": _OPERATOR,
        "E16001": _e("the graph has no input or no output", "export it again"),
        "E16004": _e("the file holds no graph", "export it again"),
        "E16005": _e("one operator domain is imported in two versions", "keep one in opset_import"),
        "EZ0501": _NO_PROTOTYPE,
        "E10501": _NO_PROTOTYPE,
        "EZ3002": _NO_KERNEL,
        "EZ3003": _NO_KERNEL,
        "EZ9999": _INNER,
        "E19999": _INNER,
        "E19025": _e("an input tensor is invalid", "read ATC's reason"),
        "E13025": _e("an input tensor is invalid", "read ATC's reason"),
        "E22001": _PYTHON,
        "EC0010": _PYTHON,
        **{f"E2000{digit}": _PYTHON for digit in range(1, 10)},
        **{f"E4000{digit}": _PYTHON for digit in range(4)},
        "E40020": _PYTHON,
        **{f"E4002{digit}": _KERNEL_FAILED for digit in range(1, 5)},
        "EL0004": _e("memory on the device ran out", "free the device, or use one that is idle"),
        "W11001": _e(
            "an operator runs in a slower implementation, often on the AI CPU; the result is right",
            "replace it with a pass if its time matters",
            rewrites=True,
        ),
    }
)
"""By error code."""

FAMILIES = MappingProxyType(
    {
        "E10": _e("an option, or a combination of options, is wrong", "read the reason that ATC gives"),
        "E11": _e("the file was read as a Caffe model", "use --framework=5 for ONNX"),
        "E12": _e("the file was read as a TensorFlow model", "use --framework=5 for ONNX"),
        "E13": _e("a file, or a node of the graph, is not as it must be", "read the reason that ATC gives"),
        "E14": _OPERATOR,
        "E16": _e("the ONNX file is not as it must be", "read the reason that ATC gives"),
        "E2": _PYTHON,
        "E4": _PYTHON,
        "E5": _OPERATOR,
        "E6": _OPERATOR,
        "E7": _OPERATOR,
        "E8": _OPERATOR,
        "E9": _KERNEL_FAILED,
        "EZ0": _OPERATOR,
        "EB": _KERNEL_FAILED,
        "EC": _PYTHON,
        "EL": _e("the driver or the device reports an error", "check the device with npu-smi info"),
        "EE": _e("the runtime reports an error", "check the device with npu-smi info"),
    }
)
"""By the first letters of a code: what codes of one kind have in common, for those not listed above."""


def explanation_of(code: str) -> tuple[Explanation | None, bool]:
    """Return what is known of a code, and whether it is the code itself or only its family."""
    if code in EXPLANATIONS:
        return EXPLANATIONS[code], True
    prefix = next((code[:length] for length in (3, 2) if code[:length] in FAMILIES), "")
    return FAMILIES.get(prefix), False


@dataclass(frozen=True, kw_only=True)
class Case:
    """A text that says more than the code it stands under, or that has no code.

    Attributes:
        word: our name for it, in the place of a code where there is none.
        pattern: a regular expression; its groups fill in the clauses by name.
        explanation: of it.
        anywhere: whether a line without a code and outside a block is taken for it.
    """

    word: str
    pattern: str
    explanation: Explanation
    anywhere: bool = True


def _cases() -> Iterator[Case]:
    def case(word: str, pattern: str, explanation: Explanation, *, anywhere: bool = True) -> Case:
        return Case(word=word, pattern=pattern, explanation=explanation, anywhere=anywhere)

    yield case(
        "no-atc",
        r"\batc: (?:command )?not found|\batc: No such file",
        _e("ATC is not on the PATH", "source CANN's set_env.sh first"),
    )
    yield case(
        "shared-library",
        r"error while loading shared libraries: (?P<name>[^\s:]+)",
        _e(
            "ATC cannot start: the library {name} is not found",
            "source CANN's set_env.sh; without the device's driver add CANN's folder devlib to "
            "LD_LIBRARY_PATH",
        ),
    )
    yield case(
        "numpy-2",
        r"\bnp\.\w+.? was removed|module 'numpy' has no attribute|numpy\.core\.multiarray failed to import",
        _e(
            "the numpy of the Python that CANN uses is too new for it",
            "python3 -m pip install 'numpy<2' with the python3 that is first on the PATH of atc",
        ),
    )
    yield case(
        "python-module",
        r"No module named '?(?P<name>[\w.]+)'?|Failed to import (?P<name2>te|tbe)\b",
        _e(
            "the Python that CANN uses lacks the package {name}",
            "python3 -m pip install {name}, with the python3 that is first on the PATH of atc; te and tbe "
            "come with CANN itself: source its set_env.sh; a part of Python itself means the wrong python3",
        ),
    )
    yield case(
        "unknown-option",
        r"unknown command line flag '(?P<option>[^']+)'",
        _e("ATC has no option {option}", "correct its name"),
    )
    yield case(
        "no-value",
        r"flag '(?P<option>[^']+)' is missing its argument",
        _e("the option {option} has no value", "write --name=value"),
    )
    yield case(
        "stray-word",
        r"Non-option parameter: ?(?P<name>\S*)",
        _e(
            "the word {name} stands in the call without an option",
            "quote values that contain blanks or semicolons",
        ),
    )
    yield case(
        "no-such-output",
        r"User specified tensor ?\[(?P<tensor>[^\]]+)\] is not output of graph",
        _e(
            "out_nodes names {tensor}, which is no output of the graph",
            "name tensors only if they are the graph's outputs; an inner one is written NODE:INDEX, or "
            "made an output with the pass pin_outputs",
        ),
    )
    yield case(
        "mixed-outputs",
        r"Only one of index, top_name and output_name can be used",
        _e("out_nodes mixes tensor names with NODE:INDEX", "write all of them in one way"),
        anywhere=False,
    )
    yield case(
        "environment",
        r"--host_env_(?:os|cpu)",
        _e("CANN's environment is not set up in this shell", "source CANN's set_env.sh, in a plain terminal"),
        anywhere=False,
    )
    yield case(
        "unknown-chip",
        r"--soc_version",
        _e(
            "this CANN does not know the chip",
            "write Ascend and the name that npu-smi info shows (Ascend310P3), and install its ops package",
        ),
        anywhere=False,
    )
    yield case(
        "tuning",
        r"Auto ?Tune function has been deprecated",
        _e("auto_tune_mode no longer exists", "leave it out; tuning is done with the tool aoe"),
        anywhere=False,
    )
    yield case(
        "unknown-shape",
        r"--input_shape NULL|contains? -1\b|shape is still unknown|unknown (?:rank|shape)",
        _e(
            "a shape is not known before the model runs",
            "give input_shape for every input, and make inner shapes constant with the pass static_shapes",
            "dynamic",
        ),
        anywhere=False,
    )
    yield case(
        "format-conversion",
        r"[Oo]ptype \[TransData\]",
        _e(
            "a format conversion that ATC itself adds has no kernel",
            "look at the node before it: its data type (not every chip has bfloat16), its rank, its groups",
        ),
        anywhere=False,
    )
    yield case(
        "wide-integers",
        r"\b(?:DT_)?U?INT64\b|\bu?int64\b",
        _e(
            "the operator has no kernel for int64 on this chip",
            "compute in int32 where the values fit",
            "int64",
            rewrites=True,
        ),
        anywhere=False,
    )
    yield case(
        "no-kernels",
        r"No supported Ops kernel.*optype \[(?P<name>Conv2D|Conv|MatMul(?:V2)?|Relu|Add|Data)\]",
        _e(
            "not even {name}, which every chip has, finds a kernel",
            "install the ops package of this chip and release, and check soc_version; only where other nodes "
            "of this operator are fine, change this one with a pass",
            rewrites=True,
        ),
        anywhere=False,
    )
    yield case(
        "no-binary",
        r"Cannot find bin of op (?P<name>\w+)",
        _e(
            "the compiled kernel of {name} is missing for this chip",
            "install the ops package that belongs to this CANN and chip",
        ),
    )
    yield case(
        "no-headers",
        r"fatal error: '(?P<name>[\w./]+)' file not found",
        _e("the kernel compiler misses the header {name}", "install the C++ standard headers (g++)"),
    )
    yield case(
        "shape-inference",
        r"Call InferShapeAndType for node:|\[InferShape\]|Verifying \S+ failed",
        _e(
            "a node's inputs do not fit its operator, as ATC reads it",
            "look at the shapes and attributes of that node; a pass may write it in another way",
            rewrites=True,
        ),
    )
    yield case(
        "host-memory",
        r"std::bad_alloc|Cannot allocate memory|\bMemoryError\b|^Killed\b|Killed process|[Oo]ut of memory",
        _e(
            "the machine that compiles ran out of memory",
            "set TE_PARALLEL_COMPILER=1, close other programs, or compile on a larger machine",
        ),
    )
    yield case(
        "disk-full",
        r"No space left on device",
        _e("the disk is full", "free some space, also in /tmp and for kernel_meta"),
    )
    yield case(
        "no-permission",
        r"Permission denied",
        _e("a file or folder may not be read or written", "check the owner of the output and kernel_meta"),
    )
    yield case(
        "crash",
        r"Segmentation fault|core dumped",
        _e("ATC crashed", "look for the last node in its plog; simplify the model around it"),
    )


CASES = tuple(_cases())
"""The first one whose pattern is found counts."""
